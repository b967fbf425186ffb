"""The ports of a Synapse process, by its configuration in effect (``listeners`` of main, ``worker_listeners`` of
a worker; an explicit list replaces the default)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from postflight.deployment.parts import SynapseProcess

#: What users and other servers ask for.
PUBLIC = frozenset({"client", "federation", "media", "keys", "openid"})


def port_of(process: SynapseProcess, resource: str) -> int | None:
    """The port over which a process serves a resource (``client``, ``federation``, ``metrics``,
    ``replication``), without TLS; None where it has none."""
    for each in _listeners(process):
        if not each.get("tls") and (each.get("type") == resource or resource in _resources(each)):
            return int(each["port"])
    return None


def _listeners(process: SynapseProcess) -> Iterator[Mapping[str, Any]]:
    """Those with a port: one on a unix socket (``path``) has none, and no tunnel leads there."""
    yield from (each for each in _declared(process) if each.get("port") is not None)


def _declared(process: SynapseProcess) -> list[Mapping[str, Any]]:
    return _mappings((process.config or {}).get("listeners" if process.is_main else "worker_listeners"))


def _mappings(value: object) -> list[Mapping[str, Any]]:
    """What a list has that Synapse could make sense of; it refuses to start with anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _resources(listener: Mapping[str, Any]) -> list[str]:
    names = [piece.get("names") for piece in _mappings(listener.get("resources"))]
    return [str(name) for each in names if isinstance(each, list) for name in each]


def resources_of(process: SynapseProcess) -> frozenset[str]:
    """All that a process serves on any of its listeners, those on unix sockets included."""
    return frozenset(name for each in _declared(process) for name in _resources(each))


def public_doors(process: SynapseProcess) -> tuple[tuple[int, bool], ...]:
    """The ports of :func:`public_ports`, each with whether it speaks TLS."""
    return tuple(
        (int(each["port"]), bool(each.get("tls"))) for each in _listeners(process) if PUBLIC & set(_resources(each))
    )


def public_ports(process: SynapseProcess) -> frozenset[int]:
    """The ports, with TLS or without, on which users or other servers may ask a process; none where its listeners
    are not known."""
    return frozenset(port for port, _ in public_doors(process))


def hides_clients(process: SynapseProcess) -> bool:
    """Whether a process takes whoever connects for the client, whatever a proxy says of it (``x_forwarded`` is off by
    default: synapse/config/server.py, 1.163)."""
    own = [each for each in _listeners(process) if each.get("type", "http") == "http"]
    return any(PUBLIC & set(_resources(each)) and not each.get("x_forwarded") for each in own)
