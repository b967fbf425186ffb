"""What a probe is: a function whose parameters are model parts or other probes' observations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Safety(StrEnum):
    """What a run may do to the deployment; each level includes those before it."""

    READ_ONLY = "read-only"
    CANARY = "canary"
    DISRUPTIVE = "disruptive"

    def allows(self, other: Safety) -> bool:
        levels = list(Safety)
        return levels.index(other) <= levels.index(self)


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, in each namespace in scope ("" as group is the core group)."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


EXEC = Right("create", "pods/exec")
FORWARD = Right("create", "pods/portforward")
MAKE_JOBS = Right("create", "jobs", "batch")


class Unseen(Exception):
    """The probe could not look; the message is one line that says why."""


class Refusal(StrEnum):
    """Why a probe was not even tried."""

    SAFETY = "safety"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class NotTried:
    """Stands for the observation of a probe that must not be run.

    A check that knows a weaker way takes it (``observation: Seen | NotTried``) and warns of what it
    did not see; any other is absent (safety level) or unknown (a right that is missing).
    """

    reason: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe as the runner knows it. ``reaches`` says that it opens connections to the deployment,
    for which the way that is in use (tunnel) needs its own right."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    rights: tuple[Right, ...]
    limit: float
    safety: Safety
    reaches: bool
    leaves: bool

    @property
    def sentence(self) -> str:
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def probe(
    *,
    limit: float,
    rights: tuple[Right, ...] = (),
    safety: Safety = Safety.READ_ONLY,
    reaches: bool = False,
    leaves: bool = False,
) -> Callable[[F], F]:
    """Declare a probe. ``leaves``: it runs in the leave phase, after clean-up."""

    def declare(function: F) -> F:
        inputs = tuple(inspect.signature(function).parameters)
        name = function.__name__
        declared = Probe(name, function, inputs, rights, limit, safety, reaches, leaves)
        function.__probe__ = declared  # type: ignore[attr-defined]
        return function

    return declare
