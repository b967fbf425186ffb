"""Requests of every class by the front door, and which process counted them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.call_parts import Proxy
from postflight.deployment.listeners import port_of, public_ports
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.request_classes import Asker, RequestClass, classes_of
from postflight.limits import Limit
from postflight.probes.doors import client_doors, federation_doors, main_of, public_host
from postflight.probes.http import Door, Request, Said, ask_all
from postflight.probes.leads import Lead, lead
from postflight.probes.probe import probe
from postflight.probes.request_counters import Counted, between, read_all

#: Requests of each class by each door. A proxy takes its servers in turn.
TIMES = 3
LATE = "no answer in time"
#: Seconds before all is asked once more, where less was counted than asked.
SETTLED = 0.5


@dataclass(frozen=True, slots=True)
class Way:
    """A door that requests of a class come in by. ``proxy`` stands there, and leads them to ``backend`` by its own
    rules (None where they do not tell); ``ingress`` says which Ingress leads them there."""

    door: Door
    proxy: Proxy | None = None
    backend: str | None = None
    ingress: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The same request several times by one way."""

    kind: RequestClass
    way: Way
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """All classes that some process of main's homeserver can serve, each by every way there is, and what every process
    answered meanwhile. ``shut`` says why a class has no way in, by its name."""

    main: SynapseProcess
    asked: tuple[Asked, ...]
    counted: tuple[Counted, ...]
    shut: Mapping[str, str]


@probe(limit=Limit.ROUTES, reaches=True)
def front_door_requests(deployment: Deployment, snapshot: Snapshot, access: Access) -> tuple[FrontDoor, ...]:
    """Ask for one thing of each class by the front door, with no token; nothing where main is not known."""
    main = main_of(deployment)
    if main is None:
        return ()
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
    # Whoever listens for nobody's requests has answered none.
    processes = [each for each in deployment.synapse if public_ports(each)]
    began = time.monotonic()
    asked, counted = _measured(access, list(ways.values()), processes)
    if _uncounted(asked, counted) and time.monotonic() - began < Limit.ROUTES / 3:
        # Who ends just now may answer once more and be gone before anyone asks how often: that is seen once only.
        time.sleep(SETTLED)
        asked, counted = _measured(access, list(ways.values()), processes)
    return (FrontDoor(main, asked, counted, shut),)


def _measured(
    access: Access, ways: Sequence[Sequence[tuple[RequestClass, Way]]], processes: Sequence[SynapseProcess]
) -> tuple[tuple[Asked, ...], tuple[Counted, ...]]:
    """Ask all, door by door side by side, between two looks at the counters."""

    def asker(door: Door, kinds: Sequence[RequestClass]) -> Callable[[], list[list[Said]]]:
        requests: list[Request] = [(each.method, each.path, {} if each.has_body else None) for each in kinds]
        return lambda: ask_all(access, door, requests, rounds=TIMES)

    before = read_all(access, processes, Limit.ROUTES / 4)
    outcomes = in_threads([asker(of[0][1].door, [kind for kind, _ in of]) for of in ways], Limit.ROUTES / 3)
    asked: list[Asked] = []
    for of, outcome in zip(ways, outcomes, strict=True):
        late = [[Said(of[0][1].door.pod.name, problem=LATE)] for _ in of]
        said = late if outcome.exception() else outcome.result()
        asked += [Asked(kind, way, tuple(answers)) for (kind, way), answers in zip(of, said, strict=True)]
    counted: list[Counted] = []
    for process, first, last in zip(processes, before, read_all(access, processes, Limit.ROUTES / 4), strict=True):
        unseen = next((each for each in (first, last) if isinstance(each, Counted)), None)
        if unseen or isinstance(first, Counted) or isinstance(last, Counted):
            counted.append(unseen or Counted(process, problem=LATE))
        else:
            counted.append(Counted(process, between(first, last)))
    return tuple(asked), tuple(counted)


def _uncounted(asked: Sequence[Asked], counted: Sequence[Counted]) -> bool:
    """Whether fewer requests of some class were counted than were asked, though everybody says what was counted."""
    if any(each.problem for each in counted):
        return False
    said: dict[RequestClass, list[int]] = {}
    for each in asked:
        said.setdefault(each.kind, []).extend(one.status for one in each.said)
    return any(
        sum(each.of(kind.method, kind.servlet, tuple(set(statuses))) for each in counted) < len(statuses)
        for kind, statuses in said.items()
    )


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
