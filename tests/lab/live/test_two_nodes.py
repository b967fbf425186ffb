"""On a lab of two nodes the verdict is the same, and what only a second node tells is told."""

import time
from collections.abc import Callable

import pytest

from lab.defects import load, names
from tests.lab.live import batches, table
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.test_defects import keep
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        known = [each for each in names() if each.nodes > 1]
        each = metafunc.config.getoption("--each", default=False)
        tried = [each.name for each in known] if each else batches.stale(known, table.read())
        metafunc.parametrize("name", tried)


def test_a_defect_of_two_nodes_turns_its_check_and_nothing_else(
    name: str, bench: Bench, healthy: Verified, verify: Verify, request: pytest.FixtureRequest
) -> None:
    defect = load(name)
    # `healthy` first: it is taken on the lab of one node, and there is one lab at a time.
    cluster = bench.healthy(nodes=defect.nodes)
    green = verify(cluster.kubeconfig)
    wrong = differences([], healthy.statuses, green)
    assert not wrong, "\n".join(["on two nodes:", *wrong, "", green.output])
    began = time.monotonic()
    with bench.broken((name,), nodes=defect.nodes) as cluster:
        seen = verify(cluster.kubeconfig)
        seconds = time.monotonic() - began
        wrong = differences([defect], healthy.statuses, seen)
        assert not wrong, "\n".join([*wrong, "", seen.output])
    keep([defect], seen, seconds, always=request.config.getoption("--each", default=False))
