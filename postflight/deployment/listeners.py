"""The ports of a Synapse process, by its configuration in effect (``listeners`` of main, ``worker_listeners`` of
a worker; an explicit list replaces the default)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from postflight.deployment.parts import SynapseProcess


def port_of(process: SynapseProcess, resource: str) -> int | None:
    """The port over which a process serves a resource (``client``, ``federation``, ``metrics``,
    ``replication``), without TLS; None where it has none. A listener on a unix socket (``path``) has no port: no
    tunnel leads there."""
    config = process.config or {}
    listeners: Sequence[Any] = config.get("listeners" if process.is_main else "worker_listeners") or ()
    for each in listeners:
        if not isinstance(each, dict) or each.get("tls") or each.get("port") is None:
            continue
        names = [name for piece in each.get("resources") or () for name in piece.get("names") or ()]
        if each.get("type") == resource or resource in names:
            return int(each["port"])
    return None
