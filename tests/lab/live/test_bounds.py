"""What a run may cost."""

from collections.abc import Callable

import pytest

from lab.cluster import Cluster
from tests.lab.live.pace import pace
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

#: Other work on the machine only ever makes a run slower: the best of a few is nearest to the truth.
TRIES = 6
#: Seconds of a whole run; three of them are the quiet after which a canary believes that it has got all.
WHOLE = 35.0
#: Seconds, on a machine as fast as :func:`pace` has it.
REDIS, AT_ONCE = 3.0, 0.8
MIB = 150


def _holds(tries: Callable[[], Verified], bound: Callable[[Verified], str]) -> None:
    told = []
    for _ in range(TRIES):
        seen = tries()
        told.append(bound(seen))
        if not told[-1]:
            return
    pytest.fail(f"{'; '.join(told)}\n{seen.output}", pytrace=False)


def _over(seen: Verified, bar: float) -> str:
    if seen.seconds <= bar:
        return ""
    now = pace()
    return "" if seen.seconds <= bar * now else f"{seen.seconds:.2f} s on a machine {now:.2f} times as slow"


def test_a_whole_run_costs_its_slowest_chain(cluster: Cluster, verify: Verify) -> None:
    def bound(seen: Verified) -> str:
        seen.must_be_green()
        assert seen.record
        chain = max(each.chain for each in seen.record.probes)
        if seen.seconds <= min(WHOLE, chain + max(1.0, chain / 10)):
            return ""
        return f"{seen.seconds:.2f} s, slowest chain {chain:.2f} s"

    _holds(lambda: verify(cluster.kubeconfig), bound)


def test_a_run_needs_little_memory(healthy: Verified) -> None:
    assert healthy.peak <= MIB


def test_the_redis_checks_alone_take_three_seconds(cluster: Cluster, verify: Verify) -> None:
    def bound(seen: Verified) -> str:
        seen.must_be_green()
        assert "slowest chain" in seen.output
        return _over(seen, REDIS)

    _holds(lambda: verify(cluster.kubeconfig, "--durations=0", checks="checks/redis"), bound)


@pytest.mark.parametrize("option", ["--collect-only", "--list-checks"])
def test_what_needs_no_cluster_is_there_at_once(option: str, start: Callable[..., Run]) -> None:
    def bound(seen: Verified) -> str:
        assert seen.code == 0, seen.output
        return _over(seen, AT_ONCE)

    _holds(lambda: start("checks/", option).end(), bound)
