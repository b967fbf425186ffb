"""The check of the event persisters, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.probes.canary_user import Hindered
from postflight.probes.metrics import Count
from postflight.probes.persister_rooms import PersistedEvents, Persisting
from postflight.probes.persisters import PersistedRows, Written
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.processes import persisted
from tests.unit.test_checks_stream_writers import P0, P1, down, with_writers

CHECK = "workers.event_persisters"
ID0, ID1, MAIN = (next(each.id for each in MODEL.synapse if each.instance == name) for name in (P0, P1, "master"))
UNASKED = PersistedRows(unseen="no tunnel")
ONE = persisted(MODEL, P0)


def tried(**fields: Any) -> PersistedEvents:
    return PersistedEvents({P1: Persisting(P1, **fields)})


def says(**seen: Any) -> Judge:
    return ask(CHECK, **seen)


def test_the_lab_is_green() -> None:
    assert says().failures == []
    assert set(says().seen) == {ID0, ID1}


class TestUnused:
    model = with_writers(events="master")

    def test_main_persists_though_persisters_are_deployed(self) -> None:
        found = only(says(deployment=self.model, persisted_rows=persisted(self.model)))
        assert found.headline == (
            f"{P0} and {P1} are there to persist events and persist none: stream_writers.events names master"
        )
        assert found.observed == "100 of the newest events by master"

    def test_it_is_seen_without_the_database_too(self) -> None:
        event = PersistedEvents({"master": Persisting("master", "!a:b")})
        found = only(says(deployment=self.model, persisted_rows=UNASKED, persisted_events=event))
        assert found.observed == "stream_writers.events of master: master"

    def test_one_of_two(self) -> None:
        found = only(says(deployment=with_writers(events=[P0]), persisted_rows=ONE))
        assert found.headline.startswith(f"{P1} is there to persist events and persists none: ")

    def test_without_any_persister_main_is_right(self) -> None:
        alone = tuple(each for each in self.model.synapse if each.instance not in (P0, P1))
        model = replace(self.model, synapse=alone)
        assert says(deployment=model, persisted_rows=persisted(model)).failures == []


class TestUnmapped:
    def model(self, *workloads: str) -> Deployment:
        def change(each: Any) -> Any:
            if (workloads and each.workload_name not in workloads) or not (each.config or {}).get("instance_map"):
                return each
            config = {**each.config}
            config["instance_map"] = {name: at for name, at in config["instance_map"].items() if name != P1}
            return replace(each, config=config)

        return replace(MODEL, synapse=tuple(map(change, MODEL.synapse)))

    def test_in_some_workers(self) -> None:
        model = down(self.model("synapse-synchrotron"), "synapse-synchrotron")
        found = only(says(deployment=model))
        assert found.headline.startswith(f"{P1} is to persist events and is not in instance_map: synchrotron_")
        assert found.headline.count("synchrotron_synapse-synchrotron-") == 2
        assert found.headline.endswith(" do not start")
        assert len(found.stops) == 3

    def test_in_all_it_stops_all(self) -> None:
        names = {each.workload_name for each in MODEL.synapse}
        pen = says(deployment=down(self.model(), *names))
        first, *others = pen.failures
        assert first.nature is Nature.WRONG
        assert {ID0, ID1, MAIN} <= set(first.stops)
        assert {each.nature for each in others} <= {Nature.UNAVAILABLE}

    def test_in_one_that_runs_still(self) -> None:
        found = only(says(deployment=self.model("synapse-synchrotron")))
        assert "will not start again" in found.headline
        assert found.stops == ()


class TestPersisting:
    def test_an_event_of_ours_is_proof(self) -> None:
        seen = tried(room_id="!a:b", wrote=(P1,))
        assert says(persisted_rows=ONE, persisted_events=seen).failures == []
        unread = tried(room_id="!a:b")
        assert says(persisted_rows=ONE, persisted_events=unread).failures == []

    def test_another_wrote_it(self) -> None:
        found = only(says(persisted_rows=ONE, persisted_events=tried(room_id="!a:b", wrote=(P0,))))
        assert found.headline == f"{P0} persisted an event that falls to {P1}"

    @pytest.mark.parametrize("rows", [ONE, persisted(MODEL)])
    def test_one_that_does_not_persist_is_red_whatever_it_did_before(self, rows: PersistedRows) -> None:
        found = only(says(persisted_rows=rows, persisted_events=tried(room_id="!a:b", problem="500 M_UNKNOWN")))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, ID1)
        assert found.headline == f"{P1} does not persist an event in a room that falls to it: 500 M_UNKNOWN"

    def test_no_room_can_be_made(self) -> None:
        found = only(says(persisted_rows=ONE, persisted_events=tried(problem="500")))
        assert "no room could be made" in found.headline

    def test_one_that_is_not_up(self) -> None:
        model = down(MODEL, "synapse-event-persister")
        pen = says(deployment=model)
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}
        assert {each.subject for each in pen.failures} == {ID0, ID1}

    def test_one_that_does_not_exist_is_blamed_on_what_says_so(self) -> None:
        model = with_writers(events=[P0, P1, "ghost"])
        maps = {"ghost": {"host": "g", "port": 9093}}

        def mapped(each: Any) -> Any:
            config = {**(each.config or {})}
            return replace(each, config={**config, "instance_map": {**config.get("instance_map", {}), **maps}})

        model = replace(model, synapse=tuple(map(mapped, model.synapse)))
        found = only(says(deployment=model))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, "ghost")


class TestNotSeen:
    """One that has not written since it started is never green."""

    @pytest.mark.parametrize(
        ("seen", "status", "words"),
        [
            (READ_ONLY, Status.WARNED, READ_ONLY.reason),
            (NOT_ALLOWED, Status.UNKNOWN, NOT_ALLOWED.reason),
            (tried(roomless=True), Status.WARNED, "no room of the probe user falls to it yet"),
            (tried(room_id="!a:b", unseen="slowly"), Status.UNKNOWN, "slowly"),
            (Hindered("no user", MAIN), Status.UNKNOWN, "no user"),
        ],
    )
    def test_by_nothing(self, seen: Any, status: Status, words: str) -> None:
        found = only(says(persisted_rows=ONE, persisted_events=seen), status)
        assert found.headline.startswith(f"{P1} was not seen to persist an event since it started")
        assert words in found.headline
        assert ID1 in found.leans_on

    @pytest.mark.parametrize("seen", [READ_ONLY, NOT_ALLOWED, tried(roomless=True), Hindered("no user", MAIN)])
    def test_a_counter_does_not_say_when(self, seen: Any) -> None:
        counted = {each.id: Count(0) for each in MODEL.synapse} | {ID1: Count(8)}
        found = only(says(persisted_rows=ONE, persisted_counters=counted, persisted_events=seen), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith(
            f"{P1} has persisted events since it started, and none was seen within the last 10 minutes: "
        )

    @pytest.mark.parametrize("seen", [READ_ONLY, NOT_ALLOWED, tried(roomless=True), Hindered("no user", MAIN)])
    def test_rows_of_the_last_minutes_are_proof(self, seen: Any) -> None:
        assert says(persisted_rows=persisted(MODEL, ago=540), persisted_events=seen).failures == []
        pen = says(persisted_rows=persisted(MODEL, ago=660), persisted_events=seen)
        assert {each.status for each in pen.failures} == {Status.WARNED}

    def test_what_it_wrote_before_it_started_is_no_proof(self) -> None:
        old = replace(ONE, rows=(*ONE.rows, Written(P1, 9, datetime(2020, 1, 1, tzinfo=UTC))))
        assert only(says(persisted_rows=old, persisted_events=READ_ONLY), Status.WARNED)

    def test_a_worker_that_runs_and_could_not_be_read(self) -> None:
        blind = tuple(
            replace(each, config=None) if each.workload_name == "synapse-typing-writer" else each
            for each in MODEL.synapse
        )
        found = only(says(deployment=replace(MODEL, synapse=blind)), Status.UNKNOWN)
        assert found.headline.startswith("whether synapse-typing-writer persists events is not known")


class TestOthers:
    def test_one_that_is_not_listed_by_its_rows(self) -> None:
        found = only(says(persisted_rows=persisted(MODEL, P0, P1, "master")))
        assert found.headline == "master persists events and is not in stream_writers.events"
        assert found.observed.startswith("100 of the newest rows")

    def test_one_that_is_not_listed_by_its_counter(self) -> None:
        counted = {each.id: Count(0) for each in MODEL.synapse} | {MAIN: Count(8)}
        found = only(says(persisted_counters=counted))
        assert (found.subject, found.observed) == (MAIN, "8 events since it started")

    def test_what_it_wrote_before_the_list_changed_is_right(self) -> None:
        old = Written("master", 9, datetime(2020, 1, 1, tzinfo=UTC))
        seen = persisted(MODEL)
        assert says(persisted_rows=replace(seen, rows=(*seen.rows, old))).failures == []

    def test_one_of_another_deployment(self) -> None:
        found = only(says(persisted_rows=persisted(MODEL, P0, P1, "stranger")))
        assert found.headline == "stranger persists events and is no process of this deployment"

    @pytest.mark.parametrize("rows", [UNASKED, PersistedRows(problem="refused"), NOT_ALLOWED])
    def test_counters_are_enough_where_the_database_cannot_be_asked(self, rows: Any) -> None:
        counted = {each.id: Count(9 if each.id in (ID0, ID1) else 0) for each in MODEL.synapse}
        event = PersistedEvents({each: Persisting(each, "!a:b") for each in (P0, P1)})
        assert says(persisted_rows=rows, persisted_counters=counted, persisted_events=event).failures == []

    def test_neither_could_be_asked(self) -> None:
        counted = {each.id: Count(9 if each.id in (ID0, ID1) else 0) for each in MODEL.synapse}
        silent = counted | {MAIN: Count(None, "it serves no metrics", silent=True)}
        event = PersistedEvents({each: Persisting(each, "!a:b") for each in (P0, P1)})
        seen = says(persisted_rows=UNASKED, persisted_counters=silent, persisted_events=event)
        found = only(seen, Status.WARNED)
        assert found.headline == ("whether master persists events was not seen: no tunnel; it serves no metrics")
        pen = says(persisted_rows=NOT_ALLOWED, persisted_counters=NOT_ALLOWED, persisted_events=NOT_ALLOWED)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
