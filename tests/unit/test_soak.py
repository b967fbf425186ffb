"""The soak's notes and table: a run is noted as it ends, and one that was interrupted goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postflight.verdict.record import RunRecord
from tests.lab.live import soak
from tests.lab.live.soak import Lap
from tests.lab.live.verify import Verified
from tests.unit.records import absent, down, green, login, record, said, unknown


def made(number: int = 1, **reds: str) -> Lap:
    return Lap("2026-11-29T10:00:00+00:00", 20.0 + number, 120.0 + number, reds)


def runs(*laps: Lap, interrupt: bool = False) -> Callable[[int], Lap]:
    left = list(laps)

    def run(number: int) -> Lap:
        if not left and interrupt:
            raise KeyboardInterrupt
        return left.pop(0)

    return run


def test_what_was_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    notes, told = tmp_path / "soak/runs.jsonl", list[str]()
    with pytest.raises(KeyboardInterrupt):
        soak.soak(5, notes, runs(made(1), made(2, run="no"), interrupt=True), told.append)
    with notes.open("a") as file:
        file.write('{"date": "2026-11-')
    assert soak.noted(notes) == [made(1), made(2, run="no")]
    asked = runs(made(3), made(4), made(5))
    assert [each.seconds for each in soak.soak(5, notes, asked, told.append)] == [21.0, 22.0, 23.0, 24.0, 25.0]
    assert told[0] == "1 of 5: 21.0 s, 121 MiB, green"
    assert told[1] == "2 of 5: 22.0 s, 122 MiB, run no"
    assert told[2].startswith("2 runs are done")
    assert soak.soak(5, notes, runs(), told.append) == soak.noted(notes)


def test_the_line_says_how_often_each_check_was_not_green_and_what_it_said_first() -> None:
    laps = [made(1), made(2, **{"redis.memory": "failed: one"}), made(3, **{"redis.memory": "failed: two", "run": "x"})]
    assert soak.row(laps, "abc") == (
        "2026-11-29",
        "abc",
        "3",
        "1",
        "redis.memory 2 times (failed: one); run 1 times (x)",
        "21.0, 22.0, 23.0",
        "123",
    )


def test_the_table_keeps_other_content_and_takes_the_place_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "soak.md"
    soak.write([made(1)], "one", file)
    soak.write([made(1, run="a | b <c>")], "two", file)
    soak.write([made(1), made(2)], "one", file)
    rows = [line for line in file.read_text().splitlines() if line.startswith("| 2026")]
    assert len(rows) == 2
    assert rows[0].startswith("| 2026-11-29 | one | 2 | 2 | - | 21.0, 21.5, 22.0 | 122 |")
    assert "a \\| b &lt;c>" in rows[1]


def seen(of: RunRecord | None) -> Verified:
    return Verified(of.exit_code if of else 2, "", 20.04, 120.06, Path(), "", of)


def test_what_is_kept_of_a_run() -> None:
    good = seen(record(said("redis.memory", green("redis")), said("calls.turn", absent("none"))))
    assert (soak.lap(good).seconds, soak.lap(good).peak, soak.lap(good).reds) == (20.0, 120.1, {})
    red = soak.lap(seen(record(said("database.login", login()), said("media.workers", down("media")))))
    assert list(red.reds) == ["database.login", "media.workers"]
    assert red.reds["media.workers"] == "blocked: media does not answer"
    assert soak.lap(seen(record(said("redis.memory", unknown())))).reds["redis.memory"].startswith("unknown: ")


def test_trouble_of_no_check_is_the_runs() -> None:
    of = record(said("redis.memory", green("redis")))
    assert soak.lap(seen(replace(of, trouble=("a key could not be removed",), exit_code=1))).reds == {
        "run": "a key could not be removed"
    }
    assert soak.lap(seen(replace(of, exit_code=3))).reds == {"run": "exit 3"}
    assert soak.lap(seen(None)).reds == {"run": "exit 2, no report"}


def test_content_is_told_by_a_short_hash() -> None:
    assert len(soak.content()) == 12
