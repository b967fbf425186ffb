"""Autoscalers that cannot scale, each for one reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.snapshot import Snapshot
from postflight.probes.autoscalers import ABLE, ACTIVE, Autoscalers, Metered
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit import recorded
from tests.unit.autoscaling import seen, told
from tests.unit.observations import ask, only
from tests.unit.recorded import Json, items

ID = "autoscaling.workers"
GENERIC = "horizontalpodautoscaler/matrix/synapse-generic-worker"
MISSING = told(ACTIVE, "FailedGetResourceMetric", "failed to get cpu utilization")
SERVED = {"matrix": Metered(frozenset({"redis-0"}))}


def later(minutes: float = 60) -> Snapshot:
    """The recorded lab, some time after its pods were started."""
    world = recorded.healthy().snapshot
    return replace(world, taken=world.taken + timedelta(minutes=minutes))


def judged(change: Callable[[Json], object] | None = None, lab: Any = None, **rest: Any) -> Judge:
    world = lab.snapshot if lab else later()
    return ask(ID, lab, snapshot=world, autoscalers=seen(world, change, **rest))


def metric(name: str, **target: Any) -> Json:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def scaled_by(*metrics: Json) -> Callable[[Json], None]:
    def change(raw: Json) -> None:
        raw["spec"]["metrics"] = list(metrics)

    return change


def resized(**status: Any) -> Callable[[Json], None]:
    def change(raw: Json) -> None:
        raw["status"].update(status)

    return change


def test_those_that_are_able_and_active_are_green() -> None:
    pen = judged()
    assert (pen.failures, len(pen.seen)) == ([], 3)


def test_none_there_is_none_to_judge() -> None:
    pen = ask(ID, autoscalers=Autoscalers({}))
    assert pen.absence == "there is no HorizontalPodAutoscaler in namespace matrix"


class TestMetrics:
    @pytest.mark.parametrize("metered", [Metered(problem="404: not found"), Metered()])
    def test_nobody_serves_them(self, metered: Metered) -> None:
        found = only(judged(MISSING, metered={"matrix": metered}))
        assert found.headline == "no metrics of pods arrive: synapse-generic-worker cannot scale"
        assert found.evidence == ("failed to get cpu utilization",)

    def test_those_of_this_target_alone_are_missing(self) -> None:
        found = only(judged(MISSING, metered=SERVED))
        assert found.headline == (
            "autoscaler synapse-generic-worker does not scale: FailedGetResourceMetric: failed to get cpu utilization"
        )

    def test_a_pod_that_has_just_started_has_none_yet(self) -> None:
        def start(raw: Json) -> None:
            for each in items(raw, "Pod"):
                for status in each["status"].get("containerStatuses") or ():
                    status["state"] = {"running": {"startedAt": raw["taken"].partition("+")[0].partition(".")[0] + "Z"}}

        pen = judged(MISSING, recorded.changed(start), metered=SERVED)
        assert pen.failures == []

    def test_without_the_right_to_ask_it_is_unknown(self) -> None:
        metered = {"matrix": Metered(problem="no right: pods.metrics.k8s.io", unasked=True)}
        assert only(judged(MISSING, metered=metered), Status.UNKNOWN).headline.startswith("why autoscaler")

    def test_others_than_of_pods_speak_for_themselves(self) -> None:
        def change(raw: Json) -> None:
            raw["spec"]["metrics"] = [{"type": "External"}]
            told(ACTIVE, "FailedGetExternalMetric", "no such metric")(raw)

        assert "FailedGetExternalMetric: no such metric" in only(judged(change)).headline


def test_without_a_request_a_share_of_it_cannot_be_counted() -> None:
    found = only(judged(scaled_by(metric("ephemeral-storage", type="Utilization", averageUtilization=70))))
    assert found.headline == (
        "autoscaler synapse-generic-worker cannot count: container worker of synapse-generic-worker requests no"
        " ephemeral-storage"
    )


class TestMemory:
    def test_a_target_above_the_limit_is_never_met(self) -> None:
        found = only(judged(scaled_by(metric("memory", type="Utilization", averageUtilization=2000))))
        assert found.headline.startswith("autoscaler synapse-generic-worker would add pods at ")
        assert found.cause.startswith("averageUtilization 2000 is of the request")

    def test_a_value_above_the_limit_is_none_either(self) -> None:
        found = only(judged(scaled_by(metric("memory", type="AverageValue", averageValue="9Gi"))))
        assert found.cause == "averageValue 9Gi"

    @pytest.mark.parametrize(
        "target",
        [{"type": "Utilization", "averageUtilization": 100}, {"type": "AverageValue", "averageValue": "64Mi"}],
    )
    def test_a_target_below_it_is_right(self, target: Json) -> None:
        assert judged(scaled_by(metric("memory", **target))).failures == []


class TestSize:
    def test_one_that_cannot_set_it_and_is_below_its_minimum(self) -> None:
        def change(raw: Json) -> None:
            resized(currentReplicas=1)(raw)
            told(ABLE, "FailedUpdateScale", "denied by a policy")(raw)

        found = only(judged(change))
        assert found.headline == (
            "autoscaler synapse-generic-worker is stuck: synapse-generic-worker has 1 replicas, its minimum is 2,"
            " and it cannot set the size"
        )
        assert found.cause == "FailedUpdateScale: denied by a policy"

    def test_one_whose_target_is_scaled_to_0_is_off(self) -> None:
        def change(raw: Json) -> None:
            resized(currentReplicas=0)(raw)
            told(ACTIVE, "ScalingDisabled", "scaling is disabled")(raw)

        assert only(judged(change, metered=SERVED)).cause == "its target is scaled to 0, which turns it off"

    def test_one_that_finds_no_target(self) -> None:
        found = only(judged(told(ABLE, "FailedGetScale", "not found")))
        assert found.headline == "autoscaler synapse-generic-worker cannot scale synapse-generic-worker"

    def test_one_above_its_maximum(self) -> None:
        assert "has 40 replicas, its maximum is 16" in only(judged(resized(currentReplicas=40))).headline

    def test_one_that_nobody_looked_at(self) -> None:
        assert only(judged(resized(conditions=[])), Status.UNKNOWN)

    def test_one_that_wants_more_is_warned_of(self) -> None:
        def change(raw: Json) -> None:
            limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more"}
            raw["status"]["conditions"].append(limited)

        assert only(judged(change), Status.WARNED).headline.endswith("wants more than its maximum, 16: more")

    def test_one_that_may_not_grow_is_warned_of(self) -> None:
        def change(raw: Json) -> None:
            raw["spec"]["behavior"] = {"scaleUp": {"selectPolicy": "Disabled"}}

        assert only(judged(change), Status.WARNED).headline.startswith(
            "autoscaler synapse-generic-worker may not scale"
        )


@pytest.mark.parametrize(("sizes", "flaps"), [((2, 4, 2, 4, 2), True), ((2, 4, 6, 8, 4, 2), False)])
def test_flapping(sizes: tuple[int, ...], flaps: bool) -> None:
    pen = judged(sizes={GENERIC: sizes})
    assert [each.headline for each in pen.failures] == [
        "autoscaler synapse-generic-worker flaps: 3 turns between growing and shrinking within an hour"
    ] * flaps
