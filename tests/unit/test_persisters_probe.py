"""How persisters are had to write: as little as is needed, in rooms that fall to them; and the numbers of processes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, Self
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postflight.cluster.access import Access, Way
from postflight.deployment.federation import shard
from postflight.probes import metrics, persister_rooms
from postflight.probes.canary_user import Hindered, ProbeRoom, ProbeUser
from postflight.probes.databases import database_pools
from postflight.probes.federation_counters import Sent, federation_counters
from postflight.probes.matrix import MatrixError
from postflight.probes.metrics import Count, Numbers, counts, process_numbers
from postflight.probes.persister_rooms import ROOMS, PersistedEvents, persisted_events
from postflight.probes.persisters import PersistedRows, Unasked, has_written, persisted_counters
from postflight.secrets import Secret
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL, persisted

MAIN = next(each for each in MODEL.synapse if each.is_main)
P0, P1 = (f"event_persister_synapse-event-persister-{number}" for number in (0, 1))
LISTED = (P0, P1)
USER = ProbeUser("@postflight:matrix.lab.test", Secret("hunter2hunter2"), MAIN)
NOWHERE = Access(api_to(closed_port()), Way.DNS)


def named(persister: str, start: int = 0) -> str:
    """A room id that falls to it."""
    return next(room for number in count(start) if shard(LISTED, room := f"!{number}:matrix.lab.test") == persister)


class Synapse:
    """Main, as far as the probe asks: ``new`` are the ids of the rooms that it will make."""

    def __init__(
        self, *new: str, own: Any = None, joined: tuple[str, ...] = (), error: MatrixError | None = None
    ) -> None:
        self.new, self.own, self.joined, self.error = list(new), own, [*joined], error
        self.sent: list[str] = []
        self.lock = threading.Lock()

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        with self.lock:
            return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: Any) -> dict[str, Any]:
        if "/account_data/" in path and method == "PUT":
            self.own = body
            return {}
        if "/account_data/" in path:
            if self.own is None:
                raise MatrixError("none", 404)
            return dict(self.own)
        if path.endswith("/joined_rooms"):
            return {"joined_rooms": self.joined}
        if self.error:
            raise self.error
        if path.endswith("/createRoom"):
            return {"room_id": self.new.pop(0)}
        self.sent.append(unquote(path.split("/rooms/")[1].split("/send/")[0]))
        return {"event_id": "$e"}

    @contextmanager
    def __call__(self, *_: Any) -> Iterator[Self]:
        yield self


def run(
    monkeypatch: pytest.MonkeyPatch,
    synapse: Synapse,
    rows: PersistedRows | None = None,
    counters: dict[str, Count] | None = None,
    wrote: Any = None,
    room: str = "",
) -> PersistedEvents:
    monkeypatch.setattr(persister_rooms, "matrix", synapse)
    monkeypatch.setattr(persister_rooms, "asked", lambda *_: Unasked(unseen="no") if wrote is None else wrote)
    first = ProbeRoom(room or named(P0), USER)
    seen = persisted_events(MODEL, NOWHERE, first, rows or PersistedRows(unseen="no"), counters or {})
    assert isinstance(seen, PersistedEvents)
    return seen


class TestRooms:
    def test_nothing_is_sent_where_all_have_written_lately(self, monkeypatch: pytest.MonkeyPatch) -> None:
        synapse = Synapse()
        assert run(monkeypatch, synapse, persisted(MODEL)).tried == {}
        assert synapse.sent == []

    def test_each_that_has_not_gets_one_event_in_a_room_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = named(P1)
        synapse = Synapse(own={"rooms": ["!gone:x", other]}, joined=(other,))
        seen = run(monkeypatch, synapse, persisted(MODEL, ago=3600), wrote={other: (P1,), named(P0): (P0,)})
        assert sorted(synapse.sent) == sorted([named(P0), other])
        assert {name: each.wrote for name, each in seen.tried.items()} == {P0: (P0,), P1: (P1,)}

    def test_only_the_one_that_has_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        synapse = Synapse()
        assert set(run(monkeypatch, synapse, persisted(MODEL, P1)).tried) == {P0}
        assert synapse.sent == [named(P0)]

    def test_rooms_are_made_until_one_falls_to_each_and_all_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong, right = named(P0, 100), named(P1, 100)
        synapse = Synapse(wrong, right, named(P1, 200))
        seen = run(monkeypatch, synapse)
        assert seen.tried[P1].room_id == right
        assert synapse.own == {"rooms": [wrong, right]}
        assert synapse.sent == [named(P0)], "what makes a room persists its first events"

    def test_no_more_are_made_than_the_limits_bear(self, monkeypatch: pytest.MonkeyPatch) -> None:
        synapse = Synapse(*(named(P0, number * 50) for number in range(20)))
        seen = run(monkeypatch, synapse)
        assert seen.tried[P1].roomless
        assert len(synapse.own["rooms"]) == ROOMS

    def test_what_made_a_room_fail_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = run(monkeypatch, Synapse(error=MatrixError("500 M_UNKNOWN", 500)))
        assert {each.problem for each in seen.tried.values()} == {"500 M_UNKNOWN"}
        assert seen.tried[P0].room_id
        assert not seen.tried[P1].room_id

    def test_a_rate_limit_is_our_own_affair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = run(monkeypatch, Synapse(error=MatrixError("slowly", 429)))
        assert {(each.problem, each.unseen) for each in seen.tried.values()} == {("", "slowly")}

    def test_without_a_room_of_the_first_kind_nothing_is_tried(self) -> None:
        seen = persisted_events(MODEL, NOWHERE, Hindered("no user", MAIN.id), PersistedRows(), {})
        assert seen == Hindered("no user", MAIN.id)

    @pytest.mark.parametrize("odd", [{"rooms": "!a:b"}, {}, {"rooms": [3]}])
    def test_an_odd_memory_is_none(self, monkeypatch: pytest.MonkeyPatch, odd: Any) -> None:
        assert run(monkeypatch, Synapse(named(P1), own=odd)).tried[P1].room_id == named(P1)

    @given(st.one_of(st.none(), st.text(), st.dictionaries(st.sampled_from(["burst_count", "x"]), st.integers())))
    def test_the_limits_are_the_deployments(self, limit: Any) -> None:
        config = {"rc_message": limit}
        assert 0 <= persister_rooms._budget(replace(MAIN, config=config)) <= ROOMS


class TestWhoHasWritten:
    started = MAIN.started
    process = next(each for each in MODEL.synapse if each.instance == P0)

    def test_by_the_rows(self) -> None:
        assert has_written(self.process, persisted(MODEL), {}, timedelta(minutes=1))
        assert not has_written(self.process, persisted(MODEL, ago=3600), {}, timedelta(minutes=1))
        assert has_written(self.process, persisted(MODEL, ago=3600), {})

    def test_not_by_what_it_wrote_before_it_started_again(self) -> None:
        late = persisted(MODEL, ago=400 * 24 * 3600)
        assert not has_written(self.process, late, {})

    def test_by_its_counter_where_the_rows_do_not_tell(self) -> None:
        counted = {self.process.id: Count(3)}
        assert has_written(self.process, PersistedRows(unseen="no"), counted, timedelta(minutes=1))
        assert not has_written(self.process, persisted(MODEL, P1), counted, timedelta(minutes=1))
        assert not has_written(self.process, PersistedRows(), {self.process.id: Count(None, "timed out")})


TEXT = """
# HELP synapse_threadpool_max_threads x
synapse_threadpool_max_threads{name="database-master"} 5.0
synapse_threadpool_max_threads{name="default"} 10.0
synapse_federation_client_sent_transactions_total{server_name="a.test"} 7.0
synapse_storage_events_persisted_events_total 1.2e3
synapse_storage_events_persisted_events_sep_total{type="m"} 99.0
"""


class TestNumbers:
    def test_are_asked_for_once_for_all_who_want_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def read(_: Access, process: Any) -> str | None:
            asked.append(process.id)
            if process.instance == P0:
                raise OSError("refused")
            return None if process.instance == P1 else TEXT

        monkeypatch.setattr(metrics, "read_metrics", read)
        numbers = process_numbers(MODEL, NOWHERE)
        assert sorted(asked) == sorted(each.id for each in MODEL.synapse)
        sent, written = federation_counters(numbers), persisted_counters(numbers)
        pools = {each.process.instance: each for each in database_pools(MODEL, numbers)}
        assert (sent[MAIN.id], written[MAIN.id]) == (Sent(7), Count(1200))
        assert (pools["master"].size, pools["master"].reported) == (5, True)
        assert (pools[P0].problem, pools[P0].reported) == ("refused", False)
        assert (pools[P1].problem, pools[P1].reported) == ("", False)
        silent = next(each.id for each in MODEL.synapse if each.instance == P1)
        assert sent[silent] == Sent(None, "it serves no metrics", silent=True)

    def test_a_counter_that_never_moved_is_not_there(self) -> None:
        assert counts({"a": Numbers({})}, "any") == {"a": Count(0)}


class TestConnections:
    """The outpost's, side by side."""

    def test_an_address_that_is_dead_takes_no_time_of_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from postflight.outpost import connections

        monkeypatch.setattr(connections, "WHOLE", 0.5)
        release = threading.Event()
        real = connections.connect

        def slow(ask: Any) -> Any:
            if ask["host"] == "dead":
                release.wait(10)
            return real({**ask, "host": "127.0.0.1"})

        monkeypatch.setattr(connections, "connect", slow)
        with socket.create_server(("127.0.0.1", 0)) as server:
            ask = {"port": server.getsockname()[1], "times": 1, "redis": False, "password": ""}
            dead, alive = connections.connect_all([{**ask, "host": "dead"}, {**ask, "host": "alive"}])
        release.set()
        assert alive == {"seen": ["connected"], "problem": ""}
        assert dead == {"seen": [], "problem": "no answer within the time limit"}

    def test_nothing_to_ask(self) -> None:
        from postflight.outpost import connections

        assert connections.connect_all([]) == []
