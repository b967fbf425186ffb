"""What is asked of an LI that a CronJob feeds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Door, Import
from postflight.probes import li, li_import
from postflight.probes.li import Said
from tests.unit.li_world import model


class Database:
    """The answer to the one question, and with what it was asked."""

    def __init__(self, row: tuple[Any, ...] | None, *, lacking: bool = False) -> None:
        self.row, self.lacking = row, lacking
        self.asked: dict[str, Any] = {}

    def execute(self, statement: str, values: dict[str, Any]) -> Database:
        self.asked = values
        if self.lacking:
            raise psycopg.errors.UndefinedTable('relation "events" does not exist')
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.row


def fed(*jobs: Import) -> Deployment:
    found = model()
    assert found.li
    return replace(found, li=replace(found.li, imports=jobs))


def seen(of: Deployment, main: Database, own: Database, monkeypatch: pytest.MonkeyPatch) -> li_import.Imported:
    databases = {"matrix": main, "matrix_li": own}

    def first_answer(access: Any, doors: tuple[Door, ...], ask: Any) -> Said:
        return Said(ask(databases[doors[0].login.database]))

    monkeypatch.setattr(li, "first_answer", first_answer)
    return li_import.li_import(of, None)  # type: ignore[arg-type]


def test_the_newest_of_both_main_s_as_old_as_two_rounds_and_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = (Import("often", timedelta(hours=1)), Import("nightly", timedelta(days=1)))
    main, own = Database((90, Decimal("180000.5"))), Database((100, Decimal(60)))
    found = seen(fed(*jobs), main, own, monkeypatch)
    assert (main.asked, own.asked) == ({"allowed": 49 * 3600.0}, {"allowed": 0.0})
    assert found.due.facts == {"stream": 90, "age": 180000.5}
    assert found.newest.facts == {"stream": 100, "age": 60.0}


def test_no_event_and_no_table_of_events_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Import("nightly", timedelta(days=1))
    found = seen(fed(job), Database(None), Database(None, lacking=True), monkeypatch)
    assert (found.due.facts, found.newest.facts) == ({}, {})


def test_what_main_had_before_the_newest_round_that_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Import("nightly", timedelta(days=1), brought=datetime(2026, 1, 1, tzinfo=UTC))
    main, own = Database((90, Decimal("180000.5"))), Database((100, Decimal(60)))
    found = seen(fed(job), main, own, monkeypatch)
    assert main.asked == {"before": int(datetime(2025, 12, 31, 23, 59, 50, tzinfo=UTC).timestamp() * 1000)}
    assert found.due.facts == {"stream": 90, "age": 180000.5, "brought": 90}
    assert found.newest.facts == {"stream": 100, "age": 60.0}


def test_nobody_is_asked_where_no_cron_job_feeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    main = Database((90, Decimal(1)))
    assert seen(fed(), main, main, monkeypatch) == li_import.Imported(Said({}), Said({}))
    assert main.asked == {}
