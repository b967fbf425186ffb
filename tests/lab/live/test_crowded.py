"""A run costs what its deployment is, not what else the cluster holds."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.live import crowd
from tests.lab.live.bench import Bench
from tests.lab.live.pace import pace
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

PODS, SECRETS = 10_000, 5_000
#: Seconds and MiB that they may add to a run.
SECONDS, MIB = 2.0, 50.0
#: The best of so many runs is nearest to what a run costs by itself.
RUNS = 3
#: Seconds until controllers and operators have taken note of all that.
QUIET = 30.0


def _best(verify: Verify, kubeconfig: Path, bar: float = 0.0) -> tuple[float, float, str]:
    """Seconds and MiB of the cheapest of some runs, and what the last said; no more than it takes to be below a bar."""
    runs: list[Verified] = []
    for _ in range(RUNS):
        runs.append(verify(kubeconfig))
        runs[-1].must_be_green()
        if runs[-1].seconds <= bar:
            break
    return min(each.seconds for each in runs), min(each.peak for each in runs), runs[-1].output


@pytest.mark.trial("postflight/cluster", "postflight/deployment", "postflight/run.py")
def test_ten_thousand_pods_of_others_cost_a_run_next_to_nothing(
    bench: Bench, verify: Verify, record_property: Callable[[str, object], None]
) -> None:
    with bench.thrown_away() as cluster:
        verify(cluster.kubeconfig).must_be_green()
        seconds, peak, _ = _best(verify, cluster.kubeconfig)
        crowd.settle(cluster, PODS, SECRETS)
        time.sleep(QUIET)
        before = pace()
        bar = seconds + SECONDS
        crowded, needed, told = _best(verify, cluster.kubeconfig, bar)
        record_property("seen", f"{seconds:.1f} s and {peak:.0f} MiB, crowded {crowded:.1f} s and {needed:.0f} MiB")
        if crowded > bar * max(1.0, before) or needed > peak + MIB:
            pytest.fail(f"{seconds:.1f} s became {crowded:.1f} s, {peak:.0f} MiB {needed:.0f}\n{told}", pytrace=False)
