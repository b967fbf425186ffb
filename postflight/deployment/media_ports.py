"""Where LiveKit takes media, by its configuration, and what leads to it there from outside the cluster.

Sources: livekit-server 1.13 (cmd/server/main.go: flags and their variables; pkg/config/config.go: defaults),
mediatransportutil (pkg/rtcconfig: ``udp_port`` comes before a range; without either, 50000 to 60000).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from postflight.cluster.api import Object
from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Sfu
from postflight.deployment.pods import number

#: Flags of livekit-server, and the variables that stand in for them.
MEDIA_FLAGS = {"node-ip": "NODE_IP", "udp-port": "UDP_PORT"}
TCP_PORT, RANGE = 7881, (50000, 60000)


class Media(TypedDict):
    """What :class:`Sfu` has of it."""

    node_ip: str
    node_ip_from: str
    udp: tuple[int, int] | None
    tcp: int | None


def sfu_media(flags: Mapping[str, str], config: Mapping[str, Any]) -> Media:
    """By the values of its flags and its configuration; a flag comes first."""
    held = config.get("rtc")
    rtc: Mapping[str, Any] = held if isinstance(held, dict) else {}
    own = rtc.get("node_ip")
    # One address, or one of each family.
    listed = next(iter(own.values()), "") if isinstance(own, dict) else own
    node_ip = flags.get("node-ip") or str(listed or "")
    origin = "--node-ip" if flags.get("node-ip") else "rtc.node_ip" if node_ip else ""
    tcp = number(rtc.get("tcp_port"), TCP_PORT)
    udp = _ports(flags.get("udp-port") or rtc.get("udp_port")) or _range(rtc)
    return {
        "node_ip": node_ip,
        "node_ip_from": origin,
        "udp": None if rtc.get("force_tcp") else udp,
        "tcp": tcp or None,
    }


def _ports(given: Any) -> tuple[int, int] | None:
    """``7882`` or ``7882-7892``."""
    first, _, last = str(given or "").partition("-")
    low = number(first, 0)
    return (low, number(last, low)) if low else None


def _range(rtc: Mapping[str, Any]) -> tuple[int, int]:
    return (
        number(rtc.get("port_range_start"), 0) or RANGE[0],
        number(rtc.get("port_range_end"), 0) or RANGE[1],
    )


def leads_in(snapshot: Snapshot, sfu: Sfu, transport: str, port: int) -> str:
    """What should lead a port of a node to LiveKit, "" where nothing does: its own network, a host port, a Service."""
    for pod in sfu.pods:
        raw = snapshot.get(POD, pod.namespace, pod.name)
        spec = (raw or {}).get("spec") or {}
        if spec.get("hostNetwork"):
            return f"{pod.name} is on its node's network"
        for each in (held for container in spec.get("containers") or () for held in container.get("ports") or ()):
            if each.get("hostPort") == port and _is(each, transport):
                return f"{pod.name} has it as a host port"
    return next(
        (
            f"Service {name} has it as a node port"
            for name, each in node_ports(snapshot, sfu, transport)
            if each == port
        ),
        "",
    )


def why_nowhere(snapshot: Snapshot, sfu: Sfu, transport: str, port: int) -> str:
    """Why a port of a node that clients are sent to does not lead to LiveKit, as far as manifests tell."""
    if way := leads_in(snapshot, sfu, transport, port):
        return f"{way}: what stands before the node, or a policy, lets nobody through"
    if others := [f"{name} has {each}" for name, each in node_ports(snapshot, sfu, transport)]:
        return f"no Service of {sfu.name} has {port}/{transport} as a node port: {', '.join(others)}"
    return f"no Service has {port}/{transport} as a node port for {sfu.name}, and its pods have no host port or network"


def node_ports(snapshot: Snapshot, sfu: Sfu, transport: str) -> Iterator[tuple[str, int]]:
    """The node ports that lead to LiveKit's pods, each with its Service's name."""
    for service in snapshot.all(SERVICE, sfu.namespace):
        selector = service["spec"].get("selector") or {}
        if not selector or not any(selector.items() <= pod.labels.items() for pod in sfu.pods):
            continue
        for each in service["spec"].get("ports") or ():
            if each.get("nodePort") and _is(each, transport):
                yield service["metadata"]["name"], int(each["nodePort"])


def _is(port: Object, transport: str) -> bool:
    return str(port.get("protocol") or "TCP").lower() == transport
