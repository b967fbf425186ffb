"""Disruption budgets: those that hold up a drain, and those that let too much go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import BUDGET
from postflight.deployment.parts import Side
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.budgeting import MINIO, REDIS, budget, servers, with_budgets, with_servers
from tests.unit.observations import CLUSTER, MODEL, ask, only
from tests.unit.recorded import Json

ID = "availability.budgets"
SNAPSHOT = recorded.healthy().snapshot
SYNCHROTRONS = {"app.kubernetes.io/component": "synchrotron"}
PRIMARY = {"cnpg.io/cluster": "matrix-postgresql", "cnpg.io/instanceRole": "primary"}


def judged(*budgets: Json, **others: Any) -> Judge:
    return ask(ID, snapshot=with_budgets(SNAPSHOT, *budgets), **others)


def owned(made: Json) -> Json:
    made["metadata"]["ownerReferences"] = [{"kind": "Cluster", "name": "matrix-postgresql"}]
    return made


def test_the_labs_are_green() -> None:
    pen = judged(budget("synapse-synchrotron-pdb", SYNCHROTRONS, 2, 1))
    assert pen.failures == []
    assert "poddisruptionbudget/matrix/synapse-synchrotron-pdb" in pen.seen


def test_one_that_allows_nothing_lets_no_drain_end() -> None:
    found = only(judged(budget("synapse-synchrotron-pdb", SYNCHROTRONS, 2, 2)))
    assert found.headline.startswith("budget synapse-synchrotron-pdb lets no drain end: none of synapse-synchrotron-")
    assert found.observed == "2 pods expected, 2 must stay"


def test_one_that_selects_nothing_protects_nothing() -> None:
    found = only(judged(budget("typo-pdb", {"app.kubernetes.io/name": "sinapse"}, 0, 0)))
    assert found.headline == "budget typo-pdb selects no pod: it protects nothing"


def test_one_that_an_operator_leaves_empty_is_none_of_ours() -> None:
    assert judged(owned(budget("matrix-postgresql", {"no": "such"}, 0, 1))).failures == []


def test_one_that_lets_the_majority_of_sentinels_go() -> None:
    found = only(judged(budget("redis-pdb", REDIS, 3, 1)))
    assert found.headline == "budget redis-pdb lets 2 of 3 Sentinels of redis go at once: 2 must agree on a failover"
    assert found.remedy == "set minAvailable: 2 in redis-pdb"


def test_sentinels_without_a_budget_are_warned_of() -> None:
    pen = ask(ID, snapshot=replace(SNAPSHOT, objects={**SNAPSHOT.objects, (BUDGET, "matrix"): ()}))
    assert only(pen, Status.WARNED).headline == "no budget keeps a majority of the 3 Sentinels of redis"


def test_no_budget_at_all_and_nothing_that_votes() -> None:
    pen = ask(ID, snapshot=SNAPSHOT, deployment=replace(MODEL, redis=()))
    assert pen.absence == "there is no PodDisruptionBudget in namespace matrix"


class TestPrimary:
    def test_its_role_is_moved_first(self) -> None:
        assert judged(owned(budget("matrix-postgresql-primary", PRIMARY, 1, 1))).failures == []

    def test_without_a_healthy_replica_there_is_nobody_to_move_it_to(self) -> None:
        pods = tuple(replace(each, ready=each == CLUSTER.primary) for each in CLUSTER.pods)
        model = replace(MODEL, postgres=(replace(CLUSTER, pods=pods),))
        found = only(judged(owned(budget("matrix-postgresql-primary", PRIMARY, 1, 1)), deployment=with_servers(model)))
        assert found.nature is Nature.UNAVAILABLE
        assert CLUSTER.id in found.needs

    def test_a_single_instance_has_none(self) -> None:
        pods = tuple(each for each in CLUSTER.pods if each == CLUSTER.primary)
        model = replace(MODEL, postgres=(replace(CLUSTER, pods=pods, instances=1),))
        found = only(judged(owned(budget("matrix-postgresql-primary", PRIMARY, 1, 1)), deployment=with_servers(model)))
        assert "has one instance, and nobody to hand its role to" in found.headline

    def test_synchronous_replicas_must_stay(self) -> None:
        raw = {"spec": {"minSyncReplicas": 2}}
        model = replace(MODEL, postgres=(replace(CLUSTER, raw=raw),))
        replicas = {"cnpg.io/cluster": "matrix-postgresql", "cnpg.io/instanceRole": "replica"}
        found = only(judged(owned(budget("matrix-postgresql", replicas, 2, 1)), deployment=with_servers(model)))
        assert found.observed == "it keeps 1 replicas, 2 are synchronous"


def test_two_over_one_pod_are_never_evicted() -> None:
    found = only(judged(budget("all-redis", REDIS, 3, 2)))
    assert found.headline.startswith("budgets redis-pdb and all-redis are both over redis-0: it can never be evicted")


def test_one_that_cannot_be_computed() -> None:
    conditions = [{"type": "DisruptionAllowed", "reason": "SyncFailed", "message": "found no controllers for pod x"}]
    found = only(judged(budget("redis-pdb", REDIS, 0, 0, conditions=conditions)))
    assert found.headline.endswith("no pod of it can be evicted: found no controllers for pod x")


def test_one_that_nobody_has_looked_at_as_it_is_now() -> None:
    assert only(judged(budget("redis-pdb", REDIS, 3, 2, observedGeneration=0)), Status.UNKNOWN)


def test_mains_own_is_judged_elsewhere() -> None:
    main = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
    assert main.pod
    assert judged(budget("synapse-main-pdb", main.pod.labels, 1, 1)).failures == []


def test_minio_counts_as_many_servers_as_it_was_made_of() -> None:
    group = servers(4, 3)
    pen = judged(budget("matrix-minio-pdb", MINIO, 3, 3), deployment=with_servers(MODEL, group))
    assert pen.failures == []
