"""The steps that a defect is made of, without a lab."""

from collections.abc import Iterator
from typing import Any

import pytest

from lab import conditions, defects, readiness
from lab.conditions import ACTIONS, CONDITIONS, Scene, perform, steps
from lab.defects import load
from lab.errors import LabError

WHERE = {"pod": "redis-0", "container": "redis"}


class Cluster:
    """One Ready pod, in which each command says the next of these lines; one that is None is refused."""

    def __init__(self, *lines: str | None) -> None:
        self.lines: Iterator[str | None] = iter(lines)
        self.ran: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        ready = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
        return {"items": [{"metadata": {"name": "redis-0"}, "status": {"conditions": ready}}]}

    def kubectl(self, *args: str) -> str:
        self.ran.append(args[-1])
        said = next(self.lines)
        if said is None:
            raise LabError("kubectl exec: connection refused")
        return said


def scene(cluster: Cluster) -> Scene:
    there: Any = cluster
    return Scene(there, [{"kind": "StatefulSet", "metadata": {"namespace": "matrix"}}])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness.time, "sleep", lambda _: None)


REPEAT = {
    "repeat": {
        "do": [{"exec": {**WHERE, "run": "kill"}}],
        "until": [{"says": {**WHERE, "run": "count", "text": "15"}}],
    }
}


class TestRepeat:
    def test_does_then_looks_until_it_holds(self) -> None:
        cluster = Cluster("", "3", "", "15")
        perform(scene(cluster), [REPEAT])
        assert cluster.ran == ["kill", "count"] * 2

    def test_does_at_least_once(self) -> None:
        cluster = Cluster("", "15")
        perform(scene(cluster), [REPEAT])
        assert cluster.ran == ["kill", "count"]

    def test_what_is_refused_is_tried_again(self) -> None:
        cluster = Cluster(None, "", None, "", "15")
        perform(scene(cluster), [REPEAT])
        assert cluster.ran == ["kill", "kill", "count", "kill", "count"]

    def test_what_never_helps_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(conditions, "REPEAT_TIMEOUT", -1.0)
        with pytest.raises(LabError, match=r"does not help after -1 s: redis-0 says '3', not yet '15'"):
            perform(scene(Cluster("", "3")), [REPEAT])


class TestSteps:
    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(LabError, match=r'x: \{"dance": 1\} is none of exec, restart'):
            steps([{"dance": 1}], ACTIONS, "x")

    @pytest.mark.parametrize(("word", "wrong"), [("do", {"says": {}}), ("until", {"exec": {}})])
    def test_within_a_repetition_too(self, word: str, wrong: dict[str, Any]) -> None:
        given = {"repeat": {**REPEAT["repeat"], word: [wrong]}}
        with pytest.raises(LabError, match="is none of"):
            steps([given], ACTIONS, "x")

    def test_a_condition_does_nothing(self) -> None:
        assert not set(ACTIONS) & set(CONDITIONS)
        with pytest.raises(LabError, match="repeat"):
            steps([REPEAT], CONDITIONS, "x")


def test_every_defect_is_understood() -> None:
    assert [load(each.name) for each in defects.names()] == defects.names()


def test_a_kind_of_deployment_is_told_in_the_same_words_and_fails_nothing() -> None:
    assert [load(each.name) for each in defects.kinds()] == defects.kinds()
    assert not [each.name for each in defects.kinds() if each.failed or each.blocked or each.warned]
    assert not {each.name for each in defects.kinds()} & {each.name for each in defects.names()}


def test_no_condition_of_a_defect_changes_redis() -> None:
    looks = [each["says"]["run"] for defect in defects.names() for each in defect.bites if "says" in each]
    assert not [each for each in looks if " kill " in each or " set " in each]


def test_settings_are_promised_only_where_a_lab_of_its_own_is_asked_with_them() -> None:
    assert not [each.name for each in defects.names() if each.settings and each.nodes == 1]
