"""What `database.replication` says of the primary and its replicas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.databases import DatabaseInstance
from postflight.verdict.status import Nature, Status
from tests.unit.observations import CLUSTER, MODEL, ask, only
from tests.unit.recorded import Json
from tests.unit.stores import MIB, instances_of, primary_says, slot


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

    @pytest.mark.parametrize(
        "replica", [{"enabled": True, "source": "a"}, {"primary": "other", "source": "other", "self": "own"}]
    )
    def test_a_cluster_that_follows_another_has_a_first_instance_and_no_primary(self, replica: Json) -> None:
        cluster = replace(CLUSTER, raw={"spec": {"replica": replica}})
        model = replace(MODEL, postgres=(cluster,))
        first, other = instances_of(CLUSTER)
        away = {"in_recovery": True, "receiver": "streaming", "received_timeline": 1, "timeline": 0}
        seen = {CLUSTER.id: (replace(first, facts={**first.facts, **away}), other)}
        assert ask("database.replication", deployment=model, database_instances=seen).failures == []
        on = replace(CLUSTER, raw={"spec": {"replica": {"primary": "own", "self": "own", "source": "other"}}})
        pen = ask("database.replication", deployment=replace(MODEL, postgres=(on,)), database_instances=seen)
        assert "has no primary" in only(pen).headline

    def test_an_instance_that_does_not_exist_is_missed(self) -> None:
        seen = {CLUSTER.id: instances_of(CLUSTER)[:1]}
        found = only(ask("database.replication", database_instances=seen))
        assert found.headline == "matrix-postgresql has 1 of 2 instances: the others' pods do not exist"
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, CLUSTER.id)

    def test_an_instance_that_could_not_be_asked(self) -> None:
        seen = replica_says("psql: no space left")
        found = only(ask("database.replication", database_instances=seen), Status.UNKNOWN)
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline.startswith("matrix-postgresql-2 could not be asked how it replicates: ")
