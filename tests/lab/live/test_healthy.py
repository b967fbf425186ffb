"""The healthy lab is green, every time, in time."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime

from lab.cluster import Cluster
from tests.lab.live import sql
from tests.lab.live.content import all_checks
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

NAMESPACE = "matrix"
#: Twenty in a row are the bar for green, ten for the limits: POSTFLIGHT_TEST_RUNS=20. With every test run there are
#: these, and some thirty more in the tests of other things.
RUNS = int(os.environ.get("POSTFLIGHT_TEST_RUNS", "2"))
#: synapse/config/ratelimiting.py, rc_message: a second, and at once. Each event persister counts for itself.
RATE, BURST = 0.2, 10
#: Of an answer, not of one of the many numbers that pass by 429: synapse/http/site.py, "Processed request".
LIMITED = re.compile(r'Processed request: .* 429 "|M_LIMIT_EXCEEDED')
SENT = """select instance_name, count(*) from events where sender like '@postflight:%' and type = 'm.room.message'
and received_ts > {since} group by 1"""


def test_runs_in_a_row_are_green_and_never_meet_a_limit_of_the_deployment(cluster: Cluster, verify: Verify) -> None:
    # What other tests ask of it in quick succession is theirs.
    began = datetime.now(UTC)
    for _ in range(RUNS):
        verify(cluster.kubeconfig).must_be_green()
    seconds = (datetime.now(UTC) - began).total_seconds()
    pods = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=synapse", "-o", "name").split()
    for pod in pods:
        log = cluster.kubectl("logs", "-n", NAMESPACE, pod, f"--since-time={began.isoformat()}")
        limited = [line for line in log.splitlines() if LIMITED.search(line)]
        assert not limited, (pod, limited)
    for persister, count in _sent(cluster, began).items():
        # Synapse tells at once whom it limits; nobody is asked to wait who keeps to this.
        assert count <= BURST + RATE * seconds, (persister, count, seconds)


def _sent(cluster: Cluster, since: datetime) -> dict[str, int]:
    """Messages of the probe user since then, by the persister that wrote them."""
    rows = sql.ask(cluster, SENT.format(since=int(since.timestamp() * 1000)))
    return {name: int(count) for name, _, count in (row.partition("|") for row in rows)}


def test_every_check_has_its_say(healthy: Verified) -> None:
    assert set(healthy.statuses) == all_checks()
    assert healthy.left_behind() == []


def test_two_runs_at_once_do_not_disturb_each_other(cluster: Cluster, start: Callable[..., Run]) -> None:
    runs = [start("checks/", "--kubeconfig", cluster.kubeconfig) for _ in range(2)]
    for run in runs:
        run.end().must_be_green()
