"""The healthy lab is green, every time, in time."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from lab.cluster import Cluster
from tests.lab.live.content import all_checks
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

NAMESPACE = "matrix"
#: The bar for the limits; twenty is the bar for green.
RUNS = int(os.environ.get("POSTFLIGHT_TEST_RUNS", "10"))


def test_runs_in_a_row_are_green_and_never_meet_a_limit_of_the_deployment(cluster: Cluster, verify: Verify) -> None:
    # What other tests ask of it in quick succession is theirs.
    began = datetime.now(UTC).isoformat()
    for _ in range(RUNS):
        verify(cluster.kubeconfig).must_be_green()
    pods = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=synapse", "-o", "name").split()
    for pod in pods:
        log = cluster.kubectl("logs", "-n", NAMESPACE, pod, f"--since-time={began}")
        limited = [line for line in log.splitlines() if " 429 " in line or "M_LIMIT_EXCEEDED" in line]
        assert not limited, (pod, limited)


def test_every_check_has_its_say(healthy: Verified) -> None:
    assert set(healthy.statuses) == all_checks()
    assert healthy.left_behind() == []


def test_two_runs_at_once_do_not_disturb_each_other(cluster: Cluster, start: Callable[..., Run]) -> None:
    runs = [start("checks/", "--kubeconfig", cluster.kubeconfig) for _ in range(2)]
    for run in runs:
        run.end().must_be_green()
