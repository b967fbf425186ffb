"""Doubts: what was stated of a part while no way led to it, or while it was being replaced, is not known.

A pod that Kubernetes replaces in the middle of a run (a rollout, an autoscaler, a drain) is missed for a moment by whoever
asks for it, and a node that does not answer the API server shuts the verifier out of all its pods: neither is a finding
about the part, and neither is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from postflight.verdict.blame import closure
from postflight.verdict.failure import Failure
from postflight.verdict.record import Statement
from postflight.verdict.status import Nature, Status

#: What is found out by requests or messages that may go through whatever process there is, or by counting them.
BY_ANY_PROCESS = (
    *("federation.", "clients.", "routing.", "media.", "calls.", "li.front_door", "li.replication"),
    *("workers.event_persisters", "workers.stream_writers", "workers.logs", "redis.endpoint"),
)


@dataclass(frozen=True, slots=True)
class Doubts:
    """``no_way`` are the parts that no way led to, ``replaced`` those that Kubernetes took away during the run, each
    with the reason in one line."""

    no_way: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.no_way or self.replaced)


def doubted(
    statements: Sequence[Statement], doubts: Doubts, depends: Mapping[str, Iterable[str]], looked: Set[str]
) -> list[Statement]:
    """The statements, with unknown for what is not to be believed. ``looked`` are the ids of the checks that go by what
    the parts themselves answered; what Kubernetes says of them stands."""
    if not doubts:
        return list(statements)
    known = {*depends, *(beneath for each in depends.values() for beneath in each)}
    return [
        replace(
            each, failures=tuple(_doubted(each.check.id, failure, doubts, depends, known) for failure in each.failures)
        )
        if each.check.id in looked
        else each
        for each in statements
    ]


def _doubted(
    check: str, failure: Failure, doubts: Doubts, depends: Mapping[str, Iterable[str]], known: Set[str]
) -> Failure:
    why = _why(check, failure, doubts, depends, known) if failure.status is Status.FAILED else ""
    if not why:
        return failure
    evidence = (f"as it was seen: {failure.headline}", *failure.evidence)
    return replace(
        failure,
        status=Status.UNKNOWN,
        nature=Nature.UNAVAILABLE,
        headline=why,
        cause="",
        remedy="run it once more",
        evidence=evidence,
        stops=(),
    )


def _why(check: str, failure: Failure, doubts: Doubts, depends: Mapping[str, Iterable[str]], known: Set[str]) -> str:
    named = (failure.subject, *failure.leans_on)
    silent = failure.nature is Nature.UNAVAILABLE
    beneath = closure(named, depends)
    if silent and (hit := _first(beneath, doubts.no_way)):
        return hit
    if hit := _first(beneath.union(failure.stops), doubts.replaced):
        return hit
    # Of whom it is, or by whom it came, nobody can tell.
    anybody = check.startswith(BY_ANY_PROCESS) or known.isdisjoint(named)
    return next(iter(doubts.replaced.values()), "") if anybody else ""


def _first(parts: Iterable[str], of: Mapping[str, str]) -> str:
    return next((of[each] for each in sorted(parts) if each in of), "")
