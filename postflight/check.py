"""What makes a pytest function a check."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from postflight.cluster.kinds import Kind
from postflight.verdict.record import CheckMeta
from postflight.verdict.status import Severity

F = TypeVar("F", bound=Callable[..., Any])


def check(
    identity: str,
    *,
    severity: Severity,
    finding: str = "",
    kinds: tuple[Kind, ...] = (),
    beside: tuple[str, ...] = (),
    remedy: str,
    blind_spots: str,
) -> Callable[[F], F]:
    """Declare a check under its stable id.

    The function's name is a sentence that is true when the check is green, its docstring says why
    that matters; ``kinds`` are those it reads beyond the model's, ``remedy`` is what helps in general,
    ``blind_spots`` what the check cannot see. ``beside`` are observations that it takes where another check of
    the run asks for them; else it is told ``NotTried``, and the run says so in a note.
    """

    def declare(function: F) -> F:
        meta = CheckMeta(
            id=identity,
            sentence=function.__name__.removeprefix("test_").replace("_", " "),
            why=inspect.getdoc(function) or "",
            severity=severity,
            finding=finding,
            remedy=remedy,
            blind_spots=blind_spots,
            kinds=tuple(kind.name for kind in kinds),
            beside=beside,
        )
        function.__check__ = meta  # type: ignore[attr-defined]
        return function

    return declare


def meta_of(function: object) -> CheckMeta | None:
    meta = getattr(function, "__check__", None)
    return meta if isinstance(meta, CheckMeta) else None
