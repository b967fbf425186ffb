"""A run that is ended in the middle leaves nothing by the end of the next one."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live import leftovers
from tests.lab.live.verify import Run, Verified

#: Seconds after the Lease is there, which is the first thing that a run makes; by the later one canaries are members.
ENDED = {"SIGINT": (signal.SIGINT, 0.3), "SIGKILL": (signal.SIGKILL, 6.0)}
Start = Callable[..., Run]
Verify = Callable[..., Verified]


@pytest.fixture(autouse=True)
def swept(cluster: Cluster) -> Iterator[None]:
    """What one test leaves is not the next one's."""
    yield
    leftovers.sweep(cluster)


@pytest.mark.parametrize(("number", "after"), ENDED.values(), ids=ENDED)
def test_nothing_is_left_by_the_end_of_the_next_run(
    number: signal.Signals, after: float, cluster: Cluster, start: Start, verify: Verify
) -> None:
    assert leftovers.everything(cluster) == []
    run = start("checks/", "--kubeconfig", cluster.kubeconfig)
    _wait(run, lambda: leftovers.lease_held(cluster))
    time.sleep(after)
    run.signal(number)
    ended = run.end()
    if number is signal.SIGINT:
        assert ended.code == 2, ended.output
        assert leftovers.objects(cluster) == [], ended.output
        assert ended.left_behind() == []
    following = verify(cluster.kubeconfig)
    # It may say what the killed run had left, and must say nothing else.
    others = {
        k: v for k, v in following.statuses.items() if k != "leftovers" and v not in (Status.PASSED, Status.ABSENT)
    }
    assert not others, following.output
    assert following.record
    assert not following.record.trouble, following.output
    assert leftovers.everything(cluster) == []
    assert not [left for left in ended.left_behind() if left.startswith("process")]
    assert following.left_behind() == []
    if number is signal.SIGINT:
        # That one had cleaned up itself.
        following.must_be_green()
    else:
        verify(cluster.kubeconfig).must_be_green()
        assert leftovers.everything(cluster) == []


def _wait(run: Run, there: Callable[[], bool]) -> None:
    """Until it is there. Fails the test when the run ends first."""
    while not there():
        assert run.under_way, f"it ended before there was anything to interrupt:\n{run.end().output}"
        time.sleep(0.02)
