"""The healthy lab is green, every time, in time."""

import os
from collections.abc import Callable

import pytest

from lab.cluster import Cluster
from tests.lab.live.content import all_checks
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

#: Twenty in a row are the bar; with every test run there is this one, and the one after each defect that was healed.
RUNS = int(os.environ.get("POSTFLIGHT_TEST_RUNS", "1"))


@pytest.mark.parametrize("number", range(1, RUNS + 1))
def test_a_healthy_lab_is_green_without_warnings(number: int, cluster: Cluster, verify: Verify) -> None:
    verify(cluster.kubeconfig).must_be_green()


def test_every_check_has_its_say(healthy: Verified) -> None:
    assert set(healthy.statuses) == all_checks()
    assert healthy.left_behind() == []


def test_two_runs_at_once_do_not_disturb_each_other(cluster: Cluster, start: Callable[..., Run]) -> None:
    runs = [start("checks/", "--kubeconfig", cluster.kubeconfig) for _ in range(2)]
    for run in runs:
        run.end().must_be_green()
