"""Two sessions of one user in one room: the first writes, the second reads along, plain and end-to-end encrypted. Where
there is but one, it reads its own plain messages."""

from __future__ import annotations

import json
import secrets as randomness
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from postflight.limits import Limit
from postflight.probes.canary_user import CLIENT, LOCALPART
from postflight.probes.canary_user import DEVICE as FIRST_DEVICE
from postflight.probes.journey_steps import Late, Trail, has, listed, within
from postflight.probes.olm import ROOM_KEY, SIGNED, Device, Json, NotWhatWasSent, RoomSession, read_in_room
from postflight.secrets import Secret

MESSAGE, ENCRYPTED = "m.room.message", "m.room.encrypted"
#: What one sync may bring along, of the one room; and how long it waits for it, in milliseconds.
NEWEST, POLL = 20, 500
#: One-time keys of a killed run that are handed out before the one of this run.
STALE = 5


@dataclass(slots=True)
class Talk:
    """``first`` is the token of the session that writes; the one that reads takes the steps of ``trail``. ``owed`` is what
    must come to it by /sync: a name, and a test of what has come, which says what is amiss ("" nothing, None: it has not
    come). Where the session that reads is not our ``own``, nothing is made of it: no keys, and so nothing encrypted."""

    trail: Trail
    device: Device
    first: Secret
    room: str
    own: bool = True
    since: str = ""
    came: list[Json] = field(default_factory=list)
    letters: list[Json] = field(default_factory=list)
    owed: list[tuple[str, Callable[[], str | None]]] = field(default_factory=list)
    room_key: Json = field(default_factory=dict)

    def write_and_read(self) -> None:
        """All of it, as far as one step needs no other that failed."""
        keys = self.device.upload()
        count = 0

        def upload() -> None:
            nonlocal count
            said = self.trail.take("key upload", "POST", f"{CLIENT}/keys/upload", body=keys, look=_counted)
            count = int(said["one_time_key_counts"][SIGNED])

        _, synced, *uploaded = self.trail.side_by_side(
            [self.who_am_i, self.first_sync, *([upload] if self.own else [])]
        )
        writing: list[Callable[[threading.Event], None]] = [self.plain]
        if any(uploaded):
            writing.append(partial(self.encrypted, keys, count))
        sent = [threading.Event() for _ in writing]

        def writer(write: Callable[[threading.Event], None], mark: threading.Event) -> Callable[[], None]:
            def run() -> None:
                try:
                    write(mark)
                finally:
                    mark.set()

            return run

        works = [writer(write, mark) for write, mark in zip(writing, sent, strict=True)]
        self.trail.side_by_side([*works, *([partial(self.read_along, sent)] if synced else [])])

    def who_am_i(self) -> None:
        def look(said: Mapping[str, Any]) -> str:
            mine = {"user_id": self.device.user} | ({"device_id": self.device.name} if self.own else {})
            return "" if mine.items() <= said.items() else "it is told to be somebody else, or on another device"

        self.trail.take("whoami", "GET", f"{CLIENT}/account/whoami", look=look)

    def first_sync(self) -> None:
        self.sync("first sync", 1, 0)

    def plain(self, all_sent: threading.Event) -> None:
        """The first session writes; the message is read by its id, among the room's messages, and by sync."""
        nonce = randomness.token_hex(8)
        sent = {"msgtype": "m.text", "body": f"{LOCALPART} journey {nonce}"}
        id = self.send("sending", MESSAGE, nonce, sent)
        self.owed.append(("the message", lambda: self.arrived(id, sent)))
        all_sent.set()
        self.trail.side_by_side(
            [lambda: self.read("reading an event", id, sent), lambda: self.look_back("reading messages", id, sent)]
        )

    def encrypted(self, uploaded: Json, count: int, all_sent: threading.Event) -> None:
        """The first session learns of the second one's keys, gives it the room's, and writes what only those read."""
        asked: Json = {"device_keys": {self.device.user: [self.device.name]}}
        mine = uploaded["device_keys"]

        def same(said: Mapping[str, Any]) -> str:
            found = within(said, "device_keys", self.device.user, self.device.name)
            bare = {key: value for key, value in found.items() if key != "unsigned"}
            return (
                "" if bare == mine else "they are not the keys that were uploaded" if found else Late("there are none")
            )

        said = self.trail.take("key query", "POST", f"{CLIENT}/keys/query", token=self.first, body=asked, look=same)
        keys = within(said, "device_keys", self.device.user, self.device.name)
        once = self.claim(uploaded["one_time_keys"], count)
        writer = Device.of(self.device.user, FIRST_DEVICE)
        session = RoomSession.of(self.room, writer)
        letter = writer.write(keys, once, session.key, ROOM_KEY)
        nonce = randomness.token_hex(8)
        self.trail.take(
            "to-device",
            "PUT",
            f"{CLIENT}/sendToDevice/{ENCRYPTED}/{{}}",
            nonce,
            token=self.first,
            body={"messages": {self.device.user: {self.device.name: letter}}},
        )
        self.owed.append(("the room's key", lambda: self.opened(letter)))
        inner = {"msgtype": "m.text", "body": f"{LOCALPART} journey {nonce}"}
        sealed = session.write(inner, MESSAGE)
        id = self.send("encrypted sending", ENCRYPTED, nonce, sealed)

        def state() -> str | None:
            came = self.arrived(id, sealed)
            return self.understood(sealed, inner) if came == "" else came

        self.owed.append(("the encrypted message", state))
        all_sent.set()
        self.read("reading an encrypted event", id, sealed)

    def claim(self, uploaded: Json, count: int) -> Json:
        """The one-time key of the second session; one that a killed run left is handed out before it. Raises Stopped."""
        asked = {"one_time_keys": {self.device.user: {self.device.name: SIGNED}}}
        found: Json = {}

        def claimed(said: Mapping[str, Any]) -> str:
            nonlocal found
            found = within(said, "one_time_keys", self.device.user, self.device.name)
            fine = more or found.items() <= uploaded.items()
            return Late("there is none") if not found else "" if fine else "it is not the key that was uploaded"

        for each in range(tries := max(1, min(count, STALE))):
            more = each < tries - 1
            self.trail.take("key claim", "POST", f"{CLIENT}/keys/claim", token=self.first, body=asked, look=claimed)
            if found.items() <= uploaded.items():
                break
        (once,) = found.values()
        return dict(once)

    def send(self, name: str, kind: str, nonce: str, content: Json) -> str:
        """The event's id. Raises Stopped."""
        route = f"{CLIENT}/rooms/{{}}/send/{kind}/{{}}"
        said = self.trail.take(
            name,
            "PUT",
            route,
            self.room,
            nonce,
            token=self.first,
            body=content,
            look=has("event_id"),
            limit=Limit.ROOM,
        )
        return str(said["event_id"])

    def read(self, name: str, id: str, content: Json) -> None:
        def look(said: Mapping[str, Any]) -> str:
            return "" if said.get("content") == content else "its content is not what was sent"

        self.trail.take(name, "GET", f"{CLIENT}/rooms/{{}}/event/{{}}", self.room, id, look=look)

    def look_back(self, name: str, id: str, content: Json) -> None:
        def look(said: Mapping[str, Any]) -> str:
            found = next((each for each in listed(said.get("chunk")) if each.get("event_id") == id), None)
            if found is None:
                return Late("the message just sent is not among the newest")
            return "" if found.get("content") == content else "it is altered"

        query = {"dir": "b", "limit": str(NEWEST)}
        self.trail.take(name, "GET", f"{CLIENT}/rooms/{{}}/messages", self.room, query=query, look=look)

    def sync(self, name: str, limit: int, wait: int) -> None:
        """One look at what is new in the one room, waiting so many milliseconds for it. Raises Stopped."""
        nothing: Json = {"types": []}
        room = {"rooms": [self.room], "timeline": {"limit": limit}, "ephemeral": nothing, "account_data": nothing}
        room["state"] = {"lazy_load_members": True}
        asked = {"room": room, "presence": nothing, "account_data": nothing}
        query = {"filter": json.dumps(asked), "timeout": str(wait), "set_presence": "offline"}
        if self.since:
            query["since"] = self.since
        said = self.trail.take(name, "GET", f"{CLIENT}/sync", query=query, look=has("next_batch"))
        self.since = str(said["next_batch"])
        self.letters += listed(within(said, "to_device").get("events"))
        self.came += listed(within(said, "rooms", "join", self.room, "timeline").get("events"))

    def read_along(self, sent: Sequence[threading.Event]) -> None:
        """Sync until all that is owed has come, or it has had its time after the last was sent. Raises Stopped."""
        until = 0.0
        while True:
            if all(mark.is_set() for mark in sent):
                late = any(state() is None for _, state in self.owed)
                until = until or time.monotonic() + min(Limit.SYNC, self.trail.door.time_left)
                if not late or time.monotonic() > until:
                    break
            self.sync("sync", NEWEST, POLL)
        last = next(each for each in reversed(self.trail.steps) if each.name.endswith("sync"))
        for what, state in self.owed:
            if (said := state()) != "":
                wrong = said or f"it has not come {Limit.SYNC:g} s after it was sent"
                missed = replace(last, name=f"{what} by sync", good=False, wrong=wrong, late=said is None)
                self.trail.steps.append(missed)

    def arrived(self, id: str, content: Json) -> str | None:
        found = next((each for each in self.came if each.get("event_id") == id), None)
        if found is None:
            return None
        return "" if found.get("content") == content else "its content is not what was sent"

    def opened(self, letter: Json) -> str | None:
        """Whether the second session reads the letter to it alone, which holds the room's key."""
        mine = [each.get("content") or {} for each in self.letters if each.get("type") == ENCRYPTED]
        found = next((each for each in mine if each.get("sender_key") == letter["sender_key"]), None)
        if found is None:
            return None
        if found != letter:
            return "its content is not what was sent"
        if not self.room_key:
            # A one-time key is good for one session: once.
            try:
                self.room_key = within(self.device.read(found), "content")
            except NotWhatWasSent as error:
                return str(error)
        return ""

    def understood(self, sealed: Json, inner: Json) -> str | None:
        """Whether the second session reads the message with the key that it was sent; without one it has come, and that
        is all."""
        if not self.room_key:
            return ""
        try:
            said = read_in_room(self.room_key, sealed)
        except NotWhatWasSent as error:
            return str(error)
        return "" if said.get("content") == inner else "what it holds is not what was sent"


def _counted(said: Mapping[str, Any]) -> str:
    count = within(said, "one_time_key_counts").get(SIGNED)
    return "" if isinstance(count, int) and count > 0 else f"no {SIGNED} key is counted"
