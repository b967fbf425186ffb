"""Whether everything is ready and nothing on its way."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.api import Api
from postflight.cluster.kinds import DAEMON_SET, DEPLOYMENT, POSTGRES_CLUSTER, STATEFUL_SET
from postflight.polling import TimedOut
from postflight.probes import settled
from postflight.probes.settled import HEALTHY, unsettled, wait_settled
from postflight.traces import MANAGED_BY
from tests.unit.loopback import RecordedApi, answering, api_to
from tests.unit.worlds import NAMESPACE, container, pod, snapshot, thing

CLUSTER = {"readyInstances": 2, "phase": HEALTHY, "currentPrimary": "pg-1", "targetPrimary": "pg-1"}


def of(name: str, **changed: Any) -> dict[str, Any]:
    """A pod of a controller's."""
    found = pod(name, container())
    found["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "x", "controller": True}]
    found["metadata"] |= changed.pop("metadata", {})
    found["status"] |= changed
    return found


def cluster(**status: Any) -> dict[str, Any]:
    return thing(POSTGRES_CLUSTER, "pg", spec={"instances": 2}, status=CLUSTER | status)


NOT_READY = [{"type": "Ready", "status": "False"}]
NO_NODE = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are  available"}]
JOBS = {"ownerReferences": [{"kind": "Job", "name": "j", "controller": True}]}


def why(*objects: dict[str, Any], operated: bool = True) -> str:
    with answering(RecordedApi(snapshot(*objects))) as (port, _):
        return unsettled(api_to(port), [NAMESPACE], operated=operated)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (of("one"), ""),
        (of("one", conditions=NOT_READY), "one is not ready"),
        (of("one", conditions=NO_NODE), "one has no node: 0/1 nodes are available"),
        (of("one", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), "one is ending"),
        (of("one", phase="Failed", conditions=NOT_READY), ""),
        (of("one", metadata=JOBS, conditions=NOT_READY), ""),
        (of("one", metadata={"labels": {MANAGED_BY: "postflight"}}, conditions=NOT_READY), ""),
        (thing(DEPLOYMENT, "web", spec={"replicas": 2}, status={"readyReplicas": 2}), ""),
        (thing(DEPLOYMENT, "web", spec={"replicas": 2}, status={"readyReplicas": 1}), "web has 1 of 2 pods ready"),
        (thing(STATEFUL_SET, "main", spec={}, status={}), "main has 0 of 1 pods ready"),
        (thing(STATEFUL_SET, "main", spec={"replicas": 0}, status={}), ""),
        (
            thing(DAEMON_SET, "turn", spec={}, status={"desiredNumberScheduled": 2, "numberReady": 1}),
            "turn has 1 of 2 pods ready",
        ),
        (cluster(), ""),
        (cluster(readyInstances=1), "pg has 1 of 2 pods ready"),
        (cluster(targetPrimary="pg-2"), "pg moves its primary to pg-2"),
        (cluster(phase="Switchover in progress"), "pg is in phase 'Switchover in progress'"),
    ],
)
def test_what_is_not_ready_is_named(found: dict[str, Any], words: str) -> None:
    assert why(found) == words


def test_clusters_are_looked_at_only_where_there_are_such() -> None:
    assert why(cluster(readyInstances=0), operated=False) == ""


def test_it_is_quiet_only_when_it_stays_so_and_nothing_else_is_amiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "EVERY", 0.01)
    said = ["", "", "it follows nobody", "", ""]
    looks: list[str] = []

    def also() -> str:
        looks.append(said.pop(0))
        return looks[-1]

    with answering(RecordedApi(snapshot(of("one")))) as (port, _):
        api: Api = api_to(port)
        wait_settled(api, [NAMESPACE], 5, operated=False, also=also)
        assert looks == ["", ""]
        wait_settled(api, [NAMESPACE], 5, operated=False, also=also)
        assert looks[2:] == ["it follows nobody", "", ""]
        with pytest.raises(TimedOut, match="never"):
            wait_settled(api, [NAMESPACE], 0.05, operated=False, also=lambda: "never")
