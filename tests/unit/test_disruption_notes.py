"""What does not come back by itself is written down before it is done, and undone by the next run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import CONFIG_MAP, POD, POSTGRES_CLUSTER
from postflight.limits import Limit
from postflight.probes.disruption_notes import CORDONED, NODE, cordon, noted, put_back, switch_back, uncordon, words
from postflight.probes.own import leftovers
from postflight.probes.probe import Safety
from postflight.probes.settled import HEALTHY
from postflight.traces import MANAGED_BY, RUN_LABEL, Traces
from tests.unit.clustering import Server
from tests.unit.loopback import answering, api_to
from tests.unit.worlds import NAMESPACE, snapshot

PG = POSTGRES_CLUSTER.path("matrix", "pg")
TWO = NODE.path(name="node2")
MAPS = CONFIG_MAP.path("matrix")
LABELS = {MANAGED_BY: "postflight", RUN_LABEL: "dead"}


def node(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "node2", "annotations": annotations}, "spec": {"unschedulable": True}}


def cluster(target: str, **other: Any) -> dict[str, Any]:
    status = {"currentPrimary": target, "targetPrimary": target, "phase": HEALTHY, "readyInstances": 2} | other
    return {"metadata": {"name": "pg", "resourceVersion": "7"}, "spec": {"instances": 2}, "status": status}


def note(**data: str) -> dict[str, Any]:
    meta = {"name": "postflight-cordon-dead", "namespace": NAMESPACE, "labels": LABELS}
    meta |= {"creationTimestamp": "2025-12-31T00:00:00Z"}  # type: ignore[dict-item]
    return {"kind": "ConfigMap", "metadata": meta, "data": data}


@contextmanager
def serving(**objects: Any) -> Iterator[tuple[Api, Server]]:
    server = Server(dict(objects), {MAPS: "ConfigMap"})
    with answering(server) as (port, _):
        yield api_to(port), server


class TestNote:
    def test_stands_while_it_lasts_and_goes_when_it_is_undone(self) -> None:
        traces, undone = Traces("abc"), []
        with serving() as (api, server):
            with noted(api, traces, "matrix", "cordon on node2", {"node": "node2"}, lambda: undone.append("it")):
                (kept,) = server.objects.values()
                assert (kept["data"], kept["metadata"]["labels"]) == ({"node": "node2"}, traces.labels)
                assert not undone
            assert (server.objects, undone, traces.removals) == ({}, ["it"], [])
            assert traces.made == [f"{MAPS}/postflight-cordon-abc"]

    def test_what_could_not_be_undone_is_left_to_the_end_of_the_run(self) -> None:
        traces, tries = Traces("abc"), []

        def undo() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ApiError(500, "not now")

        with serving() as (api, server):
            with noted(api, traces, "matrix", "cordon on node2", {"node": "node2"}, undo):
                pass
            # As long as it is not undone, the next run must know of it.
            assert len(server.objects) == 1
            assert traces.close() == []
            assert (server.objects, len(tries)) == ({}, 2)

    def test_stands_where_it_could_not_be_undone_at_all(self) -> None:
        traces = Traces("abc")

        def undo() -> None:
            raise ApiError(500, "not now")

        with serving() as (api, server):
            with noted(api, traces, "matrix", "cordon on node2", {"node": "node2"}, undo):
                pass
            assert traces.close() == ["cordon on node2 could not be removed: not now"]
            assert len(server.objects) == 1


class TestNode:
    def test_that_this_run_cordoned_takes_pods_again(self) -> None:
        with serving(**{TWO: {"metadata": {"name": "node2"}, "spec": {}}}) as (api, server):
            cordon(api, "node2", "abc")
            assert server.objects[TWO]["spec"] == {"unschedulable": True}
            assert server.objects[TWO]["metadata"]["annotations"] == {CORDONED: "abc"}
            uncordon(api, "node2", "abc")
            assert server.objects[TWO]["spec"] == {}
            assert server.objects[TWO]["metadata"]["annotations"] == {}

    def test_that_somebody_else_cordoned_is_not_touched(self) -> None:
        for other in (node(), node(**{CORDONED: "another"})):
            with serving(**{TWO: other}) as (api, server):
                uncordon(api, "node2", "abc")
                assert server.patched == []

    def test_that_is_gone_needs_nothing(self) -> None:
        with serving() as (api, _):
            uncordon(api, "node2", "abc")


class TestPrimary:
    def test_is_put_back_as_the_operator_is_told(self) -> None:
        with serving(**{PG: cluster("pg-2"), POD.path("matrix", "pg-1"): {}}) as (api, server):
            switch_back(api, "matrix", "pg", "pg-1", "pg-2")
            ((path, asked),) = server.patched
            assert path == f"{PG}/status"
            assert asked["metadata"] == {"resourceVersion": "7"}
            status = asked["status"]
            assert (status["targetPrimary"], status["phase"]) == ("pg-1", "Switchover in progress")
            assert status["targetPrimaryTimestamp"].endswith("Z")

    @pytest.mark.parametrize(
        "midway", [{"currentPrimary": "pg-1"}, {"phase": "Failing over"}, {"readyInstances": 1}], ids=str
    )
    def test_is_not_put_back_before_the_other_follows(
        self, midway: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Limit, "CLEAN_UP", 0.1)
        with serving(**{PG: cluster("pg-2", **midway), POD.path("matrix", "pg-1"): {}}) as (api, server):
            with pytest.raises(ApiError, match="not switched back to pg-1, which would lose what was written since"):
                switch_back(api, "matrix", "pg", "pg-1", "pg-2")
            assert server.patched == []

    def test_that_was_moved_since_stays(self) -> None:
        with serving(**{PG: cluster("pg-3"), POD.path("matrix", "pg-1"): {}}) as (api, server):
            switch_back(api, "matrix", "pg", "pg-1", "pg-2")
            assert server.patched == []

    def test_that_is_not_there_becomes_nothing(self) -> None:
        with serving(**{PG: cluster("pg-2")}) as (api, server):
            with pytest.raises(ApiError):
                switch_back(api, "matrix", "pg", "pg-1", "pg-2")
            assert server.patched == []


class TestLeftovers:
    def test_of_a_run_that_was_killed_are_undone_and_named(self) -> None:
        left = note(node="node2")
        path = f"{MAPS}/postflight-cordon-dead"
        with serving(**{TWO: node(**{CORDONED: "dead"}), path: left}) as (api, server):
            (found,) = leftovers(snapshot(left), api, Traces("abc"), Safety.CANARY)
            assert (found.what, found.gone, found.earlier) == ("a cordon on node node2", True, True)
            assert server.objects[TWO]["spec"] == {}
            assert path not in server.objects

    def test_that_cannot_be_undone_are_kept_in_mind(self) -> None:
        left = note(cluster="pg", primary="pg-1", to="pg-2")
        path = f"{MAPS}/postflight-cordon-dead"
        with serving(**{PG: cluster("pg-2"), path: left}) as (api, server):
            (found,) = leftovers(snapshot(left), api, Traces("abc"), Safety.CANARY)
            assert (found.what, found.gone) == ("a switchover of pg away from pg-1", False)
            assert "not found" in found.problem
            assert path in server.objects

    def test_are_only_named_by_a_run_that_may_change_nothing(self) -> None:
        left = note(node="node2")
        with serving(**{TWO: node(**{CORDONED: "dead"})}) as (api, server):
            (found,) = leftovers(snapshot(left), api, Traces("abc"), Safety.READ_ONLY)
            assert (found.what, found.gone, server.patched) == ("a cordon on node node2", False, [])

    def test_that_are_no_notes_are_no_business_of_theirs(self) -> None:
        plain = note()
        assert words(plain) == ""
        assert words({"kind": "Pod", "data": {"node": "x"}, "metadata": {}}) == ""
        with serving() as (api, server):
            assert put_back(api, plain) == ""
            assert server.patched == []
