from postflight.check import check
from postflight.disrupted import judged
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

REMEDY = (
    "let main's pod be placed and started again without anybody's help, and its probes find it as soon as it serves"
)


@check(
    "disruption.synapse_main",
    severity=Severity.MAJOR,
    remedy=REMEDY,
    blind_spots=(
        "a main process that is killed in the middle of a migration; a node that is lost without a word: Kubernetes waits"
        " minutes before it starts another"
    ),
)
def test_users_are_served_again_after_the_main_process_was_killed(main_away: Disrupted, judge: Judge) -> None:
    """There is one main process, and no second can stand in for it: what counts is how long users go
    without what only main answers, what the workers still serve meanwhile, and that it comes back by
    itself. No kind of request may go without for longer than ``disruption.outage.synapse_main`` (60 s)."""
    judged(main_away, "synapse_main", REMEDY, judge)
