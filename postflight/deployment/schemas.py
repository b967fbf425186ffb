"""Fields that a manifest has and the installed CRD does not know, so that the API server threw them away.

Sources: Kubernetes 1.34, CustomResourceDefinition (structural schemas, pruning), OpenAPI v3 as the API server gives it;
kubectl apply, which keeps what it was given in an annotation, also where a field was thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import LISTED
from postflight.cluster.snapshot import Snapshot

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: Of every object, whatever its kind; ``status`` is nobody's manifest.
COMMON = frozenset({"apiVersion", "kind", "metadata", "status"})
PRESERVED = "x-kubernetes-preserve-unknown-fields"
GVK = "x-kubernetes-group-version-kind"


@dataclass(frozen=True, slots=True)
class Applied:
    """What somebody applied to an object of an operator's kind; ``version`` is its apiVersion."""

    namespace: str
    kind: str
    name: str
    version: str
    manifest: Mapping[str, Any]


def applied(snapshot: Snapshot) -> tuple[Applied, ...]:
    """Of every object of an operator's kind in scope that tells it."""
    return tuple(found for kind in LISTED if kind.custom for each in snapshot.all(kind) for found in _applied(each))


def _applied(each: Object) -> Iterator[Applied]:
    meta = each["metadata"]
    try:
        manifest = json.loads((meta.get("annotations") or {}).get(APPLIED) or "null")
    except ValueError:
        return
    if isinstance(manifest, dict) and "/" in str(manifest.get("apiVersion")):
        yield Applied(meta["namespace"], each["kind"], meta["name"], str(manifest["apiVersion"]), manifest)


def unknown_fields(document: Mapping[str, Any], of: Applied) -> tuple[str, ...] | None:
    """The fields that the schema of an OpenAPI v3 document does not have; None where it does not have the kind."""
    group, _, version = of.version.partition("/")
    wanted = {"group": group, "version": version, "kind": of.kind}
    schemas: Mapping[str, Mapping[str, Any]] = (document.get("components") or {}).get("schemas") or {}
    schema = next((each for each in schemas.values() if wanted in (each.get(GVK) or ())), None)
    if schema is None:
        return None
    own = {field: value for field, value in of.manifest.items() if field not in COMMON}
    return tuple(_unknown(own, schema, ""))


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from _unknown(each, schema.get("items") or {}, f"{path}[{place}]")
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    # A schema that says nothing of fields has none to miss: another document has it ($ref), or it takes all.
    if not isinstance(value, dict) or schema.get(PRESERVED) or not (properties or others):
        return
    for field, each in value.items():
        where = f"{path}.{field}" if path else field
        if field in properties:
            yield from _unknown(each, properties[field], where)
        elif isinstance(others, dict):
            yield from _unknown(each, others, where)
        elif not others:
            yield where
