"""The run's own traces: its turn on the namespace, what killed runs left, and what is left at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta

from postflight.cluster import leases
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import CONFIG_MAP, JOB, LEASE, POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.pods import instant
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.disruption_notes import put_back, words
from postflight.probes.probe import Right, Safety, Unseen, probe
from postflight.traces import MANAGED_BY, NAME, RUN_LABEL, Traces
from postflight.whoami import who

LEASES = tuple(Right(verb, "leases", "coordination.k8s.io") for verb in ("create", "get", "update", "patch", "delete"))
#: To see that what was made is gone.
PROOF = (Right("get", "leases", "coordination.k8s.io"), Right("get", "jobs", "batch"), Right("get", "pods"))
KINDS = (POD, JOB, SERVICE, CONFIG_MAP)
JUST_BEGUN = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Turn:
    """This run is the only one that makes something in these namespaces."""

    namespaces: tuple[str, ...]


@probe(limit=Limit.LEASE, rights=LEASES, safety=Safety.CANARY)
def turn(deployment: Deployment, api: Api, traces: Traces) -> Turn:
    """Take the Lease of each namespace, one after the other, waiting for another run to end."""
    holder = f"{who()}, run {traces.run_id}"
    # In one order, so that no two runs wait for each other.
    namespaces = tuple(sorted(set(deployment.namespaces)))
    deadline = time.monotonic() + Limit.LEASE - 1
    for namespace in namespaces:
        lease = leases.Lease(api, namespace, holder, traces.labels)
        traces.will_make(f"Lease {namespace}/{leases.NAME}", lease.release, lease.path)
        try:
            lease.acquire(deadline - time.monotonic())
        except leases.Held as error:
            raise Unseen(f"another run is at work in namespace {namespace}: {error}") from error
        if lease.predecessor:
            traces.buried.add(_run_of(lease.predecessor))
    return Turn(namespaces)


@dataclass(frozen=True, slots=True)
class Left:
    """An object that carries our label. ``earlier``: a run before this one left it; ``gone``: it is
    no more, ``problem`` says why it still is."""

    path: str
    what: str
    run: str
    earlier: bool
    gone: bool
    problem: str = ""


@probe(limit=Limit.CLEAN_UP, leaves=True, helped_by=PROOF)
def leftovers(snapshot: Snapshot, api: Api, traces: Traces, safety: Safety) -> tuple[Left, ...]:
    """After clean-up, look for what this run made, and remove what runs left that were killed.

    Under ``read-only`` nothing is removed, only named.
    """
    found = [_look(api, path, traces.run_id, earlier=False) for path in traces.made]
    for each in _ours(snapshot, traces.run_id):
        if each["kind"] == LEASE.name or not _is_dead(each, snapshot, traces):
            continue
        path, run = _path(each), _run_of(each)
        what = words(each) or _what(path)
        if not safety.allows(Safety.CANARY):
            found.append(Left(path, what, run, earlier=True, gone=False, problem="a read-only run removes nothing"))
            continue
        if problem := put_back(api, each):
            # The note of it stays, for a run that may undo it.
            found.append(Left(path, what, run, earlier=True, gone=False, problem=problem))
            continue
        problem = _remove(api, path)
        left = _look(api, path, run, earlier=True)
        found.append(replace(left, what=what, problem=problem or left.problem))
    return tuple(found)


def _is_dead(each: Object, snapshot: Snapshot, traces: Traces) -> bool:
    """Whether the run that made an object is over. One that is alive holds the Lease; one that has
    just begun may not have it in the picture yet."""
    run = _run_of(each)
    if run in traces.buried:
        return True
    held = [lease for lease in _ours(snapshot, traces.run_id) if lease["kind"] == LEASE.name and _run_of(lease) == run]
    if held:
        return all(leases.expired(lease, snapshot.taken) for lease in held)
    made = instant(each["metadata"].get("creationTimestamp"))
    return made is None or snapshot.taken - made > JUST_BEGUN


def _ours(snapshot: Snapshot, run_id: str) -> list[Object]:
    """What carries our label and is another run's."""
    return [
        each
        for kind in (*KINDS, LEASE)
        for each in snapshot.all(kind)
        if (each["metadata"].get("labels") or {}).get(MANAGED_BY) == NAME and _run_of(each) != run_id
    ]


def _run_of(each: Object) -> str:
    return str((each["metadata"].get("labels") or {}).get(RUN_LABEL, "?"))


def _path(each: Object) -> str:
    kind = next(kind for kind in (*KINDS, LEASE) if kind.name == each["kind"])
    return kind.path(each["metadata"]["namespace"], each["metadata"]["name"])


def _remove(api: Api, path: str) -> str:
    """Why it could not be removed, "" when it was (or is no more)."""
    try:
        api.request("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    except ApiError as error:
        return "" if error.status == 404 else str(error)
    return ""


def _look(api: Api, path: str, run: str, *, earlier: bool) -> Left:
    def gone() -> None:
        try:
            found = api.get(path)
        except ApiError as error:
            if error.status == 404:
                return
            raise
        if _run_of(found) == run:
            raise NotYet(f"{_what(path)} is still there")

    try:
        wait_for(gone, limit=Limit.CLEAN_UP / 2)
    except (TimedOut, ApiError) as error:
        return Left(path, _what(path), run, earlier, gone=False, problem=str(error))
    return Left(path, _what(path), run, earlier, gone=True)


def _what(path: str) -> str:
    plural, name = path.split("/")[-2:]
    return f"{plural.removesuffix('s')} {name}"
