from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from postflight.check import check
from postflight.cluster.kinds import BUDGET, DAEMON_SET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import front, ingresses
from postflight.deployment.budgets import Budget, read_budgets
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side
from postflight.probes.public_places import ControllerSeen
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@dataclass(frozen=True, slots=True)
class Group:
    """Pods that stand in for each other at the front door. ``budgets`` is None where nobody wants one: a drain leaves a
    DaemonSet's pods alone; ``beyond``: nobody else tells of these budgets."""

    id: str
    words: str
    pods: tuple[Pod, ...]
    budgets: tuple[Budget, ...] | None
    beyond: bool = False

    @property
    def ready(self) -> tuple[Pod, ...]:
        return tuple(each for each in self.pods if each.ready and not each.deleting)


@check(
    "availability.front_door",
    severity=Severity.MAJOR,
    finding="2.2",
    kinds=(BUDGET,),
    remedy="run two replicas of the ingress controller and of the proxy, spread over nodes, each with a budget that lets"
    " one go",
    blind_spots="what stands before the ingress controllers (load balancer, router, DNS), and a controller outside the"
    " cluster; nodes are those that pods of the deployment run on: that a second one exists which is empty is not seen",
)
def test_the_front_door_outlasts_the_loss_of_one_pod_and_one_node(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    ingress_controllers: tuple[ControllerSeen, ...],
    judge: Judge,
) -> None:
    """All that clients and other servers ask comes through an ingress controller and the proxy: a single one of either,
    or all of them on one node, makes every restart and every drain an outage for everybody."""
    promised = settings.availability == "high"
    say = judge.wrong if promised else judge.warn
    nodes = _nodes(deployment)
    groups = [
        *_controllers(deployment, snapshot, settings, ingress_controllers, judge),
        *_proxies(deployment, snapshot),
    ]
    if not groups and not judge.failures:
        judge.absent("neither an Ingress nor a proxy leads to Synapse")
    for group in groups:
        judge.saw(group.id)
        if not group.ready:
            judge.unavailable(group.id, f"{group.words}: none of {len(group.pods)} pods is ready")
        elif lacks := tuple(_lacks(group, nodes, promised)):
            say(
                group.id,
                f"{group.words}: {'; '.join(lacks)}",
                observed=", ".join(f"{each.name} on {each.node}" for each in group.ready),
                expected="two ready pods, on two nodes where there are two, and a budget that lets one of them go",
                cause="the settings promise more (availability: high)" if promised else "",
            )


def _nodes(deployment: Deployment) -> frozenset[str]:
    """Those that take pods, as far as the deployment's own tell."""
    placed = (pod for each in deployment.workloads if each.kind != DAEMON_SET.name for pod in each.pods)
    return frozenset(pod.node for pod in placed if pod.node and pod.ready)


def _lacks(group: Group, nodes: frozenset[str], promised: bool) -> Iterator[str]:
    ready = group.ready
    if len(ready) < 2:
        yield f"one pod is ready ({ready[0].name}), and its restart shuts the front door"
        return
    here = {each.node for each in ready}
    if len(here) == 1 and (promised or nodes - here):
        yield f"all {len(ready)} pods stand on node {ready[0].node}"
    if group.budgets is not None:
        own = [each for each in group.budgets if any(pod in each.pods for pod in ready)]
        if not own:
            yield "no budget keeps a drain from taking all of them at once"
        elif group.beyond and (tight := next((each for each in own if not each.allows), None)):
            yield f"budget {tight.name} ({tight.words}) never lets one go, and no node with one can be drained"


def _controllers(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    seen: Sequence[ControllerSeen],
    judge: Judge,
) -> Iterator[Group]:
    """Those that serve the homeserver's public names."""
    mains = [each for each in deployment.synapse if each.is_main and each.side is Side.MAIN and each.server_name]
    hosts = dict.fromkeys(host for main in mains for host in front.names_of(main).hosts)
    claimed = tuple(host for host in hosts if ingresses.claims(snapshot, host))
    if not claimed:
        return
    wanted = {each.id for each in front.controllers(snapshot, settings.names.ingress, claimed)}
    found = [each for each in seen if each.controller.id in wanted]
    if not found:
        judge.unproven(
            "ingress controllers",
            f"how many ingress controllers serve {claimed[0]} was not seen: none is known by its image",
            remedy="names.ingress.workloads in the settings names them",
        )
    kinds = {(each["metadata"]["namespace"], each["metadata"]["name"]): each["kind"] for each in snapshot.controllers}
    for each in found:
        own = each.controller
        words = f"ingress controller {own.name} in namespace {own.namespace}"
        if why := each.problem or each.hidden:
            judge.unknown(own.id, f"{words} could not be looked at: {why}")
            continue
        pods = tuple(pod for pod, _ in each.pods)
        placed = kinds.get((own.namespace, own.name)) == DAEMON_SET.name
        budgets = None if placed else read_budgets(each.budgets, pods)
        yield Group(own.id, words, pods, budgets, own.namespace not in snapshot.namespaces)


def _proxies(deployment: Deployment, snapshot: Snapshot) -> Iterator[Group]:
    daemons = {pod.id for each in deployment.workloads if each.kind == DAEMON_SET.name for pod in each.pods}
    for each in deployment.proxies:
        budgets = read_budgets(snapshot.all(BUDGET, each.namespace), each.pods)
        placed = any(pod.id in daemons for pod in each.pods)
        yield Group(each.id, f"proxy {each.name}", each.pods, None if placed else budgets)
