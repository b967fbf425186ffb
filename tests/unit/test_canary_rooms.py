"""The probe user's rooms: kept from run to run, found again where a run ended in between, and nobody else's taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import pytest

from postflight.cluster.access import Access, Way
from postflight.limits import Limit
from postflight.probes.canary_user import ALIAS, CLIENT, LOOKS, Hindered, ProbeRoom, ProbeUser, canary_room
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.persister_rooms import _Rooms
from postflight.secrets import Secret
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL

MAIN = next(each for each in MODEL.synapse if each.is_main)
USER_ID = "@postflight:matrix.lab.test"
ACCESS = Access(api_to(closed_port()), Way.DIRECT)
Json = dict[str, Any]


@dataclass
class Homeserver:
    """What it holds of the probe user: the creation content of each room, its account data and alias. ``failing`` is a
    pattern of ``METHOD path`` that is answered with ``status``; ``asked`` has every request so."""

    rooms: dict[str, Json] = field(default_factory=dict)
    memory: Json | None = None
    alias: str = ""
    failing: str = "never"
    status: int = 500
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        path = unquote(request.path).removeprefix(CLIENT)
        line = f"{request.method} {path}"
        self.asked.append(line)
        if re.search(self.failing, line):
            return self.status, {"errcode": "M_UNKNOWN", "error": "so it is", "retry_after_ms": 99_000}
        if line == "GET /joined_rooms":
            return 200, {"joined_rooms": list(self.rooms)}
        if path == f"/user/{USER_ID}/account_data/im.postflight.room":
            if request.method == "PUT":
                self.memory = request.body
                return 200, {}
            return (404, {"errcode": "M_NOT_FOUND"}) if self.memory is None else (200, self.memory)
        if line == f"GET /directory/room/#{ALIAS}:{MAIN.server_name}":
            return (200, {"room_id": self.alias}) if self.alias else (404, {"errcode": "M_NOT_FOUND"})
        if line == "POST /createRoom":
            room = f"!{len(self.rooms)}:matrix.lab.test"
            self.rooms[room] = {"creator": USER_ID, **request.body.get("creation_content", {})}
            if request.body.get("room_alias_name"):
                self.alias = room
            return 200, {"room_id": room}
        match = re.fullmatch(r"GET /rooms/([^/]+)/state/m\.room\.create", line)
        assert match, f"nobody expects {line}"
        return 200, self.rooms[match[1]]

    @property
    def looks(self) -> int:
        return sum("/state/" in each for each in self.asked)

    @contextmanager
    def up(self) -> Iterator[ProbeUser]:
        """The probe user, logged in at it."""
        with answering(self) as (port, _):
            assert MAIN.pod
            listener = {"port": port, "type": "http", "resources": [{"names": ["client"]}]}
            config = {**(MAIN.config or {}), "listeners": [listener]}
            home = replace(MAIN, pod=replace(MAIN.pod, ip="127.0.0.1"), config=config)
            yield ProbeUser(USER_ID, Secret("token-of-the-user"), home)

    def run(self) -> ProbeRoom:
        """What a run takes for the probe user's rooms."""
        self.asked.clear()
        with self.up() as user:
            found = canary_room(ACCESS, user)
        assert isinstance(found, ProbeRoom), found
        return found

    def make(self) -> str:
        """What a run does that finds a persister without a room."""
        kept = self.run()
        with self.up() as user, matrix(ACCESS, user.home) as homeserver:
            return _Rooms(homeserver, replace(kept, user=user), ("master",)).make(Limit.ROOM)


def known(room: ProbeRoom) -> tuple[str, ...]:
    return (room.room_id, *room.others)


class TestKept:
    def test_the_first_run_makes_one_and_writes_it_down(self) -> None:
        server = Homeserver()
        room = server.run()
        assert known(room) == tuple(server.rooms) == (server.alias,)
        assert server.memory == {"room_id": server.alias, "others": []}

    def test_every_further_run_asks_twice_and_makes_nothing(self) -> None:
        server = Homeserver()
        server.run()
        made = server.make()
        assert known(server.run()) == (server.alias, made)
        assert server.asked == [f"GET /user/{USER_ID}/account_data/im.postflight.room", "GET /joined_rooms"]

    def test_of_what_it_was_taken_out_of_it_keeps_nothing(self) -> None:
        server = Homeserver()
        server.run()
        made = server.make()
        del server.rooms[made]
        assert known(server.run()) == (server.alias,)
        assert server.memory == {"room_id": server.alias, "others": []}

    @pytest.mark.parametrize("memory", [{}, {"room_id": 7, "others": "all"}, {"others": [1]}])
    def test_what_is_written_down_otherwise_is_no_room(self, memory: Json) -> None:
        server = Homeserver(memory=memory)
        assert known(server.run()) == (server.alias,)

    def test_a_new_first_room_keeps_the_others(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        made = server.make()
        del server.rooms[first]
        server.rooms["!z"] = {}
        server.alias = ""
        room = server.run()
        assert room.room_id == server.alias != first
        assert room.others == (made,)


class TestLost:
    """A run was killed between making a room and writing it down."""

    def test_the_first_room_is_found_by_its_alias(self) -> None:
        server = Homeserver()
        server.failing = "PUT .*account_data"
        with server.up() as user:
            assert isinstance(canary_room(ACCESS, user), Hindered)
        (lost,) = server.rooms
        server.failing = "never"
        assert known(server.run()) == (lost,)
        assert len(server.rooms) == 1

    def test_a_persisters_room_is_found_by_its_mark(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        server.failing = "PUT .*account_data"
        with pytest.raises(MatrixError):
            server.make()
        assert len(server.rooms) == 2
        (lost,) = set(server.rooms) - {first}
        server.failing = "never"
        assert known(server.run()) == (first, lost)
        assert server.memory == {"room_id": first, "others": [lost]}
        assert (known(server.run()), server.looks) == ((first, lost), 0)

    def test_also_where_nothing_was_ever_written_down(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        made = server.make()
        server.memory = None
        assert known(server.run()) == (first, made)

    def test_rooms_that_others_put_it_in_are_left_alone(self) -> None:
        foreign = {"!hall:matrix.lab.test": {"creator": "@admin:matrix.lab.test"}}
        autojoin = {"!lobby:matrix.lab.test": {"creator": USER_ID}}
        server = Homeserver(rooms=foreign | autojoin)
        assert known(server.run()) == (server.alias,)
        assert server.looks == 2
        assert known(server.run()) == (server.alias,)

    def test_one_run_looks_into_a_few_and_the_next_into_others(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        lost = {f"!lost{number}": {"im.postflight.persister": True} for number in range(3 * LOOKS)}
        server.rooms |= lost
        for times in (1, 2, 3):
            assert len(server.run().others) == times * LOOKS
            assert server.looks == LOOKS
        assert set(known(server.run())) == {first, *lost}
        assert server.looks == 0

    def test_one_that_cannot_be_looked_into_hides_no_other(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        server.rooms |= {"!a": {"im.postflight.persister": True}, "!b": {"im.postflight.persister": True}}
        server.failing, server.status = "GET /rooms/!a", 403
        assert known(server.run()) == (first, "!b")

    def test_a_rate_limit_ends_the_look_and_not_the_run(self) -> None:
        server = Homeserver()
        first = server.run().room_id
        server.rooms |= {f"!{each}": {"im.postflight.persister": True} for each in "abcd"}
        server.failing, server.status = "GET /rooms/", 429
        assert known(server.run()) == (first,)
        assert server.looks == 1


def test_without_its_user_there_is_no_room() -> None:
    assert canary_room(ACCESS, Hindered("no user", MAIN.id)) == Hindered("no user", MAIN.id)
