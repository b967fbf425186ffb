"""What must hold of every run that could not look: it is never green, and says why in one clear line."""

from collections.abc import Mapping

from postflight.verdict.status import Nature, Status
from tests.lab.live.verify import Verified

#: A person is to read why; none of these says it.
NOT_FOR_PEOPLE = ("Traceback (most recent call last)", "INTERNALERROR", "the verifier's own fault", "crashed")

#: What trouble says that is the way's own.
NOT_REMOVED = "could not be removed"
OF_THE_WAY = ("API server", NOT_REMOVED)


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


def must_be_right_or_unknown(seen: Verified, healthy: Mapping[str, Status]) -> None:
    """Of a lab in which nothing is broken, seen in trouble: nothing is said to be wrong or absent that is not, and what
    was seen by a weaker way only is said to be so."""
    assert seen.record is not None, seen.output
    left = any(NOT_REMOVED in each for each in seen.record.trouble)
    false = [
        f"{check} is {each.status}: {each.failure.headline}"
        for check, result in seen.results.items()
        for each in result.judged
        # What could not be removed is left behind indeed.
        if not (left and check == "leftovers")
        if each.status is Status.FAILED or (each.status is Status.WARNED and each.failure.nature is not Nature.UNPROVEN)
    ]
    false += [
        f"{check} is absent: {seen.results[check].reason}"
        for check, status in seen.statuses.items()
        if status is Status.ABSENT and healthy[check] is not Status.ABSENT
    ]
    assert not false, "\n".join([*false, "", seen.output])
    # Red at most for what could not be done over that way: a clean-up, the run itself.
    strange = [each for each in seen.record.trouble if not any(words in each for words in OF_THE_WAY)]
    assert not strange, seen.output
    assert seen.code in ((0, 6, 1) if seen.record.trouble else (0, 6)), seen.output
    must_be_plain(seen)
