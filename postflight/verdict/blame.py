"""Blame: which failures stand for themselves, and which only follow from one that does.

A wrong answer always stands. Silence is blamed on the first broken thing beneath it, so that one
cause is reported once and whatever it stops is *blocked* by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from postflight.verdict import waivers as waiving
from postflight.verdict.failure import Failure
from postflight.verdict.record import CheckResult, Judged, Statement, Waiver
from postflight.verdict.status import WORST_FIRST, Nature, Status
from postflight.verdict.waivers import Waivers

NOTHING_SEEN = "nothing was looked at"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The results in the order of the statements, and the lines that waivers are red for."""

    results: tuple[CheckResult, ...]
    trouble: tuple[str, ...]


def resolve(
    statements: Sequence[Statement],
    depends: Mapping[str, Iterable[str]],
    waivers: Waivers | None = None,
) -> Verdict:
    """Judge all statements at once.

    ``depends`` leads from each part to the parts it depends on; cycles are allowed. The order of
    statements decides only between failures that lean on the same parts: the earlier one stands.
    """
    active, trouble = (waivers.usable, waivers.trouble) if waivers else ((), ())
    while True:
        results = _judge(statements, depends, active)
        # A waiver that is hit too often covers nothing, and what it no longer covers may block others.
        over = waiving.overrun(active, results)
        if not over:
            return Verdict(results, trouble + waiving.stale(active, results))
        trouble += tuple(over.values())
        active = tuple(waiver for waiver in active if waiver not in over)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One failure on its way to judgement.

    ``beneath`` is all that its silence can be blamed on. ``rank`` sorts the deepest first and, among
    those that lean on the same parts, the earliest: what lies strictly beneath has a smaller set.
    """

    check: str
    failure: Failure
    waiver: Waiver | None
    beneath: frozenset[str]
    rank: tuple[int, tuple[str, ...], int]

    @property
    def may_block(self) -> bool:
        return self.failure.status is Status.FAILED and self.waiver is None

    @property
    def may_be_blocked(self) -> bool:
        return self.failure.status is Status.UNKNOWN or (
            self.failure.status is Status.FAILED and self.failure.nature is Nature.UNAVAILABLE
        )


def _judge(
    statements: Sequence[Statement], depends: Mapping[str, Iterable[str]], waivers: Sequence[Waiver]
) -> tuple[CheckResult, ...]:
    per_statement: list[list[_Case]] = []
    order = itertools.count()
    for statement in statements:
        cases = []
        for failure in _failures(statement):
            beneath = closure(failure.leans_on, depends)
            rank = (len(beneath), tuple(sorted(beneath)), next(order))
            waiver = waiving.covering(waivers, statement.check.id, failure)
            cases.append(_Case(statement.check.id, failure, waiver, beneath, rank))
        per_statement.append(cases)
    blame = _Blame([case for cases in per_statement for case in cases])
    results = [
        _result(statement, [blame.judge(case) for case in cases])
        for statement, cases in zip(statements, per_statement, strict=True)
    ]
    blocked = {result.check.id for result in results if result.status is Status.BLOCKED}
    return tuple(_blocking(result, blocked) for result in results)


def _failures(statement: Statement) -> tuple[Failure, ...]:
    if statement.failures or statement.seen or statement.absence:
        return statement.failures
    id = statement.check.id
    return (Failure(Status.UNKNOWN, Nature.UNAVAILABLE, id, NOTHING_SEEN),)


def closure(parts: Iterable[str], depends: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """These parts and all that they depend on."""
    found: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.add(part)
            waiting.extend(depends.get(part, ()))
    return frozenset(found)


class _Blame:
    """Finds for each case the standing cases that it follows from."""

    def __init__(self, cases: Sequence[_Case]) -> None:
        self._stopping: dict[str, list[_Case]] = {}
        self._roots: dict[_Case, tuple[_Case, ...]] = {}
        self._blocked: dict[_Case, dict[str, None]] = {}
        self._open: set[_Case] = set()
        for case in cases:
            if case.may_block:
                for part in case.failure.stops:
                    self._stopping.setdefault(part, []).append(case)
            if not case.may_be_blocked:
                self._roots[case] = ()
        for case in sorted(cases, key=lambda case: case.rank):
            self._decide(case)
        for case in cases:
            for root in self._roots[case]:
                self._blocked.setdefault(root, {})[case.check] = None

    def judge(self, case: _Case) -> Judged:
        if roots := self._roots[case]:
            blocked_by = tuple(dict.fromkeys(root.check for root in roots))
            return Judged(case.failure, Status.BLOCKED, blocked_by=blocked_by)
        if case.waiver:
            return Judged(case.failure, Status.WAIVED, waiver=case.waiver)
        return Judged(case.failure, case.failure.status, blocks=tuple(self._blocked.get(case, ())))

    def _decide(self, case: _Case) -> None:
        """Decide ``case`` after all that may explain it. In a cycle some explainer is still open: it
        explains nothing, so that at least one case of each cycle stands."""
        if case in self._roots or case in self._open:
            return
        self._open.add(case)
        explainers = self._explainers(case)
        for explainer in explainers:
            self._decide(explainer)
        roots: dict[_Case, None] = {}
        for explainer in explainers:
            if explainer in self._roots:
                roots.update(dict.fromkeys(self._roots[explainer] or (explainer,)))
        self._roots[case] = tuple(sorted(roots, key=lambda root: root.rank[-1]))

    def _explainers(self, case: _Case) -> list[_Case]:
        found = {other for part in case.beneath for other in self._stopping.get(part, ())} - {case}
        return sorted((other for other in found if not self._yields(other, case)), key=lambda other: other.rank)

    @staticmethod
    def _yields(other: _Case, case: _Case) -> bool:
        """Where two explain each other, the deeper one stands, then the earlier one."""
        mutual = case.may_block and not other.beneath.isdisjoint(case.failure.stops)
        return mutual and other.may_be_blocked and case.rank < other.rank


def _result(statement: Statement, judged: Sequence[Judged]) -> CheckResult:
    result = CheckResult(
        check=statement.check,
        status=_worst(statement, {one.status for one in judged}),
        judged=tuple(judged),
        seen=statement.seen,
        seconds=statement.seconds,
    )
    match result.status:
        case Status.ABSENT:
            return replace(result, reason=statement.absence)
        case Status.BLOCKED:
            blocked_by = tuple(dict.fromkeys(id for one in judged for id in one.blocked_by))
            return replace(result, blocked_by=blocked_by, reason=f"blocked by {', '.join(blocked_by)}")
        case Status.WAIVED:
            return replace(result, reason="; ".join(map(waiving.describe, result.waivers)))
    return result


def _blocking(result: CheckResult, blocked: Set[str]) -> CheckResult:
    """A failure is said to block a check only if the check comes to that: it may be failed for more."""
    judged = tuple(replace(one, blocks=tuple(id for id in one.blocks if id in blocked)) for one in result.judged)
    return replace(result, judged=judged)


def _worst(statement: Statement, statuses: Set[Status]) -> Status:
    if not statuses:
        return Status.ABSENT if statement.absence else Status.PASSED
    return next((bad for bad in WORST_FIRST if bad in statuses), Status.WAIVED)
