from collections.abc import Mapping

from postflight.check import check
from postflight.cluster.kinds import BUDGET, POD
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.budgets import read_budgets
from postflight.deployment.falls import fell
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, Workload
from postflight.deployment.pods import REPLACED
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "availability.synapse_main",
    severity=Severity.CRITICAL,
    finding="2.1",
    kinds=(BUDGET,),
    remedy="let a controller keep the one main process, with a livenessProbe, and give it no budget or one that lets it go",
    blind_spots="how long an outage lasts: Synapse has one main process and no second one can stand by, so that every"
    " restart of it is an outage of what only it answers (logins, most writes), of some seconds to a minute",
)
def test_the_main_process_is_brought_back_and_lets_its_node_be_drained(
    deployment: Deployment, snapshot: Snapshot, last_words: Mapping[str, tuple[str, ...]], judge: Judge
) -> None:
    """There can be only one main process: what keeps its outages short is that it is started again by itself, elsewhere
    if need be. A budget cannot keep it, only hold up whoever wants to empty its node."""
    workloads = {each.id: each for each in deployment.workloads}
    mains = [each for each in deployment.synapse if each.is_main and each.side is Side.MAIN]
    for main in mains:
        judge.saw(main.id)
        workload = workloads[main.workload]
        if not main.is_up:
            _down(main, workload, snapshot, last_words, judge)
        _kept(main, workload, snapshot, judge)
    _budgets(mains, deployment, snapshot, judge)


def _down(
    main: SynapseProcess,
    workload: Workload,
    snapshot: Snapshot,
    last_words: Mapping[str, tuple[str, ...]],
    judge: Judge,
) -> None:
    expected = "the main process is started again by itself, and is ready within a minute"
    raw = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
    if main.status and raw and (since := fell(raw, main.status)):
        judge.wrong(
            main.id,
            f"{main.name}, the main process, was up and does not come back: since {since:%H:%M:%SZ} each start of it ends"
            f" (exit code {main.status.last_exit}, {main.status.restarts} restarts)",
            observed=f"ready until {since:%Y-%m-%d %H:%M:%SZ}, {main.status.restarts} restarts, not ready",
            expected=expected,
            cause="; ".join(last_words.get(main.id, ())[-1:]),
            remedy="read its last words: what the process before left behind may be in the way of the next one",
            evidence=last_words.get(main.id, ()),
            stops=(main.id, main.workload),
        )
    elif main.pod is None and not workload.desired:
        judge.unavailable(
            main.id,
            f"{workload.kind} {workload.name} is scaled to 0: there is no main process, and nothing brings one back",
            expected=expected,
            remedy=f"kubectl -n {main.namespace} scale {workload.kind.lower()} {workload.name} --replicas=1",
            stops=(main.id,),
        )
    else:
        judge.unavailable(main.id, f"{main.name}, the main process, is not up", expected=expected)


def _kept(main: SynapseProcess, workload: Workload, snapshot: Snapshot, judge: Judge) -> None:
    """A single process is as available as whoever starts it again."""
    raw = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
    if raw is None:
        return
    containers = [each for each in template_of(raw).get("containers") or () if each["name"] == main.container]
    lacks = [] if workload.kind in REPLACED else ["no controller makes its pod anew when it or its node goes"]
    if not any(each.get("livenessProbe") for each in containers):
        lacks.append(f"container {main.container} has no livenessProbe: hung, it stays so")
    if lacks:
        judge.warn(
            main.id,
            f"{main.name} is the only main process, and nothing brings it back quickly: {'; '.join(lacks)}",
            expected="a StatefulSet or Deployment, and a livenessProbe on /health",
        )


def _budgets(mains: list[SynapseProcess], deployment: Deployment, snapshot: Snapshot, judge: Judge) -> None:
    """Those over main alone: of the others availability.budgets tells."""
    own = {each.pod.id for each in mains if each.pod}
    for each in read_budgets(snapshot.all(BUDGET), tuple(deployment.pods.values())):
        if each.pods and not each.allows and all(pod.id in own for pod in each.pods):
            pod = each.pods[0]
            judge.wrong(
                each.id,
                f"budget {each.name} ({each.words}) never lets {pod.name} go: no node that it stands on can be drained",
                observed=f"{each.words} over {len(each.pods)} pod: 0 disruptions are ever allowed",
                expected="no budget over the one main process, or one that lets it go (maxUnavailable: 1)",
                cause="there is one main process, and the budget asks for it to be there always",
                remedy=f"set maxUnavailable: 1 in budget {each.name} in namespace {each.namespace}, or remove it",
            )
