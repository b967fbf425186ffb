"""The declared groups of defects, before any of them costs time."""

from dataclasses import replace
from pathlib import Path

from lab.defects import names
from tests.lab.live import batches, content
from tests.lab.live.table import Row, read, write

KNOWN = {each.name: each for each in names()}


def test_no_group_holds_defects_that_meet() -> None:
    assert batches.mistakes(batches.declared(), KNOWN) == []


def test_defects_that_meet_are_found_out() -> None:
    one = replace(KNOWN["database-name"], name="one")
    two = replace(KNOWN["redis-evictions"], name="two")
    known = {"one": one, "two": two}
    assert batches.mistakes([("one", "two")], known) == []
    for meets in (
        replace(two, touches=one.touches),
        replace(two, failed=one.failed),
        replace(two, blocked=(one.check,)),
        replace(two, restart=False),
        replace(two, absent=(one.check,)),
    ):
        assert batches.mistakes([("one", "two")], known | {"two": meets})
    assert batches.mistakes([("one", "three"), ("one",)], known)


def test_every_check_has_a_defect() -> None:
    assert content.all_checks() == {check for each in KNOWN.values() for check in content.checks_of(each)}


def test_no_group_holds_what_needs_another_lab() -> None:
    assert not [name for group in batches.declared() for name in group if KNOWN[name].nodes > 1]


def test_what_is_tried_holds_each_check_and_all_that_is_stale() -> None:
    rows = {
        name: Row(name, each.check, "", "", "", "", "1.0", "", content.digest(each)) for name, each in KNOWN.items()
    }
    del rows["redis-fixed-node"]
    rows["database-name"] = replace(rows["database-name"], hash="old")
    tried = batches.to_try(list(KNOWN.values()), rows, batches.declared())
    flat = {name for unit in tried for name in unit}
    assert {"redis-fixed-node", "database-name"} <= flat
    assert content.all_checks() == {check for name in flat for check in content.checks_of(KNOWN[name])}
    assert len(flat) < len(KNOWN)


def test_the_table_reads_as_it_was_written(tmp_path: Path) -> None:
    row = Row("a", "b.c", "x | y", "failed", "-", "<a> is not <b>", "1.0", "2026-01-01", "0123456789ab")
    write({"a": row}, tmp_path / "defects.md")
    assert read(tmp_path / "defects.md") == {"a": row}
    assert [file.name for file in tmp_path.iterdir()] == ["defects.md"]
