"""What must hold of every run that could not look: it is never green, and says why in one clear line."""

from postflight.verdict.status import Status
from tests.lab.live.verify import Verified

#: A person is to read why; none of these says it.
NOT_FOR_PEOPLE = ("Traceback (most recent call last)", "INTERNALERROR", "the verifier's own fault", "crashed")


def must_be_plain(seen: Verified) -> None:
    """No traceback, no crash, and nothing of it left behind."""
    assert not [words for words in NOT_FOR_PEOPLE if words in seen.output], seen.output
    assert seen.left_behind() == []


def must_not_be_green(seen: Verified, line: str, within: float) -> None:
    """Red or unknown in time, with `line` in what it says last, as one of its lines."""
    assert seen.code in (1, 6), seen.output
    assert seen.record is not None, seen.output
    assert Status.PASSED not in seen.statuses.values(), seen.output
    assert " ".join(line.split()) in " ".join(seen.output.split()), seen.output
    assert seen.seconds <= within, f"{seen.seconds:.1f} s\n{seen.output}"
    assert len(seen.record.trouble) <= 1, seen.output
    must_be_plain(seen)
