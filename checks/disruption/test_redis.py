from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = "let the Sentinels' quorum be a majority of them, and Synapse's address of Redis follow the master"


@check(
    "disruption.redis",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=(
        "a master whose pod is lost: it comes back under another address, which Sentinels that know each other by address"
        " count as one more"
    ),
)
def test_messages_flow_again_after_the_sentinels_failed_redis_over(redis_away: Disrupted, judge: Judge) -> None:
    """Workers hear of each other's writes by Redis alone: until the Sentinels have chosen another master,
    and the address that Synapse has leads there, what is written arrives at nobody. No kind of request may
    go without for longer than ``disruption.outage.redis`` (30 s), the Sentinels' own wait included."""
    judged(redis_away, "redis", REMEDY, judge)
