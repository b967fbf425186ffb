"""TURN servers asked for relays: over UDP and TCP from a probe pod, and over TCP by tunnel.

Who asks gets two relays of a server, has them pass bytes to each other and gives them back; see the outpost's ``turn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, NoProbePod, start_probe_pod
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.turn import uri_of
from postflight.deployment.turn_parts import TurnServer, TurnUri
from postflight.limits import Limit
from postflight.outpost import turn as client
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, Safety, probe
from postflight.probes.turn_credentials import TurnCredentials
from postflight.settings import Settings
from postflight.traces import Traces
from postflight.words import several

#: Pods of one server that are asked: each takes a second or two where it is silent.
ASKED = 8
Refusal = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Meeting:
    """One server met over one transport (``udp``, ``tcp``), in a pod of its own or by ``uri``, an address that clients are
    told. ``server`` is one without pods where it is elsewhere and the settings name it, None where nobody knows whose the
    address is.

    ``addresses`` are those that the host means, ``address`` the one that was asked, "" where it was not: it is nobody's
    here. ``refused``: it gave no relay, or no second; ``relayed`` are the addresses of the relays, without ports;
    ``permission``: it keeps its clients from each other's relay; ``passed``: bytes came there, and back. ``other`` and
    ``expired`` are the codes with which others were refused, ``GRANTED`` where they were not, None where nobody tried;
    ``open``: it asked nobody who they are. ``freed``: the relays were given back. ``announced``: clients are told to come
    by this transport; where not, its silence says nothing.
    """

    server: TurnServer | None
    way: str
    transport: str
    pod: Pod | None = None
    uri: TurnUri | None = None
    addresses: tuple[str, ...] = ()
    address: str = ""
    problem: str = ""
    software: str = ""
    refused: Refusal | None = None
    relayed: tuple[str, ...] = ()
    permission: Refusal | None = None
    passed: tuple[bool, ...] = ()
    other: int | None = None
    expired: int | None = None
    open: bool = False
    freed: bool = True
    announced: bool = True

    @property
    def silent(self) -> bool:
        """Whether it was asked and said nothing at all."""
        return bool(self.problem) and not self.refused and not self.relayed

    @property
    def reach(self) -> str:
        """How far bytes came from relay to relay."""
        if len(set(self.passed)) > 1:
            return "one way"
        return "both ways" if all(self.passed) else "no way"

    @property
    def short(self) -> str:
        """What came of it, in a few words."""
        if self.problem:
            return self.problem
        if self.refused:
            return f"{self.refused[0]} {self.refused[1]}"
        relays = f"relays at {several(dict.fromkeys(self.relayed))}" if self.relayed else "not asked"
        if self.permission:
            return f"{relays}, no permission for each other: {self.permission[0]} {self.permission[1]}"
        return f"{relays}, bytes passed {self.reach}" if self.passed else relays

    @property
    def granted(self) -> bool:
        """Whether the credentials got what they are for."""
        return len(self.relayed) > 1 and not self.refused


def in_short(met: Iterable[Meeting]) -> str:
    """What came of some meetings, each answer once, with some of those who gave it."""
    found: dict[str, list[str]] = {}
    for each in met:
        at = f" ({each.address})" if each.address else ""
        found.setdefault(each.short, []).append(f"{each.way}{at}")
    return "; ".join(f"{several(ways, 2)}: {short}" for short, ways in found.items())


@dataclass(frozen=True, slots=True)
class TurnRelays:
    """What was met from the probe pod; ``problem`` says why there is none. ``untried`` are addresses that clients are
    told and that the probe pod cannot ask (DTLS)."""

    met: tuple[Meeting, ...] = ()
    untried: tuple[str, ...] = ()
    problem: str = ""


@probe(limit=Limit.PROBE_POD, rights=(MAKE_JOBS, REMOVE_JOBS, EXEC), safety=Safety.CANARY)
def turn_relays(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    api: Api,
    traces: Traces,
    turn: Turn,
    turn_credentials: tuple[TurnCredentials, ...],
) -> TurnRelays:
    """From a probe pod, get relays of every TURN server, in its pods and by the addresses that clients are told."""
    given = next(iter(turn_credentials), None)
    if given is None or given.mine is None:
        return TurnRelays()
    main = given.home
    like = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
    if like is None:
        return TurnRelays(problem="no Synapse pod to model a probe pod on")
    told = _told(deployment, snapshot, given)
    untried = tuple(each.text for each in told if _is_dtls(each))
    asks = [*_in_pods(deployment, told), *(_by_uri(deployment, settings, each) for each in told if not _is_dtls(each))]
    if not asks:
        return TurnRelays(untried=untried)
    wanted = {**_logins(given), "asks": [ask for _, ask in asks]}
    try:
        pod = start_probe_pod(api, traces, like, settings, "turn", limit=Limit.PROBE_POD - Limit.INSIDE - 1)
        answers = ask_outpost(api, pod.namespace, pod.name, CONTAINER, "relays", wanted, limit=Limit.INSIDE)
    except NoProbePod as error:
        return TurnRelays(problem=str(error))
    except ApiError as error:
        return TurnRelays(problem=f"the probe pod could not ask: {error}")
    met = tuple(_met(meeting, answer, deployment) for (meeting, _), answer in zip(asks, answers, strict=True))
    return TurnRelays(met, untried)


@probe(limit=Limit.CALLS, reaches=True, safety=Safety.CANARY)
def turn_tunnels(
    deployment: Deployment, snapshot: Snapshot, access: Access, turn_credentials: tuple[TurnCredentials, ...]
) -> tuple[Meeting, ...]:
    """Get relays of the TURN servers' pods over TCP alone: a tunnel carries no UDP, and passes by Service and policies."""
    given = next(iter(turn_credentials), None)
    if given is None or given.mine is None:
        return ()
    told = _told(deployment, snapshot, given)
    asks = [(meeting, ask) for meeting, ask in _in_pods(deployment, told) if meeting.transport == "tcp"]
    logins = _logins(given)

    def asker(meeting: Meeting, ask: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
        return lambda: _through(access, meeting, ask, logins)

    outcomes = in_threads([asker(*each) for each in asks], Limit.CALLS - 1)
    late = client.nothing("no answer within the time limit")
    answers = [late if each.exception() else each.result() for each in outcomes]
    return tuple(_met(meeting, answer, deployment) for (meeting, _), answer in zip(asks, answers, strict=True))


def _through(access: Access, meeting: Meeting, ask: Mapping[str, Any], logins: Mapping[str, Any]) -> Mapping[str, Any]:
    assert meeting.pod is not None
    pod, seen = meeting.pod, client.nothing()
    try:
        with access.to_pod(pod.namespace, pod.name, pod.ip, ask["port"]) as (host, port):
            seen = client.examine({**ask, "host": host, "port": port}, logins)
            if seen["problem"] and not seen["relayed"]:
                # The tunnel's own words say more of a connection that was closed.
                raise OSError(seen["problem"])
    except (OSError, ApiError) as error:
        seen["problem"] = " ".join(str(error).split())[:200] or type(error).__name__
    found: Mapping[str, Any] = seen
    return found


def _logins(given: TurnCredentials) -> dict[str, Any]:
    return {
        name: login.pair if login else None
        for name, login in (("mine", given.mine), ("other", given.other), ("expired", given.expired))
    }


def _told(deployment: Deployment, snapshot: Snapshot, given: TurnCredentials) -> list[TurnUri]:
    found = [uri_of(each, snapshot, deployment.pods, given.home.namespace) for each in given.uris]
    return [each for each in found if each]


def _is_dtls(uri: TurnUri) -> bool:
    return uri.tls and uri.transport == "udp"


def _in_pods(deployment: Deployment, told: Sequence[TurnUri]) -> Iterator[tuple[Meeting, dict[str, Any]]]:
    """Each pod that is ready, over the transports that clients are told: a server may have no others."""
    for server in deployment.turn.servers:
        transports = _transports(server, deployment.turn.servers, told)
        for pod in [each for each in server.pods if each.ready and each.ip][:ASKED]:
            for transport, announced in transports.items():
                way = f"{pod.name} over {transport.upper()}"
                meeting = Meeting(server, way, transport, pod=pod, announced=announced)
                yield meeting, _ask(pod.id, pod.ip, server.port, transport)


def _transports(server: TurnServer, servers: Sequence[TurnServer], told: Sequence[TurnUri]) -> Mapping[str, bool]:
    """Over what a server is asked without TLS, and whether it has to answer there. It has where an address for that
    transport leads to it. Where an address names none, clients take UDP, and TCP may be there as well. An address that
    leads nobody knows where may be that of any server."""
    found: dict[str, bool] = {}
    for uri in (each for each in told if not each.tls):
        whose = [each for each in servers if _leads(uri, each)]
        if server in whose or not whose:
            found[uri.transport] = found.get(uri.transport, False) or bool(whose) or len(servers) == 1
            if "transport=" not in uri.text:
                found.setdefault("tcp", False)
    return {each: found[each] for each in ("udp", "tcp") if each in found}


def _leads(uri: TurnUri, server: TurnServer) -> bool:
    """Whether an address leads to a server, as far as the snapshot tells."""
    behind = {pod.id for pod, _ in uri.endpoint.pods} & {pod.id for pod in server.pods}
    return bool(behind) or uri.host in (*server.addresses, *server.names)


def _by_uri(deployment: Deployment, settings: Settings, uri: TurnUri) -> tuple[Meeting, dict[str, Any]]:
    """By a name only where it means somebody here, or the settings name it."""
    servers = deployment.turn.servers
    named = uri.host in settings.turn.hosts
    known = [address for server in servers for address in server.addresses]
    anywhere = named or any(uri.host in server.names for server in servers)
    ask = _ask("told", uri.host, uri.port, uri.transport, uri.tls)
    elsewhere = TurnServer(f"turn/outside/{uri.host}", "", uri.host, "", (), uri.port) if named else None
    return Meeting(elsewhere, uri.text, uri.transport, uri=uri), {**ask, "only": None if anywhere else known}


def _ask(group: str, host: str, port: int, transport: str, tls: bool = False) -> dict[str, Any]:
    return {"group": group, "host": host, "port": port, "transport": transport, "tls": tls, "only": None}


def _met(meeting: Meeting, said: Mapping[str, Any], deployment: Deployment) -> Meeting:
    """A meeting with what came of it."""
    return Meeting(
        server=_whose(said, meeting.uri, deployment.turn.servers) or meeting.server,
        way=meeting.way,
        transport=meeting.transport,
        pod=meeting.pod,
        uri=meeting.uri,
        announced=meeting.announced,
        addresses=tuple(said["addresses"]),
        address=said["address"],
        problem=said["problem"],
        software=said["software"],
        refused=_refusal(said["refused"]),
        relayed=tuple(str(host) for host, _ in said["relayed"]),
        permission=_refusal(said["permission"]),
        passed=tuple(said["passed"]),
        other=said["other"],
        expired=said["expired"],
        open=said["open"],
        freed=said["freed"],
    )


def _whose(said: Mapping[str, Any], uri: TurnUri | None, servers: Iterable[TurnServer]) -> TurnServer | None:
    """The server that an address that clients are told leads to: by what its name means, else by its Service."""
    if uri is None:
        return None
    return next((each for each in servers if said["address"] in each.addresses or _leads(uri, each)), None)


def _refusal(said: Any) -> Refusal | None:
    return (int(said[0]), str(said[1])) if said else None
