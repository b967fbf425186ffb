"""What the disrupt phase goes by: a part is taken away only where all that it stands on was seen to be right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from postflight.deployment.model import Deployment
from postflight.probes.probe import BarredBy, Foundation, NotTried
from postflight.verdict.failure import Failure
from postflight.verdict.record import Statement
from postflight.verdict.status import Status

#: What users' requests come by, whichever part is taken away.
ALWAYS = ("platform.workloads", "clients.journey")
BAD = (Status.FAILED, Status.UNKNOWN)


def beneath(model: Deployment, parts: Iterable[str]) -> frozenset[str]:
    """These parts, and everything that they cannot work without."""
    found: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.add(part)
            waiting.extend(model.depends.get(part, ()))
    return frozenset(found)


def in_the_way(foundation: Foundation, model: Deployment, said: Sequence[Statement]) -> NotTried | None:
    """Why a part must not be taken away, None where nothing is in the way. A waiver makes nothing right, and what no check
    was asked about is not known to be."""
    parts = foundation.parts(model)
    ground = beneath(model, parts)
    for statement in said:
        named = statement.check.id.startswith((*ALWAYS, *foundation.checks))
        for failure in statement.failures:
            if failure.status in BAD and (named or _touches(failure) & ground):
                line = f"refused: {statement.check.id} is {failure.status}, and this stands on it: {failure.headline}"
                return NotTried(line, BarredBy.FOUNDATION, (*parts, *failure.leans_on, *failure.stops))
    ids = {each.check.id for each in said}
    for wanted in (*ALWAYS, *foundation.checks):
        if not any(id.startswith(wanted) for id in ids):
            return NotTried(
                f"refused: nothing was said by {wanted.rstrip('.')}, and this stands on it", BarredBy.FOUNDATION
            )
    return None


def _touches(failure: Failure) -> set[str]:
    return {failure.subject, *failure.needs, *failure.stops}
