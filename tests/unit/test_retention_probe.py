"""What is asked of both databases of redacted messages, and when one more is redacted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import Any

import psycopg
import pytest

from postflight.deployment.parts import Door
from postflight.limits import Limit
from postflight.probes import arrival, li, retention
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import Hindered, ProbeRoom, ProbeUser
from postflight.probes.li import Said
from postflight.probes.matrix import MatrixError
from postflight.probes.retention import Redacted, censored_rows, redacted_message
from postflight.secrets import Secret
from postflight.settings import LiSettings, Settings
from postflight.traces import Traces
from tests.unit.li_world import model

MODEL = model()
MAIN = next(each for each in MODEL.synapse if each.workload_name == "hs")
ROOM = ProbeRoom("!room:matrix.lab.test", ProbeUser("@postflight:matrix.lab.test", Secret("a-token-of-ours"), MAIN))
SENT = Arrival("$new", 0.3, room=ROOM.room_id)
Row = tuple[str, float, bool, str | None]
NEW: Row = ("$new", 0.1, True, "postflight li-abc")
OLD: Row = ("$old", 9000.0, True, "postflight li-xyz")


class Database:
    """Rows for the question about our messages, which come with the redaction."""

    def __init__(self, *rows: Row, then: tuple[Row, ...] = (), censored: Any = (0, None, 0), problem: str = "") -> None:
        self.rows, self.then, self.censored, self.problem = rows, then, censored, problem
        self.asked: list[Any] = []

    def execute(self, statement: str, values: Any = None) -> Database:
        self.asked.append(values)
        self.statement = statement
        if statement == retention.CENSORED and self.censored is None:
            raise psycopg.errors.UndefinedTable('relation "redactions" does not exist')
        return self

    def fetchall(self) -> list[Row]:
        return list(self.rows)

    def fetchone(self) -> Any:
        if self.statement == retention.CENSORED:
            return self.censored
        return ({"pub": ["events"]},) if self.statement == retention.DELETES else ([],)


@pytest.fixture
def homeserver(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The requests that main got."""
    asked: list[tuple[str, str]] = []

    class Home:
        def request(self, method: str, path: str, body: Any = None, **rest: Any) -> dict[str, Any]:
            asked.append((method, path))
            return {}

    @contextmanager
    def matrix(*given: Any) -> Iterator[Home]:
        yield Home()

    monkeypatch.setattr(retention, "matrix", matrix)
    return asked


def given(monkeypatch: pytest.MonkeyPatch, main: Database, own: Database) -> None:
    def first_answer(access: Any, doors: tuple[Door, ...], ask: Any) -> Said:
        database = own if doors[0].login.database == "matrix_li" else main
        if database.problem:
            return Said({}, problem=database.problem)
        found = Said(ask(database))
        database.rows += database.then
        return found

    for module in (li, retention, arrival):
        monkeypatch.setattr(module, "first_answer", first_answer)
    monkeypatch.setattr(Limit, "ARRIVAL", 0.2)


def seen(sent: Arrival = SENT, room: Any = ROOM, settings: Settings | None = None) -> Redacted | Hindered:
    return redacted_message(MODEL, None, settings or Settings(), Traces("abc"), room, sent)  # type: ignore[arg-type]


def told(found: Redacted | Hindered) -> Redacted:
    assert isinstance(found, Redacted)
    return found


def test_the_message_that_was_sent_is_redacted_and_looked_for_in_both(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(OLD, then=(NEW,)), Database(NEW, OLD))
    found = told(seen())
    assert [method for method, _ in homeserver] == ["PUT"]
    assert homeserver[0][1].endswith("/redact/%24new/redact-abc")
    assert (found.event, set(found.main), set(found.li)) == ("$new", {"$old", "$new"}, {"$old", "$new"})
    assert found.main["$new"].readable
    assert found.promised == inf


def test_ours_are_those_of_all_our_rooms_and_the_message_is_redacted_where_it_was_sent(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    main, own = Database(OLD, then=(NEW,)), Database(NEW, OLD)
    given(monkeypatch, main, own)
    seen(replace(SENT, room="!more:matrix.lab.test"), room=replace(ROOM, others=("!more:matrix.lab.test",)))
    assert "/rooms/%21more%3Amatrix.lab.test/redact/" in homeserver[0][1]
    rooms = [each["rooms"] for database in (main, own) for each in database.asked]
    assert rooms == [["!room:matrix.lab.test", "!more:matrix.lab.test"]] * len(rooms)
    assert rooms


def test_one_that_was_redacted_minutes_ago_is_enough(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(NEW), Database(NEW))
    assert told(seen(replace(SENT, event="$later"))).event == "$new"
    assert homeserver == []


def test_what_has_lost_its_text_or_its_row_is_not_readable(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(("$new", 1.0, True, None)), Database(("$new", 1.0, False, None)))
    found = told(seen())
    assert [each.readable for each in (*found.main.values(), *found.li.values())] == [False, False]


def test_what_does_not_come_to_li_is_waited_for_and_not_where_li_does_not_follow(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(NEW), Database())
    assert told(seen()).waited >= 0.1
    assert told(seen(replace(SENT, seconds=None))).waited < 0.1


def test_a_database_that_is_not_asked_says_why(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(problem="no login"), Database(NEW))
    assert told(seen()).main_problem == "no login"
    given(monkeypatch, Database(NEW), Database(problem="no login"))
    assert told(seen()).li_problem == "no login"


def test_what_hinders_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Database(OLD), Database())
    assert seen(room=Hindered("no user", MAIN.id)) == Hindered("no user", MAIN.id)
    assert seen(Arrival(problem="it does not run", where=MAIN.id)) == Hindered("it does not run", MAIN.id)
    assert seen(Arrival()) == Hindered("no message was sent", "li/matrix")

    @contextmanager
    def refuse(*given: Any) -> Iterator[Any]:
        raise MatrixError("hs answers with 403", 403)
        yield

    monkeypatch.setattr(retention, "matrix", refuse)
    assert seen() == Hindered("hs answers with 403", MAIN.id)


def test_the_day_is_told_by_how_long_ago_it_was(
    monkeypatch: pytest.MonkeyPatch, homeserver: list[tuple[str, str]]
) -> None:
    given(monkeypatch, Database(NEW), Database(NEW))
    assert 0 < told(seen(settings=Settings(li=LiSettings(retention_since="2026-01-31")))).promised < inf


def test_censored_rows_are_counted_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    main, own = Database(censored=(12, 1.5, 3)), Database(censored=None)
    given(monkeypatch, main, own)
    settings = Settings(li=LiSettings(retention_since="2026-01-01"))
    found = censored_rows(MODEL, None, settings)  # type: ignore[arg-type]
    assert found.main.facts == {"count": 12, "newest": 1.5, "since": 3, "deletes": {"pub": ["events"]}}
    assert main.asked[-1] == {"since": 1_767_225_600_000}
    assert found.li.facts == {}
    assert censored_rows(replace(MODEL, li=None), None, settings).main == Said({})  # type: ignore[arg-type]


def test_the_oldest_of_ours_are_read_beside_the_newest() -> None:
    """Else a year of runs would speak for a day; and both ends are bounded."""
    assert retention.OURS.count(f"limit {retention.MOST}") == 2
    assert {"stream_ordering desc", "stream_ordering asc"} <= {
        f"stream_ordering {each.split()[0]}" for each in retention.OURS.split("e.stream_ordering ")[1:]
    }


@pytest.mark.parametrize("statement", [retention.DELETES, retention.GUARDS])
def test_every_table_of_events_is_asked_for(statement: str) -> None:
    assert all(f"'{each}'" in statement for each in retention.EVIDENCE)
    assert "current_state_events" not in statement
