"""docs/findings.md: each finding of the review, the check that proves it, and what its defect was seen to cause.

What is red is taken from docs/defects.md, what is green from a run on a healthy lab; either proves something only by the
content that there is now.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from lab.defects import Defect
from lab.homes import CHECKOUT
from postflight.verdict.record import CheckMeta
from postflight.verdict.status import Status
from tests.lab.live import content, table
from tests.lab.live.table import Row
from tests.lab.live.verify import Verified

DECLARED = Path(__file__).with_name("findings.yaml")
FILE = CHECKOUT / "docs/findings.md"
#: As the review counts them, those that it took back beside them.
FINDINGS, CONTROLS = 31, 4
NAMED = re.compile(r"\(finding ([\d., ]+)\)")
HEAD = """\
# The findings of the review, proven

`make catalogue` writes this table and prints it; nobody edits it. A finding is proven by its defect in the lab, which
turns its check red ([defects](defects.md) has all of them); one that the review took back is a control, which the healthy
lab keeps green and its defects turn red. Seconds are from the break to the verdict, for a control those of the whole run.
A line whose content has changed since (check, probes, defect) says so, and proves nothing: `make catalogue` tries it
again.

"""
TITLES = ("finding", "check", "defect", "verdict", "seconds", "cause line", "date", "hash")
HEALTHY = "none (control)"
NEVER = "never tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the review. ``defects`` are the names of those that turn its check red."""

    number: str
    check: str
    control: bool
    defects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, all as text. ``proves``: it says what it must, and by the content of now."""

    finding: str
    check: str
    defect: str
    verdict: str
    seconds: str
    cause: str
    date: str
    hash: str
    proves: bool

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.finding, self.check, self.defect, self.verdict, self.seconds, self.cause, self.date, self.hash)


def declared(known: Iterable[Defect], file: Path = DECLARED) -> list[Finding]:
    """The findings as they stand in the file, with the defects that name them."""
    by_variant: dict[str, list[str]] = {}
    for each in known:
        for number in (one for found in NAMED.findall(each.variant) for one in re.findall(r"\d+\.\d+", found)):
            by_variant.setdefault(number, []).append(each.name)
    found = []
    for entry in yaml.safe_load(file.read_text(encoding="utf-8")):
        number = str(entry["finding"])
        names = dict.fromkeys((*by_variant.get(number, ()), *entry.get("defects", ())))
        found.append(Finding(number, entry["check"], bool(entry.get("control")), tuple(names)))
    return found


def mistakes(findings: Sequence[Finding], known: Mapping[str, Defect], checks: Mapping[str, CheckMeta]) -> list[str]:
    """Why the catalogue is not whole, a line for each: by what checks and defects say of themselves."""
    found = [f"{each.number} stands there twice" for n, each in enumerate(findings) if each in findings[:n]]
    controls = sum(each.control for each in findings)
    if (len(findings) - controls, controls) != (FINDINGS, CONTROLS):
        found.append(f"{len(findings) - controls} findings and {controls} controls, not {FINDINGS} and {CONTROLS}")
    for each in findings:
        if each.check not in checks:
            found.append(f"{each.number}: there is no check {each.check}")
        elif not checks[each.check].finding:
            found.append(f"{each.number}: {each.check} names no finding")
        if not each.defects:
            found.append(f"{each.number}: no defect turns {each.check} red: none has a variant (finding {each.number})")
        for name in each.defects:
            if name not in known:
                found.append(f"{each.number}: there is no defect {name}")
            elif each.check not in known[name].failed:
                found.append(f"{each.number}: defect {name} is not expected to turn {each.check} red")
    proven = {each.number: each.check for each in findings}
    for meta in checks.values():
        for number in re.findall(r"\d+\.\d+", meta.finding):
            if proven.get(number) != meta.id:
                found.append(f"{meta.id} says that it is finding {number}, which is {proven.get(number, 'nowhere')}")
    return found


def lines(
    findings: Sequence[Finding], known: Mapping[str, Defect], rows: Mapping[str, Row], greens: Mapping[str, Line]
) -> list[Line]:
    """The table. ``greens`` are the lines of controls that were kept, by finding."""
    found = []
    for each in findings:
        if each.control:
            found.append(_control(each, greens.get(each.number)))
        found += [_red(each, name, known.get(name), rows.get(name)) for name in each.defects or ("",)]
    return found


def green(finding: Finding, seen: Verified) -> Line:
    """What a run on the healthy lab says of a control. Fails the test where it is not green."""
    result = seen.results[finding.check]
    assert result.status is Status.PASSED, seen.output
    cause = "; ".join(result.seen) or "-"
    now = content.of_check(finding.check)
    today = datetime.now(UTC).date().isoformat()
    return Line(
        finding.number, finding.check, HEALTHY, result.status.value, f"{seen.seconds:.1f}", cause, today, now, True
    )


def unproven(found: Iterable[Line]) -> list[str]:
    """A line for each line of the table that is no proof."""
    return [f"{each.finding} {each.check} by {each.defect}: {each.verdict}" for each in found if not each.proves]


def read_greens(file: Path = FILE) -> dict[str, Line]:
    """The controls' lines as they were kept, by finding; what is no line of this shape is left out."""
    found = {}
    for cells in table.body(file, len(TITLES), TITLES[0]):
        if cells[2] == HEALTHY:
            number, check, defect, verdict, seconds, cause, date, now = cells
            found[number] = Line(number, check, defect, verdict, seconds, cause, date, now, proves=False)
    return found


def write(found: Sequence[Line], file: Path = FILE) -> None:
    """The whole page."""
    table.put(file, HEAD, [TITLES, *(each.cells for each in found)])


def printed(found: Sequence[Line], width: int) -> str:
    """The same for a terminal: what the eye looks for, one line each, and what is proven of all at the end."""
    rows = [TITLES[:6], *(each.cells[:6] for each in found)]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    told = []
    for row in rows:
        text = "  ".join(cell.ljust(widths[n]) for n, cell in enumerate(row[:5]))
        told.append(f"{text}  {row[5]}"[:width].rstrip())
    missing = {each.finding for each in found if not each.proves}
    numbers = {each.finding for each in found}
    return "\n".join([*told, "", f"{len(numbers - missing)} of {len(numbers)} proven"])


def _red(finding: Finding, name: str, defect: Defect | None, row: Row | None) -> Line:
    if defect is None or row is None:
        return Line(finding.number, finding.check, name or "none yet", NEVER, "-", "-", "-", "-", False)
    verdict, proves = row.verdict, row.verdict == Status.FAILED.value and row.check == finding.check
    if row.hash != content.digest(defect):
        verdict, proves = f"stale ({row.verdict} before)", False
    return Line(finding.number, finding.check, name, verdict, row.seconds, row.first_line, row.date, row.hash, proves)


def _control(finding: Finding, kept: Line | None) -> Line:
    if kept is None or kept.check != finding.check or finding.check not in content.all_checks():
        return Line(finding.number, finding.check, HEALTHY, NEVER, "-", "-", "-", "-", False)
    before = Status.PASSED.value if Status.PASSED.value in kept.verdict else kept.verdict
    proves = before == Status.PASSED.value and kept.hash == content.of_check(finding.check)
    verdict = before if proves else f"stale ({before} before)"
    return replace(kept, verdict=verdict, proves=proves)
