from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.probes.looks import Looks
from postflight.probes.node_clocks import SECOND, NodeClocks
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: Seconds. A clock that is kept by NTP is within some milliseconds; etcd complains of a second. LiveKit takes a token
#: that is valid within the next minute (go-jose, DefaultLeeway).
FAR, OFF = 10.0, 2.0
#: With fewer clocks than that nobody knows which of them is right.
MANY = 3


@dataclass(frozen=True, slots=True)
class Clock:
    """By how many seconds a clock is ahead of the verifier's, give or take ``within``."""

    subject: str
    name: str
    node: str
    ahead: float
    within: float


@check(
    "platform.clocks",
    severity=Severity.MAJOR,
    remedy="have every node's time kept by NTP (chrony, systemd-timesyncd), and nothing fake it in a container",
    blind_spots="clients' own clocks; a process whose time alone is faked by what its start script sets, so that a command"
    " beside it in its container does not show it; a difference that is shorter than half of the way to the pod and back",
)
def test_the_clocks_of_nodes_pods_and_the_verifier_agree(
    deployment: Deployment, pod_looks: Looks | NotTried, node_clocks: NodeClocks, judge: Judge
) -> None:
    """A TURN credential and a token for a call are made by one clock and expire by another; events are sorted by the
    time that their server gave them."""
    pods = [] if isinstance(pod_looks, NotTried) else list(_of_pods(deployment, pod_looks))
    nodes = [Clock(f"node/{name}", f"node {name}", name, ahead, SECOND) for name, ahead in node_clocks.nodes.items()]
    server = Clock("API server", "the API server", "", node_clocks.server, SECOND)
    clocks = [*pods, *nodes, server]
    if len(clocks) < MANY:
        judge.unknown("clocks", "too few clocks were seen to tell which of them is right")
        return
    right, slack = median(each.ahead for each in clocks), median(each.within for each in clocks)
    off = {each.subject: each.ahead - right for each in clocks if abs(each.ahead - right) - each.within - slack > OFF}
    judge.saw(*(each.subject for each in clocks))
    _tell(pods, nodes, server, off, judge)
    # Each of the others was seen to differ by as much: it is this one.
    if abs(right) - slack > OFF:
        judge.warn(
            "the verifier",
            f"the verifier's own clock is {_by(-right)} the clocks of the deployment",
            observed=f"{len(clocks)} clocks are {_by(right)} it",
            remedy="set the clock of the machine that the verifier runs on",
        )
    _not_seen(deployment, pod_looks, pods, nodes, judge)


def _of_pods(deployment: Deployment, looks: Looks) -> Iterator[Clock]:
    known = {**deployment.pods, **{each.id: each for each in _matters(deployment)}}
    for id, look in looks.seen.items():
        pod = known.get(id)
        if pod and look.ahead is not None:
            yield Clock(id, pod.name, pod.node, look.ahead, look.within)


def _tell(pods: Iterable[Clock], nodes: Iterable[Clock], server: Clock, off: dict[str, float], judge: Judge) -> None:
    """A node whose pods are all wrong is wrong itself, and they are not named beside it."""
    by_node: dict[str, list[Clock]] = {}
    for each in pods:
        by_node.setdefault(each.node, []).append(each)
    told = {each.node: each for each in nodes}
    for name, own in by_node.items():
        wrong = [each for each in own if each.subject in off]
        node = told.get(name)
        alone = len(by_node) > 1 and len(own) > 1 and len(wrong) == len(own)
        if wrong and (alone or (node is not None and node.subject in off)):
            by = median(off[each.subject] for each in wrong)
            _wrong(f"node/{name}", f"node {name}", by, f"it shows in {several(each.name for each in wrong)}", judge)
            continue
        for each in wrong:
            _wrong(each.subject, each.name, off[each.subject], "the other pods of its node are right", judge)
    for each in (*told.values(), server):
        if each.subject in off and each.node not in by_node:
            _wrong(each.subject, each.name, off[each.subject], "by what it writes into the API", judge)


def _wrong(subject: str, name: str, by: float, evidence: str, judge: Judge) -> None:
    say = judge.wrong if abs(by) > FAR else judge.warn
    say(
        subject,
        f"the clock of {name} is {_by(by)} the others",
        observed=f"{_by(by)} the middle of all clocks that were seen; {evidence}",
        expected=f"within {OFF:g} s of each other",
        cause="nothing keeps its time"
        if subject.startswith("node/")
        else "something fakes its time, or nothing keeps it",
        remedy="have NTP keep the time of its node; in a container look for LD_PRELOAD with libfaketime",
    )


def _not_seen(
    deployment: Deployment, looks: Looks | NotTried, pods: list[Clock], nodes: list[Clock], judge: Judge
) -> None:
    """Those by whose clock something is made or expires, and which were not looked into."""
    seen = {each.subject for each in pods}
    dark = [each for each in _matters(deployment) if each.id not in seen]
    told = {each.node for each in (*pods, *nodes)}
    reasons = {} if isinstance(looks, NotTried) else looks.unseen
    for known, group in ((True, [p for p in dark if p.node in told]), (False, [p for p in dark if p.node not in told])):
        if not group:
            continue
        why = looks.reason if isinstance(looks, NotTried) else reasons.get(group[0].id, "it shows no time")
        names = several(each.name for each in group)
        if known:
            judge.unproven(group[0].id, f"the clock of {names} was not seen, only its node's, which is right: {why}")
        else:
            judge.unknown(group[0].id, f"the clock of {names} was not seen: {why}")


def _matters(deployment: Deployment) -> list[Pod]:
    """The pods that are ready of Synapse, of PostgreSQL, and of what makes or takes credentials that expire."""
    own = [each.pod for each in deployment.synapse if each.pod]
    for group in (
        *(each.pods for each in deployment.postgres),
        *(each.pods for each in deployment.calls.jwt_services),
        *(each.pods for each in deployment.calls.sfus),
        *(each.pods for each in deployment.turn.servers),
    ):
        own += group
    # One that is not ready may crash as it is looked into.
    return list({each.id: each for each in own if each.ready and not each.deleting}.values())


def _by(seconds: float) -> str:
    size = abs(seconds)
    text = f"{size:.1f} s" if size < 100 else f"{size / 60:.0f} min" if size < 6000 else f"{size / 3600:.1f} h"
    return f"{text} {'ahead of' if seconds > 0 else 'behind'}"
