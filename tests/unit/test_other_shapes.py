"""The recorded lab in other shapes: every check says of it what it says of the lab as it is."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest

from postflight.cluster.files import Files
from postflight.cluster.kinds import Kind
from postflight.cluster.secrets import SecretObject, SecretStore
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side
from postflight.secrets import Secret
from tests.unit import recorded
from tests.unit.li_world import EXTERNAL, HELD, read, world
from tests.unit.observations import CHECKS, ask
from tests.unit.recorded import Json, Recording, item, items
from tests.unit.worlds import NAMESPACE, deployment

OWN = "matrix-li"
#: What of the small world is LI's, and the login between the two, which names main by its whole name.
THEIRS = re.compile(r"second|pg-li.*|setup")
WHOLE = "pg-rw.matrix.svc.cluster.local"


def li_apart(*, labels: bool = True, subscribes: bool = True) -> Deployment:
    """LI in a namespace of its own."""
    external = {**EXTERNAL, "connectionParameters": {**EXTERNAL["connectionParameters"], "host": WHOLE}}
    found = world(labels=labels, subscribes=False)
    objects: dict[tuple[Kind, str], tuple[Json, ...]] = {}
    for (kind, _), held in found.objects.items():
        for each in held:
            name = each["metadata"]["name"]
            where = OWN if THEIRS.fullmatch(name) else NAMESPACE
            spec = {"externalClusters": [external]} if name == "pg-li" and kind.name == "Cluster" and subscribes else {}
            moved = {**each, "metadata": {**each["metadata"], "namespace": where}}
            moved |= {"spec": {**each["spec"], **spec}} if spec else {}
            objects[(kind, where)] = (*objects.get((kind, where), ()), moved)
        objects.setdefault((kind, OWN), ())
        objects.setdefault((kind, NAMESPACE), ())
    secrets = {
        (OWN, name): SecretObject(
            OWN, name, {**held.data, **({"MAIN_DB_HOST": Secret(WHOLE)} if name == "sync" else {})}, None
        )
        for (_, name), held in HELD.found.items()
        if name != "app"
    }
    secrets |= {key: held for key, held in HELD.found.items() if key[1] == "app"}
    files = {(OWN if pod == "second" else where, pod, one): text for (where, pod, one), text in read().content.items()}
    apart = replace(found, namespaces=(NAMESPACE, OWN), objects=objects)
    return deployment(apart, SecretStore(secrets, {}), Files(files, {}))


def _with(body: str, old: str, new: str) -> str:
    return base64.b64encode(base64.b64decode(body).replace(old.encode(), new.encode())).decode()


def workers_as_statefulsets() -> Recording:
    """Every Deployment of workers is a StatefulSet, as lab/kinds/workers-statefulsets has it."""

    def change(raw: Json) -> None:
        for name in ("synapse-synchrotron", "synapse-generic-worker"):
            workload = item(raw, "Deployment", name)
            items(raw, "Deployment").remove(workload)
            items(raw, "StatefulSet").append({**workload, "kind": "StatefulSet"})
            for number, pod in enumerate(one for one in items(raw, "Pod") if one["metadata"]["name"].startswith(name)):
                before, now = pod["metadata"]["name"], f"{name}-{number}"
                pod["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": name, "controller": True}]
                renamed.append((before, now))
        for hpa in items(raw, "HorizontalPodAutoscaler"):
            hpa["spec"]["scaleTargetRef"]["kind"] = "StatefulSet"

    renamed: list[tuple[str, str]] = []
    raw = json.loads(recorded.text())
    change(raw)
    text = json.dumps(raw)
    for before, now in renamed:
        text = text.replace(before, now)
    raw = json.loads(text)
    for each in raw["files"]:
        for before, now in renamed:
            each["content"] = {path: _with(body, before, now) for path, body in each["content"].items()}
    return recorded.load(json.dumps(raw))


def test_every_check_says_the_same_of_workers_in_statefulsets() -> None:
    lab = workers_as_statefulsets()
    for id in CHECKS:
        here, there = ask(id, lab), ask(id)
        assert [each.headline for each in here.failures] == [each.headline for each in there.failures], id
        assert (here.absence, bool(here.seen)) == (there.absence, bool(there.seen)), id


def test_workers_in_statefulsets_are_the_same_processes() -> None:
    found, before = workers_as_statefulsets().deployment(), recorded.model()
    assert sorted(each.app for each in found.synapse) == sorted(each.app for each in before.synapse)
    mine = [each for each in found.workloads if each.name in ("synapse-synchrotron", "synapse-generic-worker")]
    assert {(each.kind, len(each.pods), each.maximum) for each in mine} == {("StatefulSet", 2, 16)}


@pytest.mark.parametrize(("labels", "subscribes"), [(True, True), (False, True), (False, False)])
def test_li_in_a_namespace_of_its_own_is_told_and_fed_as_beside_main(labels: bool, subscribes: bool) -> None:
    found = li_apart(labels=labels, subscribes=subscribes)
    assert {each.workload_name: (each.namespace, each.side) for each in found.synapse} == {
        "hs": (NAMESPACE, Side.MAIN),
        "hs-worker": (NAMESPACE, Side.MAIN),
        "second": (OWN, Side.LI),
    }
    assert found.li
    assert (found.li.id, found.li.namespace) == (f"li/{OWN}", OWN)
    assert (found.li.cluster and found.li.cluster.id) == f"postgresql/{OWN}/pg-li"
    assert (found.li.main_cluster and found.li.main_cluster.id) == f"postgresql/{NAMESPACE}/pg"
    assert {each.login.user for each in found.li.sync} == {"reader"}
    assert set(found.homeservers) == {NAMESPACE}
    assert found.without_main == ()
