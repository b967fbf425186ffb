"""The way into a call as a logged-in client walks it: OpenID, the JWT service, LiveKit's door."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads, spawn
from postflight.deployment.call_parts import JwtService, Sfu
from postflight.deployment.calls import service_urls
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes import livekit
from postflight.probes.calls import NO_TOKEN, CallsDiscovery, UserInfo, ask_userinfo
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.doors import front_door
from postflight.probes.http import Door, Said, ask
from postflight.probes.jwt_ways import LEGACY, Untried, Way, ways
from postflight.probes.probe import Safety, probe
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces

TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
#: The answers of who does not know a request.
UNKNOWN_REQUEST = (404, 405)
SLOT = "m.call#ROOM"
#: Two devices of the probe user: two participants.
DEVICE, OTHER_DEVICE = "POSTFLIGHT", "POSTFLIGHT-2"
ROOM = "the LiveKit room of the probe call"


@dataclass(frozen=True, slots=True)
class Issue:
    """A JWT service asked for a token. ``way`` says how it was reached, ``url`` is the announced address if it was
    by that, ``backend`` the one that the proxy's configuration leads it to. ``refused`` is the answer to an OpenID
    token that nobody gave; ``ingress`` says where an Ingress leads the address, ``limit`` what was not seen of it.
    ``other`` is the answer to the user's other device, None where the first got no token."""

    service: JwtService
    way: str
    url: str
    backend: str | None
    said: Said
    refused: Said
    ingress: str = ""
    limit: str = ""
    other: Said | None = None

    @property
    def token(self) -> Secret:
        """ "" where it gave none."""
        return _jwt(self.said)

    @property
    def other_token(self) -> Secret:
        """That of the other device; "" where it gave none."""
        return _jwt(self.other) if self.other else Secret("")

    @property
    def sfu_url(self) -> str:
        """Where clients are sent with the token."""
        return str(self.said.json.get("url") or "")

    @property
    def room(self) -> str:
        """LiveKit's name of the room that the token opens."""
        video = livekit.claims_of(self.token).get("video")
        return str(video.get("room") or "") if isinstance(video, dict) else ""


def not_looked_up(said: Said) -> bool:
    """How /sfu/get of lk-jwt-service refuses a token that userinfo does not know (handler.go); where it takes
    main's token, the lookup works and this is a refusal."""
    return said.status == 500 and said.json.get("errcode") == "M_LOOKUP_FAILED"


def _jwt(said: Said) -> Secret:
    return Secret(str(said.json.get("jwt") or "") if said.status == 200 else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """One node of LiveKit asked whether it lets the bearer of the token in, and of one that somebody else signed."""

    sfu: Sfu
    accepted: Said
    forged: Said


@dataclass(frozen=True, slots=True)
class CallsChain:
    """What only a logged-in user sees; each step is empty where the one before it came to nothing. ``userinfo`` is
    as in the discovery, asked with a token that main gave; ``untried`` are announced addresses that lead out of here."""

    user: ProbeUser | Hindered
    home: SynapseProcess
    transports: Said
    openid: Said
    userinfo: tuple[UserInfo, ...] = ()
    issues: tuple[Issue, ...] = ()
    entries: tuple[Entry, ...] = ()
    untried: tuple[Untried, ...] = ()

    @property
    def transport_urls(self) -> tuple[str, ...]:
        return service_urls(self.transports.json.get("rtc_transports"))


@probe(limit=Limit.CALLS, reaches=True, safety=Safety.CANARY)
def calls_chain(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    calls_discovery: tuple[CallsDiscovery, ...],
    canary_user: ProbeUser | Hindered,
    traces: Traces,
    redactor: Redactor,
) -> tuple[CallsChain, ...]:
    """Walk into the call of a room that does not exist, up to LiveKit's door; nothing where there are no calls."""
    if not calls_discovery:
        return ()
    main, user = calls_discovery[0].main, canary_user
    door = front_door(deployment, main)
    if door is None or isinstance(user, Hindered):
        problem = user.problem if isinstance(user, Hindered) else "no client listener of it is known"
        silent = Said(main.workload_name, problem=problem)
        return (CallsChain(user, main, silent, silent),)
    listed = spawn(lambda: ask(access, door, "GET", TRANSPORTS, token=user.token))
    path = f"/_matrix/client/v3/user/{quote(user.user_id)}/openid/request_token"
    openid, transports = ask(access, door, "POST", path, token=user.token, body={}), listed.result()
    token = Secret(str(openid.json.get("access_token") or "") if openid.status == 200 else "")
    if not token:
        return (CallsChain(user, main, transports, openid),)
    redactor.register(token, "an OpenID token of the probe user")
    asked = spawn(lambda: ask_userinfo(deployment, access, main, token))
    caller = _Caller(user.user_id, openid.json, f"!postflight-{traces.run_id}:{main.server_name}")
    urls = (*calls_discovery[0].foci, *service_urls(transports.json.get("rtc_transports")))
    found = ways(deployment, snapshot, main, urls)
    issues = tuple(_issues(found.tried, deployment, access, caller, traces, redactor))
    issued = next((each.token for each in issues if each.token), None)
    entries = _entries(deployment, access, issued) if issued else ()
    return (CallsChain(user, main, transports, openid, asked.result(), issues, entries, found.untried),)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who wants into the call of which room, and main's word for that."""

    user_id: str
    openid: Mapping[str, object]
    room: str

    def request(self, path: str, openid: Mapping[str, object], device: str = DEVICE) -> Mapping[str, object]:
        if path == LEGACY:
            return {"room": self.room, "openid_token": openid, "device_id": device}
        member = {"id": device, "claimed_user_id": self.user_id, "claimed_device_id": device}
        return {"room_id": self.room, "slot_id": SLOT, "openid_token": openid, "member": member}


def _issues(
    ways: Iterable[Way], deployment: Deployment, access: Access, caller: _Caller, traces: Traces, redactor: Redactor
) -> Iterator[Issue]:
    for way in ways:
        rooms: list[str] = []
        if node := node_with_key(deployment):
            closer = _closer(access, *node, rooms)
            traces.will_make(ROOM, closer)
        issue = _issue(access, way, caller)
        for token in (issue.token, issue.other_token):
            redactor.register(token, f"a LiveKit token of {way.service.name}")
        if issue.room:
            rooms.append(issue.room)
        yield issue


def _issue(access: Access, way: Way, caller: _Caller) -> Issue:
    """First with an OpenID token that nobody gave: that also tells which requests it knows."""
    nobody = {**caller.openid, "access_token": NO_TOKEN.reveal()}
    for request, step in way.steps.items():
        refused = step.lead.ask(access, "POST", step.path, caller.request(request, nobody))
        if refused.status not in UNKNOWN_REQUEST:
            break
    said = step.lead.ask(access, "POST", step.path, caller.request(request, caller.openid))
    other = None
    if _jwt(said):
        other = step.lead.ask(access, "POST", step.path, caller.request(request, caller.openid, OTHER_DEVICE))
    lead = step.lead
    words = ", ".join(each for each in (way.url, lead.says) if each)
    ingress = lead.route.words if lead.route else ""
    return Issue(way.service, words, way.url, lead.backend, said, refused, ingress, lead.limit, other)


def node_with_key(deployment: Deployment) -> tuple[Sfu, Door] | None:
    """A node of LiveKit whose key is known: it closes the room. Without one, the room closes by itself after 5 min."""
    for sfu in deployment.calls.sfus:
        for pod in sfu.pods:
            if sfu.keys and pod.ready:
                return sfu, Door(pod, sfu.port)
    return None


def _closer(access: Access, sfu: Sfu, door: Door, rooms: list[str]) -> Callable[[], None]:
    def close() -> None:
        for room in rooms:
            livekit.delete_room(access, door, sfu.keys[0], room)

    return close


def _entries(deployment: Deployment, access: Access, token: Secret) -> tuple[Entry, ...]:
    """Every node, with the token and with one of the same claims that another secret signed."""
    forged = livekit.sign(livekit.claims_of(token), Secret(randomness.token_urlsafe(32)))
    nodes = [(sfu, Door(pod, sfu.port)) for sfu in deployment.calls.sfus for pod in sfu.pods if pod.ready]

    def asker(door: Door, shown: Secret) -> Callable[[], Said]:
        return lambda: livekit.validate(access, door, shown)

    outcomes = in_threads([asker(door, each) for _, door in nodes for each in (token, forged)], Limit.CALLS / 2)
    said = [Said("", problem="no answer in time") if each.exception() else each.result() for each in outcomes]
    return tuple(Entry(sfu, said[2 * i], said[2 * i + 1]) for i, (sfu, _) in enumerate(nodes))
