from collections.abc import Sequence

from postflight.check import check
from postflight.cluster.kinds import BUDGET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.budgets import Budget, budgets_of, over
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster, RedisGroup, Side
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

PRIMARY = "-primary"


@check(
    "availability.budgets",
    severity=Severity.MAJOR,
    kinds=(BUDGET,),
    remedy="let every budget allow one eviction, and keep a quorum of what votes",
    blind_spots="budgets over the main process alone (availability.synapse_main) and what they leave of MinIO's write quorum"
    " (storage.quorum); what has no budget at all, Redis aside; pods that are down at the moment: a budget is judged as with"
    " all of them there",
)
def test_every_budget_lets_a_drain_end_and_keeps_a_quorum(
    snapshot: Snapshot, deployment: Deployment, judge: Judge
) -> None:
    """A budget that allows nothing holds up every upgrade of a node until somebody deletes it; one that allows too much
    lets an upgrade end what it was to protect."""
    budgets = budgets_of(snapshot, deployment)
    for budget in budgets:
        _budget(deployment, budget, judge)
    _twice(budgets, judge)
    for group in deployment.redis:
        if group.expected_sentinels > 2 and group.sentinels:
            _redis(group, over(budgets, [each.pod for each in group.sentinels]), judge)
    if not budgets and not judge.failures:
        judge.absent(f"there is no PodDisruptionBudget in namespace {', '.join(snapshot.namespaces)}")


def _budget(deployment: Deployment, budget: Budget, judge: Judge) -> None:
    judge.saw(budget.id)
    cluster = next((each for each in deployment.postgres if each.operator and each.name == budget.cluster), None)
    if not budget.pods:
        if not budget.cluster:
            judge.wrong(
                budget.id,
                f"budget {budget.name} selects no pod: it protects nothing",
                expected="it selects the pods that it was made for",
                cause="its selector and the labels of the pods differ",
                remedy=f"correct the selector of {budget.name}, or remove it",
            )
        return
    if budget.trouble:
        judge.wrong(
            budget.id,
            f"budget {budget.name} cannot be computed, so no pod of it can be evicted: {budget.trouble}",
            expected="a budget over pods of a controller that says how many there are to be",
            remedy="use minAvailable with a number, or select pods of a Deployment or StatefulSet only",
        )
    elif not budget.fresh:
        judge.unknown(budget.id, f"the disruption controller has not looked at budget {budget.name} as it is now")
    elif _expected(deployment, budget) - budget.kept < 1 and not _only_main(deployment, budget):
        _blocks(budget, cluster, judge)
    elif cluster:
        _standbys(cluster, budget, judge)


def _blocks(budget: Budget, cluster: PostgresCluster | None, judge: Judge) -> None:
    """No eviction is ever allowed. CloudNativePG moves the primary's role away from a node that is drained, and then its
    budget is over a pod elsewhere: given a healthy replica."""
    details = f"{budget.expected} pods expected, {budget.kept} must stay"
    if cluster is None or not budget.name.endswith(PRIMARY):
        judge.wrong(
            budget.id,
            f"budget {budget.name} lets no drain end: none of {several(each.name for each in budget.pods)} may be evicted",
            observed=details,
            expected="at least one eviction at a time, when all its pods are there",
            cause="minAvailable is as high as the number of pods, or maxUnavailable is 0",
            remedy=f"set maxUnavailable: 1 in {budget.name}, and two pods or more",
        )
        return
    others = [each for each in cluster.pods if each.id not in {pod.id for pod in budget.pods}]
    if any(each.ready for each in others):
        return
    if cluster.instances < 2:
        judge.wrong(
            budget.id,
            f"budget {budget.name} lets no drain end: {cluster.name} has one instance, and nobody to hand its role to",
            observed=details,
            expected="a healthy replica, or no budget",
            remedy=f"instances: 2 in Cluster {cluster.name}, or enablePDB: false",
        )
    else:
        judge.unavailable(
            budget.id,
            f"budget {budget.name} lets no drain end: {cluster.name} has no healthy replica to hand its role to",
            observed=details,
            expected="a healthy replica",
            remedy=f"bring the replicas of {cluster.name} back",
            needs=(cluster.id, *(each.id for each in others)),
        )


def _standbys(cluster: PostgresCluster, budget: Budget, judge: Judge) -> None:
    """Where commits wait for replicas, evictions must leave as many."""
    spec = cluster.raw.get("spec") or {}
    synchronous = (spec.get("postgresql") or {}).get("synchronous") or {}
    needed = int(synchronous.get("number") or spec.get("minSyncReplicas") or 0)
    if budget.name.endswith(PRIMARY) or budget.kept >= needed:
        return
    judge.wrong(
        budget.id,
        f"budget {budget.name} lets the replicas go that commits of {cluster.name} wait for",
        observed=f"it keeps {budget.kept} replicas, {needed} are synchronous",
        expected=f"it keeps {needed} replicas at least",
        remedy=f"more instances in Cluster {cluster.name}, or fewer synchronous replicas",
    )


def _redis(group: RedisGroup, budgets: Sequence[Budget], judge: Judge) -> None:
    """A failover takes a majority of all Sentinels that there are."""
    votes, needed = group.expected_sentinels, group.expected_sentinels // 2 + 1
    for budget in budgets:
        if budget.fresh and votes - budget.lets_go < needed:
            judge.wrong(
                budget.id,
                f"budget {budget.name} lets {budget.lets_go} of {votes} Sentinels of {group.name} go at once: {needed} must"
                " agree on a failover",
                observed=f"it keeps {budget.kept} of {budget.expected} pods",
                expected=f"it keeps {needed} of {votes}",
                cause="a drain of several nodes may take the majority, and a master that is lost then is not replaced",
                remedy=f"set minAvailable: {needed} in {budget.name}",
            )
    if not budgets:
        judge.warn(
            group.id,
            f"no budget keeps a majority of the {votes} Sentinels of {group.name}",
            expected=f"a budget that keeps {needed} of them",
            remedy=f"a PodDisruptionBudget over its pods with minAvailable: {needed}",
        )


def _twice(budgets: Sequence[Budget], judge: Judge) -> None:
    seen: dict[str, Budget] = {}
    told: set[tuple[str, str]] = set()
    for budget in budgets:
        for pod in budget.pods:
            other = seen.setdefault(pod.id, budget)
            if other is not budget and (other.id, budget.id) not in told:
                told.add((other.id, budget.id))
                judge.wrong(
                    budget.id,
                    f"budgets {other.name} and {budget.name} are both over {pod.name}: it can never be evicted",
                    expected="each pod under one budget at the most (the eviction API refuses more)",
                    remedy=f"narrow the selector of {other.name} or {budget.name}",
                )


def _expected(deployment: Deployment, budget: Budget) -> int:
    """How many pods there are to be; of MinIO as many as it was made of, whatever it is scaled to."""
    ids = {each.id for each in budget.pods}
    servers = [each.servers for each in deployment.store_servers if ids & {pod.id for pod in each.pods}]
    return max(budget.expected, *servers, 0)


def _only_main(deployment: Deployment, budget: Budget) -> bool:
    """Whether it is over nothing but the users' main process, which is a single one."""
    mains = {each.pod.id for each in deployment.synapse if each.is_main and each.side is Side.MAIN and each.pod}
    return all(each.id in mains for each in budget.pods)
