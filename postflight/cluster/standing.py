"""A place in the deployment from which something may be asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """A container that runs, and reaches what its process does. It has Python."""

    namespace: str
    pod: str
    container: str
