"""What a check can come to, and how bad each outcome is."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The verdict on one check, or on one subject within it."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    WAIVED = "waived"
    ABSENT = "absent"


#: A check with several failures takes the worst of them.
WORST_FIRST = (Status.FAILED, Status.UNKNOWN, Status.BLOCKED, Status.WARNED)

#: The verdicts that say that something was seen.
GREEN = frozenset({Status.PASSED, Status.WARNED})


class Severity(StrEnum):
    """What a failure of the check costs the deployment's users."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"


class Nature(StrEnum):
    """Whether a part gave a wrong answer, or none at all, or was seen by a weaker way only.

    A wrong answer is a finding of its own; silence is blamed on the first broken thing beneath it;
    what is unproven is warned of, and never signed.
    """

    WRONG = "wrong"
    UNAVAILABLE = "unavailable"
    UNPROVEN = "unproven"


class Exit:
    """Exit codes of a run. 0, 1 and 6 are the verdict's; the others are pytest's own."""

    GREEN = 0
    FAILED = 1
    USAGE = 4
    UNKNOWN = 6
