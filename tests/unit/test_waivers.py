"""Waiver files: every mistake is one line, and a waiver that is stale is red."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from postflight.verdict import waivers
from postflight.verdict.blame import resolve
from postflight.verdict.failure import Failure
from postflight.verdict.record import CheckMeta, Statement, Waiver
from postflight.verdict.status import Nature, Severity, Status

CHECKS = ("database.login", "redis.replication", "availability.synapse_main")
TODAY = datetime.date(2026, 6, 1)

ENTRY = """
- id: database.login
  subject: synapse-main
  owner: alice
  reason: the password is rotated on Monday
  ticket: OPS-12
  expires: 2026-06-30
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = Path("waivers.yaml")
        path.write_text(text)
        return path

    return write


def mistakes(path: Path) -> list[str]:
    with pytest.raises(waivers.WaiverError) as caught:
        waivers.read(path)
    return list(caught.value.lines)


class TestReading:
    def test_an_entry(self, file: Callable[[str], Path]) -> None:
        assert waivers.read(file(ENTRY)) == (
            Waiver(
                check="database.login",
                subject="synapse-main",
                owner="alice",
                reason="the password is rotated on Monday",
                ticket="OPS-12",
                expires="2026-06-30",
                count=1,
                origin="waivers.yaml:2: entry 1",
            ),
        )

    def test_no_file_and_an_empty_file_hold_none(self, file: Callable[[str], Path]) -> None:
        assert waivers.load(None, CHECKS) == waivers.Waivers()
        assert waivers.load(file("# nothing\n"), CHECKS) == waivers.Waivers()

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (("ticket", "tickt"), "waivers.yaml:6: entry 1: unknown key 'tickt'; nearest is 'ticket'"),
            (("OPS-12", "12"), "waivers.yaml:6: entry 1: ticket: must be text, not 12"),
            (("alice", "''"), "waivers.yaml:4: entry 1: owner: must not be empty"),
            (
                ("2026-06-30", "2026-06-31"),
                "waivers.yaml:2: entry 1: expires is no date: '2026-06-31'",
            ),
            (
                ("2026-06-30", "30.6.2026"),
                "waivers.yaml:2: entry 1: expires must be a date like 2026-12-31, not '30.6.2026'",
            ),
            (("2026-06-30", "20260630"), "waivers.yaml:7: entry 1: expires: must be text, not 20260630"),
            (("  owner: alice\n", ""), "waivers.yaml:2: entry 1: 'owner' is missing"),
            (
                ("  owner: alice", "  owner: alice\n  count: yes"),
                "waivers.yaml:5: entry 1: count: must be a whole number, not True",
            ),
            (
                ("  owner: alice", "  owner: alice\n  count: 0"),
                "waivers.yaml:2: entry 1: count must be at least 1, not 0",
            ),
            (
                ("  owner: alice", "  owner: alice\n  owner: bob"),
                "waivers.yaml:5: the key 'owner' stands twice",
            ),
        ],
    )
    def test_a_mistake_is_one_line(self, file: Callable[[str], Path], change: tuple[str, str], line: str) -> None:
        assert line in mistakes(file(ENTRY.replace(*change)))

    def test_every_mistake_is_told_at_once(self, file: Callable[[str], Path]) -> None:
        assert len(mistakes(file(ENTRY.replace("alice", "3") + ENTRY.replace("OPS-12", "4")))) == 2

    def test_the_same_waiver_twice(self, file: Callable[[str], Path]) -> None:
        assert mistakes(file(ENTRY + ENTRY)) == [
            "waivers.yaml:9: entry 2: repeats entry 1 (database.login, synapse-main)"
        ]

    def test_not_a_list(self, file: Callable[[str], Path]) -> None:
        assert mistakes(file("id: database.login")) == ["waivers.yaml:1: must be a list"]

    def test_a_missing_file(self, file: Callable[[str], Path]) -> None:
        assert mistakes(Path("nowhere.yaml")) == ["nowhere.yaml: No such file or directory"]


class TestRedByItself:
    def test_a_waiver_holds_through_its_day(self, file: Callable[[str], Path]) -> None:
        path = file(ENTRY)
        assert waivers.load(path, CHECKS, datetime.date(2026, 6, 30)).trouble == ()
        late = waivers.load(path, CHECKS, datetime.date(2026, 7, 1))
        assert late.usable == ()
        assert late.trouble == (
            "waivers.yaml:2: entry 1 (database.login, synapse-main): expired on 2026-06-30 (alice, OPS-12)",
        )

    def test_an_unknown_check(self, file: Callable[[str], Path]) -> None:
        found = waivers.load(file(ENTRY.replace("database.login", "databse.login")), CHECKS, TODAY)
        assert found.usable == ()
        assert found.trouble == (
            "waivers.yaml:2: entry 1 (databse.login, synapse-main): there is no such check;"
            " nearest is 'database.login'",
        )

    def test_only_a_check_that_ran_makes_a_waiver_stale(self) -> None:
        given = waivers.Waivers((waiver(),))
        assert len(resolve([passed("database.login")], {}, given).trouble) == 1
        assert resolve([passed("redis.replication")], {}, given).trouble == ()

    def test_a_check_that_could_not_look_or_is_absent_leaves_it_open(self) -> None:
        meta = passed("database.login").check
        for statement in (Statement(meta, (), ()), Statement(meta, (), (), "not deployed")):
            assert resolve([statement], {}, waivers.Waivers((waiver(),))).trouble == ()

    def test_a_failure_of_another_subject_does_not_need_it(self) -> None:
        statement = Statement(passed("database.login").check, (), (failure("li"),))
        assert len(resolve([statement], {}, waivers.Waivers((waiver(),))).trouble) == 1


class TestCovering:
    def test_failed_unknown_and_warned_are_covered(self) -> None:
        for status in (Status.FAILED, Status.UNKNOWN, Status.WARNED):
            statement = Statement(passed("database.login").check, (), (failure("synapse-main", status),))
            result = resolve([statement], {}, waivers.Waivers((waiver(),))).results[0]
            assert (result.status, result.waivers) == (Status.WAIVED, (waiver(),))

    def test_a_pattern_covers_what_it_matches_and_the_exact_name_comes_first(self) -> None:
        pattern, exact = waiver("synapse-*"), waiver("synapse-main")
        assert waivers.covering([pattern], "database.login", failure("synapse-li")) is pattern
        assert waivers.covering([pattern, exact], "database.login", failure("synapse-main")) is exact
        assert waivers.covering([pattern], "database.login", failure("key-vault")) is None

    def test_a_name_with_brackets_is_matched_as_it_stands(self) -> None:
        assert waivers.covering([waiver("host[0]")], "database.login", failure("host[0]"))

    def test_another_check_is_not_covered(self) -> None:
        assert waivers.covering([waiver("*")], "redis.replication", failure("synapse-main")) is None


def waiver(subject: str = "synapse-main") -> Waiver:
    return Waiver("database.login", subject, "alice", "known", "OPS-12", "2026-06-30")


def passed(id: str) -> Statement:
    return Statement(CheckMeta(id, "", "", Severity.MAJOR), ("synapse-main",), ())


def failure(subject: str, status: Status = Status.FAILED) -> Failure:
    return Failure(status, Nature.WRONG, subject, f"{subject} is wrong")
