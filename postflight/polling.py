"""The one way to wait for a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

T = TypeVar("T")


class NotYet(Exception):
    """The condition does not hold yet; the message says why."""


class TimedOut(Exception):
    """The condition never held within its limit; the message is the last reason why."""


def wait_for(condition: Callable[[], T], *, limit: float, every: float = 0.1) -> T:
    """Call ``condition`` until it returns instead of raising :class:`NotYet`.

    Waits ``every`` seconds between tries. Raises :class:`TimedOut` after ``limit`` seconds.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(NotYet),
        stop=tenacity.stop_after_delay(limit),
        wait=tenacity.wait_fixed(every),
        reraise=True,
    )
    try:
        return retrying(condition)
    except NotYet as reason:
        raise TimedOut(f"{reason} (waited {limit:g} s)") from reason
