"""Pod disruption budgets for the recorded lab, and MinIO's servers in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import BUDGET, DEPLOYMENT, TENANT
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.pods import read_pod
from postflight.deployment.store_parts import StoreServers
from postflight.deployment.store_servers import TENANT_LABEL
from postflight.probes.store_health import ServerHealth
from tests.unit.worlds import Json, container, pod, thing

NAME = "matrix-minio"
WORKLOAD = f"statefulset/matrix/{NAME}-pool-0"
REDIS = {"app.kubernetes.io/name": "redis"}
MINIO = {TENANT_LABEL: NAME}


def budget(name: str, labels: Mapping[str, str], expected: int, kept: int, **rest: Any) -> Json:
    """One that its controller has looked at."""
    status = {"expectedPods": expected, "desiredHealthy": kept, "observedGeneration": 1}
    made = thing(BUDGET, name, spec={"selector": {"matchLabels": dict(labels)}}, status=status | rest)
    made["metadata"]["generation"] = 1
    return made


def with_budgets(snapshot: Snapshot, *others: Json) -> Snapshot:
    """The snapshot with the lab's budgets; others take the place of those of their names."""
    names = {each["metadata"]["name"] for each in others}
    usual = [budget("redis-pdb", REDIS, 3, 2), budget("matrix-minio-pdb", MINIO, 4, 3)]
    usual.append(budget("haproxy-pdb", {"app.kubernetes.io/name": "haproxy"}, 2, 1))
    found = (*(each for each in usual if each["metadata"]["name"] not in names), *others)
    return replace(snapshot, objects={**snapshot.objects, (BUDGET, "matrix"): found})


def usual(snapshot: Snapshot) -> Snapshot:
    """With the lab's budgets, where the snapshot has none of its own."""
    return snapshot if (BUDGET, "matrix") in snapshot.objects else with_budgets(snapshot)


def with_tenant(snapshot: Snapshot, *, available: int = 1, served: bool = True, **status: Any) -> Snapshot:
    """The snapshot with MinIO's operator, and its Tenant as it writes it."""
    pools = [{"ssName": f"{NAME}-pool-0", "state": "PoolInitialized"}]
    made = thing(TENANT, NAME, status={"currentState": "Initialized", "pools": pools} | status)
    template = {"spec": {"containers": [{"name": "operator", "image": "quay.io/minio/operator:v7.1.1"}]}}
    operator = {
        "kind": DEPLOYMENT.name,
        "metadata": {"name": "minio-operator", "namespace": "minio-operator"},
        "spec": {"replicas": available, "template": template},
        "status": {"availableReplicas": available},
    }
    return replace(
        snapshot,
        objects={**snapshot.objects, (TENANT, "matrix"): (made,) if served else ()},
        served=snapshot.served | ({TENANT} if served else frozenset()),
        controllers=(*snapshot.controllers, operator),
    )


def server(number: int) -> Pod:
    return read_pod(pod(f"{NAME}-pool-0-{number}", container("minio"), labels=MINIO))


def servers(of: int = 4, there: int = 4, **rest: Any) -> StoreServers:
    """``there`` pods of ``of`` servers, with two drives each."""
    pods = tuple(server(number) for number in range(there))
    common: dict[str, Any] = {"port": 9000, "tls": False, "servers": of, "drives": 2, "tenant": tenant()}
    common |= {"buckets": ("bucket/matrix/synapse-media",)}
    return StoreServers(f"minio/matrix/{NAME}", "matrix", NAME, (WORKLOAD,), pods, **(common | rest))


def tenant(health: str = "green", offline: int = 0) -> Json:
    return {"status": {"healthStatus": health, "drivesOffline": offline}}


def with_servers(model: Deployment, group: StoreServers | None = None) -> Deployment:
    group = group or servers()
    pods = {**model.pods, **{each.id: each for each in group.pods}}
    return replace(model, store_servers=(group,), pods=pods)


def health(group: StoreServers | None = None, **rest: Any) -> Mapping[str, tuple[ServerHealth, ...]]:
    """Every server says the same: EC:4 over eight drives."""
    group = group or servers()
    common: dict[str, Any] = {"writes": True, "reads": True, "spared": True, "write_quorum": 5, "read_quorum": 4}
    return {group.id: tuple(ServerHealth(each, **(common | rest)) for each in group.pods)}
