"""NetworkPolicy as one nftables table: a pure function from the cluster's objects to a ruleset.

Hooks stand behind DNAT (priority 10), so rules see pod addresses and target ports, never Services. Established flows
pass; from the node to its pods (probes, logs, exec) nothing is filtered, as upstream demands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

TABLE = "lab_netpol"
_ALIVE = ("Pending", "Running", "Unknown")


@dataclass(frozen=True, slots=True)
class Pod:
    """What policies look at; `addresses` are IPv4, empty until there is one."""

    namespace: str
    labels: Mapping[str, str]
    node: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number

    @classmethod
    def of(cls, pod: Mapping[str, Any], addresses: Iterable[str]) -> "Pod | None":
        """None for a pod that no policy touches: ended, on the host's network, without an address.

        CNI gives out a loopback address too, the same one in each pod: two of them in one table are an error to nft.
        """
        spec, status, meta = pod["spec"], pod.get("status") or {}, pod["metadata"]
        usable = tuple(dict.fromkeys(a for a in addresses if ":" not in a and not a.startswith("127.")))
        if spec.get("hostNetwork") or status.get("phase", "Pending") not in _ALIVE or not usable:
            return None
        ports = tuple(
            (port["name"], port.get("protocol", "TCP"), port["containerPort"])
            for container in [*spec["containers"], *(spec.get("initContainers") or [])]
            for port in container.get("ports") or []
            if "name" in port
        )
        return cls(meta["namespace"], meta.get("labels") or {}, spec.get("nodeName", ""), usable, ports)


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction, in the words of policies and of nftables."""

    chain: str
    type: str
    rules: str
    peers: str
    far: str
    near: str


_INGRESS = _Way("in", "Ingress", "ingress", "from", "saddr", "daddr")
_EGRESS = _Way("out", "Egress", "egress", "to", "daddr", "saddr")


@dataclass(frozen=True, slots=True)
class World:
    """All pods, the labels of each namespace and all policies."""

    pods: Sequence[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    policies: Sequence[Mapping[str, Any]]


def ruleset(world: World, node: str) -> str:
    """What `nft -f -` makes of the policies for the pods of `node`, replacing the table at once."""
    chains: list[str] = []
    jumps: dict[str, list[str]] = {_INGRESS.chain: [], _EGRESS.chain: []}
    for pod in world.pods:
        if pod.node != node:
            continue
        for way in (_INGRESS, _EGRESS):
            applied = [policy for policy in world.policies if _applies(policy, pod, way)]
            if not applied:
                continue
            rules = [f"ip {way.far} {{ {', '.join(pod.addresses)} }} return"]
            rules += [rule for policy in applied for rule in _rules(world, policy, pod, way)]
            name = f"{way.chain}_{pod.addresses[0].replace('.', '_')}"
            body = "; ".join([*dict.fromkeys(rules), "counter drop"])
            chains.append(f"chain {name} {{ {body}; }}")
            jumps[way.chain] += [f"{address} : jump {name}" for address in pod.addresses]
    leave, enter = (_jump(way, jumps[way.chain]) for way in (_EGRESS, _INGRESS))
    head = "type filter hook {} priority 10; policy accept; ct state established,related accept;"
    return "\n".join(
        [
            f"table ip {TABLE}",
            f"delete table ip {TABLE}",
            f"table ip {TABLE} {{",
            *chains,
            f"chain forward {{ {head.format('forward')} {leave} {enter} }}",
            f"chain input {{ {head.format('input')} {leave} }}",
            "}",
            "",
        ]
    )


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; the empty one takes all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        value, operator = labels.get(expression["key"]), expression["operator"]
        values = expression.get("values") or []
        held = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not held[operator]:
            return False
    return True


def _applies(policy: Mapping[str, Any], pod: Pod, way: _Way) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return (
        policy["metadata"]["namespace"] == pod.namespace
        and way.type in types
        and matches(spec.get("podSelector") or {}, pod.labels)
    )


def _rules(world: World, policy: Mapping[str, Any], pod: Pod, way: _Way) -> Iterable[str]:
    for rule in policy["spec"].get(way.rules) or []:
        for peer in rule.get(way.peers) or [None]:
            far = _far(world, policy["metadata"]["namespace"], peer)
            receivers = [pod] if way is _INGRESS else far.pods
            for port, only in _ports(rule.get("ports"), receivers):
                addresses = far.addresses
                if only is not None and way is _EGRESS:
                    # A named port is a number of its own in each pod that receives.
                    addresses = [a for each in far.pods for a in each.addresses if a in only]
                if addresses is not None and not addresses:
                    continue
                parts = [] if addresses is None else [f"ip {way.far} {{ {', '.join(sorted(set(addresses)))} }}"]
                parts += [f"ip {way.far} != {block}" for block in far.excepted]
                yield " ".join([*parts, *([port] if port else []), "return"])


@dataclass(frozen=True, slots=True)
class _Far:
    """The other side of a rule: addresses (None for any), blocks taken out of them, the pods among them."""

    addresses: Sequence[str] | None
    excepted: Sequence[str]
    pods: Sequence[Pod]


def _far(world: World, namespace: str, peer: Mapping[str, Any] | None) -> _Far:
    if peer is None:
        return _Far(None, (), world.pods)
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = [pod for pod in world.pods if any(_in(block["cidr"], each) for each in pod.addresses)]
        return _Far([a for a in [block["cidr"]] if ":" not in a], block.get("except") or (), inside)

    def taken(pod: Pod) -> bool:
        if "namespaceSelector" in peer:
            ours = matches(peer["namespaceSelector"], world.namespaces.get(pod.namespace, {}))
        else:
            ours = pod.namespace == namespace
        return ours and matches(peer.get("podSelector") or {}, pod.labels)

    pods = [pod for pod in world.pods if taken(pod)]
    return _Far([address for pod in pods for address in pod.addresses], (), pods)


def _in(cidr: str, address: str) -> bool:
    return ip_address(address) in ip_network(cidr, strict=False)


def _ports(ports: Sequence[Mapping[str, Any]] | None, receivers: Sequence[Pod]) -> list[tuple[str, list[str] | None]]:
    """nftables matches of a rule's ports, each with the only addresses it is meant for (None for all)."""
    if not ports:
        return [("", None)]
    found: list[tuple[str, list[str] | None]] = []
    for port in ports:
        protocol, number = port.get("protocol", "TCP"), port.get("port")
        match = f"{protocol.lower()} dport"
        if number is None:
            found.append((f"meta l4proto {protocol.lower()}", None))
        elif isinstance(number, int):
            found.append((f"{match} {number}-{port['endPort']}" if port.get("endPort") else f"{match} {number}", None))
        else:
            by_number: dict[int, list[str]] = {}
            for pod in receivers:
                for name, its, container_port in pod.ports:
                    if (name, its) == (number, protocol):
                        by_number.setdefault(container_port, []).extend(pod.addresses)
            found += [(f"{match} {real}", addresses) for real, addresses in by_number.items()]
    return found


def _jump(way: _Way, jumps: Sequence[str]) -> str:
    return f"ip {way.near} vmap {{ {', '.join(jumps)} }};" if jumps else ""
