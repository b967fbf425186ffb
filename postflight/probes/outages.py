"""What users met while a part was away, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, or one thing that was to arrive. Times are of the monotonic clock; ``said`` is what came instead of
    the right answer, "" for that."""

    began: float
    ended: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """Of one kind of request: the longest time from the moment in which someone asked until someone who asked had the
    right answer, in seconds; ``open``: none came any more. ``failed`` of ``total`` had another answer, or none, the
    first of them ``first``."""

    kind: str
    seconds: float
    failed: int
    total: int
    first: str = ""
    open: bool = False

    @property
    def words(self) -> str:
        time = f"{'more than ' if self.open else ''}{self.seconds:.1f} s"
        return f"{self.kind} {time}" + (f" ({self.failed} of {self.total} failed)" if self.failed else "")


def outage(kind: str, asked: Sequence[Asked], until: float) -> Outage:
    """Made of what one kind of request met, in the order of asking, up to the time ``until``."""
    longest, waiting = 0.0, None
    for each in asked:
        waiting = each.began if waiting is None else waiting
        if not each.said:
            longest, waiting = max(longest, each.ended - waiting), None
    if waiting is not None:
        longest = max(longest, until - waiting)
    failed = [each.said for each in asked if each.said]
    first = next(iter(failed), "")
    return Outage(kind, round(longest, 1), len(failed), len(asked), first, waiting is not None)


def arrivals(sent: Iterable[tuple[int, float]], seen: Sequence[tuple[int, float]]) -> list[Asked]:
    """What became of numbers that were ``sent``, each with the time when that was acknowledged: a number has arrived when
    it, or a later one, is ``seen``."""
    found = []
    for number, at in sent:
        arrived = next((when for shown, when in seen if shown >= number and when >= at), None)
        found.append(Asked(at, arrived if arrived is not None else at, "" if arrived is not None else "not there"))
    return found


@dataclass(frozen=True, slots=True)
class Disruption:
    """A part that was taken away. ``subject`` is its id and ``name`` what people call it; ``what`` says what was done to
    it, "" where it was not because of ``problem``; ``needs`` is what that may be owed to.

    ``seconds`` passed until everything was ready and quiet again; ``unrecovered`` says what was not, in the time that
    there is for it. ``seen`` are facts worth telling, ``wrong`` what was not as it must be afterwards. ``bound`` are the
    seconds that users may go without.
    """

    subject: str
    name: str
    bound: float
    what: str = ""
    problem: str = ""
    needs: tuple[str, ...] = ()
    outages: tuple[Outage, ...] = ()
    seconds: float = 0.0
    unrecovered: str = ""
    seen: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    untested: str = ""

    @property
    def over(self) -> tuple[Outage, ...]:
        """The kinds of request that went without for longer than they may."""
        return tuple(each for each in self.outages if each.seconds > self.bound)


@dataclass(frozen=True, slots=True)
class Disrupted:
    """All parts of a kind, one after the other; ``absent`` says why there is none to take away."""

    parts: tuple[Disruption, ...] = field(default_factory=tuple)
    absent: str = ""
