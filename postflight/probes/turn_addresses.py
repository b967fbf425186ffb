"""Where a TURN server's relays are, against where clients get to, and why one is silent or refuses."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from postflight.deployment.reach import Addresses, Reach
from postflight.deployment.turn_parts import TurnServer
from postflight.probes.turn_relays import Meeting, in_short

OWN = "its pod's own address"


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Relays at an address that clients do not get to, in the words of a finding; ``own``: that is sure, and not a matter
    of what may stand in front of all of it."""

    headline: str
    observed: str
    expected: str = ""
    cause: str = ""
    remedy: str = ""
    own: bool = True


def misplaced_of(server: TurnServer, met: Sequence[Meeting], known: Addresses) -> tuple[Misplaced, ...]:
    """Relays that were granted at another address than clients get to."""
    granted = [each for each in met if each.granted]
    inner = [each for each in granted if any(known.whose(one).reach is Reach.NOBODY for one in each.relayed)]
    mine = {*server.addresses, *known.told, *(address for each in met if each.uri for address in each.addresses)}
    strange = [each for each in granted if server.pods and each not in inner and not mine.issuperset(each.relayed)]
    found = [_inner(server, inner, known)] if inner else []
    return (*found, *([_strange(server, strange, known)] if strange else []))


def _inner(server: TurnServer, inner: Sequence[Meeting], known: Addresses) -> Misplaced:
    """A pod's address, a Service's within the cluster, a bridge's."""
    found = dict.fromkeys(one for each in inner for one in each.relayed if known.whose(one).reach is Reach.NOBODY)
    address = next(iter(found))
    own = any(pod.ip == address for pod in server.pods)
    says = any(each.partition("/")[0] == address for each in server.external)
    cause = f"its external-ip is {address}" if says else "its relay-ip is that address, or that of what it runs in"
    return Misplaced(
        f"{server.name} gives relays at {f'{OWN}, {address}' if own else f'{address}, {known.whose(address).words}'}",
        observed=f"{in_short(inner)}; {'; '.join(f'{each}: {known.whose(each).words}' for each in found)}",
        expected="an address that clients get to: the node's, or the public one that leads to it",
        cause=cause if says or server.external else f"{server.name} is told no external-ip, and takes what its pod has",
        remedy="set external-ip to an address that clients get to: the node's (status.hostIP) with hostNetwork: true, or the"
        f" public one that leads to it; if clients do get to {address}, name it in the settings (calls.addresses)",
    )


def _strange(server: TurnServer, strange: Sequence[Meeting], known: Addresses) -> Misplaced:
    """An address that nothing here has. One on the internet may be a NAT's in front of all of it."""
    address = next(each for each in strange[0].relayed if each not in server.addresses)
    says = [each for each in server.external if each.partition("/")[0] == address]
    leading = [each for each in server.addresses if known.whose(each).reach is not Reach.NOBODY]
    if ipaddress.ip_address(address).is_global:
        return Misplaced(
            f"whether anybody reaches the relays of {server.name} at {address} was not seen: nothing here has this address",
            observed=in_short(strange),
            remedy=f"if a NAT leads it here, say so in the settings: calls.addresses: [{address}]",
            own=False,
        )
    return Misplaced(
        f"{server.name} gives relays at {address}, which no pod, node or Service of it has",
        observed=in_short(strange),
        expected=f"an address that leads to it: {', '.join(leading) or 'none is known'}",
        cause=f"its external-ip is {says[0]}" if says else "its external-ip or relay-ip is another's address",
        remedy="take external-ip from the downward API (status.hostIP); if a NAT leads that address here, say so in the"
        f" settings: calls.addresses: [{address}]",
    )


def shut_out(mine: Sequence[Meeting], tunnelled: Sequence[Meeting]) -> str:
    """Why a server that is silent to the probe pod may be up all the same: a policy may drop what the probe pod sends,
    and it may listen at its node's address alone. What a tunnel reached, and what is silent there too, is down."""
    if not tunnelled and all(each.transport == "udp" for each in mine):
        return "no tunnel, which passes by policies, carries UDP"
    if tunnelled and all("nothing listens" in each.problem or "refused" in each.problem.lower() for each in tunnelled):
        return f"through a tunnel, which enters at its loopback, {tunnelled[0].problem}"
    return ""


def why_refused(server: TurnServer) -> str:
    """Why a server may refuse what Synapse signs."""
    if server.secrets:
        return "the clocks of Synapse and of its node differ, or it takes no credentials that expire (use-auth-secret)"
    known = f" (what it has is not known: {server.problem})" if server.problem else ""
    return f"{server.name} does not have the secret that Synapse signs with{known}"
