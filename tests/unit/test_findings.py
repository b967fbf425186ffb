"""The table of the review's findings: whole, by what checks and defects say of themselves, and never proof when stale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.defects import names
from postflight.check import meta_of
from postflight.verdict.record import CheckMeta
from tests.lab.live import batches, catalogue, content, findings
from tests.lab.live.findings import HEALTHY, NEVER, Finding, Line
from tests.lab.live.table import Row
from tests.unit.test_registry import checks

KNOWN = {each.name: each for each in names()}
CHECKS: dict[str, CheckMeta] = {meta.id: meta for _, function in checks().items() if (meta := meta_of(function))}
DECLARED = findings.declared(KNOWN.values())
MEMORY = Finding("2.4", "redis.memory", False, ("redis-evictions",))
KEY = Finding("6.2", "workers.signing_key", True, ("signing-key-other",))


def row(name: str, **fields: str) -> Row:
    defect = KNOWN[name]
    proven = Row(name, defect.check, defect.variant, "failed", "-", "a | cause", "12.5", "2026-11-29", "")
    return replace(proven, **{"hash": content.digest(defect), **fields})


def kept(**fields: Any) -> Line:
    line = Line(
        "6.2", KEY.check, HEALTHY, "passed", "31.0", "15 keys", "2026-11-29", content.of_check(KEY.check), False
    )
    return replace(line, **fields)


def only(finding: Finding, **fields: str) -> Line:
    (found,) = findings.lines([finding], KNOWN, {"redis-evictions": row("redis-evictions", **fields)}, {})
    return found


def test_every_finding_has_a_check_that_says_so_and_a_defect_that_turns_it_red() -> None:
    assert findings.mistakes(DECLARED, KNOWN, CHECKS) == []


class TestWhatIsMissingIsFoundOut:
    def told(self, changed: Finding, **metas: CheckMeta) -> str:
        found = [changed if each.number == changed.number else each for each in DECLARED]
        before = findings.mistakes(DECLARED, KNOWN, CHECKS)
        return "\n".join(each for each in findings.mistakes(found, KNOWN, CHECKS | metas) if each not in before)

    def test_a_finding_without_a_defect(self) -> None:
        told = self.told(replace(MEMORY, defects=()))
        assert told == "2.4: no defect turns redis.memory red: none has a variant (finding 2.4)"

    def test_a_defect_that_is_not_there_or_is_another_checks(self) -> None:
        assert "there is no defect redis-what" in self.told(replace(MEMORY, defects=("redis-what",)))
        assert "not expected to turn redis.memory red" in self.told(replace(MEMORY, defects=("database-name",)))

    def test_a_check_that_is_not_there(self) -> None:
        assert "2.4: there is no check redis.memories" in self.told(replace(MEMORY, check="redis.memories"))

    def test_a_check_that_says_another_number(self) -> None:
        told = self.told(MEMORY, **{"redis.memory": replace(CHECKS["redis.memory"], finding="2.3")})
        assert told == "redis.memory says that it is finding 2.3, which is database.connections"
        assert "names no finding" in self.told(MEMORY, **{"redis.memory": replace(CHECKS["redis.memory"], finding="")})

    def test_a_finding_that_went(self) -> None:
        told = findings.mistakes(DECLARED[1:], KNOWN, CHECKS)
        assert "30 findings and 4 controls, not 31 and 4" in told
        assert "database.login says that it is finding 1.1, which is nowhere" in told


def test_a_defect_that_names_two_findings_is_of_both() -> None:
    one = replace(KNOWN["redis-evictions"], variant="both (finding 2.4, 2.3)")
    of = {each.number: each.defects for each in findings.declared([one])}
    assert (of["2.4"], of["2.3"], of["1.1"]) == (("redis-evictions",), ("redis-evictions",), ())


class TestALine:
    def test_proves_by_the_content_of_now(self) -> None:
        found = only(MEMORY)
        assert (found.verdict, found.seconds, found.cause, found.proves) == ("failed", "12.5", "a | cause", True)
        assert findings.unproven([found]) == []

    def test_says_that_it_is_stale(self) -> None:
        found = only(MEMORY, hash="old")
        assert (found.verdict, found.proves) == ("stale (failed before)", False)
        assert findings.unproven([found]) == ["2.4 redis.memory by redis-evictions: stale (failed before)"]

    @pytest.mark.parametrize("fields", [{"verdict": "warned"}, {"check": "redis.endpoint"}])
    def test_proves_nothing_where_another_thing_was_seen(self, fields: dict[str, str]) -> None:
        assert not only(MEMORY, **fields).proves

    def test_says_that_it_was_never_tried(self) -> None:
        (found,) = findings.lines([MEMORY], KNOWN, {}, {})
        assert (found.defect, found.verdict, found.proves) == ("redis-evictions", NEVER, False)
        (found,) = findings.lines([replace(MEMORY, defects=())], KNOWN, {}, {})
        assert (found.defect, found.verdict, found.proves) == ("none yet", NEVER, False)


class TestAControl:
    def first(self, line: Line | None) -> Line:
        rows = {"signing-key-other": row("signing-key-other")}
        found = findings.lines([KEY], KNOWN, rows, {"6.2": line} if line else {})
        assert (found[1].defect, found[1].proves) == ("signing-key-other", True)
        return found[0]

    def test_is_green_by_the_content_of_now(self) -> None:
        assert (self.first(kept()).verdict, self.first(kept()).proves) == ("passed", True)

    def test_says_that_it_is_stale_and_is_proof_again_when_the_content_is(self, tmp_path: Path) -> None:
        stale = self.first(kept(hash="old"))
        assert (stale.verdict, stale.proves) == ("stale (passed before)", False)
        findings.write([stale], tmp_path / "findings.md")
        again = findings.read_greens(tmp_path / "findings.md")["6.2"]
        assert self.first(again).verdict == "stale (passed before)"
        assert self.first(replace(again, hash=kept().hash)).proves

    def test_that_was_not_seen_proves_nothing(self) -> None:
        assert (self.first(None).verdict, self.first(None).proves) == (NEVER, False)
        assert not self.first(kept(verdict="warned")).proves


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "findings.md"
    line = kept(cause="15 keys <a> | more")
    findings.write([line, only(MEMORY)], file)
    assert findings.read_greens(file) == {"6.2": line}
    assert findings.read_greens(tmp_path / "none.md") == {}


def test_the_terminal_has_a_line_for_each_and_the_sum() -> None:
    told = findings.printed([replace(kept(), proves=True), only(MEMORY, hash="old")], 60).splitlines()
    assert told[1].startswith("6.2      workers.signing_key  none (control)   passed")
    assert all(len(each) <= 60 for each in told)
    assert told[-1] == "1 of 2 proven"


class TestWhatIsTried:
    def test_is_what_is_not_proven(self) -> None:
        stale = only(MEMORY, hash="old")
        tried = catalogue.command(DECLARED, [stale, replace(kept(), proves=True)])
        assert tried[3:6] == [catalogue.TRIED, "--defect", "redis-evictions"]
        assert catalogue.command(DECLARED, [only(MEMORY)]) == []
        assert catalogue.command(DECLARED, [kept()])[3].endswith("test_the_controls_are_green")

    def test_goes_by_whole_groups(self) -> None:
        found = batches.holding(list(KNOWN.values()), batches.declared(), ["redis-evictions", "redis-fixed-node"])
        assert ("redis-fixed-node",) in found
        assert len(found) == 2
        assert "operator-stopped" in next(each for each in found if "redis-evictions" in each)
