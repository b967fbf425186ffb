"""On a lab of two nodes the verdict is the same, and what only a second node tells is told."""

import json
import time
from collections.abc import Callable
from pathlib import Path

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
        every = metafunc.config.getoption("--each", default=False)
        metafunc.parametrize("name", [each.name for each in known] if every else batches.stale(known, table.read()))


def test_the_cause_is_red_where_there_is_another_node_and_without_it_all_is_green(
    name: str, bench: Bench, healthy: Verified, verify: Verify, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    defect = load(name)
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(defect.settings))
    # `healthy` first: it is taken on the lab of one node, and there is one lab at a time.
    green = verify(bench.healthy(nodes=defect.nodes).kubeconfig, "--settings", settings)
    wrong = differences([], healthy.statuses, green)
    assert not wrong, "\n".join(["on two nodes:", *wrong, "", green.output])
    began = time.monotonic()
    with bench.broken((name,), nodes=defect.nodes) as cluster:
        seen = verify(cluster.kubeconfig, "--settings", settings)
        seconds = time.monotonic() - began
        wrong = differences([defect], healthy.statuses, seen)
        assert not wrong, "\n".join([*wrong, "", seen.output])
    keep([defect], seen, seconds, always=request.config.getoption("--each", default=False))
