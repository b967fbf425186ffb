"""How persisters are had to write: as little as is needed, in rooms that fall to them; and the numbers of processes."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postflight.cluster.access import Access, Way
from postflight.deployment.federation import shard
from postflight.probes import metrics, persister_rooms
from postflight.probes.canary_user import Hindered, ProbeRoom, ProbeUser
from postflight.probes.databases import database_pools
from postflight.probes.federation_counters import Sent, federation_counters
from postflight.probes.metrics import Count, Numbers, counts, process_numbers
from postflight.probes.persister_rooms import ROOMS, apart, falls_to, persisted_events
from postflight.probes.persisters import PersistedRows, has_written, persisted_counters
from postflight.secrets import Secret
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.processes import persisted

MAIN = next(each for each in MODEL.synapse if each.is_main)
P0, P1 = (f"event_persister_synapse-event-persister-{number}" for number in (0, 1))
LISTED = (P0, P1)
USER = ProbeUser("@postflight:matrix.lab.test", Secret("hunter2hunter2"), MAIN)
NOWHERE = Access(api_to(closed_port()), Way.DNS)


def named(persister: str, start: int = 0) -> str:
    """A room id that falls to it."""
    return next(room for number in count(start) if shard(LISTED, room := f"!{number}:matrix.lab.test") == persister)


class TestRooms:
    def test_the_one_that_falls_to_a_persister(self) -> None:
        room = ProbeRoom(named(P0), USER, (named(P0, 50), named(P1), named(P1, 50)))
        assert falls_to(P0, room, LISTED) == named(P0)
        assert falls_to(P1, room, LISTED) == named(P1)

    def test_none_falls_to_a_persister_by_chance(self) -> None:
        assert falls_to(P1, ProbeRoom(named(P0), USER, (named(P0, 50),)), LISTED) == ""

    def test_what_is_not_to_be_counted_with_the_first_goes_to_the_room_of_another(self) -> None:
        room = ProbeRoom(named(P1), USER, (named(P1, 50), named(P0)))
        assert apart(room) == replace(room, room_id=named(P0))

    @pytest.mark.parametrize("others", [(), (named(P1, 50),)])
    def test_where_there_is_no_other_it_goes_to_the_first(self, others: tuple[str, ...]) -> None:
        room = ProbeRoom(named(P1), USER, others)
        assert apart(room) == room

    def test_without_a_room_of_the_first_kind_nothing_is_tried(self) -> None:
        seen = persisted_events(MODEL, NOWHERE, Hindered("no user", MAIN.id), PersistedRows(), {})
        assert seen == Hindered("no user", MAIN.id)

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
        assert has_written(self.process, PersistedRows(unseen="no"), counted)
        assert not has_written(self.process, PersistedRows(unseen="no"), counted, timedelta(minutes=1)), "when?"
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
