"""Which PostgreSQL servers the logins lead to."""

from __future__ import annotations

import pytest

from postflight.cluster.kinds import POSTGRES_CLUSTER
from postflight.deployment.parts import PostgresCluster
from tests.unit import recorded
from tests.unit.recorded import item
from tests.unit.worlds import (
    NO_SECRETS,
    Json,
    container,
    deployment,
    endpoints,
    pod,
    service,
    snapshot,
    thing,
)


def servers(host: str, *objects: Json) -> tuple[PostgresCluster, ...]:
    """The PostgreSQL servers there are, beside a client that names ``host``."""
    values = {"PGHOST": host, "PGUSER": "u", "PGPASSWORD": "p"}
    client = container(env=[{"name": name, "value": value} for name, value in values.items()])
    return deployment(snapshot(pod("client", client), *objects), NO_SECRETS).postgres


def operated(primary: str = "pg-1", instances: int = 2) -> tuple[Json, ...]:
    labels = {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "instance"}
    job = pod("pg-2-join", container("join"), labels={"cnpg.io/cluster": "pg", "job-name": "pg-2-join"})
    return (
        thing(POSTGRES_CLUSTER, "pg", spec={"instances": instances}, status={"currentPrimary": primary}),
        pod("pg-1", container("postgres"), labels=labels),
        pod("pg-2", container("postgres"), labels=labels),
        job,
        service("pg-rw", 5432),
        endpoints("pg-rw", "pg-1", port=5432),
        service("pg-ro", 5432),
        endpoints("pg-ro", "pg-2", port=5432),
    )


class TestServers:
    @pytest.mark.parametrize("host", ["pg-rw", "pg-ro", "pg-rw.matrix.svc", "pg-rw.matrix.svc.cluster.local"])
    def test_a_cluster_is_known_by_its_operators_services(self, host: str) -> None:
        (found,) = servers(host, *operated())
        assert (found.id, found.operator, found.instances, found.missing) == ("postgresql/matrix/pg", "cnpg", 2, "")
        assert [each.name for each in found.pods] == ["pg-1", "pg-2"]
        assert found.primary
        assert found.primary.name == "pg-1"
        assert [each.host for each in found.endpoints] == [host]

    def test_it_is_known_by_a_service_of_ones_own_too(self) -> None:
        own = (service("database", 5432), endpoints("database", "pg-1", port=5432))
        (found,) = servers("database", *operated(), *own)
        assert (found.operator, found.endpoints[0].service) == ("cnpg", "database")

    def test_a_pooler_before_it_leads_to_it(self) -> None:
        labels = {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "pooler", "cnpg.io/poolerName": "pool"}
        pooler = (pod("pool-1", container("pgbouncer"), labels=labels), service("pool", 5432))
        (found,) = servers("pool", *operated(), *pooler, endpoints("pool", "pool-1", port=5432))
        assert (found.operator, [each.name for each in found.pods]) == ("cnpg", ["pg-1", "pg-2"])
        assert [each.name for each, _ in found.endpoints[0].pods] == ["pool-1"]

    def test_its_service_may_be_missing(self) -> None:
        without = [each for each in operated() if each["metadata"]["name"] not in ("pg-rw", "pg-rw-x")]
        (found,) = servers("pg-rw", *without)
        assert (found.operator, found.missing) == ("cnpg", "")
        assert found.endpoints[0].problem == "no Service pg-rw in namespace matrix"

    def test_one_without_an_operator_is_its_pods(self) -> None:
        plain = (pod("db-0", container("postgres")), service("db", 5432), endpoints("db", "db-0", port=5432))
        (found,) = servers("db", *plain)
        assert (found.id, found.operator, found.missing) == ("postgresql/matrix/db", "", "")
        assert found.primary
        assert found.primary.name == "db-0"

    def test_one_that_is_named_and_not_there_is_missing(self) -> None:
        (found,) = servers("pg-rw.matrix.svc.cluster.local")
        assert (found.id, found.name) == ("postgresql/matrix/pg", "pg")
        assert found.missing == "no Service pg-rw in namespace matrix"
        assert (found.pods, found.primary) == ((), None)

    def test_one_outside_is_not_missing(self) -> None:
        (found,) = servers("db.example.com")
        assert (found.id, found.missing) == ("postgresql/outside/db.example.com", "")
        assert found.endpoints[0].external

    def test_a_primary_that_is_no_pod_is_none(self) -> None:
        (found,) = servers("pg-rw", *operated(primary="pg-9"))
        assert found.primary is None

    def test_the_labs_cluster_has_all_its_uses(self) -> None:
        (found,) = recorded.model().postgres
        assert {each.service for each in found.endpoints} == {"matrix-postgresql-rw"}
        beneath = recorded.model().depends
        assert all(found.id in beneath[use.client] for use in recorded.model().database_uses if use.client != found.id)

    def test_without_its_service_the_labs_cluster_leads_nowhere(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Service", "matrix-postgresql-rw")["metadata"]["name"] = "renamed"

        (found,) = recorded.changed(change).deployment().postgres
        assert {each.problem for each in found.endpoints} == {"no Service matrix-postgresql-rw in namespace matrix"}
