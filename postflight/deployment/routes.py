"""Where a Service leads: to which of the two homeservers, directly and through HAProxy, by selectors alone, so that
a pod that is not ready counts as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Proxy
from postflight.deployment.listeners import public_ports
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Pod, Side

OUTWARD = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Way:
    """The sides that a Service leads to. ``through`` names the proxies on the way; none, and no side, where it
    leads to nothing that is known."""

    sides: frozenset[Side]
    through: tuple[str, ...] = ()


def way(deployment: Deployment, snapshot: Snapshot, service: Object) -> Way:
    direct = frozenset(side for _, side in behind(deployment, snapshot, service))
    if direct:
        return Way(direct)
    sides: set[Side] = set()
    names: list[str] = []
    for proxy in deployment.proxies:
        ports = {port for pod in proxy.pods if selects(service, pod) for port in _targets(snapshot, service, pod)}
        if ports:
            names.append(proxy.name)
            sides |= {side for each in _servers(proxy, ports) for side in _sides(deployment, snapshot, each)}
    return Way(frozenset(sides), tuple(names))


def behind(deployment: Deployment, snapshot: Snapshot, service: Object) -> list[tuple[Pod, Side]]:
    """The Synapse pods that a Service selects, ready or not, on a port that users or other servers ask on. One
    whose ports are not known counts."""
    found: list[tuple[Pod, Side]] = []
    for each in deployment.synapse:
        if each.pod and selects(service, each.pod):
            asked, targets = public_ports(each), _targets(snapshot, service, each.pod)
            if not asked or not targets or asked & targets:
                found.append((each.pod, each.side))
    return found


def is_outward(service: Object) -> bool:
    """Whether a Service has its pods at the nodes' addresses, at a load balancer's or at others outside."""
    spec = service["spec"]
    return spec.get("type") in OUTWARD or bool(spec.get("externalIPs"))


def outward(snapshot: Snapshot) -> Iterator[tuple[Object, str]]:
    """The Services that have their pods at addresses outside, past whatever door there is; each with how."""
    for service in filter(is_outward, snapshot.all(SERVICE)):
        kind = str(service["spec"].get("type") or "")
        yield service, kind if kind in OUTWARD else "with externalIPs"


def selects(service: Object, pod: Pod) -> bool:
    """Whether a Service's selector is for a pod, ready or not."""
    selector = service["spec"].get("selector") or {}
    return bool(
        selector and pod.namespace == service["metadata"]["namespace"] and selector.items() <= pod.labels.items()
    )


def leads_to(snapshot: Snapshot, service: Object, pod: Pod, port: int) -> bool:
    """Whether a Service leads to that port of a pod."""
    return selects(service, pod) and port in _targets(snapshot, service, pod)


def target_of(snapshot: Snapshot, service: Object, backend: Mapping[str, Any], pod: Pod) -> int | None:
    """The port of a pod that an Ingress's backend (``{number: 80}`` or ``{name: http}``) comes to by a Service."""
    raw = snapshot.get(POD, pod.namespace, pod.name)
    named = {each.get("name"): each["containerPort"] for each in _ports(raw["spec"] if raw else {})}
    for each in service["spec"].get("ports") or ():
        if each["port"] == backend.get("number") or (backend.get("name") and each.get("name") == backend["name"]):
            target = each.get("targetPort") or each["port"]
            found = named.get(target, target)
            return found if isinstance(found, int) else None
    return None


def _targets(snapshot: Snapshot, service: Object, pod: Pod) -> set[int]:
    """The ports of a pod that a Service leads to."""
    raw = snapshot.get(POD, pod.namespace, pod.name)
    named = {each.get("name"): each["containerPort"] for each in _ports(raw["spec"] if raw else {})}
    wanted = {each.get("targetPort") or each["port"] for each in service["spec"].get("ports") or ()}
    return {number for each in wanted if (number := named.get(each, each)) and isinstance(number, int)}


def _ports(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for container in spec.get("containers") or ():
        yield from container.get("ports") or ()


def _servers(proxy: Proxy, ports: set[int]) -> Iterator[Endpoint]:
    """The servers that requests on these ports may go to; all of the proxy's where its rules do not tell."""
    fronts = [each for each in proxy.frontends if any(bind.port in ports for bind in each.binds)]
    names = {name for each in fronts for name in (each.default, *(backend for backend, _ in each.rules)) if name}
    told = bool(names) and names <= proxy.backends.keys()
    for name, servers in proxy.backends.items():
        if not told or name in names:
            yield from servers


def _sides(deployment: Deployment, snapshot: Snapshot, server: Endpoint) -> set[Side]:
    service = snapshot.get(SERVICE, server.namespace, server.service) if server.service else None
    if service is None or server.single_pod:
        names = {pod.id for pod, _ in server.pods}
        return {each.side for each in deployment.synapse if each.pod and each.pod.id in names}
    return {side for _, side in behind(deployment, snapshot, service)}
