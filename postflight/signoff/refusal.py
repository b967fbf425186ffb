"""Why a run is not signed off: a line for each reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from postflight.cluster.kinds import CONFIGURATION, POD
from postflight.cluster.snapshot import Snapshot
from postflight.signoff.standing import standing
from postflight.verdict.record import RunRecord
from postflight.verdict.status import Exit, Nature, Status

READ_ONLY = "read-only"
#: Verdicts that nobody signs.
BAD = (Status.FAILED, Status.UNKNOWN, Status.BLOCKED)


def refusals(record: RunRecord, snapshot: Snapshot | None) -> tuple[str, ...]:
    """All reasons, the run's before those of single checks; empty when it may be signed."""
    return tuple(_reasons(record, snapshot))


def refused(record: RunRecord, release: str, reasons: tuple[str, ...]) -> RunRecord:
    """The record of a run that was to be signed and is not: never exit code 0."""
    lines = tuple(f"sign-off of {release} refused: {reason}" for reason in reasons)
    if record.exit_code:
        return replace(record, notes=(*record.notes, *lines))
    return replace(record, trouble=(*record.trouble, *lines), exit_code=Exit.FAILED)


def _reasons(record: RunRecord, snapshot: Snapshot | None) -> Iterator[str]:
    if record.partial:
        yield f"partial run ({record.partial})"
    if record.scene.safety == READ_ONLY:
        yield "a read-only run does not prove what only a canary can"
    for status in BAD:
        if ids := [each.check.id for each in record.results if each.status is status]:
            yield f"{status.value}: {', '.join(ids)}"
    for result in record.results:
        for judged in result.judged:
            if judged.status is Status.WARNED and judged.failure.nature is Nature.UNPROVEN:
                yield f"{result.check.id} was seen by a weaker way: {judged.failure.headline}"
    if snapshot is None:
        yield "the cluster was not seen"
    else:
        yield from _unsignable(snapshot)
    if record.exit_code and all(each.status not in BAD for each in record.results):
        yield "; ".join(record.trouble) or f"the run ended with exit {record.exit_code}"


def _unsignable(snapshot: Snapshot) -> Iterator[str]:
    if why := snapshot.why_unseen(*CONFIGURATION, POD):
        yield f"the configuration was not wholly seen: {why}"
    for container, images in standing(snapshot).images.items():
        for image in images:
            if not image.digest:
                yield f"{container}: its image id holds no digest ({image.id})"
