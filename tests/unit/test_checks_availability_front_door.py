"""The check that the front door outlasts the loss of a pod and a node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.api import ApiError
from postflight.cluster.kinds import BUDGET, INGRESS, Kind
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.front import Controller
from postflight.deployment.parts import Pod
from postflight.deployment.pods import read_pod
from postflight.probes.public_places import ControllerSeen, ingress_controllers
from postflight.settings import Settings, SettingsError, load
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit import guarded, recorded
from tests.unit.observations import MODEL, ask, only
from tests.unit.worlds import Json, container, pod, thing

CHECK = "availability.front_door"
HIGH = Settings(availability="high")
LABELS = {"app.kubernetes.io/name": "ingress-nginx"}
PLACE = ("ingress-nginx", "ingress-nginx-controller")
OWN = Controller(*PLACE, LABELS)
WORDS = "ingress controller ingress-nginx-controller in namespace ingress-nginx"
OF = guarded.snapshot(recorded.healthy().snapshot)


def controller(number: int = 1, node: str = "node1", *, ready: bool = True) -> Pod:
    raw = pod(f"ingress-{number}", container(), labels=LABELS, nodeName=node)
    raw["metadata"]["namespace"] = PLACE[0]
    return replace(read_pod(raw), ready=ready)


def budget(**spec: Any) -> Json:
    found = guarded.budget("ingress", "ingress-nginx", **(spec or {"minAvailable": 1}))
    found["metadata"]["namespace"] = PLACE[0]
    return found


def served(kind: str = "Deployment") -> Snapshot:
    """An Ingress of the public name, and a controller by its image."""
    ingress = thing(INGRESS, "matrix", spec={"rules": [{"host": "matrix.lab.test"}]})
    spec = {"containers": [{"name": "controller", "image": "ingress-nginx/controller:v1"}]}
    made = {
        "kind": kind,
        "metadata": {"namespace": PLACE[0], "name": PLACE[1]},
        "spec": {"selector": {"matchLabels": LABELS}, "template": {"spec": spec}},
    }
    objects = {**OF.objects, (INGRESS, "matrix"): (ingress,)}
    return replace(OF, objects=objects, controllers=(*OF.controllers, made))


def judged(*pods: Pod, budgets: tuple[Json, ...] | None = None, kind: str = "Deployment", **others: Any) -> Judge:
    own = (budget(),) if budgets is None else budgets
    seen = ControllerSeen(OWN, tuple((each, 443) for each in pods), budgets=own)
    given = {"snapshot": served(kind), "ingress_controllers": (seen,), **others}
    return ask(CHECK, **given)


def test_two_on_two_nodes() -> None:
    pen = judged(controller(1), controller(2, "node2"), settings=HIGH, deployment=spread())
    assert pen.failures == []
    assert pen.seen == ["ingress-controller/ingress-nginx/ingress-nginx-controller", MODEL.proxies[0].id]


def spread() -> Any:
    """The proxies on two nodes."""
    proxy = MODEL.proxies[0]
    moved = (proxy.pods[0], replace(proxy.pods[1], node="node2"))
    workloads = tuple(replace(each, pods=moved) if each.name == "haproxy" else each for each in MODEL.workloads)
    return replace(MODEL, proxies=(replace(proxy, pods=moved),), workloads=workloads)


@pytest.mark.parametrize(("settings", "status"), [(Settings(), Status.WARNED), (HIGH, Status.FAILED)])
def test_one_controller(settings: Settings, status: Status) -> None:
    found = only(judged(controller(1), controller(2, ready=False), settings=settings, deployment=spread()), status)
    assert found.headline == f"{WORDS}: one pod is ready (ingress-1), and its restart shuts the front door"


@pytest.mark.parametrize(("settings", "status"), [(Settings(), Status.WARNED), (HIGH, Status.FAILED)])
def test_both_on_one_node(settings: Settings, status: Status) -> None:
    found = only(judged(controller(1), controller(2), settings=settings, deployment=spread()), status)
    assert found.headline == f"{WORDS}: all 2 pods stand on node node1"


def test_on_the_only_node_there_is_no_other_place() -> None:
    assert judged(controller(1), controller(2)).failures == []


def test_promised_the_only_node_is_one_too_few() -> None:
    pen = judged(controller(1), controller(2), settings=HIGH)
    assert [(each.status, each.subject.partition("/")[0]) for each in pen.failures] == [
        (Status.FAILED, "ingress-controller"),
        (Status.FAILED, MODEL.proxies[0].id.partition("/")[0]),
    ]


@pytest.mark.parametrize(
    ("budgets", "line"),
    [
        ((), "no budget keeps a drain from taking all of them at once"),
        (
            (budget(minAvailable=2),),
            "budget ingress (minAvailable: 2) never lets one go, and no node with one can be drained",
        ),
    ],
)
def test_budgets(budgets: tuple[Json, ...], line: str) -> None:
    found = only(judged(controller(1), controller(2), budgets=budgets), Status.WARNED)
    assert found.headline == f"{WORDS}: {line}"


def test_a_drain_leaves_a_daemonset_alone() -> None:
    assert judged(controller(1), controller(2), budgets=(), kind="DaemonSet").failures == []


def test_proxies_without_a_budget() -> None:
    of = replace(OF, objects={**OF.objects, (BUDGET, "matrix"): ()})
    found = only(ask(CHECK, snapshot=of), Status.WARNED)
    assert found.headline == "proxy haproxy: no budget keeps a drain from taking all of them at once"


def test_proxies_that_are_down_are_left_to_what_is_beneath() -> None:
    proxy = MODEL.proxies[0]
    down = replace(proxy, pods=tuple(replace(each, ready=False) for each in proxy.pods))
    found = only(ask(CHECK, deployment=replace(MODEL, proxies=(down,))))
    assert (found.headline, found.stops) == ("proxy haproxy: none of 2 pods is ready", ())


def test_a_controller_that_nobody_knows() -> None:
    found = only(ask(CHECK, snapshot=replace(served(), controllers=())), Status.WARNED)
    assert "names.ingress.workloads" in found.remedy


@pytest.mark.parametrize("field", ["problem", "hidden"])
def test_a_controller_that_may_not_be_looked_at(field: str) -> None:
    hidden = ControllerSeen(OWN, **{field: "no right"})  # type: ignore[arg-type]
    found = only(ask(CHECK, snapshot=served(), ingress_controllers=(hidden,)), Status.UNKNOWN)
    assert found.headline == f"{WORDS} could not be looked at: no right"


def test_without_ingress_and_proxy_it_is_absent() -> None:
    assert ask(CHECK, deployment=replace(MODEL, proxies=())).absence.startswith("neither an Ingress nor a proxy")


class Asked:
    """An API server with one budget in the controller's namespace, or without the right to list any."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses

    def list_all(self, kind: Kind, namespace: str = "", **query: str) -> list[Json]:
        if kind is BUDGET:
            assert namespace == PLACE[0]
            if self.refuses:
                raise ApiError(403, "no right: budgets")
            return [budget()]
        return []


def test_budgets_beside_a_controller_are_listed_with_it() -> None:
    (found,) = ingress_controllers(served(), Settings(), Asked())  # type: ignore[arg-type]
    assert (found.budgets, found.hidden) == ((budget(),), "")
    (found,) = ingress_controllers(served(), Settings(), Asked(refuses=True))  # type: ignore[arg-type]
    assert (found.budgets, found.hidden) == ((), "no right: budgets")


def test_where_a_controller_stands_in_the_deployments_own_namespace_its_budgets_are_known() -> None:
    of = replace(served(), namespaces=("matrix", PLACE[0]), objects={**OF.objects, (BUDGET, PLACE[0]): (budget(),)})
    (found,) = ingress_controllers(of, Settings(), Asked(refuses=True))  # type: ignore[arg-type]
    assert (found.budgets, found.hidden) == ((budget(),), "")


@pytest.mark.parametrize(("said", "right"), [("high", True), ("highest", False)])
def test_what_may_be_promised(tmp_path: Path, said: str, right: bool) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"availability: {said}\n")
    if right:
        assert load(file) == HIGH
    else:
        with pytest.raises(SettingsError, match="availability"):
            load(file)
