"""A homeserver on loopback that knows just what the journey asks of it, and the lab with its proxy there."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from postflight.cluster.access import Access, Way
from postflight.deployment.haproxy import Bind
from postflight.deployment.model import Deployment
from postflight.probes.canary_user import CLIENT, ProbeRoom, ProbeUser
from postflight.probes.http import Said
from postflight.probes.journey import DEVICE, Journey, client_journey
from postflight.probes.journey_steps import Step
from postflight.probes.leads import Lead
from postflight.probes.visitor import Answer
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces
from tests.unit import recorded
from tests.unit.loopback import Refused, Reply, Request, answering, api_to, closed_port

Json = dict[str, Any]
USER, ROOM = "@postflight:matrix.lab.test", "!room:matrix.lab.test"
FIRST, SECOND, PASSWORD = "first-token-of-the-user", "second-token-of-the-user", "the-password-of-the-user"
_ROOM = f"{CLIENT}/rooms/…"
STEPS = {
    "discovery": ("GET", "/.well-known/matrix/client"),
    "versions": ("GET", "/_matrix/client/versions"),
    "login": ("POST", f"{CLIENT}/login"),
    "first sync": ("GET", f"{CLIENT}/sync"),
    "to-device": ("PUT", f"{CLIENT}/sendToDevice/m.room.encrypted/…"),
    "sending": ("PUT", f"{_ROOM}/send/m.room.message/…"),
    "reading messages": ("GET", f"{_ROOM}/messages"),
    "encrypted sending": ("PUT", f"{_ROOM}/send/m.room.encrypted/…"),
    "sync": ("GET", f"{CLIENT}/sync"),
    "logout": ("POST", f"{CLIENT}/logout"),
    "whoami after logout": ("GET", f"{CLIENT}/account/whoami"),
}
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", r"/\.well-known/matrix/client", "well_known"),
    ("GET", r"/_matrix/client/versions", "versions"),
    ("POST", r".*/login", "login"),
    ("POST", r".*/logout", "logout"),
    ("GET", r".*/account/whoami", "whoami"),
    ("POST", r".*/keys/upload", "upload"),
    ("POST", r".*/keys/query", "query"),
    ("POST", r".*/keys/claim", "claim"),
    ("PUT", r".*/sendToDevice/m.room.encrypted/[^/]+", "to_device"),
    ("PUT", r".*/rooms/([^/]+)/send/([^/]+)/[^/]+", "send"),
    ("GET", r".*/rooms/[^/]+/event/([^/]+)", "event"),
    ("GET", r".*/rooms/[^/]+/messages", "messages"),
    ("GET", r".*/sync", "sync"),
    ("GET", r".*/devices/([^/]+)", "devices"),
)


def error(status: int, code: str, **more: Any) -> Reply:
    return status, {"errcode": code, "error": "so it is", **more}


@dataclass
class Homeserver:
    """``instead`` answers by the name of a route (``send m.room.encrypted`` for one type of event) in place of what is
    there; None lets it pass this time. ``alter`` changes events, letters and keys on their way out."""

    told: str = "https://matrix.lab.test/"
    instead: dict[str, Callable[[], Reply | None]] = field(default_factory=dict)
    alter: Callable[[str, Json], Json] = lambda kind, given: given
    stale: dict[str, Json] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {FIRST: "POSTFLIGHT"})
    keys: dict[str, Json] = field(default_factory=dict)
    once: dict[str, Json] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    letters: list[Json] = field(default_factory=list)
    grown: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, asked: Request) -> Reply:
        for method, pattern, name in ROUTES:
            if method == asked.method and (match := re.fullmatch(pattern, asked.path)):
                parts = [unquote(each) for each in match.groups()]
                key = f"send {parts[1]}" if name == "send" else name
                if (made := self.instead.get(key)) and (reply := made()):
                    return reply
                token = asked.authorization.removeprefix("Bearer ")
                if name not in ("well_known", "versions", "login") and token not in self.tokens:
                    return error(401, "M_UNKNOWN_TOKEN")
                reply = getattr(self, f"_{name}")(asked, token, *parts)
                return reply if isinstance(reply, tuple) else (200, reply)
        raise Refused(500, f"nobody expects {asked.method} {asked.path}")

    def _well_known(self, asked: Request, token: str) -> Any:
        return {"m.homeserver": {"base_url": self.told}} if self.told else error(404, "M_NOT_FOUND")

    def _versions(self, asked: Request, token: str) -> Any:
        return {"versions": ["v1.11"]}

    def _login(self, asked: Request, token: str) -> Any:
        if asked.body["password"] != PASSWORD:
            return error(403, "M_FORBIDDEN")
        self.tokens[SECOND] = asked.body["device_id"]
        self.once |= self.stale
        return {"access_token": SECOND, "user_id": USER, "device_id": asked.body["device_id"]}

    def _logout(self, asked: Request, token: str) -> Any:
        del self.tokens[token]
        return {}

    def _whoami(self, asked: Request, token: str) -> Any:
        return {"user_id": USER, "device_id": self.tokens[token]}

    def _upload(self, asked: Request, token: str) -> Any:
        if clash := next((name for name in asked.body["one_time_keys"] if name in self.once), ""):
            return 400, {"errcode": "M_UNKNOWN", "error": f"One time key {clash} already exists"}
        self.keys[self.tokens[token]] = asked.body["device_keys"]
        self.once |= asked.body["one_time_keys"]
        return {"one_time_key_counts": {"signed_curve25519": len(self.once)}}

    def _query(self, asked: Request, token: str) -> Any:
        return {"device_keys": {USER: {k: {**self.alter("keys", v), "unsigned": {}} for k, v in self.keys.items()}}}

    def _claim(self, asked: Request, token: str) -> Any:
        if not self.once:
            return {"one_time_keys": {}}
        name = next(iter(self.once))
        return {"one_time_keys": {USER: {DEVICE: {name: self.alter("once", self.once.pop(name))}}}}

    def _to_device(self, asked: Request, token: str) -> Any:
        content = asked.body["messages"][USER][DEVICE]
        with self.grown:
            self.letters.append({"type": "m.room.encrypted", "sender": USER, "content": content})
            self.grown.notify_all()
        return {}

    def _send(self, asked: Request, token: str, room: str, kind: str) -> Any:
        with self.grown:
            id = f"${len(self.events)}"
            self.events.append({"event_id": id, "type": kind, "room_id": room, "content": asked.body})
            self.grown.notify_all()
        return {"event_id": id}

    def _event(self, asked: Request, token: str, id: str) -> Any:
        found = next((each for each in self.events if each["event_id"] == id), None)
        return self.alter("event", found) if found else error(404, "M_NOT_FOUND")

    def _messages(self, asked: Request, token: str) -> Any:
        return {"chunk": [self.alter("messages", each) for each in reversed(self.events)]}

    def _sync(self, asked: Request, token: str) -> Any:
        assert json.loads(asked.query["filter"])["room"]["rooms"] == [ROOM]
        since, letters = map(int, asked.query.get("since", f"{len(self.events)}_0").split("_"))
        with self.grown:
            self.grown.wait_for(
                lambda: len(self.events) > since or len(self.letters) > letters, int(asked.query["timeout"]) / 1000
            )
            new = [self.alter("sync", each) for each in self.events[since:]]
            mine = [self.alter("letter", each) for each in self.letters[letters:]]
            rooms = {ROOM: {"timeline": {"events": [each for each in new if each]}}}
            return {
                "next_batch": f"{len(self.events)}_{len(self.letters)}",
                "rooms": {"join": rooms},
                "to_device": {"events": [each for each in mine if each]},
            }

    def _devices(self, asked: Request, token: str, device: str) -> Any:
        return {"device_id": device} if device in self.tokens.values() else error(404, "M_NOT_FOUND")


def model(port: int) -> Deployment:
    """The lab, with its proxies' ports for clients on loopback."""
    found = recorded.model()
    proxies = [
        replace(
            proxy,
            pods=tuple(replace(pod, ip="127.0.0.1") for pod in proxy.pods),
            frontends=tuple(replace(each, binds=(Bind(port, False),)) for each in proxy.frontends),
        )
        for proxy in found.proxies
    ]
    return replace(found, proxies=tuple(proxies))


@contextmanager
def going(homeserver: Homeserver, password: str = PASSWORD) -> Iterator[Callable[[], Journey]]:
    """What goes the whole way; its clean-up is the test's. Without a password the user's token was given."""
    with answering(homeserver) as (port, _):
        found = model(port)
        main = next(each for each in found.synapse if each.is_main)
        user = ProbeUser(USER, Secret(FIRST), main, Secret(password))

        def go() -> Journey:
            access = Access(api_to(closed_port()), Way.DIRECT)
            world = recorded.healthy().snapshot
            traces = Traces("run")
            seen = client_journey(found, world, access, traces, Redactor(), ProbeRoom(ROOM, user))
            assert isinstance(seen, Journey)
            return seen

        yield go


def gone(homeserver: Homeserver | None = None) -> Journey:
    with going(homeserver or Homeserver()) as go:
        return go()


# What the check is told of it --------------------------------------------------------------------------


def step(found: Deployment, name: str, method: str, route: str, status: int = 200, **fields: Any) -> Step:
    """A step by the lab's proxy. ``errcode`` and ``problem`` are of the answer."""
    proxy = found.proxies[0] if found.proxies else None
    backend = proxy.client.backend(route.replace("…", "x")) if proxy and proxy.client else None
    code, problem = fields.pop("errcode", ""), fields.pop("problem", "")
    said = Said("haproxy-1", status, json.dumps({"errcode": code} if code else {}), problem)
    answer = Answer(Lead(None, "through haproxy-1", backend=backend), said, proxy, fields.pop("unseen", False))
    return Step(name, method, route, answer, fields.pop("good", status == 200), **fields)


def journey(found: Deployment, *others: Step) -> Journey:
    """All steps good but ``others``, which take the place of those of their name."""
    good = [step(found, name, method, route) for name, (method, route) in STEPS.items()]
    replaced = {each.name for each in others}
    steps = [*(each for each in good if each.name not in replaced), *others]
    main = next(each for each in found.synapse if each.is_main)
    return Journey(main, tuple(steps), "https://matrix.lab.test/", seconds=2.0)
