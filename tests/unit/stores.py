"""What the probes would observe of the recorded lab's PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Login, PostgresCluster
from postflight.probes.databases import DatabaseInstance, DatabaseLogins, LoginOutcome, LoginTry, Pool
from postflight.probes.redis import BackendRole
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer
from tests.unit import recorded
from tests.unit.recorded import Json

MIB = 2**20
FACTS = {
    "max_connections": 300,
    "reserved": 3,
    "sessions": 30,
    "databases": {"matrix": "synapse", "key_vault": "key_vault"},
}


def logins(
    model: Deployment, outcome: Callable[[Login], tuple[LoginOutcome, str]] | None = None, **facts: Any
) -> DatabaseLogins:
    """Every login tried; ``outcome`` says what each comes to."""
    tries: dict[Login, LoginTry] = {}
    for use in model.database_uses:
        for login in filter(None, (use.login, use.next_login)):
            what, message = outcome(login) if outcome else (LoginOutcome.ACCEPTED, "")
            seen = {**FACTS, **facts} if what is LoginOutcome.ACCEPTED else {}
            tries[login] = LoginTry(login, what, message, f"{login.host}:{login.port}", seen)
    clusters = {(each.host, each.port): cluster for cluster in model.postgres for each in cluster.endpoints}
    return DatabaseLogins(tries, clusters)


def pools(model: Deployment, size: int = 5, *, reported: bool = True, problem: str = "") -> tuple[Pool, ...]:
    return tuple(Pool(each, size, reported, problem) for each in model.synapse)


def instances(model: Deployment) -> dict[str, tuple[DatabaseInstance, ...]]:
    return {each.id: instances_of(each) for each in model.postgres if each.operator}


def instances_of(cluster: PostgresCluster) -> tuple[DatabaseInstance, ...]:
    common = {"timeline": 1, "wal_bytes": 64 * MIB, "wal_ceiling": 1024 * MIB, "subscriptions": []}
    replicas = [each.name for each in cluster.pods if each != cluster.primary]
    primary = common | {
        "in_recovery": False,
        "receiver": None,
        "received_timeline": None,
        "slots": [slot(f"_cnpg_{name.replace('-', '_')}") for name in replicas],
        "senders": [{"name": name, "state": "streaming", "behind": 0} for name in replicas],
    }
    replica = common | {
        "in_recovery": True,
        "receiver": "streaming",
        "received_timeline": 1,
        "slots": [],
        "senders": [],
    }
    return tuple(DatabaseInstance(pod, primary if pod == cluster.primary else replica) for pod in cluster.pods)


def primary_says(**facts: Any) -> dict[str, tuple[DatabaseInstance, ...]]:
    """The instances of the lab's database, the primary with other facts."""
    cluster = recorded.model().postgres[0]
    primary, replica = instances_of(cluster)
    return {cluster.id: (replace(primary, facts={**primary.facts, **facts}), replica)}


def slot(name: str, *, active: bool = True) -> Json:
    return {"name": name, "type": "physical", "active": active, "wal_status": "reserved", "behind": 3 * MIB}


def nodes(model: Deployment) -> dict[str, RedisObservation]:
    found: dict[str, RedisObservation] = {}
    for group in model.redis:
        master, *others = group.nodes
        counted = {f"slave{n}": {"ip": each.pod.ip, "state": "online"} for n, each in enumerate(others)}
        memory = {"used_memory": 8 * MIB, "maxmemory": 96 * MIB, "maxmemory_policy": "allkeys-lru", "evicted_keys": 0}
        names = {each.server_name: len(each.users) for each in model.redis_endpoints}
        leads = {"master_replid": "a", "run_id": master.id}
        answers = [RedisAnswer(master, "master", memory | counted | leads, names)]
        link = {"master_link_status": "up", "master_replid": "a", "master_host": master.pod.ip, "master_port": 6379}
        answers += [
            RedisAnswer(each, "slave", memory | link | {"run_id": each.id}, dict.fromkeys(names, 0)) for each in others
        ]
        state = {"ip": master.pod.ip, "runid": master.id, "port": 6379, "num-slaves": len(others)}
        state["num-other-sentinels"] = len(group.sentinels) - 1
        watching = tuple(SentinelAnswer(each, state) for each in group.sentinels)
        found[group.id] = RedisObservation(group, tuple(answers), watching)
    return found


def backends(model: Deployment) -> dict[str, tuple[BackendRole, ...]]:
    return {
        each.id: tuple(BackendRole(pod.name, ("master",) * 4, ("run",) * 4) for pod, _ in each.endpoint.pods)
        for each in model.redis_endpoints
    }
