from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = "spread the drives over servers so that the write quorum outlives one of them, and let its pod be placed again"


@check(
    "disruption.storage",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=("a drive that is lost for good; how long healing takes; a store outside of the cluster"),
)
def test_files_are_stored_and_served_while_a_server_of_the_object_store_is_gone(
    store_away: Disrupted, judge: Judge
) -> None:
    """Erasure coding is there so that a server can go: files are sent and fetched all the while, past every
    copy that a process has, and what was taken must be in the bucket afterwards. No kind of request may go
    without for longer than ``disruption.outage.storage`` (15 s)."""
    judged(store_away, "storage", REMEDY, judge)
