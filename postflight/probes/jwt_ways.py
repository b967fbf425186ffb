"""How the JWT services are reached: by the addresses that clients are told, else at their own pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import JwtService
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.probes.http import Door
from postflight.probes.leads import Lead, Outside, lead, parts_of

#: What a JWT service is asked by newer and by older clients (lk-jwt-service 0.4 knows both).
CURRENT, LEGACY = "/get_token", "/sfu/get"
REQUESTS = (CURRENT, LEGACY)


@dataclass(frozen=True, slots=True)
class Step:
    """Where one request goes, and the path that it has there."""

    lead: Lead
    path: str


@dataclass(frozen=True, slots=True)
class Way:
    """``url`` is the announced address, "" where the service was asked at its own pod. ``steps`` are by request:
    an Ingress may lead each elsewhere, or know but one of them."""

    service: JwtService
    url: str
    steps: Mapping[str, Step]


@dataclass(frozen=True, slots=True)
class Untried:
    """An announced address that nothing in the cluster leads anywhere; ``why`` in a few words."""

    url: str
    why: str


@dataclass(frozen=True, slots=True)
class Ways:
    tried: tuple[Way, ...]
    untried: tuple[Untried, ...]


def ways(deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, urls: Iterable[str]) -> Ways:
    """One for each address that leads to something here, and one for each service that none of them leads to."""
    services = deployment.calls.jwt_services
    tried: list[Way] = []
    untried: list[Untried] = []
    for url in dict.fromkeys(urls):
        host, base = parts_of(url)
        found = {each: lead(deployment, snapshot, main, host, f"{base}{each}") for each in REQUESTS}
        leads = {request: each for request, each in found.items() if isinstance(each, Lead)}
        if not leads:
            untried += [Untried(url, each.why) for each in found.values() if isinstance(each, Outside)][-1:]
            continue
        for service in [each for each in services if any(_ends_at(each, one) for one in leads.values())] or services:
            steps = {request: _step(service, each, base, request) for request, each in leads.items()}
            tried.append(Way(service, url, steps))
    reached = {way.service.id for way in tried}
    for service in services:
        pod = next((each for each in service.pods if each.ready), None)
        if pod and service.id not in reached:
            own = Lead(Door(pod, service.port), f"port {service.port} of {pod.name}")
            tried.append(Way(service, "", {each: Step(own, each) for each in REQUESTS}))
    return Ways(tuple(tried), tuple(untried))


def _ends_at(service: JwtService, found: Lead) -> bool:
    return bool({each.id for each in found.pods} & {each.id for each in service.pods})


def _step(service: JwtService, found: Lead, base: str, request: str) -> Step:
    """A service that an Ingress leads to by itself is asked at its root: whatever takes the address's own path off
    on the way is the controller's, which is not asked."""
    if not base or found.route is None or found.door is None or found.door.pod.id not in {e.id for e in service.pods}:
        return Step(found, f"{base}{request}")
    if not found.route.rewrites:
        limit = f"that {base} is taken off the path; {found.route.name} has no annotation for it"
        found = replace(found, limit=limit)
    return Step(found, request)
