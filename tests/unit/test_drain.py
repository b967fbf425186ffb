"""A node is drained as kubectl drains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from postflight.cluster.api import Api
from postflight.cluster.kinds import CONFIG_MAP, POD
from postflight.limits import Limit
from postflight.probes import drain
from postflight.probes.disruption import NotDone, Stuck
from postflight.probes.disruption_notes import NODE
from postflight.probes.drain import choose, movable, open_nodes
from postflight.settings import Settings
from postflight.traces import MANAGED_BY, Traces
from tests.unit.clustering import Server
from tests.unit.loopback import answering, api_to
from tests.unit.worlds import container
from tests.unit.worlds import pod as worlds_pod

PODS = POD.path("matrix")
READY = [{"type": "Ready", "status": "True"}]


def node(name: str, *, ready: bool = True, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}}


def pod(name: str, on: str = "node2", owner: str = "ReplicaSet", **meta: Any) -> dict[str, Any]:
    found = worlds_pod(name, container())
    owners = [{"kind": owner, "name": "o", "controller": True}] if owner else []
    found["metadata"] |= {"uid": f"uid of {name}", "ownerReferences": owners, **meta}
    found["spec"]["nodeName"] = on
    return found


@contextmanager
def cluster(*objects: dict[str, Any], **busy: int) -> Iterator[tuple[Api, Server]]:
    held = {
        (
            f"{PODS}/{each['metadata']['name']}"
            if each.get("kind") == "Pod"
            else NODE.path(name=each["metadata"]["name"])
        ): each
        for each in objects
    }
    lists = {PODS: "Pod", NODE.path(): "Node", CONFIG_MAP.path("matrix"): "ConfigMap"}
    server = Server(held, lists, {name.replace("_", "-"): times for name, times in busy.items()})
    with answering(server) as (port, _):
        yield api_to(port), server


def stage(api: Api) -> Any:
    traces = Traces("abc")

    def check() -> None:
        if traces.over:
            raise NotDone("the run was interrupted")

    return SimpleNamespace(
        api=api,
        traces=traces,
        deployment=SimpleNamespace(namespaces=("matrix",)),
        given=Settings().disruption,
        check=check,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "AGAIN", 0.01)


def test_only_nodes_that_are_ready_and_open_to_everybody_count() -> None:
    shut = node("control", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
    soft = node("node3", taints=[{"key": "old", "effect": "PreferNoSchedule"}])
    with cluster(node("node1"), soft, shut, node("lost", ready=False), node("shut", unschedulable=True)) as (api, _):
        assert open_nodes(api) == ("node1", "node3")


def test_what_a_drain_leaves_is_left() -> None:
    kept = [
        pod("daemon", owner="DaemonSet"),
        pod("alone", owner=""),
        pod("mirror", annotations={"kubernetes.io/config.mirror": "x"}),
        pod("ours", labels={MANAGED_BY: "postflight"}),
        pod("elsewhere", on="node1"),
    ]
    ended = pod("ended")
    ended["status"]["phase"] = "Succeeded"
    with cluster(pod("web"), pod("pg-1", owner="Cluster"), ended, *kept) as (api, _):
        assert [each["metadata"]["name"] for each in movable(api, ("matrix",), "node2")] == ["web", "pg-1"]


WELL: Any = SimpleNamespace(unwell=lambda since: "")


def test_the_node_is_chosen_whose_pods_may_go() -> None:
    with cluster(pod("a", on="node1"), pod("b", on="node1"), pod("c"), b=1) as (api, server):
        assert choose(api, ("matrix",), ("node1", "node2", "node3")) == "node2"
        assert choose(api, ("matrix",), ("node3",)) is None
        assert sorted(server.dry) == ["a", "b", "c"]
        assert server.evicted == []
    with cluster(pod("a", on="node1"), pod("b", on="node1"), pod("c")) as (api, _):
        assert choose(api, ("matrix",), ("node1", "node2")) == "node1"


def test_it_is_cordoned_emptied_as_budgets_allow_and_opened_again() -> None:
    with cluster(node("node1"), node("node2"), pod("a"), pod("b"), pod("c", on="node1"), b=2) as (api, server):
        here = stage(api)
        stuck: list[str] = []
        said = drain._drained(here, "node2", stuck, WELL)
        assert said == "node node2 was cordoned, 2 pods were evicted from it, and it was uncordoned"
        assert (server.evicted, stuck) == (["a", "b"], [])
        assert "unschedulable" not in server.objects[NODE.path(name="node2")]["spec"]
        assert [body["spec"]["unschedulable"] for _, body in server.patched] == [True, None]
        assert not [path for path in server.objects if "configmaps" in path]
        assert here.traces.removals == []


def test_what_can_be_placed_nowhere_else_is_told() -> None:
    tied = pod("redis-1", on="")
    tied["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "volume node affinity"}]
    with cluster(node("node2"), pod("a"), tied) as (api, _):
        stuck: list[str] = []
        drain._drained(stage(api), "node2", stuck, WELL)
        assert stuck == ["redis-1 could be placed nowhere else: volume node affinity"]


def test_a_budget_that_lets_nobody_go_is_told_and_the_node_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limit, "DRAIN", 0.05)
    with cluster(node("node2"), pod("a"), pod("b"), b=10_000) as (api, server):
        with pytest.raises(
            Stuck, match=r"the drain of node2 does not end: after 0\.05 s there are still .*b \(its budget keeps it\)"
        ):
            drain._drained(stage(api), "node2", [], WELL)
        assert "unschedulable" not in server.objects[NODE.path(name="node2")]["spec"]


def test_a_node_without_which_users_are_not_served_is_told_and_opened() -> None:
    unwell: Any = SimpleNamespace(unwell=lambda since: "sync: 503")
    with cluster(node("node2"), pod("a")) as (api, server):
        here = stage(api)
        here.given = SimpleNamespace(recovery=0.3)
        with pytest.raises(Stuck, match="users are not served without node node2: sync: 503"):
            drain._drained(here, "node2", [], unwell)
        assert "unschedulable" not in server.objects[NODE.path(name="node2")]["spec"]


def test_a_run_that_is_over_evicts_nobody() -> None:
    with cluster(node("node2"), pod("a")) as (api, server):
        here = stage(api)
        here.traces.over = True
        with pytest.raises(NotDone):
            drain._drained(here, "node2", [], WELL)
        assert (server.evicted, server.patched) == ([], [])
