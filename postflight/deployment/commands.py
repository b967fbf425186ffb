"""The command line of a container, in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def words_of(container: Mapping[str, Any]) -> list[str]:
    """Command and arguments; a shell script given as one argument is split into its own words."""
    words: list[str] = []
    for part in (*(container.get("command") or ()), *(container.get("args") or ())):
        try:
            words += shlex.split(part) if " " in part else [part]
        except ValueError:
            words += part.split()
    return words
