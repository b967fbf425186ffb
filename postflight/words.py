"""How a sentence names many things."""

from __future__ import annotations

from collections.abc import Iterable


def several(names: Iterable[str], shown: int = 1) -> str:
    """Some names in few words: the first ``shown`` and how many more, or all of them where that is but one more.
    Raises ValueError where there is none: a sentence about nobody wants other words."""
    *first, last = names
    if len(first) > shown:
        return f"{', '.join(first[:shown])} and {len(first) + 1 - shown} more"
    return f"{', '.join(first)} and {last}" if first else last
