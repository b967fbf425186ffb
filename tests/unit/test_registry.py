"""The checks are checked: what every check and every probe must have beside its judgement."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import yaml

from postflight import explain
from postflight.check import meta_of
from postflight.cluster.kinds import LISTED
from postflight.limits import Limit
from postflight.probes import registry
from postflight.probes.probe import NotTried, Probe, Safety
from postflight.probes.registry import all_probes
from postflight.probes.runner import closure
from postflight.session import INPUTS, all_ids
from postflight.verdict.record import CheckMeta
from postflight.verdict.status import Severity

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "checks"
DEFECTS, KINDS = ROOT / "lab" / "defects", ROOT / "lab" / "kinds"
#: What a defect says of checks.
WORDS = ("failed", "blocked", "warned", "absent")
CATALOGUE = ROOT.parent / "shared" / "catalogue.md"
LIMITS = {value for name, value in vars(Limit).items() if name.isupper()}


@cache
def checks() -> Mapping[str, Callable[..., None]]:
    """Every check function by its place, imported as pytest would."""
    found: dict[str, Callable[..., None]] = {}
    for path in sorted(CHECKS.rglob("test_*.py")):
        module = load(path)
        for name, value in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(value):
                found[f"{path.relative_to(ROOT)}::{name}"] = value
    return found


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_".join(path.relative_to(ROOT).with_suffix("").parts), path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def meta(place: str) -> CheckMeta:
    found = meta_of(checks()[place])
    assert found, f"{place} is no check: it lacks @check"
    return found


def test_ids_are_unique() -> None:
    ids = [meta(place).id for place in checks()]
    assert len(ids) == len(set(ids))


def test_ids_are_found_without_importing_a_check() -> None:
    assert all_ids(CHECKS) == {meta(place).id for place in checks()}


@pytest.mark.parametrize("place", checks())
class TestEveryCheck:
    def test_has_an_id_of_area_and_subject_and_is_in_the_catalogue(self, place: str) -> None:
        id = meta(place).id
        assert re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)?", id)
        if CATALOGUE.exists():
            assert f"`{id}`" in CATALOGUE.read_text()

    def test_is_a_sentence_with_a_reason(self, place: str) -> None:
        found = meta(place)
        assert len(found.sentence.split()) >= 5
        assert found.why.endswith(".")
        assert len(found.why) > 40

    def test_says_how_bad_it_is_what_helps_and_what_it_cannot_see(self, place: str) -> None:
        found = meta(place)
        assert isinstance(found.severity, Severity)
        assert len(found.remedy) > 15
        assert len(found.blind_spots) > 15
        assert re.fullmatch(r"(\d\.\d+)?", found.finding)

    def test_stands_in_the_folder_of_its_area(self, place: str) -> None:
        area, _, subject = meta(place).id.partition(".")
        path = Path(place.partition("::")[0])
        assert path == (Path("checks", area, f"test_{subject}.py") if subject else Path("checks", f"test_{area}.py"))

    def test_has_a_defect_that_must_turn_it_red_or_warned(self, place: str) -> None:
        id = meta(place).id
        expected = [yaml.safe_load(path.read_text()) for path in DEFECTS.glob("*/expect.yaml")]
        about = [each for each in expected if each["check"] == id]
        assert about, f"no folder of lab/defects has `check: {id}`"
        assert any(id in (each.get("failed") or ()) or id in (each.get("warned") or ()) for each in about)

    def test_takes_only_observations_that_there_are(self, place: str) -> None:
        taken = set(inspect.signature(checks()[place]).parameters)
        assert taken <= {*all_probes(), *INPUTS, "judge"}
        assert "judge" in taken

    def test_reads_kinds_that_are_listed(self, place: str) -> None:
        assert set(meta(place).kinds) <= {kind.name for kind in LISTED}

    def test_takes_what_may_not_be_tried_only_where_it_says_so(self, place: str) -> None:
        """``NotTried`` is told by the annotation's text, so it must stand there by name."""
        function = checks()[place]
        hints = get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            admits = NotTried in getattr(hints[name], "__args__", ())
            assert admits == ("NotTried" in str(parameter))

    def test_can_be_explained(self, place: str) -> None:
        taken = inspect.signature(checks()[place]).parameters
        page = explain.page(meta(place), closure(taken, all_probes()))
        assert page.startswith(f"{meta(place).id}: {meta(place).sentence}")
        assert all(each.sentence for each in closure(taken, all_probes()))


@pytest.mark.parametrize("found", all_probes().values(), ids=lambda each: each.name)
class TestEveryProbe:
    def test_has_a_limit_of_the_one_table(self, found: Probe) -> None:
        assert found.limit in LIMITS

    def test_takes_only_what_there_is(self, found: Probe) -> None:
        assert set(found.inputs) <= {*all_probes(), *INPUTS}

    def test_is_not_beneath_itself(self, found: Probe) -> None:
        beneath = closure(found.inputs, all_probes())
        assert found.name not in {each.name for each in beneath}

    def test_is_described_and_returns_something_of_its_own(self, found: Probe) -> None:
        assert found.sentence
        assert get_type_hints(found.function).get("return") not in (None, type(None), Any)

    def test_that_makes_something_waits_for_its_turn_and_says_so(self, found: Probe) -> None:
        """Whatever creates anything is canary at least, and only one run at a time does it."""
        if "traces" in found.inputs and found.name not in ("turn", "leftovers"):
            assert found.safety is not Safety.READ_ONLY
            assert "turn" in {each.name for each in closure([found.name], all_probes())}

    def test_that_leaves_takes_no_observation_of_the_look_phase(self, found: Probe) -> None:
        """What could not be seen there would be handed over as if it had been."""
        if found.leaves:
            assert not set(found.inputs) & set(all_probes())


def test_every_probe_serves_some_check() -> None:
    taken = {name for each in checks().values() for name in inspect.signature(each).parameters}
    assert {each.name for each in closure(taken, all_probes())} == set(all_probes())


def test_every_module_of_probes_is_registered() -> None:
    folder = Path(registry.__file__).parent
    declaring = {path.stem for path in folder.glob("*.py") if re.search(r"^@probe\(", path.read_text(), re.MULTILINE)}
    assert declaring == set(registry.MODULES)


def test_every_defect_is_about_a_check_that_there_is() -> None:
    known = {meta(place).id for place in checks()}
    for path in (*DEFECTS.glob("*/expect.yaml"), *KINDS.glob("*/expect.yaml")):
        expected = yaml.safe_load(path.read_text())
        named = {expected["check"], *(each for word in WORDS for each in expected.get(word) or ())}
        assert named <= known, path.parent.name


def test_no_limit_is_without_a_name_or_a_word() -> None:
    source = inspect.getsource(Limit)
    names = [name for name in vars(Limit) if name.isupper()]
    assert len(re.findall(r'^    [A-Z_]+: Final = [0-9.]+\n    """.+"""$', source, re.MULTILINE)) == len(names)


def test_the_list_has_a_line_for_every_check() -> None:
    lines = explain.listing([meta(place) for place in checks()]).splitlines()
    assert len(lines) == len(checks())
    assert all(meta(place).sentence in line for place, line in zip(checks(), lines, strict=True))


def test_what_was_not_seen_is_said_to_be_unproven() -> None:
    """A warning that quotes why a probe was not tried was seen by a weaker way: a sign-off must be able to tell."""
    for path in CHECKS.rglob("test_*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "warn":
                quotes = [each for each in ast.walk(call) if isinstance(each, ast.Attribute) and each.attr == "reason"]
                assert not quotes, f"{path.relative_to(ROOT)}:{call.lineno}: judge.unproven says this"
