"""The check of the one main process: that it is brought back, and lets its node be drained."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.kinds import BUDGET, POD
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import ask, only
from tests.unit.recorded import Json, item, items
from tests.unit.worlds import thing

CHECK = "availability.synapse_main"
MAIN = {"app.kubernetes.io/name": "synapse", "app.kubernetes.io/component": "homeserver"}
UP, DOWN = "2026-11-24T20:00:16Z", "2026-11-24T20:30:00Z"


def budget(name: str = "main-pdb", labels: Json | None = None, **spec: Any) -> Json:
    return thing(BUDGET, name, spec={"selector": {"matchLabels": labels or MAIN}, **spec})


def judged(*budgets: Json, change: Any = lambda raw: None, **others: Any) -> Judge:
    def changed(raw: Json) -> None:
        raw["objects"].append({"kind": "PodDisruptionBudget", "namespace": "matrix", "items": list(budgets)})
        change(raw)

    lab = recorded.changed(changed)
    return ask(CHECK, lab, **others)


def down(raw: Json, *, at: str = DOWN, restarts: int = 1, waiting: str = "CrashLoopBackOff") -> None:
    status = item(raw, "Pod", "synapse-main-0")["status"]
    for each in status["conditions"]:
        if each["type"] in ("Ready", "ContainersReady"):
            each |= {"status": "False", "lastTransitionTime": at}
    status["containerStatuses"][0] |= {
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": waiting}} if waiting else {"running": {"startedAt": at}},
        "lastState": {"terminated": {"exitCode": 1}},
    }


class TestBudgets:
    @pytest.mark.parametrize("spec", [{"minAvailable": 1}, {"maxUnavailable": 0}, {"minAvailable": "50%"}])
    def test_one_that_blocks_every_drain(self, spec: Json) -> None:
        found = only(judged(budget(**spec)))
        (words,) = (f"{field}: {value}" for field, value in spec.items())
        assert found.headline == (
            f"budget main-pdb ({words}) never lets synapse-main-0 go: no node that it stands on can be drained"
        )

    def test_one_that_lets_it_go(self) -> None:
        assert judged(budget(maxUnavailable=1)).failures == []

    def test_one_over_others_too_is_not_told_here(self) -> None:
        assert judged(budget(labels={"app.kubernetes.io/name": "synapse"}, maxUnavailable=0)).failures == []


class TestDown:
    def test_one_that_was_up_and_does_not_come_back(self) -> None:
        words = {"pod/matrix/synapse-main-0": ("Traceback", "lock is held")}
        pen = judged(change=down, last_words=words)
        found = only(pen)
        assert found.headline == (
            "synapse-main-0, the main process, was up and does not come back: since 20:30:00Z each start of it ends"
            " (exit code 1, 1 restarts)"
        )
        assert found.nature is Nature.WRONG
        assert found.cause == "lock is held"
        assert found.stops == ("pod/matrix/synapse-main-0", "statefulset/matrix/synapse-main")

    def test_between_two_of_several_crashes_it_is_the_same(self) -> None:
        assert only(judged(change=lambda raw: down(raw, restarts=3, waiting=""))).nature is Nature.WRONG

    @pytest.mark.parametrize(
        "change",
        [
            lambda raw: down(raw, at="2026-11-24T19:59:54Z"),
            lambda raw: down(raw, waiting=""),
        ],
    )
    def test_one_that_never_was_up_or_is_just_starting_is_left_to_what_is_beneath(self, change: Any) -> None:
        found = only(judged(change=change))
        assert (found.headline, found.nature) == ("synapse-main-0, the main process, is not up", Nature.UNAVAILABLE)
        assert found.stops == ()

    def test_one_that_is_scaled_away(self) -> None:
        def away(raw: Json) -> None:
            item(raw, "StatefulSet", "synapse-main")["spec"]["replicas"] = 0
            pods = items(raw, POD.name)
            pods.remove(item(raw, "Pod", "synapse-main-0"))

        found = only(judged(change=away))
        assert found.headline.startswith("StatefulSet synapse-main is scaled to 0: there is no main process")
        assert found.stops


class TestAlone:
    def test_without_a_liveness_probe(self) -> None:
        def bare(raw: Json) -> None:
            del item(raw, "Pod", "synapse-main-0")["spec"]["containers"][0]["livenessProbe"]

        found = only(judged(change=bare), Status.WARNED)
        assert found.headline == (
            "synapse-main-0 is the only main process, and nothing brings it back quickly:"
            " container synapse has no livenessProbe: hung, it stays so"
        )

    def test_without_a_controller(self) -> None:
        def bare(raw: Json) -> None:
            del item(raw, "Pod", "synapse-main-0")["metadata"]["ownerReferences"]
            sets = items(raw, "StatefulSet")
            sets.remove(item(raw, "StatefulSet", "synapse-main"))

        found = only(judged(change=bare), Status.WARNED)
        assert "no controller makes its pod anew" in found.headline


def test_a_wrapper_around_it_hides_nothing() -> None:
    """As in defect main-stays-down."""
    script = 'mkdir /data/main.lock || { echo "another holds it" >&2; exit 1; }\nexec "$@"\n'
    wrapped = [
        "sh",
        "-ec",
        script,
        "sh",
        "python",
        "-m",
        "synapse.app.homeserver",
        "--config-path",
        "/config/homeserver.yaml",
    ]

    def wrap(raw: Json) -> None:
        item(raw, "Pod", "synapse-main-0")["spec"]["containers"][0]["command"] = wrapped

    lab = recorded.changed(wrap)
    assert [each.config for each in lab.deployment().synapse] == [each.config for each in recorded.model().synapse]
