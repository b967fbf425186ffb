"""One picture of the cluster: what is in scope, what is not to be seen, what does not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from postflight.cluster.changes import last_change
from postflight.cluster.connection import ClusterError
from postflight.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    LISTED,
    POD,
    POSTGRES_CLUSTER,
    STATEFUL_SET,
)
from postflight.cluster.snapshot import WIDE, Snapshot, take
from postflight.deployment.synapse import holds_homeserver
from tests.unit import recorded
from tests.unit.loopback import RecordedApi, Reply, Request, answering, api_to

LAB = recorded.healthy().snapshot


def look(
    answer: Callable[[Request], Reply], *requested: str, namespace: str = "", seen: list[Request] | None = None
) -> Snapshot:
    with answering(answer) as (port, asked):
        try:
            return take(api_to(port, namespace=namespace), requested, holds_homeserver)
        finally:
            if seen is not None:
                seen += asked


def refusal(answer: Callable[[Request], Reply], *requested: str) -> str:
    with pytest.raises(ClusterError) as caught:
        look(answer, *requested)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(snapshot: Snapshot) -> dict[str, list[str]]:
    return {kind.name: sorted(each["metadata"]["name"] for each in snapshot.all(kind)) for kind in LISTED}


class TestScope:
    def test_a_namespace_with_a_homeserver_is_found_and_seen_whole(self) -> None:
        seen: list[Request] = []
        found = look(RecordedApi(LAB, namespaces=("default", "matrix")), seen=seen)
        assert found.namespaces == ("matrix",)
        assert names(found) == names(LAB)
        assert not found.unseen
        assert not any("/namespaces/default/" in each.path for each in seen)
        assert len(seen) == len({each.path for each in seen}), "one LIST per kind"

    def test_nothing_but_controllers_is_listed_beyond_it_however_much_there_is(self) -> None:
        seen: list[Request] = []
        look(RecordedApi(LAB, namespaces=("default", "matrix"), page=20), seen=seen)
        lists = [each for each in seen if "limit" in each.query]
        assert {each.path for each in lists if "/namespaces/" not in each.path} == {kind.path() for kind in WIDE}
        assert {each.path for each in lists if each.path.endswith("/pods")} == {POD.path("matrix")}
        assert not [each for each in lists if "/secrets" in each.path]
        assert any("continue" in each.query for each in lists)

    def test_what_kubectl_keeps_in_an_object_is_not_kept_here(self) -> None:
        notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}" * 1000, "own": "note"}
        one, *others = LAB.objects[(POD, "matrix")]
        marked = {**one, "metadata": {**one["metadata"], "annotations": notes, "managedFields": [{}]}}
        world = replace(LAB, objects={**LAB.objects, (POD, "matrix"): (marked, *others)})
        found = look(RecordedApi(world), "matrix").get(POD, "matrix", one["metadata"]["name"])
        assert found
        assert found["metadata"]["annotations"] == {"own": "note"}
        assert "managedFields" not in found["metadata"]

    def test_pages_make_no_difference(self) -> None:
        assert names(look(RecordedApi(LAB, page=3))) == names(LAB)

    def test_objects_of_lists_know_their_kind(self) -> None:
        found = look(RecordedApi(LAB), "matrix")
        assert {each["kind"] for kind in LISTED for each in found.all(kind)} <= {kind.name for kind in LISTED}
        assert all(each["kind"] == "Pod" for each in found.all(POD))

    def test_the_namespace_of_the_context_is_taken_where_no_homeserver_is_found(self) -> None:
        empty = replace(LAB, objects={})
        assert look(RecordedApi(empty), namespace="matrix").namespaces == ("matrix",)

    def test_nowhere_a_homeserver(self) -> None:
        empty = replace(LAB, objects={})
        assert refusal(RecordedApi(empty)).startswith("no homeserver found in any namespace")

    def test_a_namespace_that_does_not_exist(self) -> None:
        assert refusal(RecordedApi(LAB), "matrixx") == "namespace matrixx does not exist in test"

    def test_the_recording_has_no_events_of_ordinary_life(self) -> None:
        assert {each["type"] for each in look(RecordedApi(LAB), "matrix").all(EVENT)} == {"Warning"}


class TestWhatIsNotToBeSeen:
    @pytest.mark.parametrize("kind", [POD, CONFIG_MAP, POSTGRES_CLUSTER], ids=lambda kind: kind.name)
    def test_a_kind_without_the_right_is_unseen_with_the_servers_words(self, kind: object) -> None:
        assert isinstance(kind, type(POD))
        found = look(RecordedApi(LAB, forbidden=[kind.path("matrix")]), "matrix")
        assert list(found.unseen) == [(kind, "matrix")]
        assert found.why_unseen(kind).startswith("no right: ")
        assert "is forbidden" in found.why_unseen(kind)
        assert not list(found.all(kind))
        assert found.why_unseen(STATEFUL_SET) == ""

    def test_workloads_are_listed_in_the_namespace_where_the_whole_cluster_is_not_to_be_seen(self) -> None:
        found = look(RecordedApi(LAB, forbidden=[DEPLOYMENT.path(), STATEFUL_SET.path()]), "matrix")
        assert names(found) == names(LAB)
        assert set(found.unseen) == {(DEPLOYMENT, ""), (STATEFUL_SET, "")}
        assert found.why_unseen(DEPLOYMENT, STATEFUL_SET) == "", "in scope they are seen"
        assert found.controllers == ()

    def test_without_a_namespace_it_must_then_be_named(self) -> None:
        line = refusal(RecordedApi(LAB, forbidden=[DEPLOYMENT.path(), STATEFUL_SET.path()]))
        assert line == "no right to list workloads in all namespaces: name the deployment's by --namespace"

    def test_a_namespace_that_may_not_be_read_itself_is_still_in_scope(self) -> None:
        def answer(asked: Request) -> Reply:
            forbidden = ["/api/v1/namespaces/matrix"] if asked.path == "/api/v1/namespaces/matrix" else []
            return RecordedApi(LAB, forbidden=forbidden)(asked)

        assert names(look(answer, "matrix")) == names(LAB)

    def test_a_custom_kind_that_is_not_served_is_no_gap(self) -> None:
        found = look(RecordedApi(LAB, served=False), "matrix")
        assert (found.served, found.unseen) == (frozenset(), {})
        assert not list(found.all(POSTGRES_CLUSTER))

    def test_an_api_server_that_fails_is_no_missing_right(self) -> None:
        assert "with 500" in refusal(lambda asked: (500, {"message": "etcd is gone"}), "matrix")

    def test_credentials_that_are_refused_are_one_line(self) -> None:
        assert "refuses the credentials (401)" in refusal(lambda asked: (401, {}), "matrix")


def test_managed_fields_are_left_out() -> None:
    pod = {"metadata": {"name": "a", "namespace": "matrix", "managedFields": [{"manager": "x"}]}, "spec": {}}
    world = replace(LAB, objects={(POD, "matrix"): (pod,)})
    (found,) = look(RecordedApi(world), "matrix").all(POD)
    assert found["metadata"] == {"name": "a", "namespace": "matrix"}


def test_but_those_of_a_config_map_tell_when_it_changed() -> None:
    written = {"time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:a": {}}}}
    held = {"metadata": {"name": "a", "namespace": "matrix", "managedFields": [written]}, "data": {"a": "b"}}
    world = replace(LAB, objects={(CONFIG_MAP, "matrix"): (held,)})
    (found,) = look(RecordedApi(world), "matrix").all(CONFIG_MAP)
    assert last_change(found) == datetime(2026, 1, 1, tzinfo=UTC)
