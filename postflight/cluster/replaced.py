"""Which pods Kubernetes took away, or replaced, while the run looked at them."""

from __future__ import annotations

from collections.abc import Mapping

from postflight.cluster.api import Api, Object
from postflight.cluster.cuts import PodName
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.traces import MANAGED_BY, NAME


def replaced(api: Api, snapshot: Snapshot) -> Mapping[PodName, str]:
    """The pods that were ready in the snapshot and are gone by now, or going, or others under the same name; with the
    reason in one line. One LIST for each namespace. Raises :class:`ApiError`."""
    found: dict[PodName, str] = {}
    for namespace in snapshot.namespaces:
        before = [
            each for each in snapshot.all(POD, namespace) if _is_ready(each) and not _goes(each) and not _ours(each)
        ]
        if not before:
            continue
        now = {each["metadata"]["name"]: each for each in api.list_all(POD, namespace)}
        for each in before:
            name = each["metadata"]["name"]
            later = now.get(name)
            if later is None or _goes(later) or later["metadata"].get("uid") != each["metadata"].get("uid"):
                found[(namespace, name)] = f"{name} was replaced during the run"
    return found


def _ours(raw: Object) -> bool:
    """Whether a run made it: the clean-up, ours or another's, takes it away."""
    return (raw["metadata"].get("labels") or {}).get(MANAGED_BY) == NAME


def _goes(raw: Object) -> bool:
    return "deletionTimestamp" in raw["metadata"]


def _is_ready(raw: Object) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
