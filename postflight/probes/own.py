"""The run's own traces: its turn on the namespace, what killed runs left, and what is left at the end."""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass

from postflight.cluster import leases
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import CONFIG_MAP, JOB, LEASE, POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Deployment
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.probe import Right, Safety, Unseen, probe
from postflight.traces import MANAGED_BY, NAME, RUN_LABEL, Traces

LEASES = (
    Right("create", "leases", "coordination.k8s.io"),
    Right("update", "leases", "coordination.k8s.io"),
    Right("delete", "leases", "coordination.k8s.io"),
)
KINDS = (POD, JOB, SERVICE, CONFIG_MAP)


@dataclass(frozen=True, slots=True)
class Turn:
    """This run is the only one that makes something in the namespace."""

    namespace: str


@probe(limit=Limit.LEASE, rights=LEASES, safety=Safety.CANARY)
def turn(deployment: Deployment, api: Api, traces: Traces) -> Turn:
    """Take the Lease of the namespace, waiting for another run to end."""
    namespace = deployment.namespaces[0]
    holder = f"{getpass.getuser()}@{socket.gethostname()}, run {traces.run_id}"
    lease = leases.Lease(api, namespace, holder, traces.labels)
    traces.will_make(f"Lease {namespace}/{leases.NAME}", lease.release, lease.path)
    try:
        lease.acquire(Limit.LEASE - 1)
    except leases.Held as error:
        raise Unseen(f"another run is at work in namespace {namespace}: {error}") from error
    return Turn(namespace)


@dataclass(frozen=True, slots=True)
class Left:
    """An object that carries our label: ``run`` made it, ``gone`` says that it is no more."""

    path: str
    what: str
    run: str
    gone: bool
    problem: str = ""


@probe(limit=Limit.CLEAN_UP, safety=Safety.CANARY)
def swept(snapshot: Snapshot, api: Api, traces: Traces, turn: Turn) -> tuple[Left, ...]:
    """Remove what runs left that were killed: with the Lease ours, no other run is alive."""
    return tuple(_remove(api, each) for each in _ours(snapshot, traces.run_id) if each["kind"] != LEASE.name)


@probe(limit=Limit.CLEAN_UP, leaves=True)
def leftovers(snapshot: Snapshot, api: Api, traces: Traces) -> tuple[Left, ...]:
    """After clean-up, look for everything that this run made and that earlier ones had left."""
    found = [_look(api, path, traces.run_id) for path in traces.made]
    for each in _ours(snapshot, traces.run_id):
        if each["kind"] == LEASE.name and not leases.expired(each):
            continue
        run = (each["metadata"].get("labels") or {}).get(RUN_LABEL, "?")
        found.append(_look(api, _path(each), run))
    return tuple(found)


def _ours(snapshot: Snapshot, run_id: str) -> list[Object]:
    return [
        each
        for kind in (*KINDS, LEASE)
        for each in snapshot.all(kind)
        if (labels := each["metadata"].get("labels") or {}).get(MANAGED_BY) == NAME and labels.get(RUN_LABEL) != run_id
    ]


def _path(each: Object) -> str:
    kind = next(kind for kind in (*KINDS, LEASE) if kind.name == each["kind"])
    return kind.path(each["metadata"]["namespace"], each["metadata"]["name"])


def _remove(api: Api, each: Object) -> Left:
    path, run = _path(each), (each["metadata"].get("labels") or {}).get(RUN_LABEL, "?")
    try:
        api.request("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    except ApiError as error:
        if error.status != 404:
            return Left(path, _what(path), run, gone=False, problem=str(error))
    return _look(api, path, run)


def _look(api: Api, path: str, run: str) -> Left:
    def gone() -> None:
        try:
            found = api.get(path)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        if run != (found["metadata"].get("labels") or {}).get(RUN_LABEL):
            return
        raise NotYet(f"{_what(path)} is still there")

    try:
        wait_for(gone, limit=5.0)
    except (TimedOut, ApiError) as error:
        return Left(path, _what(path), run, gone=False, problem=str(error))
    return Left(path, _what(path), run, gone=True)


def _what(path: str) -> str:
    plural, name = path.split("/")[-2:]
    return f"{plural.removesuffix('s')} {name}"
