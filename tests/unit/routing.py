"""Requests of every class and HAProxy's own view, as the probes would observe them of a model where all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.proxy_backends import backends_of
from postflight.deployment.request_classes import Asker, RequestClass, classes_of
from postflight.probes.front_door import TIMES
from postflight.probes.haproxy import HaproxyView, Nameserver, ServerState
from postflight.probes.http import Door, Said
from postflight.probes.request_counters import Counted, Key
from postflight.probes.rounds import Asked, FrontDoor, Round, Way

REFUSED = '{"errcode": "M_MISSING_TOKEN", "error": "Missing access token"}'
FINE = '{"flows": []}'
Answerer = Callable[[RequestClass], "SynapseProcess | None"]


def main_of(model: Deployment) -> SynapseProcess:
    return next(each for each in model.synapse if each.is_main)


def worker(model: Deployment, name: str) -> SynapseProcess:
    return next(each for each in model.synapse if each.workload_name == name)


def answer(kind: RequestClass, status: int = 0, text: str = "") -> Said:
    status = status or kind.statuses[0]
    return Said("haproxy-1", status, text or (FINE if status == 200 else REFUSED))


def led(model: Deployment, kind: RequestClass) -> SynapseProcess | None:
    """The process that the proxy's rules lead a class to, if any."""
    frontend = model.proxies[0].federation if kind.asker is Asker.SERVER else model.proxies[0].client
    backend = (frontend.backend(kind.path) if frontend else "") or ""
    behind = {pod.id for endpoint in model.proxies[0].backends.get(backend, ()) for pod, _ in endpoint.pods}
    return next((each for each in model.synapse if each.pod and each.pod.id in behind), None)


def front_door(
    model: Deployment,
    answers: Callable[[RequestClass], Said] = answer,
    by: Answerer | None = None,
    noise: Sequence[tuple[SynapseProcess, Key, int]] = (),
) -> tuple[FrontDoor, ...]:
    """Every class asked through every pod of the proxy. ``by`` says who counts the requests of a class, None for
    nobody; ``noise`` is what other people's requests add."""
    main, proxy = main_of(model), model.proxies[0]
    asked: list[Asked] = []
    counts: dict[str, dict[Key, int]] = {each.id: {} for each in model.synapse}
    for kind in classes_of(model, main):
        frontend = proxy.federation if kind.asker is Asker.SERVER else proxy.client
        backend = frontend.backend(kind.path) if frontend else None
        for pod in proxy.pods:
            way = Way(Door(pod, 8008, host="matrix.lab.test"), proxy, backend)
            said = answers(kind)
            asked.append(Asked(kind, way, (said,) * TIMES))
            process = by(kind) if by else led(model, kind)
            if process and said.status:
                unrecognised = said.status in (404, 405)
                key = (kind.method, "ClientRestResource" if unrecognised else kind.servlet, said.status)
                counts[process.id][key] = counts[process.id].get(key, 0) + TIMES
    for process, key, count in noise:
        counts[process.id][key] = counts[process.id].get(key, 0) + count
    counted = tuple(Counted(each, counts[each.id]) for each in model.synapse if each.config is not None)
    return (FrontDoor(main, (Round(tuple(asked), counted),), {}),)


def unseen(front: FrontDoor, name: str, **fields: object) -> FrontDoor:
    """The same with one workload's processes not asked for their counters."""
    counted = tuple(
        Counted(each.process, **fields) if each.process.workload_name == name else each  # type: ignore[arg-type]
        for each in front.rounds[-1].counted
    )
    return replace(front, rounds=(replace(front.rounds[-1], counted=counted),))


def views(model: Deployment, world: Snapshot) -> tuple[HaproxyView, ...]:
    found: list[HaproxyView] = []
    for proxy in model.proxies:
        servers = [
            ServerState(
                each.name,
                f"s{n}",
                "UP" if n < each.due else "MAINT (resolution)",
                "L7OK 200",
                f"{each.ready[n].ip}:8008" if n < each.due else "",
            )
            for each in backends_of(proxy, world)
            for n in range(sum(server.slots for server, _ in each.servers))
        ]
        names = (Nameserver("k8s", "10.96.0.10", 40, 30, 5), Nameserver("default", "10.96.0.10", 0, 0, 0))
        found += [HaproxyView(proxy, pod, tuple(servers), names) for pod in proxy.pods]
    return tuple(found)
