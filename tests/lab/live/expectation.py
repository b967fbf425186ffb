"""What a run must say about a lab with given defects in it, and nothing beside it."""

from collections.abc import Mapping, Sequence

from lab.defects import Defect
from postflight.verdict.record import Judged
from postflight.verdict.status import Status
from tests.lab.live.verify import Verified


def differences(defects: Sequence[Defect], healthy: Mapping[str, Status], seen: Verified) -> list[str]:
    """A line for everything in which the run differs from the union of what the defects' descriptions expect."""
    failed = {check for each in defects for check in each.failed}
    found = [f"exit {seen.code}, not {int(bool(failed))}"] if seen.code != bool(failed) else []
    if seen.record is None:
        return [*found, "no report was written"]
    found += [f"trouble: {line}" for line in seen.record.trouble]
    expected = _expected(defects, healthy)
    for each in defects:
        for status, checks in ((Status.BLOCKED, each.may_block), (Status.WARNED, each.may_warn)):
            open_to = {check for check in checks if seen.statuses.get(check) is status}
            expected |= dict.fromkeys(open_to - failed, status)
    for check in sorted(expected.keys() | seen.statuses.keys()):
        want, got = expected.get(check), seen.statuses.get(check)
        if want != got:
            found.append(f"{check} is {got or 'not there'}, not {want or 'there'}{_why(seen, check)}")
    for each in defects:
        for check, words in each.failed.items():
            if first := first_of(seen, check, Status.FAILED):
                found += _missing(check, words, first)
            if f"FAILED  {check}  " not in seen.output:
                found.append(f"{check} does not stand in the verdict as FAILED")
    for check, result in seen.results.items():
        if result.status is Status.BLOCKED and not failed.issuperset(result.blocked_by):
            found.append(f"{check} is blocked by {', '.join(result.blocked_by)}, which is not what is broken")
    return found


def first_of(seen: Verified, check: str, status: Status) -> Judged | None:
    """The first thing that a check states with this status."""
    result = seen.results.get(check)
    return next((each for each in result.judged if each.status is status), None) if result else None


def _expected(defects: Sequence[Defect], healthy: Mapping[str, Status]) -> dict[str, Status]:
    expected = dict(healthy)
    # The worst last: a check that one defect blocks and another breaks is failed.
    for each in defects:
        expected |= dict.fromkeys(each.absent, Status.ABSENT)
    for each in defects:
        expected |= dict.fromkeys(each.warned, Status.WARNED)
    for each in defects:
        expected |= dict.fromkeys(each.blocked, Status.BLOCKED)
    for each in defects:
        expected |= dict.fromkeys(each.failed, Status.FAILED)
    return expected


def _missing(check: str, words: Sequence[str], first: Judged) -> list[str]:
    failure = first.failure
    text = "\n".join((failure.headline, failure.cause, failure.observed))
    return [f"{check} does not name {word!r} in its first failure: {text!r}" for word in words if word not in text]


def _why(seen: Verified, check: str) -> str:
    result = seen.results.get(check)
    lines = [f"{each.status}: {each.failure.headline}" for each in result.judged] if result else []
    return f" ({'; '.join(lines)})" if lines else ""
