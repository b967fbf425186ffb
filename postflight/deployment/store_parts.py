"""Object stores that media go to, as parts of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postflight.deployment.parts import Endpoint, Pod, Side
from postflight.secrets import Secret


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair for an object store; ``origin`` says where the secret key comes from, ``hidden`` why there is none."""

    access: str = ""
    secret: Secret | None = None
    token: Secret | None = None
    origin: str = ""
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A bucket, as some processes of one homeserver use it.

    ``local``: uploads go there; ``synchronous``: an upload waits for that. ``workloads`` are those of the pods that
    the address leads to; ``root`` is the key pair that the server itself was started with, where its specs tell.
    """

    id: str
    side: Side
    endpoint: Endpoint
    tls: bool
    bucket: str
    prefix: str
    region: str
    keys: Keys
    local: bool
    synchronous: bool
    users: tuple[str, ...]
    workloads: tuple[str, ...] = ()
    root: Keys | None = None

    @property
    def where(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}"

    def key_of(self, media_id: str) -> str:
        """The key of a file that a user of this server uploaded (synapse/media/filepath.py, 1.163)."""
        return f"{self.prefix}{path_of(media_id)}"


@dataclass(frozen=True, slots=True)
class StoreServers:
    """The MinIO servers that keep one set of drives together.

    ``servers`` are as many as they were made of, whatever runs now; ``drives`` is how many each of them has, 0 where nobody
    says. ``tenant`` is the operator's object, empty without one; ``buckets`` are the ids of the :class:`ObjectStore`
    that lead to them.
    """

    id: str
    namespace: str
    name: str
    workloads: tuple[str, ...]
    pods: tuple[Pod, ...]
    port: int
    tls: bool
    servers: int
    drives: int
    tenant: Mapping[str, Any] = field(default_factory=dict)
    buckets: tuple[str, ...] = ()


def path_of(media_id: str) -> str:
    """Where a file lies within a media store."""
    return f"local_content/{media_id[:2]}/{media_id[2:4]}/{media_id[4:]}"
