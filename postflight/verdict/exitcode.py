"""The exit code of a run, the one number that a pipeline reads."""

from __future__ import annotations

from collections.abc import Sequence

from postflight.verdict.record import CheckResult
from postflight.verdict.status import GREEN, Exit, Status

NOTHING_RIGHT = "nothing passed: a run that saw nothing is red"
WARNED_IS_RED = "warned counts as failed in this run (--fail-on warned)"


def exit_code(results: Sequence[CheckResult], trouble: Sequence[str] = (), fail_on: str = Status.FAILED) -> int:
    """0, 1 or 6 (see :class:`Exit`). ``fail_on`` is ``failed`` or ``warned``."""
    statuses = {result.status for result in results}
    if trouble or Status.FAILED in statuses or (fail_on == Status.WARNED and Status.WARNED in statuses):
        return Exit.FAILED
    if Status.UNKNOWN in statuses:
        return Exit.UNKNOWN
    return Exit.FAILED if statuses.isdisjoint(GREEN) else Exit.GREEN


def unexplained(results: Sequence[CheckResult], trouble: Sequence[str], code: int) -> str:
    """Why a run is red where no failed or unknown check and no trouble says so; else empty."""
    statuses = {result.status for result in results}
    if code == Exit.GREEN or trouble or statuses & {Status.FAILED, Status.UNKNOWN}:
        return ""
    if statuses.isdisjoint(GREEN):
        return NOTHING_RIGHT
    return WARNED_IS_RED if Status.WARNED in statuses else f"the run ended with exit {code}"
