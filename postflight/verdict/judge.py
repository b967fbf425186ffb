"""The pen of a check: it states everything that is wrong with its subject in one go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from postflight.verdict.failure import Failure
from postflight.verdict.status import Nature, Status


class Details(TypedDict, total=False):
    """The optional parts of a failure, see :class:`Failure`."""

    observed: str
    expected: str
    cause: str
    remedy: str
    evidence: tuple[str, ...]
    needs: tuple[str, ...]
    stops: tuple[str, ...]


@dataclass(slots=True)
class Judge:
    """Collects what one check has to say.

    A check that saw nothing, failed nothing and gave no reason to be absent is *unknown*: green is
    kept for what was looked at.
    """

    seen: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    absence: str = ""

    def saw(self, *subjects: str) -> None:
        """Say that these subjects were looked at and found right, unless a failure names them too."""
        self.seen.extend(subjects)

    def wrong(self, subject: str, headline: str, **details: Unpack[Details]) -> None:
        """A living part contradicts what must hold."""
        self.failures.append(Failure(Status.FAILED, Nature.WRONG, subject, headline, **details))

    def unavailable(self, subject: str, headline: str, **details: Unpack[Details]) -> None:
        """A part that must answer is down, unreachable or was never ready."""
        self.failures.append(Failure(Status.FAILED, Nature.UNAVAILABLE, subject, headline, **details))

    def warn(self, subject: str, headline: str, **details: Unpack[Details]) -> None:
        """It holds, with a limit worth knowing."""
        self.failures.append(Failure(Status.WARNED, Nature.WRONG, subject, headline, **details))

    def unproven(self, subject: str, headline: str, **details: Unpack[Details]) -> None:
        """It holds as far as a weaker way shows; the headline says what was not seen. Warned of, never signed."""
        self.failures.append(Failure(Status.WARNED, Nature.UNPROVEN, subject, headline, **details))

    def unknown(self, subject: str, headline: str, **details: Unpack[Details]) -> None:
        """The check tried and could not look."""
        self.failures.append(Failure(Status.UNKNOWN, Nature.UNAVAILABLE, subject, headline, **details))

    def absent(self, reason: str) -> None:
        """The part is no part of this deployment; the reason lies outside the cluster's silence."""
        self.absence = reason
