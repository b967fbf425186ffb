"""MinIO's operator and its Tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import DEPLOYMENT, TENANT
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.budgeting import WORKLOAD, with_tenant
from tests.unit.observations import MODEL, ask, only

SNAPSHOT = recorded.healthy().snapshot


def judged(**tenant: Any) -> Judge:
    return ask("platform.operators", snapshot=with_tenant(SNAPSHOT, **tenant))


def test_operator_and_tenant_are_seen() -> None:
    pen = judged()
    assert pen.failures == []
    assert {"deployment/minio-operator/minio-operator", "tenant/matrix/matrix-minio"} <= set(pen.seen)


def test_an_operator_that_is_scaled_to_0() -> None:
    assert only(judged(available=0)).headline == (
        "MinIO's operator minio-operator in namespace minio-operator is scaled to 0: nobody looks after matrix-minio"
    )


def test_an_operator_that_is_not_there() -> None:
    world = with_tenant(SNAPSHOT)
    found = only(ask("platform.operators", snapshot=replace(world, controllers=SNAPSHOT.controllers)))
    assert found.headline == "MinIO's operator is not installed: nobody looks after matrix-minio"


def test_a_crd_that_is_not_there() -> None:
    found = only(judged(served=False))
    assert found.headline.startswith("MinIO's operator is not installed: no CRD tenants.minio.min.io")


def test_a_tenant_that_is_not_there() -> None:
    world = with_tenant(SNAPSHOT)
    world = replace(world, objects={**world.objects, (TENANT, "matrix"): ()})
    assert only(ask("platform.operators", snapshot=world)).headline.startswith("there is no Tenant matrix-minio")


def test_a_tenant_that_is_not_initialized_leans_on_its_servers() -> None:
    found = only(judged(currentState="Waiting for Pods to be ready"))
    assert found.headline == "Tenant matrix-minio of MinIO is not initialized: Waiting for Pods to be ready"
    assert found.nature is Nature.UNAVAILABLE
    assert WORKLOAD in found.needs


def test_a_pool_that_is_not_initialized() -> None:
    pools = [{"ssName": "matrix-minio-pool-0", "state": "PoolCreated"}]
    assert only(judged(pools=pools)).headline.endswith("is not initialized: matrix-minio-pool-0 PoolCreated")


def test_tenants_that_could_not_be_listed() -> None:
    world = with_tenant(SNAPSHOT)
    left = {key: each for key, each in world.objects.items() if key[0] is not TENANT}
    world = replace(world, objects=left, unseen={(TENANT, "matrix"): "no right: list tenants"})
    found = only(ask("platform.operators", snapshot=world), Status.UNKNOWN)
    assert found.headline == "MinIO's Tenants could not be looked at: no right: list tenants"


def test_without_tenants_and_what_one_makes_only_the_other_operator_is_judged() -> None:
    pen = ask("platform.operators", snapshot=SNAPSHOT, deployment=MODEL)
    assert pen.failures == []
    assert not pen.absence
    assert any(each["kind"] == DEPLOYMENT.name for each in SNAPSHOT.controllers)
