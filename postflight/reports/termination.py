"""The run in one line, for a container's termination message: the first cause, or that all is right."""

from __future__ import annotations

from postflight.reports import console
from postflight.verdict.exitcode import unexplained
from postflight.verdict.record import RunRecord
from postflight.verdict.status import Status

#: What a kubelet keeps of a message, in bytes.
LONGEST = 4096


def render(record: RunRecord) -> str:
    return _line(record).encode()[:LONGEST].decode(errors="ignore")


def _line(record: RunRecord) -> str:
    for status in (Status.FAILED, Status.UNKNOWN):
        for result, (first, *_) in console.groups(record.results, status):
            cause = f": {first.failure.cause}" if first.failure.cause else ""
            return f"{status.value.upper()} {result.check.id}: {first.failure.headline}{cause}"
    if record.trouble:
        return f"TROUBLE {record.trouble[0]}"
    if why := unexplained(record.results, record.trouble, record.exit_code):
        return f"RED {why}"
    counts = {status: sum(result.status is status for result in record.results) for status in console.TALLY}
    return ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
