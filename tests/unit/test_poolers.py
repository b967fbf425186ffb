"""PgBouncer between the processes and their database: as a part of the model, and what its pools leave room for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from postflight.cluster.files import Files
from postflight.cluster.kinds import STATEFUL_SET
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Login
from postflight.deployment.poolers import Pool as Shared
from postflight.deployment.poolers import Pooler
from postflight.probes.databases import DatabaseLogins, LoginOutcome, LoginTry, Pool
from postflight.probes.inside import InsideView
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.observations import ask, only
from tests.unit.stores import FACTS
from tests.unit.worlds import NAMESPACE, Json, container, deployment, endpoints, pod, service, snapshot, thing

INI = """
[databases]
; a comment = of its own
matrix = host=postgresql port=5432 pool_size={size}
key_vault = host=postgresql dbname=vault user=vault
other = host=/run/postgresql
[pgbouncer]
listen_port = 5432
max_client_conn = {clients}
default_pool_size = 20
reserve_pool_size = 5
pool_mode = {mode}
"""
PATH = "/etc/pgbouncer/pgbouncer.ini"
CONFIG = {
    "server_name": "a.test",
    "database": {
        "name": "psycopg2",
        "args": {
            "host": "pgbouncer",
            "user": "synapse",
            "password": "hunter2",
            "dbname": "matrix",
            "keepalives_idle": 9,
        },
    },
}


def selecting(name: str, port: int, **selector: str) -> Json:
    made = service(name, port)
    made["spec"]["selector"] = selector
    return made


def world(
    size: int = 60, clients: int = 100, mode: str = "session", *, ready: bool = True, shown: bool = True
) -> Deployment:
    """Five Synapse processes behind a PgBouncer before one plain PostgreSQL."""
    workers = [pod(f"hs-{n}", container(command=["python", "-m", "synapse.app.homeserver"])) for n in range(5)]
    for each in workers:
        each["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "hs", "controller": True}]
    spec = {"replicas": 5, "template": {"spec": {"containers": [container()]}}}
    bouncer = pod("pgbouncer-0", container("pgbouncer", command=["pgbouncer", PATH]), labels={"app": "pgbouncer"})
    bouncer["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "pgbouncer", "controller": True}]
    objects = (
        thing(STATEFUL_SET, "hs", spec=spec),
        thing(STATEFUL_SET, "pgbouncer", spec={"replicas": 1, "template": {"spec": {"containers": [container()]}}}),
        *workers,
        bouncer,
        pod("postgresql-0", container("postgresql"), labels={"app": "postgresql"}),
        selecting("pgbouncer", 5432, app="pgbouncer"),
        endpoints("pgbouncer", "pgbouncer-0", port=5432, ready=ready),
        selecting("postgresql", 5432, app="postgresql"),
        endpoints("postgresql", "postgresql-0", port=5432),
    )
    read = {
        (NAMESPACE, f"hs-{n}", "main"): {"/data/homeserver.yaml": yaml.safe_dump(CONFIG).encode()} for n in range(5)
    }
    text = INI.format(size=size, clients=clients, mode=mode)
    read |= {(NAMESPACE, "pgbouncer-0", "pgbouncer"): {PATH: text.encode()}} if shown else {}
    return deployment(snapshot(*objects), read=Files(read, {}))


def pooler(model: Deployment) -> Pooler:
    (found,) = model.poolers
    return found


def login(model: Deployment) -> Login:
    return model.database_uses[0].login


class TestThePart:
    def test_has_its_pools_and_leads_to_the_server_beneath(self) -> None:
        model = world()
        found = pooler(model)
        assert (found.id, found.port, found.max_clients) == ("pooler/matrix/pgbouncer", 5432, 100)
        assert found.pool("matrix") == Shared("postgresql", 5432, "", 65, 0, "session")
        assert found.pool("other") == Shared("", 5432, "", 25, 0, "session")
        assert found.pool("none") is None
        (server,) = model.postgres
        assert (server.name, server.operator, [each.name for each in server.pods]) == (
            "postgresql",
            "",
            ["postgresql-0"],
        )
        assert [each.host for each in server.endpoints] == ["pgbouncer", "postgresql"]

    def test_knows_the_login_that_it_makes_of_a_clients(self) -> None:
        model = world()
        assert pooler(model).login_beneath(login(model)) == replace(login(model), host="postgresql")
        assert pooler(model).login_beneath(replace(login(model), database="key_vault")) is None
        own = pooler(model).login_beneath(replace(login(model), database="key_vault", user="vault"))
        assert own
        assert own.database == "vault"

    @pytest.mark.parametrize("ready", [True, False])
    def test_stands_between_a_process_and_its_database(self, ready: bool) -> None:
        model = world(ready=ready)
        assert model.pooler_of(login(model)) == pooler(model)
        assert pooler(model).id in model.depends["pod/matrix/hs-0"]
        assert {"postgresql/matrix/postgresql", "pod/matrix/pgbouncer-0"} <= set(model.depends[pooler(model).id])

    def test_that_does_not_show_its_configuration_is_the_server_itself(self) -> None:
        model = world(shown=False)
        assert pooler(model).problem == f"its configuration ({PATH}) could not be read"
        assert [each.name for each in model.postgres] == ["pgbouncer"]


def logins(model: Deployment, through: LoginTry, below: LoginOutcome = LoginOutcome.ACCEPTED) -> DatabaseLogins:
    made = pooler(model).login_beneath(login(model))
    assert made
    facts = {**FACTS, "databases": {"matrix": "synapse"}}
    tried = LoginTry(made, below, "", "postgresql:5432", facts if below is LoginOutcome.ACCEPTED else {})
    clusters = {(each.host, each.port): cluster for cluster in model.postgres for each in cluster.endpoints}
    return DatabaseLogins({login(model): through, made: tried}, clusters, {login(model): made})


def judged(
    id: str, model: Deployment, outcome: LoginOutcome = LoginOutcome.ACCEPTED, message: str = "", **more: Any
) -> Judge:
    facts = {**FACTS, "databases": {"matrix": "synapse"}} if outcome is LoginOutcome.ACCEPTED else {}
    through = LoginTry(login(model), outcome, message, "pgbouncer:5432", facts)
    pools = tuple(Pool(each, 10, reported=True) for each in model.synapse)
    below = more.pop("below", LoginOutcome.ACCEPTED)
    given: dict[str, Any] = {
        "deployment": model,
        "database_logins": logins(model, through, below),
        "database_instances": {},
        "database_pools": pools,
        "inside_connections": InsideView((), {}),
        "probe_pod_connections": InsideView((), {}),
    }
    return ask(id, **given | more)


class TestTheBudget:
    def test_is_of_its_pools_beneath_and_of_its_clients_before_it(self) -> None:
        pen = judged("database.connections", world())
        assert pen.failures == []
        assert {"pooler/matrix/pgbouncer", "postgresql/matrix/postgresql"} <= set(pen.seen)

    def test_more_pools_than_the_server_takes(self) -> None:
        found = only(judged("database.connections", world(size=300)))
        assert found.headline == (
            "postgresql takes 297 connections (max_connections 300), its processes at their maximum want 305"
        )
        assert found.cause == "the pools of pgbouncer add up to 305"

    def test_a_pool_that_is_smaller_than_what_its_clients_hold(self) -> None:
        found = only(judged("database.connections", world(size=20)))
        assert found.headline.startswith("pgbouncer keeps 25 connections for database matrix, ")
        assert (found.subject, found.remedy.partition(",")[0]) == (
            "pooler/matrix/pgbouncer",
            "raise pool_size of matrix to 50",
        )
        assert judged("database.connections", world(size=20, mode="transaction")).failures == []

    def test_fewer_clients_than_there_may_be(self) -> None:
        found = only(judged("database.connections", world(clients=49)))
        assert found.headline == (
            "pgbouncer takes 49 clients (max_client_conn), its processes at their maximum want 50"
        )

    def test_is_warned_of_where_its_pools_are_not_known(self) -> None:
        model = world(shown=False)
        facts = LoginTry(login(model), LoginOutcome.ACCEPTED, "", "", FACTS)
        clusters = {(each.host, each.port): cluster for cluster in model.postgres for each in cluster.endpoints}
        seen = DatabaseLogins({login(model): facts}, clusters)
        found = only(judged_with(model, seen), Status.WARNED)
        assert found.headline.startswith("how many connections the pooler pgbouncer takes is not judged")


def judged_with(model: Deployment, seen: DatabaseLogins) -> Judge:
    pools = tuple(Pool(each, 10, reported=True) for each in model.synapse)
    return ask(
        "database.connections", deployment=model, database_logins=seen, database_instances={}, database_pools=pools
    )


class TestTheLogins:
    def test_that_it_refuses_and_its_server_takes_are_of_its_own_list(self) -> None:
        found = only(judged("database.login", world(), LoginOutcome.PASSWORD, "SASL authentication failed"))
        assert found.cause == (
            "pgbouncer knows another password of role synapse than PostgreSQL beneath it, which takes this"
        )

    def test_that_both_refuse_are_of_the_process(self) -> None:
        pen = judged("database.login", world(), LoginOutcome.PASSWORD, "no", below=LoginOutcome.PASSWORD)
        assert only(pen).cause.endswith("holds another password than role synapse has in PostgreSQL")

    def test_it_is_down_and_its_server_is_not(self) -> None:
        found = only(judged("database.login", world(ready=False), LoginOutcome.UNREACHABLE, "no ready pod"))
        assert (found.subject, found.nature, found.stops) == (
            "pooler/matrix/pgbouncer",
            Nature.UNAVAILABLE,
            ("pooler/matrix/pgbouncer",),
        )

    def test_that_it_asks_for_without_scram(self) -> None:
        found = only(judged("database.login", world(), LoginOutcome.NO_SCRAM, "md5"))
        assert found.cause == "auth_type of pgbouncer is no SCRAM"

    def test_names_are_those_of_the_server_beneath(self) -> None:
        assert judged("database.names", world()).failures == []
