"""A user's requests go on, by whichever door is open, and what they meet is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import POD
from postflight.limits import Limit
from postflight.polling import NotYet, wait_for
from postflight.probes import user_doors, user_stream
from postflight.probes.canary_user import ProbeRoom, ProbeUser
from postflight.probes.doors import main_of
from postflight.probes.http import Door
from postflight.probes.probe import Unseen
from postflight.probes.user_doors import Caller, Entrance, doors_of
from postflight.probes.user_stream import ARRIVAL, NOTE, Kind, Stream
from postflight.secrets import Secret
from postflight.settings import IngressNames
from tests.unit import recorded
from tests.unit.loopback import Refused, Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL

MAIN = main_of(MODEL)
assert MAIN
assert MAIN.pod
HERE = replace(MAIN.pod, ip="127.0.0.1")
USER = ProbeUser("@postflight:matrix.lab.test", Secret("a-token-of-the-user"), MAIN)
ROOM = ProbeRoom("!r:matrix.lab.test", USER)


@dataclass
class Homeserver:
    """Keeps the note of a user, and hands it on; what is ``down`` answers 503, ``deaf``: nothing arrives any more."""

    down: set[str] = field(default_factory=set)
    deaf: bool = False
    note: dict[str, Any] = field(default_factory=dict)

    def __call__(self, asked: Request) -> Reply:
        name = asked.path.rpartition("/")[2]
        kind = "send" if "/send/" in asked.path else name
        if kind in self.down:
            raise Refused(503, "Service Unavailable")
        if kind == NOTE:
            self.note = asked.body
            return 200, {}
        if kind == "sync":
            events = [{"type": NOTE, "content": self.note}] if self.note and not self.deaf else []
            return 200, {"next_batch": "s1", "account_data": {"events": events}}
        return 200, {"versions": ["v1.11"], "event_id": "$e"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_stream, "PACE", 0.02)
    monkeypatch.setattr(user_stream, "WELL", 0.1)
    monkeypatch.setattr(user_doors, "AGAIN", 0.0)


@contextmanager
def streaming(home: Homeserver) -> Iterator[Stream]:
    with answering(home) as (port, _):
        access = Access(api_to(closed_port()), Way.DIRECT)
        stream = Stream(Entrance(access, (Door(HERE, port),)), ROOM)
        try:
            yield stream
        finally:
            stream.stop()


def until(condition: Callable[[], bool]) -> None:
    def holds() -> None:
        if not condition():
            raise NotYet("not yet")

    wait_for(holds, limit=30, every=0.02)


def test_all_that_is_answered_rightly_is_no_outage() -> None:
    with streaming(Homeserver()) as stream:
        stream.begin()
        numbers = [len(each.asked) for each in stream.kinds[:3]]
        until(lambda: all(len(each.asked) > now + 3 for each, now in zip(stream.kinds, numbers, strict=False)))
        until(lambda: len([each for each in stream.sent if stream.began <= each[1] < time.monotonic() - 0.1]) > 2)
        found = {each.kind: each for each in stream.end()}
    assert list(found) == ["versions", "account data", "sync", "send", ARRIVAL]
    assert all(each.failed == 0 and each.seconds < 5 for each in found.values())
    assert all(found[name].total > 1 for name in ("versions", "account data", "sync", ARRIVAL))


def test_what_is_refused_meanwhile_is_an_outage_of_its_kind() -> None:
    home = Homeserver()
    with streaming(home) as stream:
        stream.begin()
        home.down = {"versions"}
        until(lambda: stream.unwell().startswith("versions: 503"))
        time.sleep(0.3)
        home.down = set()
        until(lambda: not stream.unwell())
        found = {each.kind: each for each in stream.end()}
    assert found["versions"].seconds > 0.2
    assert found["versions"].failed
    assert found["versions"].first.startswith("503")
    assert (found["sync"].failed, found["versions"].open) == (0, False)


def test_what_is_written_and_does_not_arrive_is_an_outage_too() -> None:
    home = Homeserver()
    with streaming(home) as stream:
        stream.begin()
        home.deaf = True
        until(lambda: stream.unwell() == "what is written does not arrive in sync")
        time.sleep(0.3)
        found = {each.kind: each for each in stream.end()}
    assert found[ARRIVAL].open
    assert found[ARRIVAL].seconds > 0.2
    assert (found["account data"].failed, found["sync"].failed) == (0, 0)


def test_a_user_who_is_not_served_before_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limit, "QUIET", 0.3)
    with streaming(Homeserver(down={"sync"})) as stream, pytest.raises(Unseen, match="not served before"):
        stream.begin()


def test_one_who_is_limited_was_answered_and_no_more() -> None:
    def limited(asked: Request) -> Reply:
        return 429, {"errcode": "M_LIMIT_EXCEEDED"}

    with answering(limited) as (port, _):
        caller = Caller(Entrance(Access(api_to(closed_port()), Way.DIRECT), (Door(HERE, port),)))
        assert Stream(caller.entrance, ROOM)._send(caller) is None
        caller.close()


def test_being_limited_neither_mends_what_was_wrong_nor_takes_what_was_right(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["", None, "503", None, None])
    stream = Stream(cast(Entrance, None), ROOM)
    told: list[tuple[str, bool]] = []

    def ask(caller: Caller) -> str | None:
        told.append((kind.wrong, kind.heard > 0))
        answer = next(answers, "end")
        if answer == "end":
            stream._over.set()
        return answer

    kind = Kind("send", ask, pace=0.01)
    stream._run(kind)
    assert [wrong for wrong, _ in told] == ["", "", "", "503", "503", "503"]
    assert [heard for _, heard in told][:2] == [False, True]
    assert len(kind.asked) == 3


class TestEntrance:
    def test_that_is_shut_leads_to_the_next_door(self) -> None:
        with answering(Homeserver()) as (port, _):
            doors = (Door(HERE, closed_port()), Door(HERE, port))
            caller = Caller(Entrance(Access(api_to(closed_port()), Way.DIRECT), doors))
            said = [caller.ask("GET", "/versions") for _ in range(3)]
            caller.close()
        assert [each.status for each in said][-1] == 200
        assert [each.status for each in said].count(0) <= 1

    def test_finds_the_pods_that_came_since(self) -> None:
        raw = {
            "metadata": {"name": "new", "namespace": HERE.namespace, "labels": dict(HERE.labels)},
            "spec": {},
            "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        }

        def listing(asked: Request) -> Reply:
            assert asked.path == POD.path(HERE.namespace)
            return 200, {"kind": "PodList", "items": [raw, {**raw, "status": {}}]}

        with ExitStack() as open_, answering(listing) as (api, _):
            port, _ = open_.enter_context(answering(Homeserver()))
            gone = replace(HERE, name="gone", ip="127.0.0.2")
            entrance = Entrance(Access(api_to(api), Way.DIRECT), (Door(gone, port),))
            caller = Caller(entrance)
            assert caller.ask("GET", "/versions").status == 0
            said = caller.ask("GET", "/versions")
            caller.close()
        assert (said.status, said.pod) == (200, "new")

    def test_is_the_proxies_where_no_ingress_has_the_name(self) -> None:
        assert MAIN
        found = doors_of(MODEL, recorded.healthy().snapshot, (), MAIN, IngressNames())
        assert found
        assert {each.pod.name for each in found} <= {
            *(pod.name for proxy in MODEL.proxies for pod in proxy.pods),
            MAIN.name,
        }
