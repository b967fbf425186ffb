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
    """A verb on a resource, in each namespace in scope ("" as group is the core group). ``also`` is a
    second verb without which the first is worth nothing. ``wide``: the resource belongs to no namespace."""

    verb: str
    resource: str
    group: str = ""
    also: str = ""
    wide: bool = False

    @property
    def verbs(self) -> tuple[str, ...]:
        return (self.verb, self.also) if self.also else (self.verb,)

    def __str__(self) -> str:
        return f"{' and '.join(self.verbs)} {self.resource}"


# Streams are opened by a GET (WebSocket): Kubernetes up to 1.34 asks for the verb get, from 1.35 for
# create as well (feature gate AuthorizePodWebsocketUpgradeCreatePermission).
EXEC = Right("create", "pods/exec", also="get")
FORWARD = Right("create", "pods/portforward", also="get")
MAKE_JOBS = Right("create", "jobs", "batch")
REMOVE_JOBS = Right("delete", "jobs", "batch")


class Unseen(Exception):
    """The probe could not look; the message is one line that says why."""


class BarredBy(StrEnum):
    """What keeps a probe from being tried at all: the run's safety level, a right that is missing, that no check of the
    run asks for it, or that what it would take away stands on something that is not right."""

    SAFETY = "safety"
    RIGHT = "right"
    RUN = "run"
    FOUNDATION = "foundation"


@dataclass(frozen=True, slots=True)
class NotTried:
    """Stands for the observation of a probe that must not be run.

    A check that knows a weaker way takes it (``observation: Seen | NotTried``) and warns of what it
    did not see; any other is absent (safety level), unknown (a right that is missing), or unknown unless what is wrong
    beneath ``parts`` blocks it (foundation).
    """

    reason: str
    barred_by: BarredBy
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Foundation:
    """What must be right before a part is taken away: the checks whose ids begin so, and all that stands beneath these
    ``parts`` in the model."""

    checks: tuple[str, ...]
    parts: Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe as the runner knows it. Without its ``rights`` it is not tried, without those in
    ``helped_by`` it says less. ``reaches`` says that it opens connections to the deployment, for which
    the way that is in use (tunnel) needs its own right."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    rights: tuple[Right, ...]
    limit: float
    safety: Safety
    reaches: bool
    leaves: bool
    helped_by: tuple[Right, ...] = ()
    disrupts: Foundation | None = None

    @property
    def looks(self) -> bool:
        """Whether it belongs to the look phase."""
        return not self.leaves and self.disrupts is None

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
    helped_by: tuple[Right, ...] = (),
    disrupts: Foundation | None = None,
) -> Callable[[F], F]:
    """Declare a probe. ``leaves``: it runs in the leave phase, after clean-up. ``disrupts``: it takes a part away, in the
    disrupt phase, where one runs after the other, each only on a foundation that was seen to be right."""

    def declare(function: F) -> F:
        inputs = tuple(inspect.signature(function).parameters)
        name = function.__name__
        declared = Probe(name, function, inputs, rights, limit, safety, reaches, leaves, helped_by, disrupts)
        function.__probe__ = declared  # type: ignore[attr-defined]
        return function

    return declare
