"""Label selectors, and how many pods a budget lets go."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.kinds import BUDGET
from postflight.deployment.budgets import Budget, read_budgets
from postflight.deployment.labels import selects
from tests.unit.worlds import Json, container, pod, pods_of, snapshot, thing

A = {"matchLabels": {"app": "a"}}


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (None, False),
        ({}, True),
        (A, True),
        ({"matchLabels": {"app": "b"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Near"}]}, False),
    ],
)
def test_a_selector(selector: Json | None, found: bool) -> None:
    assert selects(selector, {"app": "a"}) is found


def budget(count: int = 3, **spec: Any) -> Budget:
    pods = [pod(f"a-{number}", container(), labels={"app": "a"}) for number in range(count)]
    ended = pod("a-old", container(), labels={"app": "a"})
    ended["status"]["phase"] = "Succeeded"
    world = snapshot(thing(BUDGET, "a", spec=spec), *pods, ended, pod("b", container()))
    (found,) = read_budgets(world.all(BUDGET), tuple(pods_of(world).values()))
    return found


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"minAvailable": 2}, 1),
        ({"minAvailable": 5}, 0),
        ({"minAvailable": "50%"}, 1),
        ({"maxUnavailable": 0}, 0),
        ({"maxUnavailable": "10%"}, 1),
        ({"maxUnavailable": 7}, 3),
        ({}, 3),
    ],
)
def test_how_many_may_go(spec: Json, allowed: int) -> None:
    found = budget(selector=A, **spec)
    assert (found.allows, len(found.pods)) == (allowed, 3)


def test_what_it_says_in_words() -> None:
    assert budget(selector=A, minAvailable="50%").words == "minAvailable: 50%"
