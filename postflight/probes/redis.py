"""Redis and Sentinel: what every node says, and whether a write reaches the replicas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.parts import Deployment, RedisGroup, RedisNode
from postflight.limits import Limit
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.secrets import Secret
from postflight.traces import Traces

if TYPE_CHECKING:
    from redis import Redis

A = TypeVar("A", "RedisAnswer", "SentinelAnswer")

#: One fixed key: a run that was killed leaves at most this one, and the next run takes it over.
KEY = "postflight:canary"
KEY_SECONDS = 30
ACKNOWLEDGED_WITHIN = 1000


@dataclass(frozen=True, slots=True)
class RedisAnswer:
    """What one Redis server says. ``problem`` is set, and the rest empty, when it could not be
    asked; ``refused`` when it answered with a refusal. ``subscribers`` counts those of each server
    name's replication channel; ``policy`` and ``maxmemory`` (bytes) are those in effect."""

    node: RedisNode
    role: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    subscribers: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class SentinelAnswer:
    """What one Sentinel says of the master it watches. ``state`` is SENTINEL MASTER's answer."""

    node: RedisNode
    state: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class RedisObservation:
    group: RedisGroup
    answers: tuple[RedisAnswer, ...]
    sentinels: tuple[SentinelAnswer, ...]

    @property
    def masters(self) -> tuple[RedisAnswer, ...]:
        return tuple(each for each in self.answers if each.role == "master")


@probe(limit=Limit.REDIS, reaches=True)
def redis_nodes(deployment: Deployment, access: Access) -> Mapping[str, RedisObservation]:
    """Ask every Redis server and every Sentinel for its own view. By group id."""
    passwords = {each.group: each.password for each in deployment.redis_endpoints}
    channels = tuple(sorted({each.server_name for each in deployment.redis_endpoints if each.server_name}))

    def server(node: RedisNode, password: Secret | None) -> Callable[[], RedisAnswer]:
        return lambda: _confirmed(lambda: _ask_server(access, node, password, channels))

    def sentinel(node: RedisNode, group: RedisGroup) -> Callable[[], SentinelAnswer]:
        return lambda: _confirmed(lambda: _ask_sentinel(access, node, group.master_name))

    works: list[Callable[[], RedisAnswer | SentinelAnswer]] = []
    for group in deployment.redis:
        works += [server(node, node.password or passwords.get(group.id)) for node in group.nodes]
        works += [sentinel(node, group) for node in group.sentinels]
    outcomes = iter(in_threads(works, Limit.REDIS - 1))
    found: dict[str, RedisObservation] = {}
    for group in deployment.redis:
        late = "no answer within the time limit"
        answers: list[RedisAnswer] = []
        for node in group.nodes:
            outcome = next(outcomes)
            value = RedisAnswer(node, problem=late) if outcome.exception() else outcome.result()
            answers.append(value if isinstance(value, RedisAnswer) else RedisAnswer(node, problem=late))
        sentinels: list[SentinelAnswer] = []
        for node in group.sentinels:
            outcome = next(outcomes)
            said = SentinelAnswer(node, problem=late) if outcome.exception() else outcome.result()
            sentinels.append(said if isinstance(said, SentinelAnswer) else SentinelAnswer(node, problem=late))
        found[group.id] = RedisObservation(group, tuple(answers), tuple(sentinels))
    return found


def _confirmed(ask: Callable[[], A]) -> A:
    """An answer; silence is asked once more before it is believed."""
    first = ask()
    return ask() if first.problem and not first.refused else first


def _ask_server(access: Access, node: RedisNode, password: Secret | None, channels: tuple[str, ...]) -> RedisAnswer:
    import redis

    if not node.pod.ip:
        return RedisAnswer(node, problem=f"{node.pod.name} has no address")
    try:
        with client(access, node, node.port, password) as connection:
            role = connection.execute_command("ROLE")
            info = connection.info("everything")
            named = connection.execute_command("PUBSUB", "NUMSUB", *channels) if channels else {}
            config: Any = connection.config_get("maxmemory*")
            return RedisAnswer(node, _text(role[0]), {**info, **config}, _counts(named))
    except (redis.AuthenticationError, redis.ResponseError) as error:
        return RedisAnswer(node, problem=_line(error), refused=True)
    except (redis.RedisError, OSError) as error:
        return RedisAnswer(node, problem=_line(error))


def _ask_sentinel(access: Access, node: RedisNode, master_name: str) -> SentinelAnswer:
    import redis

    if not node.pod.ip:
        return SentinelAnswer(node, problem=f"{node.pod.name} has no address")
    try:
        with client(access, node, node.port, node.password) as connection:
            state: Any = connection.sentinel_master(master_name)
            return SentinelAnswer(node, state)
    except (redis.AuthenticationError, redis.ResponseError) as error:
        return SentinelAnswer(node, problem=_line(error), refused=True)
    except (redis.RedisError, OSError) as error:
        return SentinelAnswer(node, problem=_line(error))


@dataclass(frozen=True, slots=True)
class WriteProof:
    """A short-lived key written to the master of a group. ``acknowledged`` counts the replicas that
    confirmed it within a second."""

    node: RedisNode
    acknowledged: int
    problem: str = ""


@probe(limit=Limit.REDIS, reaches=True, safety=Safety.CANARY)
def redis_write(
    redis_nodes: Mapping[str, RedisObservation],
    deployment: Deployment,
    access: Access,
    traces: Traces,
    turn: Turn,
) -> Mapping[str, WriteProof]:
    """Write one key to each only master and wait for its replicas to acknowledge it. By group id."""
    passwords = {each.group: each.password for each in deployment.redis_endpoints}
    found: dict[str, WriteProof] = {}
    for identity, seen in redis_nodes.items():
        if len(seen.masters) != 1:
            continue
        node = seen.masters[0].node
        found[identity] = _write(
            access, node, node.password or passwords.get(identity), len(seen.group.nodes) - 1, traces
        )
    return found


def _write(access: Access, node: RedisNode, password: Secret | None, replicas: int, traces: Traces) -> WriteProof:
    import redis

    try:
        with client(access, node, node.port, password) as connection:
            traces.will_make(f"Redis key {KEY}", lambda: _delete(access, node, password))
            connection.set(KEY, traces.run_id, ex=KEY_SECONDS)
            return WriteProof(node, int(connection.wait(replicas, ACKNOWLEDGED_WITHIN)))
    except (redis.RedisError, OSError) as error:
        return WriteProof(node, 0, _line(error))


def _delete(access: Access, node: RedisNode, password: Secret | None) -> None:
    with client(access, node, node.port, password) as connection:
        connection.delete(KEY)


@dataclass(frozen=True, slots=True)
class BackendRole:
    """What is behind one backend of the Redis address: the role and run id that each of several
    connections met, "" with ``problem`` when one failed."""

    pod: str
    roles: tuple[str, ...]
    run_ids: tuple[str, ...]
    problem: str = ""


CONNECTIONS = 4


@probe(limit=Limit.REDIS, reaches=True)
def redis_backends(deployment: Deployment, access: Access) -> Mapping[str, tuple[BackendRole, ...]]:
    """Connect several times through every backend of the address Synapse uses. By endpoint id."""
    asked = [(each, pod, port) for each in deployment.redis_endpoints for pod, port in each.endpoint.pods]

    def asker(index: int) -> Callable[[], BackendRole]:
        each, pod, port = asked[index]
        return lambda: _meet(access, RedisNode(pod, "", port, each.password))

    outcomes = in_threads([asker(i) for i in range(len(asked))], Limit.REDIS - 1)
    found: dict[str, tuple[BackendRole, ...]] = {each.id: () for each in deployment.redis_endpoints}
    for (each, pod, _), outcome in zip(asked, outcomes, strict=True):
        late = BackendRole(pod.name, (), (), "no answer within the time limit")
        found[each.id] = (*found[each.id], late if outcome.exception() else outcome.result())
    return found


def _meet(access: Access, node: RedisNode) -> BackendRole:
    import redis

    roles: list[str] = []
    ids: list[str] = []
    try:
        for _ in range(CONNECTIONS):
            with client(access, node, node.port, node.password) as connection:
                roles.append(_text(connection.execute_command("ROLE")[0]))
                ids.append(str(connection.info("server").get("run_id", "")))
    except (redis.RedisError, OSError) as error:
        return BackendRole(node.pod.name, tuple(roles), tuple(ids), _line(error))
    return BackendRole(node.pod.name, tuple(roles), tuple(ids))


@contextmanager
def client(access: Access, node: RedisNode, port: int, password: Secret | None) -> Iterator[Redis]:
    """A connection to a port of a node's pod, closed with the context."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with access.to_pod(node.pod.namespace, node.pod.name, node.pod.ip, port) as (host, local):
        connection = redis.Redis(
            host=host,
            port=local,
            password=password.reveal() if password else None,
            socket_connect_timeout=Limit.CONNECT,
            socket_timeout=Limit.REDIS_COMMAND,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            client_name="postflight",
            protocol=2,
        )
        try:
            yield connection
        finally:
            connection.close()


def _counts(named: Any) -> Mapping[str, int]:
    if isinstance(named, dict):
        return {_text(key): int(value) for key, value in named.items()}
    pairs = list(named)
    if pairs and isinstance(pairs[0], (list, tuple)):
        return {_text(key): int(value) for key, value in pairs}
    return {_text(key): int(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.sub(r"(to|at|from) 127\.0\.0\.1:\d+", "through the tunnel", text)[:200] or type(error).__name__
