"""By which ways a request that was answered may stand in nobody's counters.

Seen or read in Synapse 1.119 and 1.163 and in HAProxy 2.6: the process began anew between two looks, or could not be
asked; it is in a pod that the snapshot does not list, or that is ending while a proxy still finds it; the proxy's
address is no pod's any more; its release counts the request by another name; it is not one of this deployment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.request_classes import RequestClass
from postflight.probes.haproxy import HaproxyView
from postflight.probes.rounds import FrontDoor, Round, Way
from postflight.words import several

#: So long after a process began, a proxy may still find the one before it: what resolves names or looks at health does
#: so within seconds, what keeps an answer by its time to live within half a minute (CoreDNS: 5 s to 30 s).
SETTLING = timedelta(minutes=1)
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why it is not known who answered. ``part`` is what was not seen, ``silent``: nor can it be."""

    part: str
    why: str
    silent: bool = False


def doubts(
    deployment: Deployment, snapshot: Snapshot, front: FrontDoor, views: Sequence[HaproxyView], kind: RequestClass
) -> tuple[Doubt, ...]:
    """All that leaves open who answered the requests of a class that nobody counted; none where every process there is
    was asked twice and is the same."""
    asked = front.last(kind)
    found = [*_of_processes(deployment, asked)]
    if front.changed:
        found.append(Doubt(front.main.id, f"Synapse's pods changed meanwhile ({several(front.changed, SHOWN)})"))
    if name := asked.renamed(kind):
        line = f"as many were counted by the name {name}, which may be what this release calls them"
        found.append(Doubt(front.main.id, line))
    for each in asked.ways(kind):
        found += _of_way(deployment, snapshot, asked, views, each.way)
    return tuple(dict.fromkeys(found))


def _of_processes(deployment: Deployment, asked: Round) -> Iterator[Doubt]:
    for each in asked.counted:
        name = each.process.workload_name
        if each.restarted:
            yield Doubt(each.process.id, f"{each.process.name} began anew meanwhile")
        elif each.problem:
            yield Doubt(each.process.id, f"{name} could not be asked, {each.problem}", each.silent)
    for process in deployment.unread:
        yield Doubt(process.id, f"the configuration of {process.workload_name} is not known")


def _of_way(
    deployment: Deployment, snapshot: Snapshot, asked: Round, views: Sequence[HaproxyView], way: Way
) -> Iterator[Doubt]:
    known = {each.process.pod.id for each in asked.counted if each.process.pod}
    behind = [pod for each in way.endpoints for pod, _ in each.pods] if way.proxy else [way.door.pod]
    for pod in behind:
        if pod.id not in known:
            yield Doubt(pod.id, f"{pod.name} is not known to run a Synapse that listens for them")
    for endpoint in way.endpoints:
        if endpoint.external and way.proxy:
            yield Doubt(way.proxy.id, f"backend {way.backend} leads to {endpoint.host}, which is not looked at")
    if way.proxy and _young(deployment, snapshot, way):
        mine = [each for each in views if each.proxy.id == way.proxy.id]
        held = strays(snapshot, views, way)
        if held:
            yield Doubt(way.proxy.id, f"{several(held, SHOWN)}, less than a minute after processes began")
        elif not mine or not all(_tells_addresses(each, way) for each in mine):
            line = f"processes began less than a minute before, and where {way.proxy.name} leads was not seen"
            yield Doubt(way.proxy.id, line)


def strays(snapshot: Snapshot, views: Sequence[HaproxyView], way: Way) -> tuple[str, ...]:
    """The addresses that a proxy holds to be up in the backend of a way and that are no pod's or Service's."""
    if way.proxy is None or way.backend is None:
        return ()
    known = {str(raw["spec"].get("clusterIP")) for raw in snapshot.all(SERVICE)}
    for raw in snapshot.all(POD):
        status = raw.get("status") or {}
        known |= {str(status.get("podIP")), *(str(each.get("ip")) for each in status.get("podIPs") or ())}
    return tuple(
        f"{view.pod.name} holds {server.address} in backend {way.backend}, which is no pod's address"
        for view in views
        if view.proxy.id == way.proxy.id
        for server in view.up(way.backend)
        if server.host and server.host not in known
    )


def _tells_addresses(view: HaproxyView, way: Way) -> bool:
    return not view.problem and all(each.host for each in view.up(way.backend or ""))


def _young(deployment: Deployment, snapshot: Snapshot, way: Way) -> bool:
    """Whether some process, or the proxy, began shortly before the snapshot."""
    starts = [each.started for each in deployment.synapse]
    starts += [each.started for each in way.proxy.pods] if way.proxy else []
    return any(each is not None and snapshot.taken - each < SETTLING for each in starts)


def itself(front: FrontDoor, kind: RequestClass) -> bool:
    """Whether the proxy gives the answers of a class: they lack the header Server that those of Synapse's processes have
    which come in by the same doors (synapse/http/site.py sets it on every answer)."""
    mine, asked = front.last(kind).attributed(kind), front.rounds[0]
    signed = any(
        each.server.startswith("Synapse/")
        for other in asked.kinds
        if other != kind and not asked.attributed(other).short
        for each in asked.attributed(other).whole
    )
    return signed and not any(each.server for each in mine.whole)
