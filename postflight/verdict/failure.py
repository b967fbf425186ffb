"""One thing that a check has to say about one subject."""

from __future__ import annotations

from dataclasses import dataclass

from postflight.verdict.status import Nature, Status


@dataclass(frozen=True, slots=True)
class Failure:
    """A subject that is not simply right.

    ``status`` is FAILED, WARNED or UNKNOWN when a check states it; blame may turn an unavailable
    FAILED or an UNKNOWN into BLOCKED. ``headline`` is the first line that a person reads and names
    the cause. ``needs`` are the parts whose silence would explain this failure (the subject when
    empty); ``stops`` are the parts that cannot work because of it, empty when it only degrades.
    """

    status: Status
    nature: Nature
    subject: str
    headline: str
    observed: str = ""
    expected: str = ""
    cause: str = ""
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()

    @property
    def leans_on(self) -> tuple[str, ...]:
        return self.needs or (self.subject,)
