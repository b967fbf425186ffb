"""The parts that calls need, and the proxy in front of Synapse that leads to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from postflight.deployment.haproxy import Frontend
from postflight.deployment.parts import Endpoint, Pod
from postflight.secrets import Secret


@dataclass(frozen=True, slots=True)
class Proxy:
    """HAProxy in front of Synapse. ``backends`` are the servers of each backend; ``config`` is its text, "" where
    it could not be read."""

    id: str
    namespace: str
    name: str
    pods: tuple[Pod, ...]
    frontends: tuple[Frontend, ...]
    backends: Mapping[str, tuple[Endpoint, ...]]
    config: str

    @property
    def federation(self) -> Frontend | None:
        """The frontend that other servers come to, and the JWT service with them."""
        for each in self.frontends:
            if any(bind.port == 8448 for bind in each.binds) or "federation" in each.name:
                return each
        return next((each for each in self.frontends if each.speaks_of("/_matrix/federation")), None)

    @property
    def client(self) -> Frontend | None:
        """The frontend that clients come to; the same one where there is but one."""
        speaking = [each for each in self.frontends if each.speaks_of("/_matrix/client")]
        return next((each for each in speaking if each != self.federation), next(iter(speaking), None))


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An API key of LiveKit with its secret, as in effect. ``origin`` is where the secret comes from and
    ``origin_changed`` when that was last written; ``stale``: a restart would take another secret."""

    key: str
    secret: Secret
    origin: str
    origin_changed: datetime | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Sfu:
    """LiveKit. ``redis`` is the host and port that its nodes share their rooms through; ``problem`` says why its
    keys are not known. ``node_ip`` is the address that its configuration has it tell clients ("": it finds one), with
    ``node_ip_from``, where that comes from; ``udp`` (first and last) and ``tcp`` are its own ports for media, None where
    it takes none."""

    id: str
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int
    keys: tuple[KeyPair, ...]
    redis: tuple[str, int] | None
    problem: str = ""
    node_ip: str = ""
    node_ip_from: str = ""
    udp: tuple[int, int] | None = None
    tcp: int | None = None

    @property
    def why_unknown_room(self) -> str:
        """Why one of its nodes may not know a room that a token is for."""
        if len(self.pods) > 1 and not self.redis:
            return f"{self.name} has {len(self.pods)} nodes and no Redis that they share their rooms through"
        return "the JWT service opened no room (LIVEKIT_FULL_ACCESS_HOMESERVERS), and LiveKit makes none by itself"


@dataclass(frozen=True, slots=True)
class JwtService:
    """The service that gives Matrix users tokens for LiveKit. ``sfu_url`` is the address of LiveKit that it uses
    and hands to clients; ``problem`` says why its key pair is not known."""

    id: str
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int
    sfu_url: str
    pair: KeyPair | None
    problem: str = ""


def difference(service: JwtService, mine: KeyPair, sfu: Sfu, theirs: KeyPair) -> tuple[str, str]:
    """Why the JWT service's key pair is not LiveKit's, and what makes them equal."""
    if mine.origin == theirs.origin:
        when = f" at {mine.origin_changed:%Y-%m-%d %H:%M:%SZ}" if mine.origin_changed else ""
        late = service.name if mine.stale else sfu.name
        return f"{mine.origin} was changed{when}, and {late} still has the value before", f"restart {late}"
    here, there = mine.origin.removeprefix("Secret "), theirs.origin.removeprefix("Secret ")
    remedy = f"make {here} equal to {there}, then restart {service.name} and {sfu.name}"
    return f"{mine.origin} differs from {theirs.origin}", remedy


@dataclass(frozen=True, slots=True)
class Calls:
    """What calls need. ``announced`` are the addresses of JWT services that some configuration tells clients, by
    where it says so."""

    sfus: tuple[Sfu, ...] = ()
    jwt_services: tuple[JwtService, ...] = ()
    announced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def referred(self) -> bool:
        """Whether anything in the deployment refers to calls."""
        return bool(self.sfus or self.jwt_services or self.announced)


def unlike(calls: Calls) -> list[tuple[JwtService, KeyPair, Sfu, KeyPair]]:
    """The JWT services whose key pair is none that a LiveKit has in effect, as far as they are known, each with the one
    that it should have."""
    found: list[tuple[JwtService, KeyPair, Sfu, KeyPair]] = []
    for service in calls.jwt_services:
        for sfu in calls.sfus if service.pair else ():
            mine, known = service.pair, {each.key: each for each in sfu.keys}
            theirs = known.get(mine.key) or next(iter(sfu.keys), None) if mine else None
            if mine and theirs and (mine.key != theirs.key or mine.secret != theirs.secret):
                found.append((service, mine, sfu, theirs))
    return found
