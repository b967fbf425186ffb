"""Every check, given what its probes would observe: the healthy lab, then each kind of fault alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from checks import test_leftovers
from checks.database import test_connections, test_login, test_names, test_replication
from checks.platform import test_operators, test_references, test_workloads
from checks.redis import test_endpoint, test_memory
from checks.redis import test_replication as test_redis
from postflight.check import meta_of
from postflight.cluster.kinds import CONFIG_MAP, DEPLOYMENT
from postflight.deployment.parts import Deployment, Login, PostgresCluster
from postflight.probes.databases import DatabaseInstance, DatabaseLogins, LoginOutcome, LoginTry, Pool
from postflight.probes.inside import InsideConnection, InsideView
from postflight.probes.own import Left
from postflight.probes.probe import NotTried, Refusal
from postflight.probes.redis import BackendRole, RedisAnswer, RedisObservation, SentinelAnswer, WriteProof
from postflight.secrets import Secret
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.recorded import Json, item, items
from tests.unit.worlds import NO_SECRETS, deployment, snapshot

MODULES = (
    test_leftovers,
    test_connections,
    test_login,
    test_names,
    test_replication,
    test_operators,
    test_references,
    test_workloads,
    test_endpoint,
    test_memory,
    test_redis,
)
CHECKS: Mapping[str, Callable[..., None]] = {
    meta.id: each for module in MODULES for each in vars(module).values() if (meta := meta_of(each))
}
MIB = 2**20
NOT_ALLOWED = NotTried("no right: create pods/exec in namespace matrix", Refusal.RIGHT)
READ_ONLY = NotTried("needs --safety canary", Refusal.SAFETY)
FACTS = {
    "max_connections": 300,
    "reserved": 3,
    "sessions": 30,
    "databases": {"matrix": "synapse", "key_vault": "key_vault"},
}


# What the probes would observe of a model -----------------------------------------------------------


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
    common = {"timeline": 1, "wal_bytes": 64 * MIB, "wal_ceiling": 1024 * MIB}
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


def slot(name: str, *, active: bool = True) -> Json:
    return {"name": name, "type": "physical", "active": active, "wal_status": "reserved", "behind": 3 * MIB}


def nodes(model: Deployment) -> dict[str, RedisObservation]:
    found: dict[str, RedisObservation] = {}
    for group in model.redis:
        master, *others = group.nodes
        counted = {f"slave{n}": {"ip": each.pod.ip, "state": "online"} for n, each in enumerate(others)}
        memory = {"used_memory": 8 * MIB, "maxmemory": 96 * MIB, "maxmemory-policy": "allkeys-lru", "evicted_keys": 0}
        names = {each.server_name: len(each.users) for each in model.redis_endpoints}
        answers = [RedisAnswer(master, "master", memory | counted | {"master_replid": "a"}, names)]
        link = {"master_link_status": "up", "master_replid": "a", "master_host": master.pod.ip, "master_port": 6379}
        answers += [RedisAnswer(each, "slave", memory | link, dict.fromkeys(names, 0)) for each in others]
        state = {"ip": master.pod.ip, "port": 6379, "num-slaves": len(others)}
        state["num-other-sentinels"] = len(group.sentinels) - 1
        watching = tuple(SentinelAnswer(each, state) for each in group.sentinels)
        found[group.id] = RedisObservation(group, tuple(answers), watching)
    return found


def backends(model: Deployment) -> dict[str, tuple[BackendRole, ...]]:
    return {
        each.id: tuple(BackendRole(pod.name, ("master",) * 4, ("run",) * 4) for pod, _ in each.endpoint.pods)
        for each in model.redis_endpoints
    }


def inside(model: Deployment, problem: str = "", role: str = "master") -> InsideView:
    """From main's pod, to its database and to Redis."""
    main = next(each for each in model.synapse if each.is_main)
    use = next(each for each in model.database_uses if each.client == main.id)
    address = model.redis_endpoints[0].endpoint
    pod = main.pod.name if main.pod else ""
    return InsideView(
        (
            InsideConnection(main, pod, use.login.host, 5432, () if problem else ("connected",), problem),
            InsideConnection(main, pod, address.host, address.port, () if problem else (role,) * 6, problem),
        ),
        {},
    )


def observed(lab: recorded.Recording | None = None, files: Any = None) -> dict[str, Any]:
    """Everything that a check may ask for, as of a lab where every probe finds what it should."""
    lab = lab or recorded.healthy()
    model = recorded.model() if lab is recorded.healthy() and files is None else lab.deployment(files=files)
    return {
        "snapshot": lab.snapshot,
        "secrets": lab.secrets,
        "deployment": model,
        "database_logins": logins(model),
        "database_pools": pools(model),
        "database_instances": instances(model),
        "redis_nodes": nodes(model),
        "redis_backends": backends(model),
        "redis_write": {each.id: WriteProof(each.nodes[0], len(each.nodes) - 1) for each in model.redis if each.nodes},
        "inside_connections": inside(model),
        "probe_pod_connections": InsideView((), {}),
        "last_words": {},
        "leftovers": (),
    }


def ask(id: str, lab: recorded.Recording | None = None, **others: Any) -> Judge:
    """What a check says of a lab, with some of the observations replaced."""
    pen, given = Judge(), observed(lab) | others
    function = CHECKS[id]
    function(**{name: given[name] for name in inspect.signature(function).parameters if name != "judge"}, judge=pen)
    return pen


def only(pen: Judge, status: Status = Status.FAILED) -> Failure:
    """The one thing that a check has to say."""
    assert [(each.status, each.headline) for each in pen.failures] == [(status, pen.failures[0].headline)]
    return pen.failures[0]


MODEL = recorded.model()
CLUSTER = MODEL.postgres[0]
GROUP = MODEL.redis[0]
ADDRESS = MODEL.redis_endpoints[0]


@pytest.mark.parametrize("id", CHECKS)
def test_the_healthy_lab_keeps_it_green(id: str) -> None:
    pen = ask(id)
    assert pen.failures == []
    assert pen.seen
    assert pen.absence == ""


@pytest.mark.parametrize("id", [id for id in CHECKS if id.startswith(("database.", "redis."))])
def test_a_deployment_without_the_part_has_a_reason_to_be_absent(id: str) -> None:
    model = deployment(snapshot())
    others = observed() | {
        "deployment": model,
        "database_logins": logins(model),
        "database_pools": (),
        "database_instances": {},
        "redis_nodes": {},
        "redis_backends": {},
        "redis_write": {},
        "inside_connections": InsideView((), {}),
        "secrets": NO_SECRETS,
    }
    pen = ask(id, None, **others)
    assert (pen.failures, pen.seen) == ([], [])
    assert pen.absence


def test_without_cloudnativepg_and_anyone_who_names_it_its_operator_is_absent() -> None:
    pen = ask("platform.operators", deployment=deployment(snapshot()), snapshot=snapshot(served=False))
    assert pen.absence.startswith("nothing here is named as CloudNativePG names it")


def by_role(user: str, outcome: LoginOutcome, message: str = "said so") -> Callable[[Login], tuple[LoginOutcome, str]]:
    return lambda login: (outcome, message) if login.user == user else (LoginOutcome.ACCEPTED, "")


class TestDatabaseLogin:
    @pytest.mark.parametrize(
        ("outcome", "said"),
        [
            (LoginOutcome.PASSWORD, "password rejected"),
            (LoginOutcome.NO_ROLE, "role may not log in"),
            (LoginOutcome.NOT_ALLOWED, "refused by pg_hba.conf"),
            (LoginOutcome.NO_SCRAM, "not asked for SCRAM"),
        ],
    )
    def test_a_login_that_is_refused_stops_its_process(self, outcome: LoginOutcome, said: str) -> None:
        found = only(ask("database.login", database_logins=logins(MODEL, by_role("key_vault", outcome))))
        assert found.headline == f"key-vault cannot log in to matrix-postgresql-rw: {said}"
        assert found.nature is Nature.WRONG
        assert any(part.startswith("pod/matrix/key-vault-") for part in found.stops)
        assert "deployment/matrix/key-vault" in found.stops

    def test_main_comes_first_of_all_that_share_a_password(self) -> None:
        def outcome(login: Login) -> tuple[LoginOutcome, str]:
            pod = login.user == "synapse" and login.host.endswith("cluster.local")
            return (LoginOutcome.PASSWORD, "password authentication failed") if pod else (LoginOutcome.ACCEPTED, "")

        found = only(ask("database.login", database_logins=logins(MODEL, outcome)))
        assert found.headline == "synapse-main and 9 more cannot log in to matrix-postgresql-rw: password rejected"
        assert "as each of 15 processes would log in" in found.observed
        assert found.cause.startswith(
            "Secret synapse-secrets/DB_PASSWORD differs from Secret matrix-postgresql-app/password"
        )
        assert "take the password over into synapse-secrets/DB_PASSWORD" in found.remedy

    def test_a_secret_changed_since_is_told_from_a_wrong_one(self) -> None:
        lab = recorded.changed(new_password)
        model = lab.deployment()

        def only_new(login: Login) -> tuple[LoginOutcome, str]:
            new = login.user != "synapse" or login.password == Secret("another-password")
            return (LoginOutcome.ACCEPTED, "") if new else (LoginOutcome.PASSWORD, "failed")

        found = ask("database.login", lab, database_logins=logins(model, only_new)).failures[0]
        assert "Secret synapse-secrets/DB_PASSWORD was changed at 2026-" in found.cause
        assert "started with the value before" in found.cause
        assert found.remedy == "restart synapse-main and 9 more"

    def test_a_secret_that_a_restart_would_fail_on_is_said_before_it(self) -> None:
        lab = recorded.changed(new_password)
        model = lab.deployment()

        def only_old(login: Login) -> tuple[LoginOutcome, str]:
            new = login.password == Secret("another-password")
            return (LoginOutcome.PASSWORD, "failed") if new else (LoginOutcome.ACCEPTED, "")

        found = only(ask("database.login", lab, database_logins=logins(model, only_old)))
        assert found.headline.startswith("synapse-main and 9 more will not log in after the next restart: ")
        assert found.stops == ()

    def test_a_server_that_does_not_answer_is_silence_of_the_server(self) -> None:
        refused = by_role("key_vault", LoginOutcome.UNREACHABLE, "connection refused")
        found = only(ask("database.login", database_logins=logins(MODEL, refused)))
        assert found.headline == "matrix-postgresql-rw does not take logins: connection refused"
        assert (found.nature, found.subject, found.stops) == (Nature.UNAVAILABLE, CLUSTER.id, (CLUSTER.id,))

    def test_a_server_whose_pods_are_ready_and_that_is_silent_is_unknown(self) -> None:
        late = by_role("key_vault", LoginOutcome.TIMED_OUT, "timeout expired")
        found = only(ask("database.login", database_logins=logins(MODEL, late)), Status.UNKNOWN)
        assert found.headline.startswith("matrix-postgresql-rw did not answer in time, though its pods are Ready")

    def test_a_database_that_is_missing_is_anothers_to_say(self) -> None:
        found = only(
            ask("database.login", database_logins=logins(MODEL, by_role("key_vault", LoginOutcome.NO_DATABASE)))
        )
        assert found.nature is Nature.UNAVAILABLE

    def test_one_outside_that_no_tunnel_leads_to_is_unknown(self) -> None:
        pen = ask("database.login", database_logins=logins(MODEL, by_role("key_vault", LoginOutcome.OUTSIDE)))
        assert only(pen, Status.UNKNOWN).headline.endswith("no tunnel leads there (--access direct)")

    def test_a_secret_that_could_not_be_read_is_unknown(self) -> None:
        hidden = replace(recorded.healthy().secrets, unseen={("matrix", "other"): "no right"})
        found = only(ask("database.login", secrets=hidden), Status.UNKNOWN)
        assert found.headline == "logins that Secret other holds could not be tried: no right"

    def test_the_way_by_name_is_warned_of_where_it_was_not_tried(self) -> None:
        found = only(ask("database.login", inside_connections=NOT_ALLOWED), Status.WARNED)
        assert found.headline == f"whether the processes reach the database by name was not seen: {NOT_ALLOWED.reason}"

    def test_a_process_that_does_not_reach_it_by_name_is_failed(self) -> None:
        found = only(ask("database.login", inside_connections=inside(MODEL, "timed out")))
        assert found.headline == "synapse-main does not reach matrix-postgresql-rw, which takes logins: timed out"

    def test_the_same_from_a_probe_pod(self) -> None:
        pen = ask(
            "database.login", inside_connections=InsideView((), {}), probe_pod_connections=inside(MODEL, "dropped")
        )
        assert "does not reach matrix-postgresql-rw" in only(pen).headline


def new_password(raw: Json) -> None:
    held = next(each for each in raw["secrets"] if each["name"] == "synapse-secrets")
    held["data"]["DB_PASSWORD"] = "another-password"


class TestDatabaseNames:
    def test_a_database_that_is_missing(self) -> None:
        missing = by_role("key_vault", LoginOutcome.NO_DATABASE, 'database "key_vault" does not exist')
        facts = {"databases": {"matrix": "synapse", "keyvault": "key_vault"}}
        found = only(ask("database.names", database_logins=logins(MODEL, missing, **facts)))
        assert found.headline == "key-vault names database key_vault, which does not exist on matrix-postgresql"
        assert "there are: keyvault, matrix" in found.observed
        assert found.cause.startswith("Secret key-vault-secrets/DB_NAME says key_vault")

    def test_a_database_of_another_owner(self) -> None:
        facts = {"databases": {"matrix": "synapse", "key_vault": "postgres"}}
        found = only(ask("database.names", database_logins=logins(MODEL, None, **facts)))
        assert found.headline == "database key_vault, which key-vault uses as key_vault, is owned by postgres"

    def test_a_database_that_cannot_be_seen_is_unknown(self) -> None:
        down = by_role("key_vault", LoginOutcome.UNREACHABLE, "refused")
        found = only(ask("database.names", database_logins=logins(MODEL, down)), Status.UNKNOWN)
        assert (found.subject, found.headline) == (
            CLUSTER.id,
            "whether database key_vault exists could not be seen: refused",
        )

    def test_a_wrong_password_does_not_hide_that_another_sees_the_database(self) -> None:
        refused = by_role("key_vault", LoginOutcome.PASSWORD)
        assert ask("database.names", database_logins=logins(MODEL, refused)).failures == []
        facts = {"databases": {"matrix": "synapse"}}
        found = only(ask("database.names", database_logins=logins(MODEL, refused, **facts)))
        assert "which does not exist on matrix-postgresql" in found.headline


class TestDatabaseConnections:
    def test_a_budget_that_the_maximum_exceeds(self) -> None:
        found = only(ask("database.connections", database_logins=logins(MODEL, None, max_connections=60)))
        assert found.headline.startswith(
            "matrix-postgresql takes 57 connections (max_connections 60), its processes at"
        )
        assert "autoscalers that may make more of" in found.cause

    def test_larger_pools_exceed_it_too(self) -> None:
        found = only(ask("database.connections", database_pools=pools(MODEL, 50)))
        assert found.cause.startswith("cp_max 50 in 15 processes")

    def test_a_budget_that_just_holds_is_green(self) -> None:
        wanted = next(
            int(word)
            for word in only(
                ask("database.connections", database_logins=logins(MODEL, None, max_connections=10))
            ).observed.split()
            if word.isdigit()
        )
        just = logins(MODEL, None, max_connections=wanted + 3)
        assert ask("database.connections", database_logins=just).failures == []
        assert only(ask("database.connections", database_logins=logins(MODEL, None, max_connections=wanted + 2)))

    def test_keepalives_that_are_missing(self) -> None:
        uses = tuple(replace(each, keepalives=False if each.pool else None) for each in MODEL.database_uses)
        pen = ask("database.connections", deployment=replace(MODEL, database_uses=uses))
        assert only(pen, Status.WARNED).headline.startswith("15 Synapse processes connect without TCP keepalives")

    def test_a_pool_that_could_not_be_asked_is_unknown(self) -> None:
        pen = ask("database.connections", database_pools=pools(MODEL, reported=False, problem="timed out"))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert "synapse-main could not be asked for its pool: timed out" in [each.headline for each in pen.failures]

    def test_a_pool_that_is_only_configured_is_warned_of(self) -> None:
        pen = ask("database.connections", database_pools=pools(MODEL, reported=False))
        assert {each.status for each in pen.failures} == {Status.WARNED}

    def test_without_any_login_it_cannot_be_counted(self) -> None:
        down = logins(MODEL, lambda login: (LoginOutcome.UNREACHABLE, "refused"))
        found = only(ask("database.connections", database_logins=down), Status.UNKNOWN)
        assert found.headline == "the connections of matrix-postgresql cannot be counted: no login works"


def primary_says(**facts: Any) -> dict[str, tuple[DatabaseInstance, ...]]:
    primary, replica = instances_of(CLUSTER)
    return {CLUSTER.id: (replace(primary, facts={**primary.facts, **facts}), replica)}


def replica_says(problem: str = "", **facts: Any) -> dict[str, tuple[DatabaseInstance, ...]]:
    primary, replica = instances_of(CLUSTER)
    changed = (
        DatabaseInstance(replica.pod, {}, problem) if problem else replace(replica, facts={**replica.facts, **facts})
    )
    return {CLUSTER.id: (primary, changed)}


class TestDatabaseReplication:
    @pytest.mark.parametrize(
        "seen",
        [
            replica_says(receiver=None),
            primary_says(senders=[]),
            primary_says(senders=[{"name": "matrix-postgresql-2", "state": "catchup", "behind": 1}]),
        ],
        ids=["no receiver", "no sender", "catching up"],
    )
    def test_a_replica_that_does_not_stream(self, seen: object) -> None:
        found = only(ask("database.replication", database_instances=seen))
        assert found.headline == "matrix-postgresql-2 does not stream from the primary matrix-postgresql-1"

    def test_a_replica_on_another_timeline(self) -> None:
        found = only(ask("database.replication", database_instances=primary_says(timeline=2)))
        assert found.headline == "matrix-postgresql-2 follows timeline 1, the primary matrix-postgresql-1 is on 2"

    def test_a_replica_far_behind_is_warned_of(self) -> None:
        senders = [{"name": "matrix-postgresql-2", "state": "streaming", "behind": 1024 * MIB}]
        pen = ask("database.replication", database_instances=primary_says(senders=senders))
        assert only(pen, Status.WARNED).headline.startswith("matrix-postgresql-2 is 1024 MiB behind")

    def test_a_slot_that_nobody_reads(self) -> None:
        idle = [slot("_cnpg_matrix_postgresql_2"), slot("li_sync", active=False)]
        found = only(ask("database.replication", database_instances=primary_says(slots=idle)))
        assert found.headline == "replication slot li_sync on matrix-postgresql-1 is read by nobody and keeps WAL"
        assert "pg_drop_replication_slot('li_sync')" in found.remedy

    def test_wal_that_piles_up_is_warned_of(self) -> None:
        pen = ask("database.replication", database_instances=primary_says(wal_bytes=4096 * MIB))
        assert only(pen, Status.WARNED).headline.startswith("WAL piles up on matrix-postgresql-1")

    def test_two_primaries_at_once(self) -> None:
        found = only(ask("database.replication", database_instances=replica_says(in_recovery=False)))
        assert found.headline.startswith("matrix-postgresql has 2 primaries at once: ")

    def test_no_primary_at_all(self) -> None:
        found = only(ask("database.replication", database_instances=primary_says(in_recovery=True)))
        assert found.headline == "matrix-postgresql has no primary among 2 instances"

    def test_an_instance_that_could_not_be_asked(self) -> None:
        seen = replica_says("psql: no space left")
        found = only(ask("database.replication", database_instances=seen), Status.UNKNOWN)
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline.startswith("matrix-postgresql-2 could not be asked how it replicates: ")


def redis_says(*answers: RedisAnswer | None, sentinels: tuple[SentinelAnswer, ...] | None = None) -> Any:
    """The group with the answers given in place of its own, in order."""
    seen = nodes(MODEL)[GROUP.id]
    own = list(seen.answers)
    for place, each in enumerate(answers):
        own[place] = each or own[place]
    watching = seen.sentinels if sentinels is None else sentinels
    return {GROUP.id: replace(seen, answers=tuple(own), sentinels=watching)}


def answer(place: int, role: str = "", **info: Any) -> RedisAnswer:
    own = nodes(MODEL)[GROUP.id].answers[place]
    return replace(own, role=role or own.role, info={**own.info, **{k.replace("__", "-"): v for k, v in info.items()}})


def silent(place: int, problem: str, *, refused: bool = False) -> RedisAnswer:
    return RedisAnswer(GROUP.nodes[place], problem=problem, refused=refused)


class TestRedisReplication:
    def test_two_masters(self) -> None:
        found = only(ask("redis.replication", redis_nodes=redis_says(None, answer(1, "master"), answer(2, "master"))))
        assert found.headline.startswith("Redis redis has 3 masters, not one: redis-0, redis-1, redis-2")
        assert found.cause.startswith("no replicaof in the configuration")

    def test_no_master(self) -> None:
        pen = ask("redis.replication", redis_nodes=redis_says(answer(0, "slave")))
        assert pen.failures[0].headline == "Redis redis has no master: redis-0 slave, redis-1 slave, redis-2 slave"

    @pytest.mark.parametrize(
        ("info", "why"),
        [
            ({"master_link_status": "down"}, "its link is down"),
            ({"master_replid": "b"}, "it replicates from another master"),
        ],
    )
    def test_a_replica_that_is_not_linked(self, info: Json, why: str) -> None:
        found = only(ask("redis.replication", redis_nodes=redis_says(None, answer(1, **info))))
        assert found.headline == f"redis-1 is not linked to the Redis master redis-0: {why}"

    def test_a_replica_that_the_master_does_not_count(self) -> None:
        found = only(ask("redis.replication", redis_nodes=redis_says(answer(0, slave0={"ip": "?", "state": "online"}))))
        assert found.headline.endswith("the master does not count it online")

    def test_a_node_that_does_not_answer_is_silence_and_one_that_refuses_is_wrong(self) -> None:
        pen = ask("redis.replication", redis_nodes=redis_says(None, silent(1, "timed out")))
        assert (pen.failures[0].nature, pen.failures[0].headline) == (
            Nature.UNAVAILABLE,
            "redis-1 does not answer as Redis: timed out",
        )
        pen = ask("redis.replication", redis_nodes=redis_says(None, silent(1, "WRONGPASS", refused=True)))
        assert pen.failures[0].nature is Nature.WRONG

    def test_a_sentinel_that_watches_elsewhere(self) -> None:
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        strange = replace(first, state={**first.state, "ip": "10.9.9.9"})
        found = only(ask("redis.replication", redis_nodes=redis_says(sentinels=(strange, *others))))
        assert found.headline == (
            "the Sentinel in redis-0 watches 10.9.9.9 (no Redis of this group), the master is redis-0"
        )

    @pytest.mark.parametrize(
        ("key", "said"),
        [("num-slaves", "num-slaves 0, not 2"), ("num-other-sentinels", "num-other-sentinels 0, not 2")],
    )
    def test_a_sentinel_that_does_not_know_its_group(self, key: str, said: str) -> None:
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        strange = replace(first, state={**first.state, key: 0})
        found = only(ask("redis.replication", redis_nodes=redis_says(sentinels=(strange, *others))))
        assert found.headline == f"the Sentinel in redis-0 does not know its group: {said}"

    def test_a_write_that_is_refused_or_does_not_arrive(self) -> None:
        proof = WriteProof(GROUP.nodes[0], 0, "READONLY")
        found = only(ask("redis.replication", redis_write={GROUP.id: proof}))
        assert found.headline == "the Redis master redis-0 takes no write: READONLY"
        found = only(ask("redis.replication", redis_write={GROUP.id: WriteProof(GROUP.nodes[0], 1)}))
        assert found.headline == "a write to the Redis master redis-0 reached 1 of 2 replicas within a second"

    def test_a_write_that_was_not_tried_is_warned_of(self) -> None:
        found = only(ask("redis.replication", redis_write=READ_ONLY), Status.WARNED)
        assert found.headline == "whether a write reaches the replicas was not seen: needs --safety canary"

    def test_a_group_without_pods(self) -> None:
        empty = replace(GROUP, nodes=())
        seen = {GROUP.id: RedisObservation(empty, (), ())}
        assert only(ask("redis.replication", redis_nodes=seen)).headline == "Redis redis has no pod of 3"

    def test_redis_that_is_named_and_not_there(self) -> None:
        pen = ask("redis.replication", deployment=replace(MODEL, redis=()), redis_nodes={})
        assert only(pen).headline == f"Synapse names Redis at {ADDRESS.endpoint.host}, and no Redis runs here"


class TestRedisMemory:
    def test_keys_that_are_evicted(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, evicted_keys=7))))
        assert found.headline == "redis-0 has evicted 7 keys: maxmemory 96 MiB is below its working set"

    def test_memory_that_is_nearly_full(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, used_memory=95 * MIB))))
        assert found.headline == "redis-0 uses 99% of its maxmemory: allkeys-lru begins next"

    def test_a_ceiling_above_the_containers_limit(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, maxmemory=1536 * MIB))))
        assert found.headline == "redis-0 may grow to maxmemory 1536 MiB, its container is killed at 128 MiB"

    def test_no_ceiling_and_little_left_of_the_limit(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, maxmemory=0, used_memory=120 * MIB))))
        assert found.headline == "redis-0 has no maxmemory and uses 94% of its container's limit"

    def test_a_node_that_could_not_be_asked(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(silent(0, "timed out"))))
        assert found.nature is Nature.UNAVAILABLE


class TestRedisEndpoint:
    def through(self, *roles: BackendRole) -> Judge:
        return ask("redis.endpoint", redis_backends={ADDRESS.id: roles})

    def test_an_address_that_leads_to_replicas_too(self) -> None:
        found = only(
            self.through(BackendRole("redis-0", ("master",), ("a",)), BackendRole("redis-1", ("slave",), ("b",)))
        )
        assert found.headline == "the Redis address of Synapse (redis:6379) leads to replicas too: redis-1"

    def test_an_address_that_leads_to_two_masters(self) -> None:
        found = only(self.through(BackendRole("a", ("master",), ("1",)), BackendRole("b", ("master",), ("2",))))
        assert found.headline == "the Redis address of Synapse (redis:6379) leads to more than one master"

    def test_a_backend_that_does_not_answer(self) -> None:
        found = only(self.through(BackendRole("a", ("master",), ("1",)), BackendRole("b", (), (), "refused")))
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline.endswith("has a backend that does not answer, b: refused")

    def test_an_address_that_leads_nowhere(self) -> None:
        found = only(self.through())
        assert found.headline == "the Redis address of Synapse leads nowhere: no backend"
        assert found.stops == (ADDRESS.id,)

    def test_an_address_that_is_fixed_to_one_pod(self) -> None:
        pod = GROUP.nodes[0].pod
        fixed = replace(ADDRESS.endpoint, host="redis-0.redis-headless", pods=((pod, 6379),), single_pod=True)
        model = replace(MODEL, redis_endpoints=(replace(ADDRESS, endpoint=fixed),))
        pen = ask("redis.endpoint", deployment=model, redis_backends=backends(model), inside_connections=inside(model))
        assert only(pen).headline == "the Redis address of Synapse is fixed to redis-0 and does not follow a failover"

    def test_processes_that_are_not_subscribed(self) -> None:
        few = replace(answer(0), subscribers={"matrix.lab.test": 14})
        found = only(ask("redis.endpoint", redis_nodes=redis_says(few)))
        assert found.headline == "14 of 15 Synapse processes are subscribed on the Redis master redis-0"

    def test_processes_that_are_subscribed_on_a_replica(self) -> None:
        stray = replace(answer(1), subscribers={"matrix.lab.test": 2})
        found = only(ask("redis.endpoint", redis_nodes=redis_says(None, stray)))
        assert found.headline == "2 Synapse processes are subscribed on redis-1, a replica"

    def test_a_process_that_is_down_is_silence(self) -> None:
        lab = recorded.changed(lambda raw: not_ready(raw, "synapse-typing-writer-0"))
        found = only(ask("redis.endpoint", lab))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, "pod/matrix/synapse-typing-writer-0")

    def test_a_process_that_meets_a_replica_by_name(self) -> None:
        found = only(ask("redis.endpoint", inside_connections=inside(MODEL, role="slave")))
        assert found.headline == "synapse-main meets slave at its Redis address"

    def test_a_process_that_does_not_reach_it_by_name(self) -> None:
        found = only(ask("redis.endpoint", inside_connections=inside(MODEL, "timed out")))
        assert found.headline == "synapse-main does not reach its Redis address, which answers otherwise: timed out"

    def test_the_way_by_name_is_warned_of_where_it_was_not_tried(self) -> None:
        assert only(ask("redis.endpoint", inside_connections=NOT_ALLOWED), Status.WARNED)

    def test_an_address_outside_is_unknown(self) -> None:
        outside = replace(ADDRESS, endpoint=replace(ADDRESS.endpoint, host="r.example.com", external=True, pods=()))
        pen = ask("redis.endpoint", deployment=replace(MODEL, redis_endpoints=(outside,)))
        assert only(pen, Status.UNKNOWN).headline == "Redis at r.example.com is outside the cluster and cannot be asked"


def not_ready(raw: Json, name: str, *, state: Json | None = None, restarts: int = 0, last: int | None = None) -> None:
    """A pod of the lab whose first container is in another state."""
    pod = item(raw, "Pod", name)
    for each in pod["status"]["conditions"]:
        if each["type"] == "Ready":
            each["status"] = "False"
    status = pod["status"]["containerStatuses"][0]
    status |= {"ready": False, "restartCount": restarts, "state": state or {"running": {}}}
    if last is not None:
        status["lastState"] = {"terminated": {"exitCode": last}}


class TestWorkloads:
    def test_a_crash_loop(self) -> None:
        def change(raw: Json) -> None:
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
            not_ready(raw, "synapse-main-0", state=waiting, restarts=4, last=1)

        words = {"pod/matrix/synapse-main-0": ("ConfigError: no such module",)}
        found = only(ask("platform.workloads", recorded.changed(change), last_words=words))
        assert found.headline == (
            "synapse-main: 0 of 1 pods ready: synapse-main-0, container synapse,"
            " keeps crashing (CrashLoopBackOff, exit code 1, 4 restarts)"
        )
        assert (found.nature, found.evidence) == (Nature.UNAVAILABLE, words["pod/matrix/synapse-main-0"])
        assert set(found.stops) == {"statefulset/matrix/synapse-main", "pod/matrix/synapse-main-0"}

    def test_one_of_two_stops_only_itself(self) -> None:
        found = only(
            ask("platform.workloads", recorded.changed(lambda raw: not_ready(raw, "synapse-event-persister-1")))
        )
        assert found.headline.startswith("synapse-event-persister: 1 of 2 pods ready: ")
        assert found.stops == ("pod/matrix/synapse-event-persister-1",)

    def test_an_image_that_cannot_be_pulled(self) -> None:
        def change(raw: Json) -> None:
            not_ready(raw, "redis-1", state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.endswith("redis-1, container redis, waits: ErrImagePull not found")

    def test_a_pod_that_does_not_exist(self) -> None:
        def change(raw: Json) -> None:
            items(raw, "Pod").remove(item(raw, "Pod", "synapse-typing-writer-0"))

        lab = recorded.changed(change)
        found = only(ask("platform.workloads", lab))
        assert found.headline == "synapse-typing-writer: 0 of 1 pods ready: 1 of 1 pods do not exist"
        assert found.evidence, "its events are kept"

    def test_a_replica_on_another_image(self) -> None:
        def change(raw: Json) -> None:
            container = item(raw, "Pod", "synapse-federation-sender-1")["spec"]["containers"][0]
            container["image"] = "matrixdotorg/synapse:v1.162.0"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline == (
            "synapse-federation-sender: synapse-federation-sender-1 runs matrixdotorg/synapse:v1.162.0,"
            " its workload says matrixdotorg/synapse:v1.163.2"
        )

    def test_a_workload_on_another_release(self) -> None:
        def change(raw: Json) -> None:
            specs = [item(raw, "StatefulSet", "synapse-typing-writer")["spec"]["template"]["spec"]]
            specs.append(item(raw, "Pod", "synapse-typing-writer-0")["spec"])
            for spec in specs:
                spec["containers"][0]["image"] = "matrixdotorg/synapse:v1.162.0"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.startswith("synapse-typing-writer runs matrixdotorg/synapse:v1.162.0, the other Synapse")

    def test_a_volume_that_stays_pending(self) -> None:
        def change(raw: Json) -> None:
            not_ready(raw, "redis-2", state={"waiting": {"reason": "ContainerCreating"}})
            claim = item(raw, "PersistentVolumeClaim", "data-redis-2")
            claim["status"]["phase"] = "Pending"
            claim["spec"]["storageClassName"] = "fast-ssd"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.endswith("volume claim data-redis-2 stays Pending (storage class fast-ssd)")

    def test_a_volume_that_is_lost(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "PersistentVolumeClaim", "data-redis-2")["status"]["phase"] = "Lost"

        assert only(ask("platform.workloads", recorded.changed(change))).headline == (
            "volume claim data-redis-2 has lost its volume"
        )

    def test_a_container_that_was_restarted_often_is_warned_of(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Pod", "redis-0")["status"]["containerStatuses"][0]["restartCount"] = 9

        pen = ask("platform.workloads", recorded.changed(change))
        assert only(pen, Status.WARNED).headline == "redis-0: container redis runs now but was restarted 9 times"


class TestReferences:
    @pytest.mark.parametrize(
        ("secret", "key", "said"),
        [
            ("key-vault-secrets", "", "Secret key-vault-secrets does not exist; Deployment key-vault names it"),
            ("synapse-secrets", "signing.key", "Secret synapse-secrets/signing.key does not exist; "),
        ],
    )
    def test_a_secret_or_a_key_of_it_is_missing(self, secret: str, key: str, said: str) -> None:
        def change(raw: Json) -> None:
            held = next(each for each in raw["secrets"] if each["name"] == secret)
            if key:
                del held["data"][key]
            else:
                raw["secrets"].remove(held)

        pen = ask("platform.references", recorded.changed(change))
        assert pen.failures[0].headline.startswith(said)
        assert {each.nature for each in pen.failures} == {Nature.WRONG}

    def test_a_config_map_is_missing(self) -> None:
        def change(raw: Json) -> None:
            items(raw, "ConfigMap").remove(item(raw, "ConfigMap", "haproxy-config"))

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("ConfigMap haproxy-config does not exist; Deployment haproxy names it")
        assert "deployment/matrix/haproxy" in found.stops

    def test_a_service_account_is_missing(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Deployment", "key-vault")["spec"]["template"]["spec"]["serviceAccountName"] = "vault"

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("ServiceAccount vault does not exist; Deployment key-vault names it")

    def test_the_superusers_secret_names_the_switch_that_makes_it(self) -> None:
        def change(raw: Json) -> None:
            source = {
                "name": "P",
                "valueFrom": {"secretKeyRef": {"name": "matrix-postgresql-superuser", "key": "password"}},
            }
            spec = item(raw, "Deployment", "key-vault")["spec"]["template"]["spec"]
            spec["containers"][0].setdefault("env", []).append(source)

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("Secret matrix-postgresql-superuser does not exist; ")
        assert "enableSuperuserAccess, which is off in Cluster matrix-postgresql" in found.cause
        assert "do without a superuser" in found.remedy

    def test_a_secret_that_could_not_be_read_is_unknown(self) -> None:
        lab = recorded.healthy()
        name = ("matrix", "key-vault-secrets")
        held = {key: value for key, value in lab.secrets.found.items() if key != name}
        pen = ask("platform.references", secrets=replace(lab.secrets, found=held, unseen={name: "no right"}))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    def test_config_maps_that_could_not_be_listed_are_unknown(self) -> None:
        lab = recorded.healthy()
        blind = replace(lab.snapshot, unseen={(CONFIG_MAP, "matrix"): "no right: configmaps"})
        pen = ask("platform.references", snapshot=blind)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}


class TestOperators:
    def operator(self, raw: Json) -> Json:
        found: Json = next(each for each in raw["controllers"] if "cnpg" in each["metadata"]["name"])
        return found

    def test_an_operator_that_is_scaled_to_0(self) -> None:
        def change(raw: Json) -> None:
            self.operator(raw)["spec"]["replicas"] = 0
            self.operator(raw)["status"] = {}

        found = only(ask("platform.operators", recorded.changed(change)))
        assert "is scaled to 0: nobody looks after matrix-postgresql" in found.headline

    def test_an_operator_that_is_not_there(self) -> None:
        lab = recorded.changed(lambda raw: raw["controllers"].remove(self.operator(raw)))
        found = only(ask("platform.operators", lab))
        assert found.headline == "CloudNativePG's operator is not installed: nobody looks after matrix-postgresql"

    def test_a_crd_that_is_not_there_stops_whoever_is_named_as_its_cluster(self) -> None:
        def change(raw: Json) -> None:
            raw["served"] = []
            for kind in ("Cluster", "Service", "EndpointSlice"):
                found = items(raw, kind)
                found[:] = [each for each in found if not each["metadata"]["name"].startswith("matrix-postgresql")]

        found = only(ask("platform.operators", recorded.changed(change)))
        assert found.headline.startswith(
            "CloudNativePG is not installed: no CRD clusters.postgresql.cnpg.io, so nobody"
        )
        assert found.stops == (CLUSTER.id,)

    def test_a_cluster_that_is_not_healthy(self) -> None:
        def change(raw: Json) -> None:
            status = item(raw, "Cluster", "matrix-postgresql")["status"]
            status |= {"phase": "Failing over", "readyInstances": 1, "targetPrimary": "matrix-postgresql-2"}

        found = only(ask("platform.operators", recorded.changed(change)))
        assert found.headline == "Cluster matrix-postgresql is not whole: Failing over, 1 of 2 instances ready"
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, ())

    def test_an_operator_that_could_not_be_looked_for_is_unknown(self) -> None:
        lab = recorded.healthy()
        blind = replace(lab.snapshot, unseen={(DEPLOYMENT, ""): "no right: deployments"}, controllers=())
        found = only(ask("platform.operators", snapshot=blind), Status.UNKNOWN)
        assert found.headline == "CloudNativePG's operator could not be looked for: no right: deployments"


class TestLeftovers:
    JOB = "/apis/batch/v1/namespaces/matrix/jobs/postflight-abc"

    def left(self, **fields: Any) -> Judge:
        found: dict[str, Any] = {
            "path": self.JOB,
            "what": "job postflight-abc",
            "run": "abc",
            "earlier": False,
            "gone": False,
        }
        return ask("leftovers", leftovers=(Left(**(found | fields)),))

    def test_what_this_run_made_and_is_gone_is_nothing(self) -> None:
        assert self.left(gone=True).failures == []

    def test_what_this_run_left(self) -> None:
        found = only(self.left(problem="it has a finalizer"))
        assert (found.headline, found.observed) == ("this run left job postflight-abc", "it has a finalizer")
        assert found.remedy == f"kubectl delete --raw {self.JOB}"

    @pytest.mark.parametrize(("gone", "said"), [(True, "it is removed now"), (False, "it is still there")])
    def test_what_a_killed_run_left(self, gone: bool, said: str) -> None:
        found = only(self.left(earlier=True, gone=gone))
        assert found.headline.startswith("run abc, which was killed, left job postflight-abc")
        assert found.headline.endswith(said)


def test_every_check_there_is_was_asked() -> None:
    from postflight.session import all_ids
    from tests.unit.test_registry import CHECKS as FOLDER

    assert set(CHECKS) == all_ids(FOLDER)


def test_the_recording_is_of_a_healthy_lab() -> None:
    assert recorded.healthy().snapshot.taken < datetime.now(UTC)
    assert all(each.ready for each in MODEL.pods.values())
