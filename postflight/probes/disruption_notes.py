"""What a run writes down before it takes something away that does not come back by itself, and how the next undoes it.

A ConfigMap with the run's label says it, so that the next run finds it in its snapshot. A cordoned node carries the
run's id too: one that somebody else cordoned since is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import CONFIG_MAP, POD, POSTGRES_CLUSTER, Kind
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.probe import Right
from postflight.probes.settled import HEALTHY
from postflight.traces import RUN_LABEL, Traces

NODE = Kind("Node", "nodes", namespaced=False)
NOTES = tuple(Right(verb, "configmaps") for verb in ("create", "get", "delete"))
NODES = tuple(Right(verb, "nodes", wide=True) for verb in ("get", "list", "patch"))
CLUSTERS = (
    Right("get", "clusters", "postgresql.cnpg.io"),
    Right("patch", "clusters/status", "postgresql.cnpg.io"),
)
#: On a node that a run cordoned, with the run's id.
CORDONED = "postflight/cordoned-by"
MERGE = "application/merge-patch+json"
CONFLICT = 409
#: As the operator calls it, and `kubectl cnpg promote` (CloudNativePG 1.27, internal/cmd/plugin/promote).
SWITCHING = "Switchover in progress"


@contextmanager
def noted(
    api: Api, traces: Traces, namespace: str, what: str, note: Mapping[str, str], undo: Callable[[], None]
) -> Iterator[None]:
    """Written down while the context lasts, and undone at its end, or at the run's, or by the next run: the note goes once
    that is done. Raises ApiError."""
    name = f"postflight-{what.partition(' ')[0]}-{traces.run_id}"
    path = CONFIG_MAP.path(namespace, name)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": traces.labels},
        "data": dict(note),
    }

    def undone() -> None:
        undo()
        _delete(api, path)

    with traces.holding(what, undone, path):
        api.request("POST", CONFIG_MAP.path(namespace), body)
        yield


def words(raw: Object) -> str:
    """What a note says is still undone; "" for what is no note."""
    data = raw.get("data") or {} if raw["kind"] == CONFIG_MAP.name else {}
    if data.get("node"):
        return f"a cordon on node {data['node']}"
    return f"a switchover of {data['cluster']} away from {data['primary']}" if data.get("cluster") else ""


def put_back(api: Api, raw: Object) -> str:
    """Undo what a note says. Returns why that is not possible, "" where it is done or was done already."""
    if not words(raw):
        return ""
    data, run = raw.get("data") or {}, str((raw["metadata"].get("labels") or {}).get(RUN_LABEL))
    try:
        if data.get("node"):
            uncordon(api, str(data["node"]), run)
        elif data.get("cluster"):
            switch_back(api, raw["metadata"]["namespace"], data["cluster"], data["primary"], data["to"])
    except ApiError as error:
        return str(error)
    return ""


def cordon(api: Api, node: str, run: str) -> None:
    """No pod is placed on it any more. Raises ApiError."""
    asked = {"metadata": {"annotations": {CORDONED: run}}, "spec": {"unschedulable": True}}
    api.request("PATCH", NODE.path(name=node), asked, content_type=MERGE)


def uncordon(api: Api, node: str, run: str) -> None:
    """Only one that this run cordoned. Raises ApiError."""
    try:
        raw = api.get(NODE.path(name=node))
    except ApiError as error:
        if error.status == 404:
            return
        raise
    if (raw["metadata"].get("annotations") or {}).get(CORDONED) != run:
        return
    asked: dict[str, Any] = {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
    api.request("PATCH", NODE.path(name=node), asked, content_type=MERGE)


def switch_over(api: Api, namespace: str, cluster: str, instance: str, at: str) -> None:
    """Have the operator make an instance the primary: what `kubectl cnpg promote` writes, on the version that was read,
    anew where the operator has written meanwhile. ``at`` is the time. Raises ApiError."""

    def write() -> None:
        raw = api.get(POSTGRES_CLUSTER.path(namespace, cluster))
        asked = {
            "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
            "status": {
                "targetPrimary": instance,
                "targetPrimaryTimestamp": at,
                "phase": SWITCHING,
                "phaseReason": f"Switching over to {instance}",
            },
        }
        try:
            api.request("PATCH", POSTGRES_CLUSTER.path(namespace, cluster, "status"), asked, content_type=MERGE)
        except ApiError as error:
            if error.status == CONFLICT:
                raise NotYet(str(error)) from error
            raise

    try:
        wait_for(write, limit=Limit.REQUEST, every=0.2)
    except TimedOut as error:
        raise ApiError(CONFLICT, str(error)) from error


def stamp(api: Api) -> str:
    """The time by the API server's clock, as the operator writes it."""
    return api.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def switch_back(api: Api, namespace: str, cluster: str, primary: str, to: str) -> None:
    """To the primary from before, where the one that it was switched to still is to be it: once it is, and the other
    follows it. One that has not given up yet would start as it was, and what was written since be lost (CloudNativePG
    1.27, instance_startup.go: verifyPgDataCoherenceForPrimary). Raises ApiError."""

    def is_left() -> bool:
        raw = api.get(POSTGRES_CLUSTER.path(namespace, cluster))
        if (raw.get("status") or {}).get("targetPrimary") != to:
            return True
        if why := not_primary(raw, to):
            raise NotYet(why)
        return False

    try:
        if wait_for(is_left, limit=Limit.CLEAN_UP, every=1.0):
            return
    except TimedOut as error:
        told = f"not switched back to {primary}, which would lose what was written since: {error}"
        raise ApiError(0, told) from error
    # Whoever is not there can become nothing.
    api.get(POD.path(namespace, primary))
    switch_over(api, namespace, cluster, primary, stamp(api))


def not_primary(raw: Object, instance: str) -> str:
    """What a Cluster lacks of being healthy, all of it, with an instance as its primary."""
    status = raw.get("status") or {}
    primary, phase = status.get("currentPrimary"), status.get("phase")
    ready, wanted = int(status.get("readyInstances") or 0), int(raw["spec"].get("instances") or 1)
    if primary == instance and phase == HEALTHY and ready >= wanted:
        return ""
    return f"{raw['metadata']['name']} has primary {primary}, phase {phase!r}, {ready} of {wanted} instances ready"


def _delete(api: Api, path: str) -> None:
    try:
        api.request("DELETE", path)
    except ApiError as error:
        if error.status != 404:
            raise
