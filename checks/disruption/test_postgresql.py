from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = "let the processes connect to the Service that follows the primary (-rw), with TCP keepalive, and replicas be ready to take over"


@check(
    "disruption.postgresql",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=(
        "a primary that is lost without an orderly shutdown; what was committed there and not yet sent to a replica;"
        " the slot of a subscription, which an unplanned failover loses"
    ),
)
def test_users_are_served_again_after_the_primary_was_switched_over_and_back(
    primary_away: Disrupted, judge: Judge
) -> None:
    """Every connection to the old primary ends, and each process must make its own anew, to the new one.
    No kind of request may go without for longer than ``disruption.outage.postgresql`` (60 s). A logical slot,
    such as that of LI's subscription, stays behind on the old primary until it is primary again: without
    ``disruption.risk_slots`` in the settings nothing is switched over where there is one."""
    judged(primary_away, "postgresql", REMEDY, judge)
