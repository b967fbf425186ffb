"""Faults of the way between the verifier and who is asked: a connection to the API server that was cut, a pod that the API
server has no way to, one that is gone. What is met by them is silence of the way, and says nothing of the part.

They are noted where the way is held, for whoever runs the probe: in the thread's context (PEP 567), which the threads of
a probe share, as :mod:`postflight.cluster.silences` are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

#: What a person reads where the way was cut.
CUT = "the connection to the API server was cut"
#: Namespace and name.
PodName = tuple[str, str]


@dataclass(slots=True)
class Cuts:
    """``met`` are connections that were cut and could not be made up for, a line each; ``pods`` are those that no way
    led to, each with the reason in one line."""

    met: list[str] = field(default_factory=list)
    pods: dict[PodName, str] = field(default_factory=dict)


_NOTED: ContextVar[Cuts | None] = ContextVar("cuts", default=None)


@contextmanager
def noted() -> Iterator[Cuts]:
    """What of the way fails within the context, in this thread and in those that it makes."""
    cuts = Cuts()
    before = _NOTED.set(cuts)
    try:
        yield cuts
    finally:
        _NOTED.reset(before)


def note(what: str) -> None:
    """A connection was cut, and what it was for is not known."""
    if cuts := _NOTED.get():
        cuts.met.append(what)


def note_pod(namespace: str, pod: str, why: str) -> None:
    """No way leads to a pod; ``why`` is no word of the pod's own."""
    if cuts := _NOTED.get():
        cuts.pods.setdefault((namespace, pod), why)
