"""Every time limit of the verifier, in seconds, in one table.

A limit is named after what waits; a probe names the one that holds for it, and nothing that touches
a network runs without one.
"""

from __future__ import annotations

from typing import Final


class Limit:
    """Seconds, by what waits."""

    CONNECT: Final = 6.0
    """One TCP or TLS connection, to the API server or through a tunnel."""
    REQUEST: Final = 8.0
    """One request to the API server."""
    EXEC: Final = 10.0
    """One command in a pod."""
    FILES: Final = 12.0
    """Reading configuration in all pods."""
    KUBERNETES: Final = 10.0
    """A probe that asks the API server only."""
    SQL: Final = 5.0
    """One SQL statement."""
    DATABASE: Final = 15.0
    """A probe of PostgreSQL."""
    REDIS_COMMAND: Final = 5.0
    """One Redis command."""
    REDIS: Final = 14.0
    """A probe of Redis."""
    HTTP: Final = 8.0
    """One HTTP request to a service."""
    INSIDE: Final = 15.0
    """A probe from within a pod of the deployment."""
    PROBE_POD: Final = 45.0
    """A probe pod from its creation to its last answer."""
    LEASE: Final = 60.0
    """Waiting for another run on the same namespace to end."""
    CLEAN_UP: Final = 30.0
    """Removing what a run made, and proving that it is gone."""
