"""Waivers: someone answers for a failure until a date, and the waiver itself turns red when it is stale."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

from postflight import strictyaml
from postflight.verdict.failure import Failure
from postflight.verdict.record import CheckResult, Waiver
from postflight.verdict.status import Status

WaiverError = strictyaml.FileError

#: Verdicts that say nothing about whether the waived failure is still there.
UNTOLD = frozenset({Status.UNKNOWN, Status.BLOCKED, Status.ABSENT})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the file, spelled as people write it."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = strictyaml.STRICT

    id: str
    subject: str
    owner: str
    reason: str
    ticket: str
    expires: str
    count: int = 1

    def __post_init__(self) -> None:
        # fromisoformat alone takes 20261231 and 2026-W01-1 too, which people read differently.
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.expires):
            raise ValueError(f"expires must be a date like 2026-12-31, not {self.expires!r}")
        try:
            datetime.date.fromisoformat(self.expires)
        except ValueError as error:
            raise ValueError(f"expires is no date: {self.expires!r}") from error
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}")


@dataclass(frozen=True, slots=True)
class Waivers:
    """The waivers that cover something, and a line of trouble for each that cannot."""

    usable: tuple[Waiver, ...] = ()
    trouble: tuple[str, ...] = ()


def load(path: Path | None, checks: Collection[str], today: datetime.date | None = None) -> Waivers:
    """The waivers of a file as they stand on a day (today in UTC), none without a file.

    ``checks`` are the ids of all checks there are, selected for this run or not. Raises WaiverError,
    a line for each mistake.
    """
    return sort(read(path), checks, today or datetime.datetime.now(datetime.UTC).date()) if path else Waivers()


def read(path: Path) -> tuple[Waiver, ...]:
    """The entries of a YAML file, a list. Raises WaiverError, a line for each mistake."""
    document = strictyaml.read(path)
    if document.value is None:
        return ()
    entries = strictyaml.parse(document, tuple[Entry, ...])
    lines: list[str] = []
    first: dict[tuple[str, str], int] = {}
    found = []
    for index, entry in enumerate(entries):
        origin = f"{path}:{document.line((index,))}: entry {index + 1}"
        earlier = first.setdefault((entry.id, entry.subject), index)
        if earlier != index:
            lines.append(f"{origin}: repeats entry {earlier + 1} ({entry.id}, {entry.subject})")
        found.append(
            Waiver(
                check=entry.id,
                subject=entry.subject,
                owner=entry.owner,
                reason=entry.reason,
                ticket=entry.ticket,
                expires=entry.expires,
                count=entry.count,
                origin=origin,
            )
        )
    if lines:
        raise strictyaml.FileError(lines)
    return tuple(found)


def sort(waivers: Iterable[Waiver], checks: Collection[str], today: datetime.date) -> Waivers:
    """Tell those that cover something from those that are red. A waiver holds through the day it names."""
    usable: list[Waiver] = []
    lines: list[str] = []
    for waiver in waivers:
        if waiver.check not in checks:
            lines.append(_line(waiver, f"there is no such check{strictyaml.nearest(waiver.check, checks)}"))
        elif datetime.date.fromisoformat(waiver.expires) < today:
            lines.append(_line(waiver, f"expired on {waiver.expires} ({waiver.owner}, {waiver.ticket})"))
        else:
            usable.append(waiver)
    return Waivers(tuple(usable), tuple(lines))


def covering(waivers: Iterable[Waiver], check: str, failure: Failure) -> Waiver | None:
    """The waiver for this failure: the one that names its subject before one that matches it."""
    fitting = [waiver for waiver in waivers if _covers(waiver, check, failure)]
    exact = [waiver for waiver in fitting if waiver.subject == failure.subject]
    return next(iter(exact + fitting), None)


def overrun(waivers: Iterable[Waiver], results: Sequence[CheckResult]) -> dict[Waiver, str]:
    """The waivers hit more often than their count, each with its line of trouble."""
    found = {}
    for waiver in waivers:
        hits = [one.failure.subject for result in results for one in result.judged if one.waiver == waiver]
        if len(hits) > waiver.count:
            problem = f"hit {len(hits)} times, more than its count of {waiver.count}: {', '.join(hits)}"
            found[waiver] = _line(waiver, problem)
    return found


def stale(waivers: Iterable[Waiver], results: Sequence[CheckResult]) -> tuple[str, ...]:
    """A line for each waiver that is no longer needed: its check came to a verdict without it."""
    by_check = {result.check.id: result for result in results}
    lines = []
    for waiver in waivers:
        result = by_check.get(waiver.check)
        if result is None or result.status in UNTOLD:
            continue
        if not any(_covers(waiver, waiver.check, one.failure) for one in result.judged):
            problem = f"no longer needed, the check is {result.status} without it: remove it"
            lines.append(_line(waiver, problem))
    return tuple(lines)


def describe(waiver: Waiver) -> str:
    """Who answers for what, until when, in one line."""
    return f"waived until {waiver.expires} by {waiver.owner} ({waiver.ticket}): {waiver.reason}"


def _covers(waiver: Waiver, check: str, failure: Failure) -> bool:
    return waiver.check == check and (waiver.subject == failure.subject or fnmatchcase(failure.subject, waiver.subject))


def _line(waiver: Waiver, problem: str) -> str:
    origin = waiver.origin or "waiver"
    return f"{origin} ({waiver.check}, {waiver.subject}): {problem}"
