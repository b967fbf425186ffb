"""A message of another homeserver, at a homeserver on loopback that looks at every signature; and what the check says of it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import pytest
from canonicaljson import encode_canonical_json
from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import SignatureVerifyException, verify_signed_json

from postflight.cluster.access import Access, Way
from postflight.deployment.federating import choice_of
from postflight.deployment.haproxy import Bind
from postflight.deployment.model import Deployment
from postflight.probes.canary import Identity
from postflight.probes.canary_homeserver import NotPrepared
from postflight.probes.canary_user import CLIENT, Hindered, ProbeRoom, ProbeUser
from postflight.probes.inward import READ_IT, SENT, Inward, come_in
from postflight.probes.probe import BarredBy, NotTried
from postflight.secrets import Secret
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only
from tests.unit.processes import canary

CHECK = "clients.journey"
NAME, ROOM, TOKEN = "matrix.lab.test", "!room:matrix.lab.test", "the-token-of-the-user"
CANARY = Identity("canary.test:8448", generate_signing_key("one"))
STATE = {
    "m.room.create": "$create",
    "m.room.power_levels": "$power",
    "m.room.join_rules": "$rules",
    "m.room.member": "$member",
}
MAIN = next(each for each in MODEL.synapse if each.is_main)


def error(status: int, code: str) -> Reply:
    return status, {"errcode": code, "error": "so it is"}


@dataclass
class Homeserver:
    """``late`` is how often a message is asked for before it is there; ``result`` what is said of each that came."""

    late: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    instead: Callable[[Request], Reply | None] = lambda asked: None
    missing: str = ""
    came: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        path = unquote(asked.path)
        if reply := self.instead(asked):
            return reply
        if path == f"{CLIENT}/rooms/{ROOM}/state":
            return 200, [
                {"type": kind, "state_key": CANARY.user if kind == "m.room.member" else "", "event_id": id}
                for kind, id in STATE.items()
                if kind != self.missing
            ]
        if path == "/_matrix/federation/v1/event/$member":
            self.must_be_signed(asked, None)
            return 200, {"origin": NAME, "pdus": [{"depth": 41}]}
        if path.startswith("/_matrix/federation/v1/send/"):
            self.must_be_signed(asked, asked.body)
            (event,) = asked.body["pdus"]
            self.came.append(event)
            return 200, {"pdus": {"$message": self.result}}
        if path == f"{CLIENT}/rooms/{ROOM}/event/$message":
            self.late -= 1
            if self.late >= 0 or not self.came:
                return error(404, "M_NOT_FOUND")
            return 200, {"event_id": "$message", "content": self.came[-1]["content"]}
        return error(404, "M_UNRECOGNIZED")

    @staticmethod
    def must_be_signed(asked: Request, content: Any) -> None:
        found = dict(re.findall(r'(\w+)="([^"]*)"', asked.authorization))
        said = {"method": asked.method, "uri": asked.path, "origin": found["origin"], "destination": NAME}
        said |= {} if content is None else {"content": content}
        verified(said | {"signatures": {found["origin"]: {found["key"]: found["sig"]}}})


def verified(document: dict[str, Any]) -> None:
    key = get_verify_key(CANARY.key)
    object.__setattr__(key, "version", CANARY.key.version)
    verify_signed_json(document, CANARY.name, key)


def standing(port: int) -> Deployment:
    assert MAIN.pod
    listener = {"port": port, "type": "http", "resources": [{"names": ["client", "federation"]}]}
    home = replace(MAIN, pod=replace(MAIN.pod, ip="127.0.0.1"), config={**(MAIN.config or {}), "listeners": [listener]})
    proxies = [
        replace(
            proxy,
            pods=tuple(replace(pod, ip="127.0.0.1") for pod in proxy.pods),
            frontends=tuple(replace(each, binds=(Bind(port, False),)) for each in proxy.frontends),
        )
        for proxy in MODEL.proxies
    ]
    return replace(MODEL, synapse=(home,), proxies=tuple(proxies))


def came_in(homeserver: Homeserver) -> Inward:
    with answering(homeserver) as (port, _):
        found = standing(port)
        room = ProbeRoom(ROOM, ProbeUser("@postflight:matrix.lab.test", Secret(TOKEN), found.synapse[0]))
        access = Access(api_to(closed_port()), Way.DIRECT)
        return come_in(found, recorded.healthy().snapshot, access, room, CANARY)


def said_of(inward: Inward) -> Judge:
    return ask(CHECK, federation_canary=replace(canary(MODEL), inward=inward))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postflight.probes.inward.AGAIN", 0.02)
    monkeypatch.setattr("postflight.probes.inward.Limit.SYNC", 0.3)


def test_it_is_sent_as_a_server_does_and_read_once_it_is_there() -> None:
    homeserver = Homeserver(late=3)
    seen = came_in(homeserver)
    assert not seen.problem
    assert [(each.name, each.good) for each in seen.steps] == [(SENT, True), (READ_IT, True)]
    (event,) = homeserver.came
    # Room version 10: a message is allowed by these and by nothing else.
    assert event["auth_events"] == ["$create", "$power", "$member"]
    assert (event["prev_events"], event["depth"], event["sender"]) == (["$member"], 42, CANARY.user)
    whole = {key: value for key, value in event.items() if key not in ("signatures", "hashes")}
    digest = base64.b64encode(hashlib.sha256(encode_canonical_json(whole)).digest()).decode().rstrip("=")
    assert event["hashes"] == {"sha256": digest}
    # The signature is that of the redacted event: nothing of the content is left of a message.
    verified({**event, "content": {}})
    with pytest.raises(SignatureVerifyException):
        verified(event)
    assert said_of(seen).failures == []
    assert TOKEN not in repr(seen)


def test_one_that_never_comes_is_silence() -> None:
    seen = came_in(Homeserver(late=10**6))
    found = only(said_of(seen))
    assert found.nature is Nature.UNAVAILABLE
    assert found.headline.startswith(f"{READ_IT}: it is not there 0.3 s after its transaction was taken")


def test_a_refusal_of_the_message_is_told_with_its_words() -> None:
    found = only(said_of(came_in(Homeserver(result={"error": "not in the room"}))))
    assert found.headline == f"{SENT}: the message is refused: not in the room"
    assert found.nature is Nature.WRONG


@pytest.mark.parametrize(
    ("reply", "headline"),
    [
        (error(401, "M_UNAUTHORIZED"), f"{SENT} is refused: 401 M_UNAUTHORIZED"),
        (error(404, "M_UNRECOGNIZED"), f"the route for {SENT} ends at synapse-generic-worker, which does not serve it"),
        ((413, {}), f"{SENT} does not get to Synapse: 413"),
        ((503, {}), f"haproxy has no server for {SENT}: 503"),
        ((200, {"pdus": {}}), f"{SENT}: the answer does not name the message"),
    ],
)
def test_a_transaction_that_is_not_taken(reply: Reply, headline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postflight.probes.visitor.Limit.FOUND", 0.1)
    seen = came_in(Homeserver(instead=lambda asked: reply if "/v1/send/" in asked.path else None))
    assert [each.name for each in seen.steps] == [SENT]
    found = only(said_of(seen))
    assert found.headline.startswith(headline)
    if reply[0] == 401:
        assert found.cause.startswith("what signs the request (Authorization) does not arrive as it was sent; haproxy")


def test_what_hinders_it_before_it_is_sent_is_not_known() -> None:
    for homeserver in (
        Homeserver(missing="m.room.member"),
        Homeserver(instead=lambda asked: error(403, "M_FORBIDDEN") if "/event/" in asked.path else None),
    ):
        seen = came_in(homeserver)
        assert not seen.steps
        found = only(said_of(seen), Status.UNKNOWN)
        assert found.headline.startswith("that messages of other homeservers come in was not seen: ")
        assert found.needs == (MAIN.id,)


def test_without_a_canary_it_is_said_that_it_was_not_seen() -> None:
    seen = ask(CHECK, federation_canary=Hindered("the canary homeserver does not stand: refused", ""))
    assert only(seen, Status.UNKNOWN).headline.endswith("the canary homeserver does not stand: refused")
    for other in (NotPrepared("there is no Service postflight-canary"), NOT_ALLOWED):
        found = only(ask(CHECK, federation_canary=other), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert other.reason in found.headline


def test_where_federation_is_off_or_this_run_is_not_about_it_nothing_is_said() -> None:
    assert ask(CHECK, federation_canary=NotTried("no check asks for it", BarredBy.RUN)).failures == []
    off = replace(MODEL, federates=False)
    assert not choice_of(off).on
    assert ask(CHECK, deployment=off, federation_canary=NotPrepared("federation is off")).failures == []
