"""Requests of every class by the front door, and which process counted them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.listeners import port_of, public_ports
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.request_classes import Asker, RequestClass, classes_of
from postflight.deployment.turnover import turnover
from postflight.limits import Limit
from postflight.probes.doors import client_doors, federation_doors, main_of, public_host
from postflight.probes.http import Door, Request, Said, ask_all
from postflight.probes.leads import Lead, lead
from postflight.probes.probe import probe
from postflight.probes.request_counters import LATE, counted, read_all
from postflight.probes.rounds import Asked, FrontDoor, Round, Way

#: Requests of each class by each door. A proxy takes its servers in turn.
TIMES = 3
#: Seconds before what was not counted whole, or had no server, is asked again, round by round: who ends just now may
#: answer once more and be gone before anyone asks how often, and a proxy holds on to the address of a pod that is gone,
#: and knows none of a new one, until it resolves their name anew (HAProxy: ``hold valid``, 10 s unless it is set).
PAUSES = (0.5, 3.0, 9.0)
#: The ways in by one door, each with the class that comes in by it.
Led = Sequence[tuple[RequestClass, Way]]


@probe(limit=Limit.ROUTES, reaches=True)
def front_door_requests(deployment: Deployment, snapshot: Snapshot, access: Access, api: Api) -> tuple[FrontDoor, ...]:
    """Ask for one thing of each class by the front door, with no token; nothing where main is not known."""
    main = main_of(deployment)
    if main is None:
        return ()
    began = time.monotonic()
    ways: dict[tuple[object, ...], list[tuple[RequestClass, Way]]] = {}
    shut: dict[str, str] = {}
    for kind in classes_of(deployment, main):
        found = _ways(deployment, snapshot, main, kind)
        if isinstance(found, str):
            shut[kind.name] = found
            continue
        for way in found:
            door = way.door
            ways.setdefault((door.pod.id, door.port, door.tls, door.host), []).append((kind, way))
    # Whoever listens for nobody's requests has answered none; files that changed under a process may not be its own.
    processes = [each for each in deployment.synapse if public_ports(each) or each.refreshed]
    rounds = [_measured(access, list(ways.values()), processes)]
    took = time.monotonic() - began
    for pause in PAUSES:
        # Silence is asked once more before it is believed.
        open_ = {*rounds[-1].lost, *rounds[-1].waiting, *(rounds[-1].silent if len(rounds) == 1 else ())}
        # A part of them takes a part of the time, and the counters theirs: what was asked too late is not left as silence.
        again_takes = took * (1 + len(open_) / len(rounds[0].kinds)) / 2 if open_ else 0.0
        if not open_ or time.monotonic() - began + pause + again_takes > Limit.ROUTES - Limit.CONNECT:
            break
        time.sleep(pause)
        again = [[(kind, way) for kind, way in led if kind in open_] for led in ways.values()]
        rounds.append(_measured(access, [each for each in again if each], processes))
    changed = _changed(api, deployment, snapshot) if rounds[-1].lost else ()
    return (FrontDoor(main, tuple(rounds), shut, changed),)


def _measured(access: Access, ways: Sequence[Led], processes: Sequence[SynapseProcess]) -> Round:
    """Ask all, door by door side by side, between two looks at the counters."""

    def asker(door: Door, kinds: Sequence[RequestClass]) -> Callable[[], list[list[Said]]]:
        requests: list[Request] = [(each.method, each.path, {} if each.has_body else None) for each in kinds]
        return lambda: ask_all(access, door, requests, rounds=TIMES, limit=Limit.ROUTES / 3)

    before = read_all(access, processes, Limit.ROUTES / 5)
    outcomes = in_threads(
        [asker(of[0][1].door, [kind for kind, _ in of]) for of in ways], Limit.ROUTES / 3 + Limit.HTTP
    )
    asked: list[Asked] = []
    for of, outcome in zip(ways, outcomes, strict=True):
        late = Said(of[0][1].door.pod.name, problem=LATE)
        said: list[list[Said]] = [[] for _ in of] if outcome.exception() else outcome.result()
        asked += [Asked(kind, way, tuple(answers) or (late,)) for (kind, way), answers in zip(of, said, strict=True)]
    after = read_all(access, processes, Limit.ROUTES / 5)
    return Round(tuple(asked), tuple(map(counted, processes, before, after)))


def _changed(api: Api, deployment: Deployment, snapshot: Snapshot) -> tuple[str, ...]:
    """What became of Synapse's pods since the snapshot, in a phrase each; why that is not known."""
    try:
        now = [raw for each in snapshot.namespaces for raw in api.list_all(POD, each)]
    except ApiError as error:
        return (f"which pods there are by now was not seen: {error}",)
    return turnover(deployment, snapshot.all(POD), now)


def _ways(
    deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, kind: RequestClass
) -> tuple[Way, ...] | str:
    """The doors for a class; why there is none."""
    if kind.asker is Asker.SERVER and (found := tuple(_through(deployment, main, kind))):
        return found
    led = lead(deployment, snapshot, main, public_host(main), kind.path)
    if isinstance(led, Lead) and led.route:
        if led.door is None:
            return led.problem
        return tuple(_beside(deployment, led, led.door, kind))
    found = tuple(_through(deployment, main, kind))
    if found:
        return found
    workers = [each for each in deployment.synapse if each.side is Side.MAIN and not each.is_main]
    own = port_of(main, kind.resources[-1])
    if not workers and main.pod and own and not deployment.proxies:
        return (Way(Door(main.pod, own, host=public_host(main))),)
    return "no pod of a proxy is ready" if deployment.proxies else "no proxy and no Ingress in view leads to it"


def _through(deployment: Deployment, main: SynapseProcess, kind: RequestClass) -> Iterator[Way]:
    """By every proxy pod; other servers may come in where clients do."""
    if kind.asker is Asker.SERVER:
        for proxy, door in federation_doors(deployment, main):
            yield Way(door, proxy, proxy.federation.backend(kind.path) if proxy.federation else None)
    else:
        for proxy, door in client_doors(deployment, main):
            yield Way(door, proxy, proxy.client.backend(kind.path) if proxy.client else None)


def _beside(deployment: Deployment, led: Lead, door: Door, kind: RequestClass) -> Iterator[Way]:
    """Where an Ingress leads: all ready pods of a proxy, or the one pod that was taken of a Service's."""
    words = led.route.words if led.route else ""
    for proxy in deployment.proxies:
        if door.pod.id in {each.id for each in proxy.pods}:
            for pod in proxy.pods:
                if pod.ready:
                    yield Way(Door(pod, door.port, door.tls, door.host), proxy, led.backend, words)
            return
    yield Way(door, None, None, words)
