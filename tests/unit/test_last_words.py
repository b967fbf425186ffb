"""Whose last words are read: of the container that keeps its pod from being Ready."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.deployment.pods import read_pod
from postflight.probes.workloads import troubled
from tests.unit.worlds import container, pod

RUNS: dict[str, Any] = {"ready": True, "state": {"running": {}}}
CRASHED: dict[str, Any] = {"ready": False, "state": {"terminated": {"exitCode": 1}}}
ENDED: dict[str, Any] = {"ready": True, "state": {"terminated": {"exitCode": 0}}}
WAITS: dict[str, Any] = {"ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}


def names(main: dict[str, Any], ready: str = "False", **init: dict[str, Any]) -> list[str]:
    raw = pod("one", container("app"), initContainers=[{"name": "render"}, {"name": "mesh", "restartPolicy": "Always"}])
    raw["status"]["conditions"] = [{"type": "Ready", "status": ready}]
    raw["status"]["containerStatuses"] = [{"name": "app", **main}]
    raw["status"]["initContainerStatuses"] = [{"name": name, **status} for name, status in init.items()]
    return [each.name for each in troubled(read_pod(raw))]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (names(CRASHED, render=ENDED, mesh=RUNS), ["app"]),
        (names(WAITS, render=RUNS, mesh=WAITS), ["render"]),
        (names(WAITS, render=CRASHED, mesh=WAITS), ["render"]),
        (names(WAITS, render=ENDED, mesh=CRASHED), ["mesh", "app"]),
        (names(RUNS, ready="True", render=ENDED, mesh=RUNS), []),
    ],
    ids=["beside a sidecar that runs", "first things first", "first things failed", "the sidecar itself", "ready"],
)
def test_a_sidecar_that_runs_is_not_what_the_pod_waits_for(found: list[str], expected: list[str]) -> None:
    assert found == expected
