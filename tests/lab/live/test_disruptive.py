"""Parts are taken away while a user's requests go on: everything is as before afterwards, and what would not be is told."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.defects import Defect, load, names
from postflight.verdict.status import Status
from tests.lab.live import batches, leftovers, table
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.test_defects import keep
from tests.lab.live.verify import Run, Verified

Start = Callable[..., Run]

#: Seconds that a run may take which takes six parts away.
LONGEST = 900.0
CHECKS = ("proxy", "redis", "storage", "synapse_main", "postgresql", "node")
IDS = tuple(f"disruption.{each}" for each in CHECKS)
MINE = [each for each in names() if each.safety]
#: What is done, and what users are taken to meet meanwhile.
RESTS_ON = (
    *("checks/disruption", "postflight/disrupted.py", "postflight/disrupting.py", "postflight/disruption_settings.py"),
    *(f"postflight/probes/{each}.py" for each in ("disruption", "disruption_notes", "disruptions", "drain", "fresh")),
    *(f"postflight/probes/{each}.py" for each in ("outages", "redis_failover", "settled", "switchover", "user_doors")),
    *("postflight/probes/user_media.py", "postflight/probes/user_stream.py"),
)
trial = pytest.mark.trial(*RESTS_ON)
Note = Callable[[str, object], None]
#: The quickest, for whoever has changed nothing of it.
QUICK = "disruption-quorum-too-high"
#: Of a main process that is gone for good nobody can take leave.
GONE = "trouble: a session of @postflight:"


def settings(folder: Path, *only: str, recovery: int = 180) -> Path:
    """Slots may be risked; all disruptions but ``only`` are out of reach, where any is named."""
    file = folder / "settings.yaml"
    others = [each for each in IDS if only and each not in only]
    reach = dict.fromkeys(others, "this run is about something else")
    told = {"disruption": {"risk_slots": True, "recovery": recovery}, "out_of_reach": reach}
    file.write_text(json.dumps(told))
    return file


def disrupt(start: Start, cluster: Cluster, file: Path) -> Verified:
    given = ("--kubeconfig", cluster.kubeconfig, "--safety", "disruptive", "--settings", file)
    return start("checks/", *given).end(LONGEST)


def nodes_that_are_shut(cluster: Cluster) -> list[str]:
    found = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return [each["metadata"]["name"] for each in found if each["spec"].get("unschedulable")]


def primary(cluster: Cluster) -> str:
    path = "jsonpath={.status.currentPrimary}"
    return cluster.kubectl("get", "clusters.postgresql.cnpg.io", "matrix-postgresql", "-n", "matrix", "-o", path)


def unready(cluster: Cluster) -> list[str]:
    found = json.loads(cluster.kubectl("get", "pods", "-n", "matrix", "-o", "json"))["items"]
    kept = [each for each in found if each["status"].get("phase") not in ("Succeeded", "Failed")]
    return [
        each["metadata"]["name"]
        for each in kept
        if not any(one["type"] == "Ready" and one["status"] == "True" for one in each["status"]["conditions"])
    ]


@trial
def test_each_part_comes_back_in_time_and_all_is_as_it_was(
    bench: Bench, start: Start, tmp_path: Path, record_property: Note
) -> None:
    with bench.spoiled() as cluster:
        before = primary(cluster)
        seen = disrupt(start, cluster, settings(tmp_path))
        assert seen.statuses["disruption.node"] is Status.ABSENT, seen.output
        assert "one node takes pods" in seen.results["disruption.node"].reason
        others = {k: v for k, v in seen.statuses.items() if v not in (Status.PASSED, Status.ABSENT)}
        assert not others, seen.output
        assert all(seen.statuses[each] is Status.PASSED for each in IDS if each != "disruption.node"), seen.output
        assert seen.code == 0, seen.output
        assert seen.record
        assert not seen.record.trouble
        assert len(seen.record.notes) == len(IDS) - 1, seen.output
        assert unready(cluster) == []
        assert nodes_that_are_shut(cluster) == []
        assert primary(cluster) == before
        assert leftovers.everything(cluster) == []
        assert seen.left_behind() == []
        again = start("checks/", "--kubeconfig", cluster.kubeconfig).end()
        again.must_be_green()
    for each in seen.record.notes:
        record_property("seen", each)


@trial
def test_a_node_is_drained_and_takes_pods_again(
    bench: Bench, start: Start, tmp_path: Path, record_property: Note
) -> None:
    with bench.spoiled(nodes=2) as cluster:
        seen = disrupt(start, cluster, settings(tmp_path, "disruption.node"))
        assert seen.statuses["disruption.node"] is Status.PASSED, seen.output
        assert seen.record
        for each in seen.record.notes:
            record_property("seen", each)
        assert unready(cluster) == []
        assert nodes_that_are_shut(cluster) == []
        assert leftovers.objects(cluster) == []


@trial
def test_nothing_is_switched_over_that_would_lose_a_slot(bench: Bench, start: Start, tmp_path: Path) -> None:
    file = settings(tmp_path, "disruption.postgresql")
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"disruption": {}}))
    with bench.spoiled() as cluster:
        before = primary(cluster)
        seen = disrupt(start, cluster, file)
        assert seen.statuses["disruption.postgresql"] is Status.ABSENT, seen.output
        assert "disruption: {risk_slots: on}" in seen.results["disruption.postgresql"].reason
        assert primary(cluster) == before


def test_nothing_is_taken_away_on_a_broken_foundation(bench: Bench, start: Start, tmp_path: Path) -> None:
    with bench.broken(["redis-maxmemory-above-limit"]) as cluster:
        pods = cluster.kubectl("get", "pods", "-n", "matrix", "-o", "name")
        seen = disrupt(start, cluster, settings(tmp_path, "disruption.redis", "disruption.synapse_main"))
        for id in ("disruption.redis", "disruption.synapse_main"):
            assert seen.statuses[id] in (Status.UNKNOWN, Status.BLOCKED), seen.output
            (judged,) = seen.results[id].judged
            assert judged.failure.headline.startswith("refused: redis.memory is failed"), seen.output
        assert cluster.kubectl("get", "pods", "-n", "matrix", "-o", "name") == pods


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "defect" in metafunc.fixturenames:
        stale = batches.stale(MINE, table.read())
        every = metafunc.config.getoption("--each", default=False)
        tried = [each for each in MINE if every or each.name in stale or (each.name == QUICK and not stale)]
        metafunc.parametrize("defect", tried, ids=lambda each: each.name)


def test_what_does_not_come_back_is_red_and_healed_it_does(
    defect: Defect, bench: Bench, healthy: Verified, start: Start, tmp_path: Path
) -> None:
    began = time.monotonic()
    with bench.broken([defect.name], nodes=defect.nodes) as cluster:
        red = disrupt(start, cluster, settings(tmp_path, defect.check, recovery=45))
        wrong = differences([defect], healthy.statuses, red)
        # Of a main process that is gone for good nobody can take leave: the next login takes the session's place.
        wrong = [each for each in wrong if not each.startswith(GONE)]
        assert not wrong, "\n".join([*wrong, "", red.output])
        assert nodes_that_are_shut(cluster) == []
    green = start("checks/", "--kubeconfig", cluster.kubeconfig).end()
    wrong = differences([], healthy.statuses, green)
    assert not wrong, "\n".join(["healed:", *wrong, "", green.output])
    keep([load(defect.name)], red, time.monotonic() - began, always=False)


@trial
def test_a_switchover_that_nobody_ended_is_put_back_by_the_next_run(bench: Bench, start: Start, tmp_path: Path) -> None:
    with bench.spoiled() as cluster:
        before = primary(cluster)
        given = ("--safety", "disruptive", "--settings", settings(tmp_path, "disruption.postgresql"))
        run = start("checks/", "--kubeconfig", cluster.kubeconfig, *given)
        _until(run, lambda: primary(cluster) != before)
        run.signal(signal.SIGKILL)
        run.end()
        # Until the Lease of the killed run has ended, and the operator has nothing more to do.
        time.sleep(30)
        following = start("checks/", "--kubeconfig", cluster.kubeconfig).end()
        assert "a switchover of matrix-postgresql away from " in following.output
        _until(None, lambda: primary(cluster) == before)
        assert leftovers.objects(cluster) == []


@trial
def test_a_node_whose_drain_nobody_ended_takes_pods_again_by_the_next_run(
    bench: Bench, start: Start, tmp_path: Path
) -> None:
    with bench.spoiled(nodes=2) as cluster:
        given = ("--safety", "disruptive", "--settings", settings(tmp_path, "disruption.node"))
        run = start("checks/", "--kubeconfig", cluster.kubeconfig, *given)
        _until(run, lambda: bool(nodes_that_are_shut(cluster)))
        run.signal(signal.SIGKILL)
        run.end()
        time.sleep(20)
        following = start("checks/", "--kubeconfig", cluster.kubeconfig).end()
        assert "a cordon on node " in following.output
        assert nodes_that_are_shut(cluster) == []
        assert leftovers.objects(cluster) == []


def _until(run: Run | None, there: Callable[[], bool], limit: float = 300.0) -> None:
    deadline = time.monotonic() + limit
    while not there():
        assert run is None or run.under_way, "it ended before there was anything to interrupt"
        assert time.monotonic() < deadline
        time.sleep(0.1)
