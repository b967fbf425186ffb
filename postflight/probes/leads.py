"""Where a public address leads within what stands here: by an Ingress, else by the proxy that is main's front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from postflight.cluster.access import Access
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import ingresses
from postflight.deployment.ingresses import Route
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.deployment.proxy_backends import backend_id
from postflight.deployment.services import out_of_scope
from postflight.probes.doors import client_doors, client_host, public_host
from postflight.probes.http import Door, Said, ask

NOWHERE = "nothing in the cluster says where it leads"


@dataclass(frozen=True, slots=True)
class Lead:
    """Where one path of a host leads. ``door`` is None where ``problem`` says why nothing answers there; ``pods`` are
    those that the request is meant to end at, as far as it is known. ``says`` is who leads it there, ``backend`` the
    one of the proxy's configuration; ``limit`` is what was not seen of the way."""

    door: Door | None
    says: str
    problem: str = ""
    pods: tuple[Pod, ...] = ()
    backend: str | None = None
    route: Route | None = None
    limit: str = ""

    def ask(self, access: Access, method: str, path: str, body: Mapping[str, Any] | None = None) -> Said:
        if self.door is None:
            return Said("", problem=self.problem)
        return ask(access, self.door, method, path, body=body)


@dataclass(frozen=True, slots=True)
class Outside:
    """An address that leads to nothing that can be asked from here; ``why`` follows its name in a sentence."""

    why: str


def lead(deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, host: str, path: str) -> Lead | Outside:
    """Where clients of main end up who ask for this path."""
    known = host in (public_host(main), client_host(main))
    if found := ingresses.route(snapshot, deployment.pods, host, path, known=known):
        return _by_ingress(deployment, found, host, path)
    if ingresses.claims(snapshot, host):
        return Outside("no Ingress for that host has a path for it")
    unseen = snapshot.why_unseen(INGRESS)
    for proxy, door in client_doors(deployment, main):
        if host == public_host(main) and proxy.client:
            backend = proxy.client.backend(path)
            pods = tuple(pod for each in proxy.backends.get(backend or "", ()) for pod, _ in each.pods)
            limit = f"whether an Ingress leads it elsewhere: {unseen}" if unseen else ""
            return Lead(door, f"through {door.pod.name}", pods=pods, backend=backend, limit=limit)
    shut = next((each.name for each in deployment.proxies if each.client and host == public_host(main)), "")
    return Outside(f"{shut} has no pod that is ready" if shut else NOWHERE)


def _by_ingress(deployment: Deployment, found: Route, host: str, path: str) -> Lead | Outside:
    endpoint = found.endpoint
    if endpoint.external:
        return Outside(f"{found.words}, which is not looked at")
    if not endpoint.pods:
        return Lead(None, found.words, problem=f"{found.words}: {endpoint.problem}", route=found)
    pod, port = endpoint.pods[0]
    pods = tuple(pod for pod, _ in endpoint.pods)
    told = Lead(Door(pod, port, found.tls, host), f"{found.words}, {pod.name}", pods=pods, route=found)
    for proxy in deployment.proxies:
        if pod.id not in {each.id for each in proxy.pods}:
            continue
        for frontend in proxy.frontends:
            if bind := next((each for each in frontend.binds if each.port == port), None):
                backend = frontend.backend(path)
                behind = tuple(pod for each in proxy.backends.get(backend or "", ()) for pod, _ in each.pods)
                return replace(told, door=Door(pod, port, bind.tls, host), pods=behind, backend=backend)
    return told


def beneath(deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, host: str, path: str) -> tuple[str, ...]:
    """The ids of what answers a path of main's, and of what leads there."""
    found = lead(deployment, snapshot, main, host, path)
    pods = {pod.id for pod in found.pods} if isinstance(found, Lead) else set()
    behind = [each.id for each in deployment.synapse if each.pod and each.pod.id in pods]
    proxies = [each for each in deployment.proxies if each.client]
    backends = [backend_id(each, found.backend) for each in proxies if isinstance(found, Lead) and found.backend]
    return tuple(dict.fromkeys((main.id, *(each.id for each in proxies), *backends, *sorted(pods), *behind)))


def parts_of(url: str) -> tuple[str, str]:
    """Host and path of an announced address; "" for what is none."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.path
    except ValueError:
        return "", ""


def away_from_here(url: str, deployment: Deployment, snapshot: Snapshot) -> str:
    """The namespace that an announced address leads to, by an Ingress or a proxy, where that is not looked at."""
    host, path = parts_of(url)
    whole = f"{path.rstrip('/')}/sfu/get"
    route = ingresses.route(snapshot, deployment.pods, host, whole)
    behind = {pod.id for pod, _ in route.endpoint.pods} if route else set()
    found = [route.endpoint] if route else []
    for proxy in deployment.proxies:
        if route is None or any(pod.id in behind for pod in proxy.pods):
            names = {each.backend(whole) for each in proxy.frontends}
            found += [each for name in names for each in proxy.backends.get(name or "", ())]
    return next(filter(None, (out_of_scope(snapshot, each) for each in found)), "")
