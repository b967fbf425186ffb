from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = "give what must not stop a second pod on another node, a budget that lets one go, and volumes that can follow"


@check(
    "disruption.node",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=(
        "a node that is lost without a word: nothing is evicted from it, and its pods count for minutes; pods of other"
        " namespaces, such as the ingress controller, are left on it"
    ),
)
def test_users_are_served_while_a_node_is_drained(node_away: Disrupted, judge: Judge) -> None:
    """Nodes are drained for every upgrade: a budget that lets nobody go stops it for ever, and what runs once
    stops with it. No kind of request may go without for longer than ``disruption.outage.node`` (90 s); the
    node takes pods again afterwards."""
    judged(node_away, "node", REMEDY, judge)
