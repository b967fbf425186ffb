"""How autoscalers are read: until each has looked, with metrics where one has none, and the sizes of the last hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import AUTOSCALER, EVENT
from postflight.limits import Limit
from postflight.probes import autoscalers as probes
from postflight.probes.autoscalers import ACTIVE, Autoscalers, Metered, autoscalers
from postflight.probes.probe import Unseen
from tests.unit import recorded
from tests.unit.autoscaling import seen, told
from tests.unit.loopback import Reply, Request, answering, api_to, refuse

SNAPSHOT = recorded.healthy().snapshot
NAME = "synapse-generic-worker"
ID = f"horizontalpodautoscaler/matrix/{NAME}"


class Server:
    """An API server whose autoscalers are as each of these in turn, then as the last."""

    def __init__(self, *turns: Autoscalers, metrics: Reply = (200, {"items": []}), events: Any = ()) -> None:
        self.turns, self.metrics, self.events = list(turns), metrics, list(events)

    def __call__(self, asked: Request) -> Reply:
        if asked.path == AUTOSCALER.path("matrix"):
            found = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
            return 200, {"kind": "HorizontalPodAutoscalerList", "items": list(found.found.values())}
        if asked.path == EVENT.path("matrix"):
            assert "reason=SuccessfulRescale" in asked.query["fieldSelector"]
            return 200, {"kind": "EventList", "items": self.events}
        assert asked.path == "/apis/metrics.k8s.io/v1beta1/namespaces/matrix/pods"
        return self.metrics


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PAUSE", 0.01)
    monkeypatch.setattr(probes, "LOOK", 0.0)
    monkeypatch.setattr(Limit, "AUTOSCALING", Limit.REQUEST + 0.2)


def asked(server: Server) -> Autoscalers:
    """What the probe finds; the first turn is what the snapshot holds."""
    first = (
        tuple(server.turns.pop(0).found.values()) if len(server.turns) > 1 else tuple(server.turns[0].found.values())
    )
    snapshot = replace(SNAPSHOT, namespaces=("matrix",), objects={**SNAPSHOT.objects, (AUTOSCALER, "matrix"): first})
    with answering(server) as (port, _):
        return autoscalers(snapshot, api_to(port))


def test_those_that_are_active_need_no_further_question() -> None:
    found = asked(Server(seen(SNAPSHOT), metrics=(500, {})))
    assert set(found.found) >= {ID}
    assert (found.metered, found.sizes) == ({}, {})


@pytest.mark.parametrize(
    ("metrics", "metered"),
    [
        ((200, {"items": [{"metadata": {"name": "redis-0"}}]}), Metered(frozenset({"redis-0"}))),
        ((200, {"items": []}), Metered()),
    ],
)
def test_metrics_are_asked_for_where_one_is_not_active(metrics: Reply, metered: Metered) -> None:
    assert asked(Server(seen(SNAPSHOT, told(ACTIVE, "Failed")), metrics=metrics)).metered == {"matrix": metered}


@pytest.mark.parametrize(("status", "unasked"), [(403, True), (404, False)])
def test_metrics_that_are_not_to_be_had(status: int, unasked: bool) -> None:
    found = asked(Server(seen(SNAPSHOT, told(ACTIVE, "Failed")), metrics=(status, {"message": "pods.metrics.k8s.io"})))
    assert found.metered["matrix"].unasked is unasked
    assert "pods.metrics.k8s.io" in found.metered["matrix"].problem


@pytest.mark.parametrize(("seconds", "look", "waits"), [(20, 0.0, True), (90, 0.0, False), (90, 0.1, True)])
def test_one_round_without_metrics_is_waited_for(
    seconds: int, look: float, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "LOOK", look)

    def without(raw: dict[str, Any]) -> None:
        told(ACTIVE, "Failed")(raw)
        at = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        raw["status"]["conditions"][1]["lastTransitionTime"] = at

    found = asked(Server(seen(SNAPSHOT, without), seen(SNAPSHOT)))
    assert (found.metered == {}) is waits


def test_it_waits_until_a_new_one_has_looked() -> None:
    fresh = seen(SNAPSHOT, lambda raw: raw.update(status={}))
    low = seen(SNAPSHOT, lambda raw: raw["status"].update(currentReplicas=1))
    found = asked(Server(fresh, low, seen(SNAPSHOT)))
    assert found.found[ID]["status"]["currentReplicas"] == 2


def test_sizes_of_the_last_hour_in_turn() -> None:
    def event(minutes: int, size: int) -> dict[str, Any]:
        at = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = f"New size: {size}; reason: cpu resource utilization (percentage of request) above target"
        return {"involvedObject": {"name": NAME}, "lastTimestamp": at, "message": message}

    found = asked(Server(seen(SNAPSHOT), events=[event(5, 2), event(10, 4), event(90, 8)]))
    assert found.sizes == {ID: (4, 2)}


def test_what_cannot_be_read_is_unseen() -> None:
    blind = replace(SNAPSHOT, unseen={(AUTOSCALER, "matrix"): "no right: horizontalpodautoscalers is forbidden"})
    with answering(refuse(500, "nobody asks")) as (port, _), pytest.raises(Unseen, match="no right"):
        autoscalers(blind, api_to(port))
