import re
from collections.abc import Callable, Sequence
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import DEPLOYMENT, POSTGRES_CLUSTER, TENANT
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster, missing_id
from postflight.deployment.store_parts import StoreServers
from postflight.deployment.store_servers import tenant_of
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

HEALTHY = "Cluster in healthy state"
INITIALIZED, POOL_INITIALIZED = "Initialized", "PoolInitialized"
MINIO_OPERATOR = re.compile(r"(^|/)minio/operator[:@]")


@check(
    "platform.operators",
    severity=Severity.CRITICAL,
    finding="1.6",
    remedy="install the operator of the release, scale it up, and read its log",
    blind_spots="an operator that runs and watches other namespaces only, until something changes in a Cluster or"
    " a Tenant; a Tenant's status that is stale (storage.quorum asks its servers)",
)
def test_the_operators_run_and_what_they_look_after_is_whole(
    snapshot: Snapshot, deployment: Deployment, judge: Judge
) -> None:
    """Without its operator a database loses its failover, and a new one is never made."""
    absences = [each for each in (_postgres(snapshot, deployment, judge), _minio(snapshot, deployment, judge)) if each]
    if len(absences) == 2 and not judge.failures:
        judge.absent("; ".join(absences))


def _postgres(snapshot: Snapshot, deployment: Deployment, judge: Judge) -> str:
    """CloudNativePG and its Clusters. Returns why it is no part of the deployment, "" where it is."""
    operated = [each for each in deployment.postgres if each.operator]
    expected = [each for each in deployment.postgres if not each.operator and _named_like_an_operated_one(each)]
    if POSTGRES_CLUSTER not in snapshot.served:
        for each in expected:
            judge.wrong(
                each.id,
                f"CloudNativePG is not installed: no CRD clusters.postgresql.cnpg.io, so nobody makes {each.name}",
                observed=f"{each.name}-rw is named by the deployment's configuration; the API server knows no Cluster",
                expected="the CRD established, the operator available, the Cluster healthy",
                remedy="install CloudNativePG, then apply the Cluster",
                stops=(each.id,),
            )
        return "" if expected else "nothing here is named as CloudNativePG names it, and its CRD is not installed"
    if not operated and not expected:
        return "no Cluster of CloudNativePG and nothing named as one"
    _operator(snapshot, "CloudNativePG", _is_operator, [each.name for each in operated], judge)
    for each in expected:
        judge.unavailable(
            each.id,
            f"there is no Cluster {each.name}, though {each.name}-rw is named as its Service",
            remedy=f"apply Cluster {each.name} again, and restore its data from the last backup",
            stops=(each.id,),
        )
    for each in operated:
        judge.saw(each.id)
        _cluster(each, judge)
    return ""


def _minio(snapshot: Snapshot, deployment: Deployment, judge: Judge) -> str:
    """MinIO's operator and its Tenants. Returns why it is no part of the deployment, "" where it is."""
    made = [each for each in deployment.store_servers if any(tenant_of(pod.labels) for pod in each.pods)]
    tenants = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in snapshot.all(TENANT)}
    if not made and not tenants:
        return "no Tenant of MinIO's operator, and no pod that one made"
    if why := snapshot.why_unseen(TENANT):
        judge.unknown("MinIO", f"MinIO's Tenants could not be looked at: {why}")
        return ""
    if TENANT not in snapshot.served:
        for each in made:
            judge.wrong(
                each.id,
                f"MinIO's operator is not installed: no CRD tenants.minio.min.io, so nobody looks after {each.name}",
                observed=f"the pods of {each.name} are labelled as a Tenant's; the API server knows no Tenant",
                expected="the CRD established, the operator available, the Tenant initialized",
                remedy="install MinIO's operator, then apply the Tenant",
            )
        return ""
    _operator(
        snapshot, "MinIO", _is_minio_operator, [name for _, name in tenants] or [each.name for each in made], judge
    )
    for each in made:
        if (each.namespace, each.name) not in tenants:
            judge.wrong(
                each.id,
                f"there is no Tenant {each.name}, though its pods are labelled as made for it",
                expected=f"a Tenant {each.name}, whose operator looks after its servers",
                remedy=f"apply Tenant {each.name} again",
            )
    for (namespace, name), raw in tenants.items():
        _tenant(
            namespace, name, raw, [each for each in made if (each.namespace, each.name) == (namespace, name)], judge
        )
    return ""


def _tenant(namespace: str, name: str, raw: Any, made: Sequence[StoreServers], judge: Judge) -> None:
    status = raw.get("status") or {}
    state = str(status.get("currentState") or "no status yet")
    pools = {str(each.get("ssName")): str(each.get("state")) for each in status.get("pools") or ()}
    behind = [f"{pool} {state}" for pool, state in pools.items() if state != POOL_INITIALIZED]
    judge.saw(f"tenant/{namespace}/{name}")
    if state == INITIALIZED and pools and not behind:
        return
    judge.unavailable(
        f"tenant/{namespace}/{name}",
        f"Tenant {name} of MinIO is not initialized: {'; '.join(behind) if state == INITIALIZED and behind else state}",
        observed=f"currentState {state}; pools: {', '.join(f'{k} {v}' for k, v in pools.items()) or 'none'}",
        expected=f"currentState {INITIALIZED}, every pool {POOL_INITIALIZED}",
        remedy=f"kubectl -n {namespace} describe tenant {name}",
        needs=tuple(part for each in made for part in (each.id, *each.workloads, *(pod.id for pod in each.pods))),
    )


def _named_like_an_operated_one(cluster: PostgresCluster) -> bool:
    return any(each.service == f"{cluster.name}-rw" for each in cluster.endpoints) and bool(cluster.missing)


def _operator(
    snapshot: Snapshot, product: str, known: Callable[[Any], bool], operated: Sequence[str], judge: Judge
) -> None:
    if why := snapshot.unseen.get((DEPLOYMENT, "")):
        judge.unknown(product, f"{product}'s operator could not be looked for: {why}")
        return
    found = [each for each in snapshot.controllers if each["kind"] == DEPLOYMENT.name and known(each)]
    names = ", ".join(operated)
    if not found:
        judge.wrong(
            product,
            f"{product}'s operator is not installed: nobody looks after {names}",
            expected="a Deployment of the operator, available",
            remedy=f"install {product}'s operator",
        )
    for each in found:
        name, where = each["metadata"]["name"], each["metadata"]["namespace"]
        available = int((each.get("status") or {}).get("availableReplicas") or 0)
        judge.saw(f"deployment/{where}/{name}")
        if available < 1:
            replicas = each["spec"].get("replicas", 1)
            why = "scaled to 0" if replicas == 0 else "not available"
            judge.wrong(
                f"deployment/{where}/{name}",
                f"{product}'s operator {name} in namespace {where} is {why}: nobody looks after {names}",
                observed=f"{available} of {replicas} replicas available",
                expected="at least one replica available",
                remedy=f"kubectl -n {where} scale deployment {name} --replicas=1",
            )


def _is_operator(each: Any) -> bool:
    labels = each["metadata"].get("labels") or {}
    containers = template_of(each).get("containers") or ()
    return labels.get("app.kubernetes.io/name") == "cloudnative-pg" or any(
        "/cloudnative-pg:" in (c.get("image") or "")
        or ("/manager" in " ".join(c.get("command") or ()) and "cnpg" in (c.get("image") or ""))
        for c in containers
    )


def _is_minio_operator(each: Any) -> bool:
    containers = template_of(each).get("containers") or ()
    return any(MINIO_OPERATOR.search(c.get("image") or "") for c in containers)


def _cluster(cluster: PostgresCluster, judge: Judge) -> None:
    status = cluster.raw.get("status") or {}
    phase = status.get("phase") or "no status yet"
    ready = int(status.get("readyInstances") or 0)
    current, target = status.get("currentPrimary"), status.get("targetPrimary")
    if phase == HEALTHY and ready == cluster.instances and current == target:
        return
    down = tuple(pod.id for pod in cluster.pods if not pod.ready)
    judge.unavailable(
        cluster.id,
        f"Cluster {cluster.name} is not whole: {phase}, {ready} of {cluster.instances} instances ready",
        observed=f"phase {phase}; {ready} of {cluster.instances} ready; primary {current}, meant to be {target}",
        expected=f"phase {HEALTHY}; {cluster.instances} ready; the primary is the one that is meant",
        cause=str(status.get("phaseReason") or ""),
        remedy=f"kubectl -n {cluster.namespace} describe cluster {cluster.name}",
        needs=(cluster.id, *down),
        stops=(
            *((cluster.id,) if ready == 0 else ()),
            *((missing_id(cluster.id),) if len(cluster.pods) < cluster.instances else ()),
        ),
    )
