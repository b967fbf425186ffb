"""Redis and Sentinel: what every node says, and whether a write reaches the replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import RedisEndpoint, RedisNode
from postflight.limits import Limit
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.probes.redis_client import Trouble, client, trouble
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer, joined
from postflight.secrets import Secret
from postflight.traces import Traces

if TYPE_CHECKING:
    from redis import Redis

A = TypeVar("A")

#: One fixed key: a run that was killed leaves at most this one, and the next run takes it over.
KEY = "postflight:canary"
KEY_SECONDS = 30
ACKNOWLEDGED_WITHIN = 1000
TRIES = 3
#: Seconds between two looks at how many keys a server has evicted.
APART = 1
#: Of a pod that is ready it says nothing: as much may have come of the verifier's own way.
LATE = "no answer within the time limit"


@probe(limit=Limit.REDIS, reaches=True)
def redis_nodes(deployment: Deployment, access: Access) -> Mapping[str, RedisObservation]:
    """Ask every Redis server and every Sentinel for its own view. By group id."""
    passwords = {each.group: each.password for each in deployment.redis_endpoints}
    channels = tuple(sorted({each.server_name for each in deployment.redis_endpoints if each.server_name}))

    def server(node: RedisNode, password: Secret | None) -> Callable[[], RedisAnswer]:
        return lambda: _ask_server(access, node, password, channels)

    def sentinel(node: RedisNode, master: str, spare: Secret | None) -> Callable[[], tuple[SentinelAnswer, ...]]:
        return lambda: _ask_sentinel(access, node, master, spare)

    works: list[Callable[[], RedisAnswer | tuple[SentinelAnswer, ...]]] = []
    for group in deployment.redis:
        known = passwords.get(group.id)
        spare = next((node.password for node in group.nodes if node.password), known)
        works += [server(node, node.password or known) for node in group.nodes]
        works += [sentinel(node, group.master_name, spare) for node in group.sentinels]
    outcomes = iter(in_threads(works, Limit.REDIS - 1))
    found: dict[str, RedisObservation] = {}
    for group in deployment.redis:
        answers: list[RedisAnswer] = []
        for node in group.nodes:
            outcome = next(outcomes)
            value = None if outcome.exception() else outcome.result()
            answers.append(
                value if isinstance(value, RedisAnswer) else RedisAnswer(node, problem=LATE, unseen=node.pod.ready)
            )
        sentinels: list[SentinelAnswer] = []
        for node in group.sentinels:
            outcome = next(outcomes)
            value = None if outcome.exception() else outcome.result()
            sentinels += (
                value if isinstance(value, tuple) else (SentinelAnswer(node, problem=LATE, unseen=node.pod.ready),)
            )
        found[group.id] = RedisObservation(group, tuple(answers), tuple(sentinels))
    return joined(found)


def _asked(
    access: Access, node: RedisNode, password: Secret | None, spare: Secret | None, ask: Callable[[Redis], A]
) -> A | Trouble:
    """What a server says. Silence is asked once more before it is believed; one that wants a password and has
    none by its own configuration is asked with the ``spare`` one."""
    import redis

    if not node.pod.ip:
        return Trouble(f"{node.pod.name} has no address")
    given, found = password, Trouble("")
    for _ in range(TRIES):
        try:
            with client(access, node, given) as connection:
                return ask(connection)
        except (redis.RedisError, OSError, ApiError) as error:
            found = trouble(error, node)
        if given is not password:
            return replace(found, unseen=True)
        if found.wants_password and spare:
            given = spare
        elif found.refused:
            break
    return found


def _ask_server(access: Access, node: RedisNode, password: Secret | None, channels: tuple[str, ...]) -> RedisAnswer:
    def ask(connection: Redis) -> RedisAnswer:
        role: Any = connection.execute_command("ROLE")
        info: Any = connection.info("everything")
        named = connection.execute_command("PUBSUB", "NUMSUB", *channels) if channels else {}
        evicting = _evicting(connection, info)
        return RedisAnswer(node, _text(role[0]), info, _counts(named), evicting=evicting)

    said = _asked(access, node, password, None, ask)
    if isinstance(said, Trouble):
        return RedisAnswer(node, problem=said.line, refused=said.refused, unseen=said.unseen)
    return said


def _evicting(connection: Redis, info: Mapping[str, Any]) -> int:
    """How many more keys are evicted within a second: the count itself is of all since the start, or CONFIG RESETSTAT."""
    before = int(info.get("evicted_keys", 0))
    if not before:
        return 0
    time.sleep(APART)
    later: Any = connection.info("stats")
    return max(0, int(later.get("evicted_keys", before)) - before)


def _ask_sentinel(access: Access, node: RedisNode, master: str, spare: Secret | None) -> tuple[SentinelAnswer, ...]:
    """Its view of one master; of all that it watches where ``master`` is ""."""

    def ask(connection: Redis) -> tuple[SentinelAnswer, ...]:
        known: Any = {master: connection.sentinel_master(master)} if master else connection.sentinel_masters()
        return tuple(SentinelAnswer(node, state) for state in known.values())

    said = _asked(access, node, node.password, spare, ask)
    if isinstance(said, Trouble):
        return (SentinelAnswer(node, problem=said.line, refused=said.refused, unseen=said.unseen),)
    return said


@dataclass(frozen=True, slots=True)
class WriteProof:
    """A short-lived key written to the master of a group. ``acknowledged`` counts the replicas that
    confirmed it within a second."""

    node: RedisNode
    acknowledged: int
    problem: str = ""
    unseen: bool = False


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
        with client(access, node, password) as connection:
            traces.will_make(f"Redis key {KEY}", lambda: _delete(access, node, password))
            connection.set(KEY, traces.run_id, ex=KEY_SECONDS)
            return WriteProof(node, int(connection.wait(replicas, ACKNOWLEDGED_WITHIN)))
    except (redis.RedisError, OSError, ApiError) as error:
        why = trouble(error, node)
        return WriteProof(node, 0, why.line, unseen=why.unseen)


def _delete(access: Access, node: RedisNode, password: Secret | None) -> None:
    with client(access, node, password) as connection:
        connection.delete(KEY)


@dataclass(frozen=True, slots=True)
class BackendRole:
    """What is behind one backend of the Redis address: the role and run id that each of several
    connections met, "" with ``problem`` when one failed; ``unseen`` when that says nothing of it."""

    pod: str
    roles: tuple[str, ...]
    run_ids: tuple[str, ...]
    problem: str = ""
    unseen: bool = False


#: A proxy takes its servers in turn; a Redis server is itself whoever connects.
CONNECTIONS = 4


@probe(limit=Limit.REDIS, reaches=True)
def redis_backends(deployment: Deployment, access: Access) -> Mapping[str, tuple[BackendRole, ...]]:
    """Connect several times through every backend of the address Synapse uses. By endpoint id."""
    asked = [(each, pod, port) for each in deployment.redis_endpoints for pod, port in each.endpoint.pods]
    servers = {(node.pod.id, node.port) for group in deployment.redis for node in group.nodes}

    def asker(index: int) -> Callable[[], BackendRole]:
        each, pod, port = asked[index]
        times = 1 if (pod.id, port) in servers else CONNECTIONS
        return lambda: _meet(access, each, RedisNode(pod, "", port, each.password, tls=each.tls), times)

    outcomes = in_threads([asker(i) for i in range(len(asked))], Limit.REDIS - 1)
    found: dict[str, tuple[BackendRole, ...]] = {each.id: () for each in deployment.redis_endpoints}
    for (each, pod, _), outcome in zip(asked, outcomes, strict=True):
        late = BackendRole(pod.name, (), (), LATE, unseen=pod.ready)
        found[each.id] = (*found[each.id], late if outcome.exception() else outcome.result())
    return found


def _meet(access: Access, address: RedisEndpoint, node: RedisNode, times: int) -> BackendRole:
    import redis

    roles: list[str] = []
    ids: list[str] = []
    try:
        for _ in range(times):
            with client(access, node, node.password) as connection:
                roles.append(_text(connection.execute_command("ROLE")[0]))
                ids.append(str(connection.info("server").get("run_id", "")))
    except (redis.RedisError, OSError, ApiError) as error:
        why = trouble(error, node)
        # A refusal of the password that Synapse has is a finding, unless that password is not known.
        unseen = why.unseen and (not why.wants_password or bool(address.hidden))
        line = f"{why.line} ({address.hidden})" if address.hidden else why.line
        return BackendRole(node.pod.name, tuple(roles), tuple(ids), line, unseen)
    return BackendRole(node.pod.name, tuple(roles), tuple(ids))


def _counts(named: Any) -> Mapping[str, int]:
    if isinstance(named, dict):
        return {_text(key): int(value) for key, value in named.items()}
    pairs = list(named)
    if pairs and isinstance(pairs[0], (list, tuple)):
        return {_text(key): int(value) for key, value in pairs}
    return {_text(key): int(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
