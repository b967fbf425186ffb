"""What the NetworkPolicies of a cluster let through, by the semantics that their API documents.

Source: the types of networking.k8s.io/v1 (k8s.io/api 0.34) and Kubernetes' page on NetworkPolicies: a pod that no policy
selects for a direction is open in it; policies only add up; both ends of a connection must allow it; a pod always
reaches itself, and its node always reaches it. Pods on the host's network are outside of policies; as an other end only
ipBlocks match them. That an ipBlock matches the addresses of pods too is left to plug-ins: here it does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postflight.cluster.api import Object

Labels = Mapping[str, str]
#: Labels of which it is not known whether there are more.
UNSURE = "postflight.invalid/not-all-labels-are-known"
INGRESS, EGRESS = "Ingress", "Egress"
PROTOCOL = "TCP"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a connection begins or ends: a pod, or, with no ``namespace``, an address that is no pod's. ``ports`` are
    those that containers name (name, protocol, number)."""

    name: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()
    host_network: bool = False

    @property
    def governed(self) -> bool:
        return bool(self.namespace) and not self.host_network


@dataclass(frozen=True, slots=True)
class Rules:
    """All policies that were seen, and the labels of namespaces. Of a namespace that is not there only its name is known,
    which Kubernetes makes a label of it (1.22 and newer)."""

    policies: Sequence[Object]
    namespaces: Mapping[str, Labels] = field(default_factory=dict)

    def selecting(self, stand: Stand, direction: str) -> tuple[Object, ...]:
        """The policies by which a pod is isolated in a direction."""
        if not stand.governed:
            return ()
        return tuple(
            each
            for each in self.policies
            if each["metadata"]["namespace"] == stand.namespace
            and direction in types_of(each)
            and matches(each["spec"].get("podSelector") or {}, stand.labels)
        )

    def labels_of(self, namespace: str) -> Labels:
        known = self.namespaces.get(namespace)
        return {"kubernetes.io/metadata.name": namespace, UNSURE: ""} if known is None else known


@dataclass(frozen=True, slots=True)
class Ruling:
    """``allowed`` is None where it hangs on labels that are not known. ``shut_by`` are the policies that isolate the end
    which lets nothing through, ``direction`` says which end that is; ``open_by`` those that let it in at its target, else out
    at its source (none: no policy isolates them)."""

    allowed: bool | None
    direction: str = ""
    shut_by: tuple[str, ...] = ()
    open_by: tuple[str, ...] = ()


def rule_on(rules: Rules, source: Stand, target: Stand, port: int, protocol: str = PROTOCOL) -> Ruling:
    """Whether a connection may be made, by both its ends."""
    ends = _rule(rules, source, target, port, protocol, guess=False)
    if ends.allowed:
        return ends
    if _rule(rules, source, target, port, protocol, guess=True).allowed:
        return replace(ends, allowed=None)
    return ends


def admits(rules: Rules, source: Stand, target: Stand, port: int, protocol: str = PROTOCOL) -> Ruling:
    """The same by the target's end alone, for a source of whose own policies nothing is known."""
    ends = _end(rules, INGRESS, target, source, target, port, protocol, guess=False)
    if ends.allowed:
        return ends
    if _end(rules, INGRESS, target, source, target, port, protocol, guess=True).allowed:
        return replace(ends, allowed=None)
    return ends


def outward(rules: Rules, source: Stand) -> tuple[str, ...] | None:
    """What lets a pod out to addresses of the internet: names of policies; none where nothing does. None: no policy
    isolates it."""
    mine = rules.selecting(source, EGRESS)
    return (
        tuple(each["metadata"]["name"] for each in mine if any(map(_is_outward, _rules(each, EGRESS))))
        if mine
        else None
    )


def _is_outward(rule: Mapping[str, Any]) -> bool:
    peers = rule.get("to") or ()
    return not peers or any("ipBlock" in each and _holds_public(each["ipBlock"]) for each in peers)


def _holds_public(block: Mapping[str, Any]) -> bool:
    network = _network(block.get("cidr"))
    if network is None or not network.is_global:
        return False
    # What is taken out again may be all of it: two halves of everything, mostly written by mistake.
    out = [each for each in map(_network, block.get("except") or ()) if each is not None]
    return not any(network.version == each.version and network.subnet_of(each) for each in out)  # type: ignore[arg-type]


def types_of(policy: Object) -> tuple[str, ...]:
    """The directions that a policy isolates its pods in (SetDefaults_NetworkPolicy in Kubernetes 1.34)."""
    spec = policy["spec"]
    given = spec.get("policyTypes")
    return tuple(given) if given else (INGRESS, *((EGRESS,) if spec.get("egress") else ()))


def matches(selector: Mapping[str, Any], labels: Labels, *, guess: bool = False) -> bool:
    """Whether a label selector takes these labels; the empty one takes all. ``guess``: what a requirement comes to about
    a label that is not known."""

    def holds(key: str, seen: bool) -> bool:
        return guess if key not in labels and UNSURE in labels else seen

    for key, value in (selector.get("matchLabels") or {}).items():
        if not holds(key, labels.get(key) == value):
            return False
    for each in selector.get("matchExpressions") or ():
        key, values, there = each["key"], each.get("values") or (), each["key"] in labels
        wanted = {
            "In": there and labels.get(key) in values,
            "NotIn": not there or labels.get(key) not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not holds(key, wanted.get(each["operator"], False)):
            return False
    return True


def _rule(rules: Rules, source: Stand, target: Stand, port: int, protocol: str, *, guess: bool) -> Ruling:
    if source.namespace and (source.namespace, source.name) == (target.namespace, target.name):
        return Ruling(True)
    if source.host_network:
        # What comes from a node is let in; from another node than the pod's, plug-ins differ.
        return Ruling(True)
    leaving = _end(rules, EGRESS, source, target, target, port, protocol, guess=guess)
    if not leaving.allowed:
        return leaving
    arriving = _end(rules, INGRESS, target, source, target, port, protocol, guess=guess)
    return leaving if arriving.allowed and not arriving.open_by else arriving


def _end(
    rules: Rules, direction: str, own: Stand, other: Stand, target: Stand, port: int, protocol: str, *, guess: bool
) -> Ruling:
    isolating = rules.selecting(own, direction)
    if not isolating:
        return Ruling(True)
    opening = tuple(
        each["metadata"]["name"]
        for each in isolating
        if any(
            _to_port(rule, target, port, protocol)
            and _to_peer(rules, each["metadata"]["namespace"], rule, direction, other, guess=guess)
            for rule in _rules(each, direction)
        )
    )
    if opening:
        return Ruling(True, open_by=opening)
    return Ruling(False, direction, tuple(each["metadata"]["name"] for each in isolating))


def _rules(policy: Object, direction: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = policy["spec"].get(direction.lower()) or ()
    return found


def _to_port(rule: Mapping[str, Any], target: Stand, port: int, protocol: str) -> bool:
    ports = rule.get("ports") or ()
    return not ports or any(_is_port(each, target, port, protocol) for each in ports)


def _is_port(given: Mapping[str, Any], target: Stand, port: int, protocol: str) -> bool:
    if given.get("protocol", PROTOCOL) != protocol:
        return False
    named = given.get("port")
    if named is None:
        return True
    if isinstance(named, int):
        return named <= port <= int(given.get("endPort") or named)
    return (named, protocol, port) in target.ports


def _to_peer(
    rules: Rules, namespace: str, rule: Mapping[str, Any], direction: str, other: Stand, *, guess: bool
) -> bool:
    peers = rule.get("from" if direction == INGRESS else "to") or ()
    return not peers or any(_is_peer(rules, namespace, each, other, guess=guess) for each in peers)


def _is_peer(rules: Rules, namespace: str, peer: Mapping[str, Any], other: Stand, *, guess: bool) -> bool:
    if "ipBlock" in peer:
        return any(_in_block(peer["ipBlock"], address) for address in other.addresses)
    if not other.governed:
        return False
    if "namespaceSelector" in peer:
        ours = matches(peer["namespaceSelector"] or {}, rules.labels_of(other.namespace), guess=guess)
    else:
        ours = other.namespace == namespace
    return ours and matches(peer.get("podSelector") or {}, other.labels)


def _in_block(block: Mapping[str, Any], address: str) -> bool:
    try:
        own = ipaddress.ip_address(address)
    except ValueError:
        return False

    def holds(cidr: object) -> bool:
        network = _network(cidr)
        return network is not None and own in network

    return holds(block.get("cidr")) and not any(map(holds, block.get("except") or ()))


def _network(cidr: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(cidr), strict=False)
    except ValueError:
        return None


def stand_of(raw: Object) -> Stand:
    """Where a pod stands, as the API server has it."""
    spec, status, meta = raw["spec"], raw.get("status") or {}, raw["metadata"]
    told = [status.get("podIP"), *(each.get("ip") for each in status.get("podIPs") or ())]
    return Stand(
        meta["name"],
        meta["namespace"],
        meta.get("labels") or {},
        tuple(dict.fromkeys(str(each) for each in told if each)),
        tuple(_named_ports(spec)),
        bool(spec.get("hostNetwork")),
    )


def made_by(raw: Object) -> Stand:
    """Where the pods of a workload stand that are not listed: by its template."""
    template, meta = raw["spec"]["template"], raw["metadata"]
    return Stand(
        meta["name"],
        meta["namespace"],
        (template.get("metadata") or {}).get("labels") or {},
        (),
        tuple(_named_ports(template["spec"])),
        bool(template["spec"].get("hostNetwork")),
    )


def _named_ports(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if "name" in port:
                yield port["name"], port.get("protocol", PROTOCOL), int(port["containerPort"])
