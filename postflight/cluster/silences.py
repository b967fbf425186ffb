"""Who was asked and said nothing in time. Many probes look at once, and a small cluster that they ask at once keeps some of
them waiting: so silence is noted, wherever it is met, for whoever runs the probe to have it look once more in quiet.

The note is of the thread's context (PEP 567), which the threads of a probe share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

#: Seconds: what was sent last and had no answer for as long was met by silence; a farewell is sent and nobody waits for
#: its answer.
PATIENCE: Final = 2.0


@dataclass(slots=True)
class Silences:
    """What was met by silence, a word each."""

    met: list[str] = field(default_factory=list)


_NOTED: ContextVar[Silences | None] = ContextVar("silences", default=None)


@contextmanager
def noted() -> Iterator[Silences]:
    """What is met by silence within the context, in this thread and in those that it makes."""
    silences = Silences()
    before = _NOTED.set(silences)
    try:
        yield silences
    finally:
        _NOTED.reset(before)


def note(what: str) -> None:
    if silences := _NOTED.get():
        silences.met.append(what)
