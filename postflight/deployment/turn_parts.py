"""TURN servers, and what Synapse tells clients of them, as parts of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from postflight.deployment.address_echo import Echo
from postflight.deployment.parts import Endpoint, Pod
from postflight.secrets import Secret

PORT, TLS_PORT = 3478, 5349
URI = re.compile(
    r"(?P<scheme>turns?):(?P<host>\[[^\]]+\]|[^:?]+)(:(?P<port>\d+))?(\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class TurnUri:
    """An address of a TURN server as clients are told it. ``transport`` is "udp" or "tcp"; ``endpoint`` is where its
    host leads within the cluster, as far as the snapshot tells."""

    text: str
    host: str
    port: int
    transport: str
    tls: bool
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """What Synapse signs credentials with and a TURN server looks them up by, as in effect. ``origin`` is where it comes
    from and ``origin_changed`` when that was last written; ``stale``: a restart would take another."""

    value: Secret
    origin: str
    origin_changed: datetime | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class TurnUse:
    """What one Synapse process tells clients of TURN servers, by its configuration in effect. ``texts`` is turn_uris as
    it stands there, ``uris`` are those of TURN among them; ``fixed``: it gives everybody one user name and password;
    ``hidden`` says why its secret is not known."""

    process: str
    texts: tuple[str, ...]
    uris: tuple[TurnUri, ...]
    secret: SharedSecret | None
    fixed: bool = False
    hidden: str = ""

    @property
    def gives(self) -> bool:
        """Whether clients get anything of it (synapse/rest/client/voip.py, 1.119 and 1.163)."""
        return bool(self.texts) and (self.secret is not None or self.fixed or bool(self.hidden))


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A TURN server in pods. ``secrets`` are those that it takes; ``external`` are the addresses that it calls its relays'
    (external-ip), ``denied`` and ``allowed`` the peers that it does not, or all the same, send to; ``addresses`` are those
    of its pods, of their nodes and of the Services in front of them. ``port`` is where it listens without TLS; ``names``
    are host names of Services' load balancers. ``problem`` says why its configuration is not known."""

    id: str
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int
    secrets: tuple[SharedSecret, ...] = ()
    external: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    echoes: tuple[Echo, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TurnSetup:
    """What relays calls between clients that do not reach each other."""

    servers: tuple[TurnServer, ...] = ()
    uses: tuple[TurnUse, ...] = ()

    @property
    def referred(self) -> bool:
        """Whether anything in the deployment refers to TURN."""
        return bool(self.servers or any(each.texts for each in self.uses))
