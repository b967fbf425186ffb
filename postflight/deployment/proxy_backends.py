"""The backends of HAProxy that requests over HTTP may go to, and how many of their servers must be up."""

from __future__ import annotations

from dataclasses import dataclass

from postflight.cluster.kinds import SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Proxy
from postflight.deployment.haproxy_servers import Server, backends
from postflight.deployment.parts import Endpoint, Pod


def backend_id(proxy: Proxy, name: str) -> str:
    return f"backend/{proxy.namespace}/{proxy.name}/{name}"


@dataclass(frozen=True, slots=True)
class Backend:
    """One backend. ``ready`` are the pods that are ready behind its servers, ``due`` how many servers must be up for
    them: a name of one address, as a Service with a cluster IP has, fills one slot however many pods it has.
    ``left_out`` are those of a headless Service for which there is no slot."""

    id: str
    name: str
    servers: tuple[tuple[Server, Endpoint], ...]
    ready: tuple[Pod, ...]
    due: int
    left_out: int

    @property
    def hosts(self) -> str:
        return ", ".join(dict.fromkeys(server.host for server, _ in self.servers))

    @property
    def absence(self) -> str:
        """Why one of its names leads nowhere, "" where none does."""
        return next((each.problem for server, each in self.servers if absent(server, each)), "")

    @property
    def services(self) -> str:
        return ", ".join(dict.fromkeys(f"Service {each.service}" for _, each in self.servers if each.service))


def backends_of(proxy: Proxy, snapshot: Snapshot) -> tuple[Backend, ...]:
    """Those that a frontend for HTTP leads to, but for those with a server outside of what is looked at."""
    led = {name for each in proxy.frontends for name in (each.default, *(backend for backend, _ in each.rules))}
    found: list[Backend] = []
    for name, servers in backends(proxy.config).items():
        endpoints = proxy.backends.get(name, ())
        if name not in led or len(endpoints) != len(servers) or any(each.external for each in endpoints):
            continue
        pairs = tuple(zip(servers, endpoints, strict=True))
        ready = {pod.id: pod for each in endpoints for pod in _ready(each)}
        counts = [_counts(server, endpoint, snapshot) for server, endpoint in pairs]
        due, left_out = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
        found.append(Backend(backend_id(proxy, name), name, pairs, tuple(ready.values()), due, left_out))
    return tuple(found)


def absent(server: Server, endpoint: Endpoint) -> bool:
    """Whether a name leads to no Service, or to none of its ports (which an SRV record would name)."""
    no_port = "has no port" in endpoint.problem and not server.by_record
    return endpoint.problem.startswith("no Service") or no_port


def _ready(endpoint: Endpoint) -> tuple[Pod, ...]:
    return tuple(pod for pod, _ in endpoint.pods if pod.ready and not pod.deleting)


def _counts(server: Server, endpoint: Endpoint, snapshot: Snapshot) -> tuple[int, int]:
    """How many slots of a server line must be up, and how many pods find none."""
    service = snapshot.get(SERVICE, endpoint.namespace, endpoint.service) if endpoint.service else None
    ready = len(_ready(endpoint))
    if server.disabled:
        return 0, 0
    if service is None or service["spec"].get("clusterIP") != "None":
        return min(1, ready), 0
    return min(server.slots, ready), max(0, ready - server.slots)
