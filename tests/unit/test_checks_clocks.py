"""platform.clocks: each verdict, on the recorded lab's pods with other clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postflight.probes.looks import Look, Looks
from postflight.probes.node_clocks import NodeClocks, ahead_of_server, node_clocks
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.looking import looks, nodes
from tests.unit.loopback import Reply, Request, answering, api_to
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only

MAIN = "pod/matrix/synapse-main-0"


def said(**others: Any) -> Judge:
    return ask("platform.clocks", **{"deployment": MODEL, **others})


def test_clocks_that_agree_are_green() -> None:
    pen = said()
    assert pen.failures == []
    assert {MAIN, "node/node1", "API server"} <= set(pen.seen)


@pytest.mark.parametrize(("by", "words"), [(3600.0, "60 min ahead of"), (-30.0, "30.0 s behind")])
def test_one_pod_that_lives_in_another_time(by: float, words: str) -> None:
    found = only(said(pod_looks=looks(MODEL, synapsemain=by)))
    assert found.subject == MAIN
    assert found.headline == f"the clock of synapse-main-0 is {words} the others"


def test_a_few_seconds_are_warned_of() -> None:
    assert only(said(pod_looks=looks(MODEL, synapsemain=4.0)), Status.WARNED).subject == MAIN


def test_a_slow_look_is_no_false_red() -> None:
    seen = looks(MODEL)
    slow = replace(seen.seen[MAIN], ahead=9.0, within=8.0)
    assert said(pod_looks=Looks({**seen.seen, MAIN: slow}, {})).failures == []


def test_a_node_whose_own_word_is_off_is_named_and_not_each_of_its_pods() -> None:
    model = replace(
        MODEL,
        pods={
            id: replace(pod, node="node2" if pod.name.startswith("redis") else "node1")
            for id, pod in MODEL.pods.items()
        },
    )
    found = only(said(deployment=model, pod_looks=looks(model, redis=-40.0), node_clocks=nodes(node1=0.1, node2=-40.0)))
    assert (found.subject, found.headline) == ("node/node2", "the clock of node node2 is 40.0 s behind the others")
    without = only(said(deployment=model, pod_looks=looks(model, redis=-40.0), node_clocks=nodes(node1=0.1)))
    assert without.subject == "node/node2"


def test_a_node_whose_pods_were_not_looked_into_is_known_by_its_lease() -> None:
    found = said(node_clocks=nodes(node1=0.1, node9=100.0))
    assert only(found).subject == "node/node9"


def test_the_verifiers_own_clock_is_not_the_deployments_fault() -> None:
    ahead = {id: replace(look, ahead=50.0) for id, look in looks(MODEL).seen.items()}
    found = only(said(pod_looks=Looks(ahead, {}), node_clocks=nodes(50.0, node1=50.0)), Status.WARNED)
    assert found.headline == "the verifier's own clock is 50.0 s behind the clocks of the deployment"


def test_a_pod_without_a_shell_is_not_green_by_its_node() -> None:
    found = only(said(pod_looks=looks(MODEL, {MAIN: "it runs no sh"})), Status.WARNED)
    assert found.nature is Nature.UNPROVEN
    assert found.headline == "the clock of synapse-main-0 was not seen, only its node's, which is right: it runs no sh"


def test_a_pod_of_which_nothing_is_known_is_unknown() -> None:
    model = replace(MODEL, pods={**MODEL.pods, MAIN: replace(MODEL.pods[MAIN], node="dark")})
    moved = [
        replace(each, pod=model.pods[MAIN]) if each.pod and each.pod.id == MAIN else each for each in model.synapse
    ]
    pen = said(deployment=replace(model, synapse=tuple(moved)), pod_looks=looks(model, {MAIN: "no answer"}))
    assert only(pen, Status.UNKNOWN).headline == "the clock of synapse-main-0 was not seen: no answer"


def test_without_the_right_to_exec_only_nodes_are_seen() -> None:
    found = only(said(pod_looks=NOT_ALLOWED, node_clocks=nodes(node1=0.1, node2=0.2)), Status.WARNED)
    assert found.nature is Nature.UNPROVEN
    assert found.headline.endswith(NOT_ALLOWED.reason)


def test_with_one_clock_nobody_knows_which_is_right() -> None:
    only(said(pod_looks=Looks({}, {}), node_clocks=NodeClocks(0.0, {})), Status.UNKNOWN)


def test_a_look_that_tells_no_time_is_not_seen() -> None:
    blind = {**looks(MODEL).seen, MAIN: Look(MAIN, "synapse")}
    assert "shows no time" in only(said(pod_looks=Looks(blind, {})), Status.WARNED).headline


def test_a_lease_tells_its_kubelets_time_against_when_it_was_taken() -> None:
    lease = {
        "spec": {"renewTime": "2026-01-01T00:00:10.500000Z"},
        "metadata": {"managedFields": [{"time": "2025-12-01T00:00:00Z"}, {"time": "2026-01-01T00:00:05Z"}]},
    }
    now = datetime(2026, 1, 1, 0, 0, 12, tzinfo=UTC)
    assert ahead_of_server(lease, now) == 5.0
    assert ahead_of_server(lease, now + timedelta(minutes=2)) is None
    assert ahead_of_server({"spec": {}, "metadata": {}}, now) is None


def test_leases_are_asked_for_and_one_that_may_not_be_read_says_nothing() -> None:
    def answer(request: Request) -> Reply:
        if request.path.endswith("/node2"):
            return 403, {"message": "no right"}
        now = datetime.now(UTC)
        return 200, {
            "spec": {"renewTime": f"{now + timedelta(seconds=20):%Y-%m-%dT%H:%M:%S.%fZ}"},
            "metadata": {"managedFields": [{"time": f"{now:%Y-%m-%dT%H:%M:%SZ}"}]},
        }

    pods = {id: replace(pod, node=f"node{1 + at % 2}") for at, (id, pod) in enumerate(MODEL.pods.items())}
    with answering(answer) as (port, asked):
        found = node_clocks(api_to(port), replace(MODEL, pods=pods))
    assert set(found.nodes) == {"node1"}
    assert abs(found.nodes["node1"] - 20) < 3
    assert abs(found.server) < 2
    assert {each.path.rpartition("/")[0] for each in asked} == {
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    }
