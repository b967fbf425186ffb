"""The model: frozen descriptions of what is deployed, and what leans on what.

A part's id is ``kind/namespace/name`` and is what failures name as subject and what blame follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from postflight.secrets import Secret


def pod_id(namespace: str, name: str) -> str:
    return f"pod/{namespace}/{name}"


def workload_id(namespace: str, kind: str, name: str) -> str:
    return f"{kind.lower()}/{namespace}/{name}"


def name_of(part: str) -> str:
    """The name that a person reads: the id without its namespace."""
    kind, _, rest = part.partition("/")
    name = rest.rpartition("/")[2]
    return name if kind == "pod" else f"{kind} {name}"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod as the kubelet reports it. ``limits`` are in bytes and cores."""

    name: str
    image: str
    image_id: str
    ready: bool
    running: bool
    restarts: int
    waiting: str = ""
    message: str = ""
    last_exit: int | None = None
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. ``started`` is when its kubelet took it; ``ready`` is its Ready condition."""

    id: str
    namespace: str
    name: str
    ip: str
    node: str
    phase: str
    ready: bool
    deleting: bool
    started: datetime | None
    labels: Mapping[str, str]
    init: tuple[Container, ...]
    containers: tuple[Container, ...]
    problem: str = ""

    def container(self, name: str) -> Container | None:
        return next((each for each in self.containers if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Workload:
    """A controller and its pods. ``maximum`` is what an autoscaler may make of ``desired``."""

    id: str
    namespace: str
    kind: str
    name: str
    desired: int
    maximum: int
    pods: tuple[Pod, ...]
    images: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Login:
    """Where and as whom a process logs in to PostgreSQL."""

    host: str
    port: int
    database: str
    user: str
    password: Secret

    @property
    def where(self) -> str:
        return f"role {self.user}, database {self.database} at {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """One process's use of PostgreSQL.

    ``login`` is the one in effect in the pod (``derived``: rendered from its spec, because the
    container could not be asked); ``next_login`` is what a restart would take today. ``origin`` says
    where the password comes from, ``origin_changed`` when that was last written.
    """

    client: str
    workload: str
    pod: str
    login: Login
    next_login: Login | None
    origin: str
    origin_changed: datetime | None
    started: datetime | None
    derived: bool
    database_origin: str = "its configuration"
    pool: int | None = None
    keepalives: bool | None = None


class Side(StrEnum):
    """Which of the two homeservers of a deployment: the one that users meet, or the lawful-intercept one."""

    MAIN = "main"
    LI = "li"


@dataclass(frozen=True, slots=True)
class SynapseProcess:
    """One Synapse process, main or worker.

    ``config`` is the configuration in effect, merged as Synapse merges it (top-level keys of later
    files replace those of earlier ones: synapse/config/_base.py, 1.163); None when it is not known,
    ``config_problem`` says why. ``instance`` is the name that other processes call it by.
    """

    id: str
    namespace: str
    workload: str
    workload_name: str
    pod: Pod | None
    container: str
    app: str
    instance: str
    server_name: str
    config: Mapping[str, Any] | None
    derived: bool
    config_problem: str = ""
    side: Side = Side.MAIN

    @property
    def is_main(self) -> bool:
        return self.app == "synapse.app.homeserver"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Service (or pod name) that a host name leads to. ``pods`` are its ready backends as pod ids
    with the port that each is reached at; ``problem`` says why it leads nowhere."""

    host: str
    port: int
    namespace: str
    service: str
    pods: tuple[tuple[Pod, int], ...]
    external: bool = False
    single_pod: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """A PostgreSQL that something here uses or that an operator runs here.

    ``operator`` is "cnpg", "" for one without; ``missing`` says what is named and not there.
    ``raw`` is the Cluster object; ``endpoints`` are the host names by which it is used.
    """

    id: str
    namespace: str
    name: str
    operator: str
    instances: int
    pods: tuple[Pod, ...]
    primary: Pod | None
    endpoints: tuple[Endpoint, ...]
    raw: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class RedisNode:
    """One Redis server, or one Sentinel, in a pod."""

    pod: Pod
    container: str
    port: int
    password: Secret | None
    memory_limit: int | None = None

    @property
    def id(self) -> str:
        return self.pod.id


@dataclass(frozen=True, slots=True)
class RedisGroup:
    """Redis servers that belong together, and the Sentinels that watch them."""

    id: str
    namespace: str
    name: str
    expected: int
    nodes: tuple[RedisNode, ...]
    expected_sentinels: int
    sentinels: tuple[RedisNode, ...]
    master_name: str
    missing: str = ""


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """The address by which Synapse reaches Redis, and who uses it."""

    id: str
    endpoint: Endpoint
    password: Secret | None
    server_name: str
    users: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """All of it. ``depends`` maps a part to the parts that it cannot work without."""

    namespaces: tuple[str, ...]
    workloads: tuple[Workload, ...]
    pods: Mapping[str, Pod]
    synapse: tuple[SynapseProcess, ...]
    database_uses: tuple[DatabaseUse, ...]
    postgres: tuple[PostgresCluster, ...]
    redis: tuple[RedisGroup, ...]
    redis_endpoints: tuple[RedisEndpoint, ...]
    depends: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def unread(self) -> tuple[SynapseProcess, ...]:
        """The processes whose configuration is not known, so that nothing is known of what they use."""
        return tuple(each for each in self.synapse if each.config is None)
