"""What another server gets where federation is off: at every process that users reach, and at every door in front.

The request is one that Synapse refuses, before it looks for any key, where its whitelist does not name who asks, and
otherwise answers by asking who that is. Source: synapse/federation/transport/server/_base.py, 1.163.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import ingresses
from postflight.deployment.call_parts import Proxy
from postflight.deployment.federating import EVENT, choice_of
from postflight.deployment.haproxy import Frontend
from postflight.deployment.ingresses import Route
from postflight.deployment.listeners import public_doors
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import client_host, main_of, public_host
from postflight.probes.http import Door, Said, ask
from postflight.probes.leads import Lead, lead
from postflight.probes.probe import probe
from postflight.secrets import Secret

#: None of a server's (a server signs): so no key is looked for, and nobody else is asked anything.
NO_SERVER = Secret("postflight-no-server")


@dataclass(frozen=True, slots=True)
class ProcessAnswer:
    """What one listener of a process says."""

    process: SynapseProcess
    port: int
    said: Said


@dataclass(frozen=True, slots=True)
class FrontAnswer:
    """What comes back in front of Synapse: at a port of a ``proxy``, whose rules lead the request to ``backend`` (None
    where they do not tell, "" for none), or by an Ingress, the ``route``. ``unseen`` says why nobody could ask there."""

    way: str
    said: Said
    proxy: Proxy | None = None
    frontend: str = ""
    backend: str | None = None
    route: Route | None = None
    unseen: str = ""

    @property
    def leads(self) -> bool:
        """Whether there is a server behind it, as far as its rules tell."""
        if self.proxy is None or self.backend is None:
            return True
        return bool(self.proxy.backends.get(self.backend))


@dataclass(frozen=True, slots=True)
class ServerDoors:
    """Of the homeserver that users meet; ``mute`` are its processes that could not be asked, with the reason."""

    main: SynapseProcess
    processes: tuple[ProcessAnswer, ...]
    fronts: tuple[FrontAnswer, ...]
    mute: tuple[tuple[SynapseProcess, str], ...] = ()


@probe(limit=Limit.DOORS, reaches=True)
def server_doors(deployment: Deployment, snapshot: Snapshot, access: Access) -> tuple[ServerDoors, ...]:
    """As a server that nobody knows, ask for an event at every door; nothing where federation is on."""
    main = main_of(deployment)
    if main is None or choice_of(deployment).on:
        return ()
    mine = [each for each in deployment.synapse if each.side is Side.MAIN and public_doors(each)]
    doors: list[tuple[SynapseProcess, Door]] = []
    mute: list[tuple[SynapseProcess, str]] = []
    for process in mine:
        if process.pod is None or not process.pod.ready:
            mute.append((process, "its pod is not ready" if process.pod else "it has no pod"))
            continue
        for port, tls in public_doors(process):
            doors.append((process, Door(process.pod, port, tls, process.server_name)))
    fronts = list(_fronts(deployment, snapshot, main))
    asked = [door for _, door in doors] + [door for _, door in fronts if door]
    answers = iter(_ask_all(access, asked))
    processes = tuple(ProcessAnswer(process, door.port, next(answers)) for process, door in doors)
    seen = tuple(
        FrontAnswer(
            each.way,
            next(answers) if door else each.said,
            each.proxy,
            each.frontend,
            each.backend,
            each.route,
            each.unseen,
        )
        for each, door in fronts
    )
    return (ServerDoors(main, processes, seen, tuple(mute)),)


def _ask_all(access: Access, doors: list[Door]) -> list[Said]:
    """One answer for each door, in time."""

    def asker(door: Door) -> Callable[[], Said]:
        return lambda: ask(access, door, "GET", EVENT, token=NO_SERVER)

    outcomes = in_threads([asker(each) for each in doors], Limit.DOORS - 2)
    return [
        Said(door.pod.name, problem="no answer in time")
        if isinstance(each.exception(), TimeoutError)
        else each.result()
        for door, each in zip(doors, outcomes, strict=True)
    ]


def _fronts(
    deployment: Deployment, snapshot: Snapshot, main: SynapseProcess
) -> Iterator[tuple[FrontAnswer, Door | None]]:
    """Every port of every proxy by which another server could come to Synapse, and every Ingress for main's names."""
    for proxy in deployment.proxies:
        for frontend in proxy.frontends:
            found = FrontAnswer("", Said(""), proxy, frontend.name, frontend.backend(EVENT))
            if found.leads or frontend in (proxy.client, proxy.federation):
                yield from _at(found, proxy, frontend, main)
    for host in dict.fromkeys((main.server_name, public_host(main), client_host(main))):
        yield from _by_ingress(deployment, snapshot, main, host)


def _at(
    found: FrontAnswer, proxy: Proxy, frontend: Frontend, main: SynapseProcess
) -> Iterator[tuple[FrontAnswer, Door | None]]:
    """All pods of a proxy: each may run on another configuration than its file is now."""
    for pod in proxy.pods:
        for bind in frontend.binds:
            way = f"through {pod.name}, port {bind.port}"
            each = FrontAnswer(way, Said(pod.name, problem="it is not ready"), proxy, found.frontend, found.backend)
            yield each, Door(pod, bind.port, bind.tls, main.server_name) if pod.ready else None


def _by_ingress(
    deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, host: str
) -> Iterator[tuple[FrontAnswer, Door | None]]:
    route = ingresses.route(snapshot, deployment.pods, host, EVENT)
    if route is None:
        return
    found = lead(deployment, snapshot, main, host, EVENT)
    if isinstance(found, Lead):
        each = FrontAnswer(found.says, Said("", problem=found.problem), backend=found.backend, route=route)
        yield each, found.door
        return
    yield FrontAnswer(route.words, Said(""), route=route, unseen=found.why), None
