"""Where clients and other servers come in: the proxies' own ports, else main's."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from postflight.deployment.call_parts import Proxy
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.http import Door


def main_of(deployment: Deployment) -> SynapseProcess | None:
    """The main process of the homeserver that users meet."""
    return next((each for each in deployment.synapse if each.is_main and each.side is Side.MAIN), None)


def public_host(main: SynapseProcess) -> str:
    """The name that clients know main by."""
    return urlsplit(str((main.config or {}).get("public_baseurl") or "")).hostname or main.server_name


def client_host(main: SynapseProcess) -> str:
    """The name under which clients look for main: the host of its server name (Client-Server API, 3.1)."""
    return urlsplit(f"//{main.server_name}").hostname or main.server_name


def client_doors(deployment: Deployment, main: SynapseProcess) -> Iterator[tuple[Proxy, Door]]:
    """The ports for clients of all proxy pods that are ready."""
    for proxy in deployment.proxies:
        if proxy.client and proxy.client.binds:
            bind = proxy.client.binds[0]
            yield from ((proxy, Door(pod, bind.port, bind.tls, public_host(main))) for pod in proxy.pods if pod.ready)


def federation_doors(deployment: Deployment, main: SynapseProcess) -> Iterator[tuple[Proxy, Door]]:
    """The ports for other servers of all proxy pods that are ready."""
    for proxy in deployment.proxies:
        if proxy.federation and proxy.federation.binds:
            bind = proxy.federation.binds[0]
            yield from ((proxy, Door(pod, bind.port, bind.tls, main.server_name)) for pod in proxy.pods if pod.ready)


def front_door(deployment: Deployment, main: SynapseProcess, resource: str = "client") -> Door | None:
    """Where a client comes in: a proxy, else main itself, by its listener for that resource."""
    for _, door in client_doors(deployment, main):
        return door
    port = port_of(main, resource)
    return Door(main.pod, port, host=public_host(main)) if main.pod and port else None
