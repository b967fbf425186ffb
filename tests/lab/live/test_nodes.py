"""Two nodes: green as one is; with one cut off a run says what is right, or that it does not know; joined again, green."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.labs import wait_for_nodes
from postflight.verdict.failure import Failure
from postflight.verdict.status import Status
from tests.lab.live import leftovers
from tests.lab.live.bench import Bench
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Run, Verified

Start = Callable[..., Run]

#: Seconds: each way to a pod beyond the cut is waited for.
LONGEST = 300.0
#: Seconds until the control plane gives a silent node up (--node-monitor-grace-period, 50 s), and its pods are unready.
GIVEN_UP = 90.0
#: Seconds until all connections of before the cut are given up, and made anew.
RECOVERED = 300.0
CUT_OFF = 2
trial = pytest.mark.trial("postflight/cluster", "postflight/verdict", "postflight/probes/runner.py")
NO_ANSWER = "no answer within the time limit"
#: Between nodes replication in plain text is told of, unless it is accepted.
SETTINGS = "network: {plaintext_replication: true}\n"


@dataclass(frozen=True, slots=True)
class Two:
    """The lab, and what a run said of it while it was whole."""

    cluster: Cluster
    settings: Path
    healthy: Mapping[str, Status]
    beyond: frozenset[str]


@pytest.fixture(scope="module")
def two(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with bench.with_nodes(2) as cluster:
        folder = tmp_path_factory.mktemp("whole")
        settings = folder / "settings.yaml"
        settings.write_text(SETTINGS)
        run = Run(folder / "run", "checks/", "--kubeconfig", cluster.kubeconfig, "--settings", settings)
        seen = run.end(LONGEST)
        seen.must_be_green()
        yield Two(cluster, settings, seen.statuses, frozenset(_names_on(cluster, CUT_OFF)))


@trial
def test_two_nodes_are_green(two: Two) -> None:
    # Else nothing is cut off by the cut.
    assert {"synapse", "redis", "haproxy"} & {name.partition("-")[0] for name in two.beyond}


@trial
@pytest.mark.parametrize("given_up", [False, True], ids=["at once", "given up"])
def test_with_one_cut_off_nothing_false_is_said(given_up: bool, two: Two, start: Start) -> None:
    if not given_up:
        two.cluster.cut(CUT_OFF)
    else:
        _wait_until_given_up(two.cluster)
    seen = _run(start, two)
    false = [*_false(seen, two)]
    assert not false, "\n".join([*false, "", seen.output])
    assert seen.code in (1, 6), seen.output
    must_be_plain(seen)
    if given_up:
        # By then Kubernetes itself says so.
        assert seen.statuses["platform.workloads"] is Status.FAILED, seen.output


@trial
def test_joined_again_it_is_green(two: Two, start: Start) -> None:
    two.cluster.rejoin(CUT_OFF)
    wait_for_nodes(two.cluster, time.time())
    leftovers.sweep(two.cluster)
    deadline = time.monotonic() + RECOVERED
    while (seen := _run(start, two)).code and time.monotonic() < deadline:
        time.sleep(10)
    seen.must_be_green()


def _run(start: Start, two: Two) -> Verified:
    return start("checks/", "--kubeconfig", two.cluster.kubeconfig, "--settings", two.settings).end(LONGEST)


def _false(seen: Verified, two: Two) -> Iterator[str]:
    """What is said to be wrong and has nothing beyond the cut in it, or to be no part of what stands there."""
    for check, result in seen.results.items():
        # What a run made beyond the cut, it cannot take away: the next one says so.
        for each in result.judged if check != "leftovers" else ():
            if each.status is Status.FAILED and not _is_of_the_cut(each.failure, two):
                yield f"{check}: {each.failure.headline}"
        if result.status is Status.ABSENT and two.healthy[check] is not Status.ABSENT:
            yield f"{check} is absent: {result.reason}"


def _is_of_the_cut(failure: Failure, two: Two) -> bool:
    """Half of the cluster's name servers are beyond it too: on this side as well a name may have no answer in time."""
    return NO_ANSWER in failure.headline or any(name in _text(failure) for name in two.beyond)


def _text(failure: Failure) -> str:
    said = (failure.subject, failure.headline, failure.observed, failure.cause)
    return "\n".join((*said, *failure.evidence, *failure.needs, *failure.stops))


def _names_on(cluster: Cluster, node: int) -> Iterator[str]:
    """The pods there, and what they are pods of."""
    for pod in cluster.get("/api/v1/pods")["items"]:
        if pod["spec"].get("nodeName") == f"node{node}":
            name = str(pod["metadata"]["name"])
            yield name
            for owner in pod["metadata"].get("ownerReferences", ()):
                # A ReplicaSet's name ends with the hash of its template.
                of = str(owner["name"])
                yield of.rpartition("-")[0] if owner["kind"] == "ReplicaSet" else of


def _wait_until_given_up(cluster: Cluster) -> None:
    deadline = time.monotonic() + GIVEN_UP
    while True:
        conditions = cluster.get(f"/api/v1/nodes/node{CUT_OFF}")["status"]["conditions"]
        if {each["type"]: each["status"] for each in conditions}["Ready"] != "True":
            # Its pods follow within seconds.
            time.sleep(5)
            return
        assert time.monotonic() < deadline, "the node is still held to be Ready"
        time.sleep(1)
