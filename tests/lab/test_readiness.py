"""When a workload is as it is declared, by what the API server would say."""

from typing import Any

import pytest

from lab.readiness import unready

POD = {
    "metadata": {"name": "coturn-abcde", "labels": {"name": "coturn"}},
    "status": {
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]
    },
}


class Cluster:
    """One DaemonSet and its pods."""

    def __init__(self, status: dict[str, int], *pods: dict[str, Any]) -> None:
        self.live = {"metadata": {"name": "coturn", "generation": 2}, "spec": {}, "status": status}
        self.pods = pods

    def get(self, path: str) -> dict[str, Any]:
        return {"items": self.pods if path.endswith("/pods") else [self.live]}


DECLARED = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "coturn", "namespace": "matrix"},
    "spec": {"selector": {"matchLabels": {"name": "coturn"}}},
}
UP_TO_DATE = {"observedGeneration": 2, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}


@pytest.mark.parametrize(
    ("status", "pods", "missing"),
    [
        (UP_TO_DATE, (POD,), ""),
        (UP_TO_DATE, (), "0 of 1 pods"),
        ({**UP_TO_DATE, "observedGeneration": 1}, (POD,), "not seen by its controller"),
        ({**UP_TO_DATE, "updatedNumberScheduled": 0}, (POD,), "0 of 1 pods up to date"),
        ({**UP_TO_DATE, "desiredNumberScheduled": 0, "updatedNumberScheduled": 0}, (), "0 of 1 pods up to date"),
        ({**UP_TO_DATE, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2}, (POD,), "1 of 2 pods"),
    ],
)
def test_a_daemon_set_has_a_ready_pod_on_each_node(
    status: dict[str, int], pods: tuple[dict[str, Any], ...], missing: str
) -> None:
    there: Any = Cluster(status, *pods)
    assert unready(there, [DECLARED]) == (f"DaemonSet coturn: {missing}" if missing else "")
