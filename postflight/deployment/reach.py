"""Whose an address is that clients are told, and whether any of them gets there.

Judged by what stands in the picture: the addresses of nodes and pods, of Services, and those that the settings name.
Special networks as in RFC 6890; Docker's default bridge is 172.17.0.0/16.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
BRIDGE = ipaddress.ip_network("172.17.0.0/16")
#: What of the addresses of pods is the network that they are in, at least.
AROUND = {4: 24, 6: 64}


class Reach(StrEnum):
    """Whether clients get to an address: ``node`` if they get to the nodes, ``unknown`` if it is private and nothing
    that is known has it."""

    CLIENTS = "clients"
    NODE = "node"
    NOBODY = "nobody"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Whose:
    """``words`` say what an address is, and follow it in a sentence."""

    reach: Reach
    words: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """Those of a cluster, by whose they are. ``pods`` are those that pods have for themselves, by pod name; ``told``
    are those that the settings name."""

    nodes: frozenset[Address]
    pods: Mapping[Address, str]
    services: Mapping[Address, str]
    outer: Mapping[Address, str]
    networks: frozenset[Network]
    told: frozenset[str] = frozenset()

    def whose(self, text: str) -> Whose:
        """What a client makes of an address, or of a name in its place."""
        if text in self.told:
            return Whose(Reach.CLIENTS, "which the settings name")
        address = _address(text)
        if address is None:
            if text.endswith(".local"):
                return Whose(Reach.NOBODY, "a name that nobody beyond its own network segment resolves")
            return Whose(Reach.UNKNOWN, "a name")
        if address.is_loopback or address.is_unspecified:
            return Whose(Reach.NOBODY, "the loopback address, which each host takes for itself")
        if address.is_link_local:
            return Whose(Reach.NOBODY, "a link-local address")
        if address in self.nodes:
            return Whose(Reach.NODE, "the address of a node")
        if address in self.outer:
            return Whose(Reach.CLIENTS, f"the outer address of Service {self.outer[address]}")
        if address in self.pods:
            return Whose(Reach.NOBODY, f"the address of pod {self.pods[address]}")
        if address in self.services:
            return Whose(Reach.NOBODY, f"the cluster's own address of Service {self.services[address]}")
        if address in BRIDGE:
            return Whose(Reach.NOBODY, "of a container bridge (172.17.0.0/16)")
        if near := next((each for each in self.networks if address in each), None):
            return Whose(Reach.NOBODY, f"of the network of the pods ({near})")
        if address.is_global:
            return Whose(Reach.CLIENTS, "a public address")
        return Whose(Reach.UNKNOWN, "a private address that nothing in the picture has")


def addresses_of(snapshot: Snapshot, told: Collection[str] = ()) -> Addresses:
    nodes: set[Address] = set()
    pods: dict[Address, str] = {}
    for raw in snapshot.all(POD):
        status, own = raw.get("status") or {}, (raw.get("spec") or {}).get("hostNetwork")
        hosts = set(_listed(status.get("hostIP"), status.get("hostIPs")))
        mine = set(_listed(status.get("podIP"), status.get("podIPs")))
        nodes |= hosts | (mine if own else set())
        if not own:
            pods |= dict.fromkeys(mine - hosts, raw["metadata"]["name"])
    services: dict[Address, str] = {}
    outer: dict[Address, str] = {}
    for raw in snapshot.all(SERVICE):
        spec, name = raw["spec"], raw["metadata"]["name"]
        services |= dict.fromkeys(
            filter(None, map(_address, _texts(spec.get("clusterIP"), spec.get("clusterIPs")))), name
        )
        balancer = ((raw.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        given = (*(spec.get("externalIPs") or ()), *(each.get("ip") for each in balancer))
        outer |= dict.fromkeys(filter(None, map(_address, given)), name)
    around = {ipaddress.ip_network(f"{each}/{AROUND[each.version]}", strict=False) for each in pods}
    # Where pods and nodes share a network, it tells nothing.
    networks = frozenset(each for each in around if not any(node in each for node in nodes))
    return Addresses(frozenset(nodes), pods, services, outer, networks, frozenset(told))


def _listed(one: object, more: object) -> Iterator[Address]:
    texts = (one, *(each.get("ip") for each in more)) if isinstance(more, list) else (one,)
    yield from filter(None, map(_address, texts))


def _texts(one: object, more: object) -> tuple[object, ...]:
    return (one, *more) if isinstance(more, list) else (one,)


def _address(text: object) -> Address | None:
    try:
        return ipaddress.ip_address(str(text or ""))
    except ValueError:
        return None
