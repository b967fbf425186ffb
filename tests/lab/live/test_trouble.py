"""A run under trouble says what is right, or that it does not know; never what is false of a healthy deployment."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.errors import LabError
from lab.labs import wait_for_nodes
from postflight.verdict.status import Status
from tests.lab.live import kubeconfigs, leftovers
from tests.lab.live.bench import Bench
from tests.lab.live.plain import must_be_right_or_unknown
from tests.lab.live.verify import Run, Verified
from tests.lab.live.way import Way, leading_to

Start = Callable[..., Run]

#: Seconds: what is cut off is waited for, and looked at twice.
LONGEST = 240.0
#: Seconds there and back.
DELAY = 0.2
#: Of a run's connections, which are some hundred.
CUTS = 0.05
NAMESPACE = "matrix"
SYNAPSE = "app.kubernetes.io/name=synapse,app.kubernetes.io/instance=main"
REPLACED = {
    "worker": f"{SYNAPSE},app.kubernetes.io/component=generic-worker",
    "main": f"{SYNAPSE},app.kubernetes.io/component=homeserver",
    "proxy": "app.kubernetes.io/name=haproxy",
}


@pytest.fixture(autouse=True)
def swept(bench: Bench) -> Iterator[None]:
    """What a run could not remove over such a way is not the next one's."""
    yield
    if standing := bench.standing:
        leftovers.sweep(standing)


@pytest.mark.parametrize(("delay", "cuts", "seed"), [(DELAY, 0.0, 0), (0.0, CUTS, 1), (DELAY, CUTS, 2)])
def test_a_way_that_is_slow_and_cut_at_random(
    delay: float, cuts: float, seed: int, cluster: Cluster, healthy: Verified, start: Start, tmp_path: Path
) -> None:
    way = Way(cluster.port, delay, cuts, random.Random(seed))
    with leading_to(way) as port:
        config = kubeconfigs.with_server(cluster, f"https://127.0.0.1:{port}", tmp_path / "config")
        seen = start("checks/", "--kubeconfig", config).end(LONGEST)
    assert way.carried > 20, seen.output
    assert bool(way.cut) is bool(cuts), f"{way.cut} of {way.carried} connections were cut"
    must_be_right_or_unknown(seen, healthy.statuses)
    if not cuts:
        # A slow way is no hindrance.
        unknown = [check for check, status in seen.statuses.items() if status is Status.UNKNOWN]
        assert not unknown, seen.output


@pytest.mark.parametrize("late", [False, True], ids=["as it begins", "in the middle"])
def test_an_api_server_that_starts_again(late: bool, bench: Bench, healthy: Verified, start: Start) -> None:
    with bench.spoiled() as cluster:
        run = start("checks/", "--kubeconfig", cluster.kubeconfig)
        if late:
            _wait(run, lambda: leftovers.lease_held(cluster))
        time.sleep(3 if late else 1.5)
        _restart(cluster, "kube-apiserver")
        seen = run.end(LONGEST)
        _wait_for_api(cluster)
        must_be_right_or_unknown(seen, healthy.statuses)


@pytest.mark.parametrize("which", REPLACED)
def test_a_pod_that_is_replaced_in_the_middle(which: str, bench: Bench, healthy: Verified, start: Start) -> None:
    with bench.spoiled() as cluster:
        pod = cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", REPLACED[which], "-o", "name").split()[0]
        run = start("checks/", "--kubeconfig", cluster.kubeconfig)
        _wait(run, lambda: leftovers.lease_held(cluster))
        time.sleep(2)
        cluster.kubectl("delete", "-n", NAMESPACE, pod, "--grace-period=1", "--wait=false")
        seen = run.end(LONGEST)
        must_be_right_or_unknown(seen, healthy.statuses)


def test_once_it_is_over_all_is_green_again(bench: Bench, start: Start) -> None:
    start("checks/", "--kubeconfig", bench.healthy().kubeconfig).end().must_be_green()


def _restart(cluster: Cluster, component: str) -> None:
    """As it would be in an upgrade: it ends at once, and the node's supervisor starts it again."""
    cluster.exec_in_node(["kill", "-9", *cluster.exec_in_node(["pidof", component]).split()])


def _wait_for_api(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    while not _is_back(cluster):
        assert time.monotonic() < deadline, "the API server does not come back"
        time.sleep(0.5)
    wait_for_nodes(cluster, 0)


def _is_back(cluster: Cluster) -> bool:
    try:
        return cluster.request("GET", "/readyz", timeout=2)[0] == 200
    except LabError:
        return False


def _wait(run: Run, there: Callable[[], bool]) -> None:
    """Until it is there. Fails the test when the run ends first."""
    while not there():
        assert run.under_way, f"it ended before its trouble began:\n{run.end().output}"
        time.sleep(0.02)
