from typing import Any

from postflight.check import check
from postflight.cluster.kinds import DEPLOYMENT, POSTGRES_CLUSTER
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster, missing_id
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

HEALTHY = "Cluster in healthy state"


@check(
    "platform.operators",
    severity=Severity.CRITICAL,
    finding="1.6",
    remedy="install the operator of the release, scale it up, and read its log",
    blind_spots="an operator that runs and watches other namespaces only, until something changes in a Cluster",
)
def test_the_operators_run_and_what_they_look_after_is_whole(
    snapshot: Snapshot, deployment: Deployment, judge: Judge
) -> None:
    """Without its operator a database loses its failover, and a new one is never made."""
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
        if not expected:
            judge.absent("nothing here is named as CloudNativePG names it, and its CRD is not installed")
        return
    if not operated and not expected:
        judge.absent("no Cluster of CloudNativePG and nothing named as one")
        return
    _operator(snapshot, operated, judge)
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


def _named_like_an_operated_one(cluster: PostgresCluster) -> bool:
    return any(each.service == f"{cluster.name}-rw" for each in cluster.endpoints) and bool(cluster.missing)


def _operator(snapshot: Snapshot, operated: list[PostgresCluster], judge: Judge) -> None:
    if why := snapshot.unseen.get((DEPLOYMENT, "")):
        judge.unknown("CloudNativePG", f"CloudNativePG's operator could not be looked for: {why}")
        return
    found = [each for each in snapshot.controllers if each["kind"] == DEPLOYMENT.name and _is_operator(each)]
    names = ", ".join(each.name for each in operated)
    if not found:
        judge.wrong(
            "CloudNativePG",
            f"CloudNativePG's operator is not installed: nobody looks after {names}",
            expected="a Deployment of the operator, available",
            remedy="install CloudNativePG's operator",
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
                f"CloudNativePG's operator {name} in namespace {where} is {why}: nobody looks after {names}",
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
