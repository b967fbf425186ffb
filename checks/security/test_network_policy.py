from collections.abc import Iterable, Iterator

from postflight.check import check
from postflight.cluster.kinds import INGRESS, POLICY
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import flows
from postflight.deployment.model import Deployment
from postflight.deployment.policies import EGRESS
from postflight.probes import reaching
from postflight.probes.inside import InsideView
from postflight.probes.network import ForeignWays, NetworkRules, PodWays
from postflight.probes.probe import NotTried
from postflight.probes.reaching import Cut, Seen, named
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

POLICIES = "networkpolicies"


@check(
    "security.network_policy",
    severity=Severity.CRITICAL,
    finding="3.5",
    kinds=(POLICY, INGRESS),
    remedy="a default-deny policy for both directions in each namespace of the deployment, and one for each flow that it lives"
    " on, with both its ends; where isolation is somebody else's, network.isolated: false in the settings",
    blind_spots="judged by evaluating the policies: what pods connect to whose images hold no Python, pods of other"
    " namespaces than the deployment's, every way to the internet (LI's, and federation's) unless the settings name a host to"
    " try (network.outside), other homeservers of a closed network, UDP but for the name service's; not seen: policies of a plug-in's own kinds, what the"
    " name service carries out for LI, and other ports of a prize than the one that its service has",
)
def test_policies_let_through_what_is_needed_and_nothing_else(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    network_rules: NetworkRules,
    inside_connections: InsideView | NotTried,
    pod_ways: PodWays | NotTried,
    foreign_ways: ForeignWays | NotTried,
    judge: Judge,
) -> None:
    """Policies only add up, and only where a network plug-in enforces them. One that is missing opens PostgreSQL to every
    pod of the cluster and LI to the internet, one that is too narrow stops what it was to protect: mostly only with the
    next connection, long after it was applied."""
    if not settings.network.isolated:
        judge.absent(
            "the settings leave the isolation of the network to whoever runs the cluster (network.isolated: false)"
        )
        return
    seen = Seen(network_rules, reaching.met_by(inside_connections, pod_ways))
    wanted = flows.needed(deployment, snapshot, settings.names.ingress)
    bare = [each for each in deployment.namespaces if not any(snapshot.all(POLICY, each))]
    for namespace in bare:
        judge.wrong(
            f"namespace/{namespace}",
            f"no NetworkPolicy stands in namespace {namespace}: every pod of the cluster reaches all that stands there",
            observed="no object of kind NetworkPolicy",
            expected="a policy that denies by default, and one for each flow that is needed",
            cause="without a policy that selects it a pod is open in both directions",
        )
    reaching.add_prizes(flows.prizes(deployment, snapshot), foreign_ways, seen, bare)
    reaching.add_api_server(flows.without_api(deployment, snapshot), seen, bare)
    reaching.add_li(flows.of_li(deployment, snapshot), settings, seen, bare)
    for flow in wanted:
        reaching.add_flow(flow, seen)
    reaching.add_name_service(flows.name_askers(wanted), seen)
    reaching.add_federation(deployment, snapshot, seen)
    _tell(seen, judge)
    _limits(inside_connections, pod_ways, foreign_ways, seen, judge, bare=bool(bare))


def _tell(seen: Seen, judge: Judge) -> None:
    nothing = bool(seen.ignored) and not seen.enforced
    if seen.ignored:
        judge.wrong(
            POLICIES,
            "NetworkPolicies do nothing here: the network plug-in does not enforce them"
            if nothing
            else f"NetworkPolicies are not enforced everywhere: {seen.ignored[0]}",
            observed="; ".join(seen.ignored[:4]),
            expected="what the policies forbid is not to be had",
            cause="the network plug-in knows nothing of NetworkPolicies, or its policy engine is not there on every node",
            remedy="a network plug-in that enforces them (Calico, Cilium, ...)",
        )
    for group in _by_cause([each for each in seen.cuts if not nothing]):
        first, ways = group[0], tuple(dict.fromkeys(each.where for each in group))
        pods = tuple(dict.fromkeys(pod for each in group for pod in each.pods))
        all_of_it = len(pods) == len(first.source.stands)
        name = first.source.name if all_of_it else several(pods)
        here = "its own" if first.ruling.direction == EGRESS else "the other"
        stands = {each.name: f"pod/{each.namespace}/{each.name}" for each in first.source.stands}
        judge.wrong(
            first.source.id if all_of_it else stands[pods[0]],
            f"policies keep {name} from {several(ways)}",
            observed=f"{'tried, and nothing answered' if any(each.really for each in group) else 'by the policies'}: "
            + "; ".join(ways),
            expected="what a pod lives on is open, at both ends",
            cause=f"{named(first.ruling.shut_by)} isolate {here} end for {first.ruling.direction}, and none lets this through",
            remedy=f"a policy that lets {name} {'out to' if first.ruling.direction == EGRESS else 'in at'} it",
            stops=()
            if all(each.within for each in group)
            else first.source.stops
            if all_of_it
            else tuple(stands[each] for each in pods),
        )
    for each in seen.opens:
        judge.wrong(
            each.subject,
            each.headline,
            observed=each.observed,
            expected="shut to whoever does not need it",
            cause=each.cause,
            remedy=each.remedy,
        )
    judge.saw(*dict.fromkeys(seen.right))


def _by_cause(cuts: Iterable[Cut]) -> Iterator[list[Cut]]:
    """What one end of a class's pods lets nowhere is one thing."""
    found: dict[tuple[str, str, tuple[str, ...]], list[Cut]] = {}
    for each in cuts:
        found.setdefault((each.source.id, each.ruling.direction, each.ruling.shut_by), []).append(each)
    yield from found.values()


def _limits(
    inside: InsideView | NotTried,
    ways: PodWays | NotTried,
    foreign: ForeignWays | NotTried,
    seen: Seen,
    judge: Judge,
    *,
    bare: bool,
) -> None:
    """What rests on evaluation where it need not."""
    for view, who in ((inside, "Synapse's pods"), (ways, "the other pods")):
        if isinstance(view, NotTried):
            judge.unproven(POLICIES, f"what {who} reach was judged by the policies alone: {view.reason}")
    if isinstance(foreign, NotTried):
        judge.unproven(POLICIES, f"what foreign pods reach was judged by the policies alone: {foreign.reason}")
    elif foreign.problem and not foreign.tried:
        judge.unproven(POLICIES, f"what foreign pods reach was judged by the policies alone: {foreign.problem}")
    if not (seen.enforced or seen.ignored or bare):
        judge.unproven(
            POLICIES,
            "whether the network plug-in enforces NetworkPolicies was not seen: no connection that they forbid was tried",
        )
    elif seen.li_unproven and not seen.ignored:
        names = several(seen.li_unproven)
        judge.unproven(
            POLICIES,
            f"that {names} may not reach the internet was judged by the policies alone: nothing else that they forbid it was tried",
        )
    if seen.unsure:
        why = f": {seen.given.unlabelled}" if seen.given.unlabelled else ""
        judge.unproven(
            POLICIES, f"whether the policies let through {several(seen.unsure)} hangs on labels that are not known{why}"
        )
