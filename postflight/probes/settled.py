"""Whether everything in the deployment's namespaces is ready, and nothing is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import DAEMON_SET, DEPLOYMENT, JOB, POD, POSTGRES_CLUSTER, STATEFUL_SET, Kind
from postflight.cluster.threads import in_threads
from postflight.limits import Limit
from postflight.polling import NotYet, wait_for
from postflight.traces import MANAGED_BY, NAME

#: Twice in a row: between a pod's end and its successor's beginning there is a moment without either.
TIMES = 2
EVERY = 1.0
HEALTHY = "Cluster in healthy state"
ENDED = ("Succeeded", "Failed")


def wait_settled(
    api: Api,
    namespaces: Iterable[str],
    limit: float,
    *,
    operated: bool,
    also: Callable[[], str] = lambda: "",
) -> None:
    """Until everything is ready and quiet, and ``also`` has nothing to say. ``operated``: the API server knows Clusters.
    Raises TimedOut, which says what is not."""
    spaces, count = tuple(namespaces), 0

    def settled() -> None:
        nonlocal count
        try:
            why = unsettled(api, spaces, operated=operated) or also()
        except ApiError as error:
            why = str(error)
        count = 0 if why else count + 1
        if count < TIMES:
            raise NotYet(why or "it has just become quiet")

    wait_for(settled, limit=limit, every=EVERY)


def unsettled(api: Api, namespaces: Iterable[str], *, operated: bool) -> str:
    """The first thing that is not ready, or on its way; "" for nothing. Raises ApiError."""
    kinds: list[Kind] = [POD, DEPLOYMENT, STATEFUL_SET, DAEMON_SET, *([POSTGRES_CLUSTER] if operated else [])]
    asked = [(kind, namespace) for namespace in namespaces for kind in kinds]

    def lister(kind: Kind, namespace: str) -> Callable[[], list[Object]]:
        return lambda: list(api.list_all(kind, namespace))

    outcomes = in_threads([lister(*each) for each in asked], Limit.REQUEST)
    for (kind, _), outcome in zip(asked, outcomes, strict=True):
        try:
            listed = outcome.result()
        except TimeoutError:
            return f"the API server does not list {kind.plural} in time"
        for each in listed:
            if why := REASONS[kind](each):
                return f"{each['metadata']['name']} {why}"
    return ""


def _pod(raw: Object) -> str:
    meta, status = raw["metadata"], raw.get("status") or {}
    owners = {each["kind"] for each in meta.get("ownerReferences") or ()}
    own = (meta.get("labels") or {}).get(MANAGED_BY) == NAME
    if own or JOB.name in owners or status.get("phase") in ENDED:
        return ""
    if "deletionTimestamp" in meta:
        return "is ending"
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    if _is(conditions, "Ready"):
        return ""
    placed = conditions.get("PodScheduled") or {}
    if placed.get("status") == "False":
        return f"has no node: {' '.join(str(placed.get('message') or '').split())[:200]}"
    return "is not ready"


def _is(conditions: dict[str, Any], name: str) -> bool:
    return bool((conditions.get(name) or {}).get("status") == "True")


def _replicas(raw: Object) -> str:
    wanted = raw["spec"].get("replicas")
    return _short(1 if wanted is None else int(wanted), int((raw.get("status") or {}).get("readyReplicas") or 0))


def _daemons(raw: Object) -> str:
    status = raw.get("status") or {}
    return _short(int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0))


def _short(wanted: int, ready: int) -> str:
    return f"has {ready} of {wanted} pods ready" if ready < wanted else ""


def _cluster(raw: Object) -> str:
    status = raw.get("status") or {}
    if short := _short(int(raw["spec"].get("instances") or 1), int(status.get("readyInstances") or 0)):
        return short
    if status.get("currentPrimary") != status.get("targetPrimary"):
        return f"moves its primary to {status.get('targetPrimary')}"
    return "" if status.get("phase") == HEALTHY else f"is in phase {status.get('phase')!r}"


REASONS: dict[Kind, Callable[[Object], str]] = {
    POD: _pod,
    DEPLOYMENT: _replicas,
    STATEFUL_SET: _replicas,
    DAEMON_SET: _daemons,
    POSTGRES_CLUSTER: _cluster,
}
