"""Which processes are alike enough to be asked for one another, and what one says of its modules."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.api import ApiError
from postflight.cluster.streams import Answer
from postflight.deployment.model import Deployment
from postflight.deployment.modules import alike, modules_of
from postflight.probes import module_imports as probes
from postflight.probes.module_imports import AS_IT_RUNS, IMPORT, ModuleImports
from tests.unit import li_world, vaulting
from tests.unit.vaulting import MODULE, with_vault
from tests.unit.worlds import Json

MODEL = with_vault(li_world.model())
WORLD = li_world.world()


def said(**refused: str) -> Answer:
    return Answer(f"a module speaks\n\n{json.dumps({MODULE: '', **refused})}\n".encode(), b"", 0)


def asked(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | Exception, of: Deployment = MODEL
) -> tuple[ModuleImports, ...]:
    def run(*given: Any, **rest: Any) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(probes, "run_in_pod", run)
    return probes.module_imports(of, WORLD, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (vaulting.modules(), [MODULE]),
        ([{"module": "a.B"}, {"module": "a.B", "config": None}, {"module": "bare"}, "word", {}], ["a.B", "a.B"]),
        ("word", []),
        (None, []),
    ],
)
def test_the_modules_of_a_configuration(given: Any, names: list[str]) -> None:
    assert [each.name for each in modules_of({"modules": given})] == names
    assert modules_of(None) == ()


def test_processes_of_one_image_and_the_same_mounts_are_alike() -> None:
    ((first, second),) = alike(WORLD, MODEL.synapse)
    assert (first.workload_name, second.workload_name) == ("hs", "hs-worker")


@pytest.mark.parametrize(
    "change",
    [
        {"image": "registry.test/other:1"},
        {"workingDir": "/elsewhere"},
        {"env": [{"name": "PYTHONPATH", "value": "/elsewhere"}]},
        {"volumeMounts": [{"name": "m", "mountPath": "/modules"}]},
    ],
)
def test_what_decides_on_imports_tells_them_apart(change: Json) -> None:
    world = li_world.world()
    raw = next(each for items in world.objects.values() for each in items if each["metadata"]["name"] == "hs-worker")
    raw["spec"]["containers"][0] |= change
    assert [len(each) for each in alike(world, MODEL.synapse)] == [1, 1]


def test_one_is_asked_for_all_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, said())
    assert (found.refused, found.problem, found.modules, len(found.alike)) == ({}, "", (MODULE,), 2)


def test_what_could_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, said(**{MODULE: "ModuleNotFoundError: gone"}))
    assert found.refused == {MODULE: "ModuleNotFoundError: gone"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (ApiError(403, "no right"), "no right"),
        (Answer(b"", b"sh: no python3", 127), "sh: no python3"),
        (Answer(b"nothing of it\n", b"", 0), "exit code 0"),
        (Answer(b"", b"", None), "no answer within the time limit"),
    ],
)
def test_one_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch, answer: Any, problem: str) -> None:
    (found,) = asked(monkeypatch, answer)
    assert (found.problem, found.down) == (problem, False)


def test_none_that_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    down = tuple(
        replace(each, pod=replace(each.pod, containers=tuple(replace(one, ready=False) for one in each.pod.containers)))
        if each.pod
        else each
        for each in MODEL.synapse
    )
    (found,) = asked(monkeypatch, said(), replace(MODEL, synapse=down))
    assert found.down


def test_the_script_says_what_synapse_would_meet() -> None:
    names = ("json.JSONDecoder", "not_there.Module", "json.Nothing")
    done = subprocess.run(("sh", "-c", AS_IT_RUNS, "sh", IMPORT, *names), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "json.JSONDecoder": "",
        "not_there.Module": "ModuleNotFoundError: No module named 'not_there'",
        "json.Nothing": "AttributeError: module 'json' has no attribute 'Nothing'",
    }
