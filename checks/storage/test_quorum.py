from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.cluster.kinds import BUDGET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.budgets import Budget, budgets_of, over
from postflight.deployment.model import Deployment
from postflight.deployment.parts import missing_id
from postflight.deployment.store_parts import StoreServers
from postflight.probes.store_health import ServerHealth
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

GREEN = "green"


@check(
    "storage.quorum",
    severity=Severity.CRITICAL,
    finding="2.11",
    kinds=(BUDGET,),
    remedy="bring the lost servers back, and let a budget keep as many as writes take",
    blind_spots="a single drive that is away while its server answers, as long as writes could still do without any one"
    " server; object stores that are not MinIO, or stand elsewhere; whether all servers stand on one node or in one rack",
)
def test_the_object_store_takes_writes_and_can_do_without_one_more_server(
    snapshot: Snapshot,
    deployment: Deployment,
    store_health: Mapping[str, tuple[ServerHealth, ...]],
    judge: Judge,
) -> None:
    """Below its write quorum a MinIO goes on giving out files and takes none: uploads fail, backups stop, and all its pods
    are Ready. Four servers of two drives bear the loss of one, not of two."""
    if not deployment.store_servers:
        judge.absent(
            "the object store that media go to is no MinIO in the namespaces that are looked at"
            if deployment.stores
            else "no configuration names an object store, and no MinIO runs here"
        )
        return
    budgets = budgets_of(snapshot, deployment)
    for group in deployment.store_servers:
        said = store_health.get(group.id, ())
        answering = [each for each in said if not each.problem]
        if not answering:
            _silent(group, said, judge)
            continue
        judge.saw(group.id)
        if all(each.writes for each in answering):
            _margin(group, said, answering, judge)
        else:
            _no_quorum(group, said, answering, judge)
        _budget(group, max(each.write_quorum for each in answering), over(budgets, group.pods), judge)


def _silent(group: StoreServers, said: Sequence[ServerHealth], judge: Judge) -> None:
    why = said[0].problem if said else "it has no pod"
    judge.unavailable(
        group.id,
        f"no server of MinIO {group.name} answers: {why}",
        observed=_heard(group, said),
        expected=f"{group.servers} servers that answer",
        remedy=f"kubectl -n {group.namespace} get pods, then the log of one that does not run",
        needs=(group.id, *group.workloads, *(each.id for each in group.pods)),
        stops=(group.id, *group.buckets),
    )


def _no_quorum(
    group: StoreServers, said: Sequence[ServerHealth], answering: Sequence[ServerHealth], judge: Judge
) -> None:
    """It is told by any one that answers: a server that sees too few drives takes no write, whatever the others see."""
    blind = [each for each in answering if not each.writes]
    first = blind[0]
    reads = all(each.reads for each in answering)
    down = [each.pod.id for each in said if each.problem]
    lost = group.servers - len(answering)
    quorum = first.write_quorum
    who = f"MinIO {group.name}" if len(blind) == len(answering) else several(each.pod.name for each in blind)
    takes = "takes no writes" if reads else "takes no writes and gives no reads"
    judge.unavailable(
        group.id,
        f"{who} {takes}: {len(answering)} of {group.servers} servers answer"
        + (f", {_drives(group, len(answering))} where a write takes {quorum}" if quorum and group.drives else "")
        + (f" ({first.state})" if first.state else ""),
        observed=_heard(group, said) + _tenant(group, whole=False),
        expected=f"every server sees {quorum or 'enough'} drives or more",
        cause=f"{lost} servers are lost: {_leaves(group, first)}"
        if lost > 0
        else "servers do not see each other's drives",
        remedy=f"bring back {lost} servers"
        if lost > 0
        else "look for what keeps the servers apart: names, policies, nodes",
        needs=(group.id, *group.workloads, *map(missing_id, group.workloads), *down),
        stops=(group.id, *group.buckets),
    )


def _margin(group: StoreServers, said: Sequence[ServerHealth], answering: Sequence[ServerHealth], judge: Judge) -> None:
    """Writes go on: what else may happen before they do not."""
    lost = group.servers - len(answering)
    tight = [each for each in answering if not each.spared]
    healing = max(each.healing for each in answering)
    more = "writes would end with the next" if tight else "one more may be lost"
    observed = _heard(group, said) + _tenant(group, whole=lost <= 0 and not tight)
    if lost > 0:
        gone = [each.pod.name for each in said if each.problem]
        judge.warn(
            group.id,
            f"{lost} of {group.servers} servers of MinIO {group.name} {'is' if lost == 1 else 'are'} lost"
            + (f" ({several(gone)})" if gone else "")
            + f": it takes writes, {more}",
            observed=observed,
            expected=f"{group.servers} servers that answer",
            cause=_leaves(group, answering[0]),
            remedy=f"bring back {lost} server{'s' if lost > 1 else ''}",
        )
    elif healing:
        judge.warn(
            group.id,
            f"MinIO {group.name} is healing {healing} drives: until it has, no server may be lost",
            observed=observed,
            expected="no drive that is healing",
            remedy="wait until it is healed, and drain no node before",
        )
    elif tight:
        alone = group.servers == 1
        judge.warn(
            group.id,
            f"MinIO {group.name} is one server: its loss ends everything"
            if alone
            else f"MinIO {group.name} cannot do without {several(each.pod.name for each in tight)}: writes would end",
            observed=observed,
            expected="writes go on without any one of its servers",
            cause="" if alone else "drives are away on other servers, or there are too few servers for its parity",
            remedy="more servers" if alone else "look for drives that are offline: mc admin info, as its administrator",
        )
    elif stale := _tenant(group, whole=True):
        judge.warn(
            group.id,
            f"Tenant {group.name} tells of trouble that no server of it sees{stale}",
            observed=observed,
            cause="its status is stale: the operator does not look at it, or a single drive is away",
            remedy="read the operator's log",
        )


def _budget(group: StoreServers, quorum: int, budgets: Sequence[Budget], judge: Judge) -> None:
    """What evictions may take at once, when all servers are there, leaves enough for writes."""
    if group.servers < 2 or not group.drives or not quorum:
        return
    needed = -(-quorum // group.drives)
    for budget in budgets:
        kept = group.servers - (max(budget.expected, group.servers) - budget.kept)
        if budget.fresh and not budget.trouble and kept < needed:
            judge.wrong(
                budget.id,
                f"budget {budget.name} lets {group.servers - kept} of {group.servers} servers of MinIO {group.name} go at"
                f" once: {_drives(group, kept)} would be left, a write takes {quorum}",
                observed=f"it keeps {budget.kept} of {max(budget.expected, group.servers)} pods",
                expected=f"it keeps {needed} servers at least",
                cause="a drain of several nodes may take more servers than the write quorum bears",
                remedy=f"set minAvailable: {max(needed, group.servers - 1)} in {budget.name}",
            )
    if not budgets:
        judge.warn(
            group.id,
            f"no budget keeps servers of MinIO {group.name}: a drain of several nodes may end writes",
            expected=f"a budget that keeps {needed} servers at least",
            remedy=f"a PodDisruptionBudget over its pods with minAvailable: {max(needed, group.servers - 1)}",
        )


def _drives(group: StoreServers, servers: int) -> str:
    return f"{servers * group.drives} of {group.servers * group.drives} drives"


def _leaves(group: StoreServers, seen: ServerHealth) -> str:
    """What the loss of one and of two servers leaves, by the quorums."""
    if not group.drives or not seen.write_quorum:
        return ""
    words = []
    for lost in range(1, min(3, group.servers)):
        left = (group.servers - lost) * group.drives
        reads = seen.read_quorum or seen.write_quorum
        words.append(f"{lost} lost leaves {left} drives ({_does(left, reads, seen.write_quorum)})")
    return ", ".join(words) + f"; a write takes {seen.write_quorum}"


def _does(left: int, reads: int, writes: int) -> str:
    return "reads and writes" if left >= writes else "reads only" if left >= reads else "nothing"


def _heard(group: StoreServers, said: Sequence[ServerHealth]) -> str:
    """What each server answered; those without a pod are told by the number."""
    words = [
        (each.problem and f"{each.pod.name}: {each.problem}")
        or f"{each.pod.name}: writes {_yes(each.writes)}, reads {_yes(each.reads)}, may be spared {_yes(each.spared)}"
        for each in said
    ]
    if (absent := group.servers - len(said)) > 0:
        words.append(f"{absent} without a pod")
    return "; ".join(words)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _tenant(group: StoreServers, whole: bool) -> str:
    """What the operator's status says, where that is not what the servers say."""
    status = group.tenant.get("status") or {}
    health, offline = str(status.get("healthStatus") or ""), int(status.get("drivesOffline") or 0)
    well = health in ("", GREEN) and not offline
    if well == whole or not health:
        return ""
    return f"; its Tenant says {health}, {offline} drives offline" + ("" if whole else ": a stale status")
