from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = "run two proxies at least, let the Service select all of them, and have whoever leads there try the next"


@check(
    "disruption.proxy",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=(
        "a proxy that hangs and still takes connections; users who come in by a balancer outside of the cluster"
    ),
)
def test_users_hardly_notice_that_a_proxy_is_gone(proxy_away: Disrupted, judge: Judge) -> None:
    """There are two proxies so that one can go. No kind of request may go without for longer than
    ``disruption.outage.proxy`` (15 s), and another pod must take its place by itself."""
    judged(proxy_away, "proxy", REMEDY, judge)
