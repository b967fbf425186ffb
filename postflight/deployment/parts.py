"""The model: frozen descriptions of what is deployed, and what leans on what.

A part's id is ``kind/namespace/name`` and is what failures name as subject and what blame follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from postflight.secrets import Secret
from postflight.words import several


def pod_id(namespace: str, name: str) -> str:
    return f"pod/{namespace}/{name}"


def workload_id(namespace: str, kind: str, name: str) -> str:
    return f"{kind.lower()}/{namespace}/{name}"


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def missing_id(workload: str) -> str:
    """The pods that a workload should have and has not, as one part."""
    return f"missing/{workload}"


def name_of(part: str) -> str:
    """The name that a person reads: the id without its namespace."""
    kind, _, rest = part.partition("/")
    name = rest.rpartition("/")[2]
    return name if kind == "pod" else f"{kind} {name}"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod as the kubelet reports it. ``memory_limit`` is in bytes; a ``sidecar`` is
    an init container that goes on running; ``started`` is when what runs in it began."""

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
    sidecar: bool = False
    started: datetime | None = None


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
    """A controller and its pods, without those that are ``going`` (deleted, not gone yet). ``maximum``
    is what an autoscaler may make of ``desired``."""

    id: str
    namespace: str
    kind: str
    name: str
    desired: int
    maximum: int
    pods: tuple[Pod, ...]
    images: Mapping[str, str]
    going: tuple[Pod, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Unclear:
    """A container that speaks of a login to PostgreSQL that could not be tried, and why."""

    client: str
    container: str
    why: str


class Side(StrEnum):
    """Which of the two homeservers of a deployment: the one that users meet, or the lawful-intercept one."""

    MAIN = "main"
    LI = "li"


@dataclass(frozen=True, slots=True)
class SynapseProcess:
    """One Synapse process, main or worker.

    ``config`` is the configuration in effect, merged as Synapse merges it (top-level keys of later
    files replace those of earlier ones: synapse/config/_base.py, 1.163); None when it is not known,
    ``config_problem`` says why. ``derived``: it is rendered from the spec, the container could not be asked.
    ``instance`` is the name that other processes call it by. ``next_config`` is what it would have on
    its next start, where what the spec names (ConfigMap, Secret) says another one than it runs on now; None where it
    says the same, or does not tell. ``refreshed`` is when a file of it was last changed under the running process,
    which may hold what stood there before.
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
    next_config: Mapping[str, Any] | None = None
    refreshed: datetime | None = None

    @property
    def status(self) -> Container | None:
        """Its container, where it has a pod."""
        return self.pod.container(self.container) if self.pod else None

    @property
    def runs(self) -> bool:
        """Whether its container runs, ready or not."""
        return self.status is not None and self.status.running

    @property
    def is_up(self) -> bool:
        """Whether its container runs and is ready."""
        return self.status is not None and self.status.running and self.status.ready

    @property
    def started(self) -> datetime | None:
        """When the process began, None where it does not run or nobody says."""
        return self.status.started if self.status and self.status.running else None

    @property
    def name(self) -> str:
        """Its pod's name; its workload's, where there is no pod."""
        return self.pod.name if self.pod else self.workload_name

    @property
    def is_main(self) -> bool:
        return self.app == "synapse.app.homeserver"

    def serves_with(self, other: SynapseProcess) -> bool:
        """Whether both belong to one homeserver, as far as their names are known."""
        named = {self.server_name, other.server_name} - {""}
        return (self.namespace, self.side) == (other.namespace, other.side) and len(named) < 2


def tasks_of(main: SynapseProcess) -> str:
    """The id of what a homeserver does in the background, on whichever process, as a part that others lean on."""
    return f"tasks of {main.id}"


def names_of(processes: Iterable[SynapseProcess]) -> str:
    """Some processes by their names, as a sentence has them: :func:`postflight.words.several`."""
    return several(each.name for each in processes)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Service (or pod name) that a host name leads to. ``pods`` are its ready backends as pod ids
    with the port that each is reached at; ``problem`` says why it leads nowhere. ``single_pod``: the host names one;
    ``pinned`` is the label by which the Service selects one pod for good, ``sole`` the only workload that it selects,
    where that has one pod."""

    host: str
    port: int
    namespace: str
    service: str
    pods: tuple[tuple[Pod, int], ...]
    external: bool = False
    single_pod: bool = False
    problem: str = ""
    pinned: str = ""
    sole: str = ""


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
    tls: bool = False

    @property
    def id(self) -> str:
        return self.pod.id


@dataclass(frozen=True, slots=True)
class RedisGroup:
    """Redis servers that belong together, and the Sentinels that watch them. ``workload`` is theirs."""

    id: str
    namespace: str
    name: str
    expected: int
    nodes: tuple[RedisNode, ...]
    expected_sentinels: int
    sentinels: tuple[RedisNode, ...]
    master_name: str
    workload: str
    missing: str = ""

    @property
    def only_sentinels(self) -> bool:
        """Whether they are of a workload of their own, of which the specs do not tell whom it watches."""
        return not self.master_name


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """The address by which Synapse reaches Redis, and who uses it. ``group`` is "" where only who answers
    there tells it; ``hidden`` says why the password is not known."""

    id: str
    endpoint: Endpoint
    password: Secret | None
    server_name: str
    users: tuple[str, ...]
    group: str
    tls: bool = False
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """A login that something here has for a database, and where it leads; ``origin`` says where its
    password comes from."""

    part: str
    name: str
    login: Login
    endpoint: Endpoint
    origin: str


@dataclass(frozen=True, slots=True)
class Import:
    """A CronJob that brings main's data over to LI. ``every`` is the longest time between two rounds; ``brought`` is when
    the newest round began that ended well, as far as its Jobs are still there, ``trouble`` what became of a newer one that
    did not."""

    name: str
    every: timedelta
    suspended: bool = False
    brought: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class LawfulIntercept:
    """The second homeserver, on a copy of main's data, and what feeds it.

    ``doors`` open its database, ``main_doors`` main's, the most trusted first. ``sync`` are the logins
    by which LI's feed reads main. ``imports`` bring a dump over where no subscription
    does.
    """

    id: str
    namespace: str
    processes: tuple[SynapseProcess, ...]
    mains: tuple[SynapseProcess, ...]
    cluster: PostgresCluster | None
    main_cluster: PostgresCluster | None
    doors: tuple[Door, ...]
    main_doors: tuple[Door, ...]
    sync: tuple[Door, ...]
    imports: tuple[Import, ...]
