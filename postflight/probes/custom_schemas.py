"""What the API server knows of the kinds that operators brought: their schemas, where a manifest can be held against one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.schemas import applied
from postflight.limits import Limit
from postflight.probes.probe import probe


@dataclass(frozen=True, slots=True)
class CustomSchemas:
    """OpenAPI v3 documents by apiVersion; ``unseen`` says why one could not be had."""

    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)


@probe(limit=Limit.KUBERNETES)
def custom_schemas(snapshot: Snapshot, api: Api) -> CustomSchemas:
    """Get the OpenAPI v3 schemas of the operators' kinds that somebody applied a manifest of; anyone may ask for them."""
    wanted = tuple(dict.fromkeys(each.version for each in applied(snapshot)))

    def reader(version: str) -> Callable[[], Mapping[str, Any]]:
        return lambda: dict(api.get(f"/openapi/v3/apis/{version}"))

    documents: dict[str, Mapping[str, Any]] = {}
    unseen: dict[str, str] = {}
    outcomes = in_threads([reader(each) for each in wanted], Limit.REQUEST)
    for version, outcome in zip(wanted, outcomes, strict=True):
        try:
            documents[version] = outcome.result()
        except ApiError as error:
            gone = error.status == 404
            unseen[version] = f"the API server has no OpenAPI v3 schemas of {version}" if gone else str(error)
        except TimeoutError:
            unseen[version] = f"the schemas of {version} did not come within their time limit"
    return CustomSchemas(documents, unseen)
