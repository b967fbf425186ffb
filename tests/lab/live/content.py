"""What a defect's proof rests on: the check, what it judges by, the probes that it looks through, and the defect."""

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lab.defects import Defect
from lab.homes import CHECKOUT
from lab.manifests import DEFECTS
from postflight.check import meta_of
from postflight.cluster.kinds import LISTED
from postflight.probes.probe import FORWARD, Probe
from postflight.probes.registry import all_probes
from postflight.probes.runner import closure

CHECKS = CHECKOUT / "checks"
LENGTH = 12
KINDS = {kind.name: kind for kind in LISTED}
#: Where a check has what it judges by: tables of what is known, and what its observations add up to. The model is
#: everybody's, and what is done to it shows in the unit tests of what is made of it.
JUDGED_BY = ("postflight.deployment.", "postflight.probes.")
EVERYBODYS = ("postflight.deployment.model", "postflight.deployment.parts")


def digest(defect: Defect) -> str:
    """Changes whenever one of the files does that the defect's row in the table rests on."""
    files = {file for file in (DEFECTS / defect.name).rglob("*") if file.is_file()}
    return _hashed(files.union(*map(_files, checks_of(defect))))


def of_check(check: str) -> str:
    """Changes whenever one of the files does that the check's green rests on."""
    return _hashed(_files(check))


def _files(check: str) -> set[Path]:
    file, probes = _looks(check)
    return {file, *_judged_by(file), *(_module(each) for each in probes)}


def _hashed(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file.relative_to(CHECKOUT)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:LENGTH]


def _judged_by(file: Path) -> Iterator[Path]:
    """The modules that a check's file names itself."""
    for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        name = each.module or "" if isinstance(each, ast.ImportFrom) else ""
        if name.startswith(JUDGED_BY) and name not in EVERYBODYS:
            yield CHECKOUT / f"{name.replace('.', '/')}.py"


def checks_of(defect: Defect) -> tuple[str, ...]:
    """The checks that a defect is there for: what it turns red, or warned."""
    return tuple(dict.fromkeys((defect.check, *defect.failed, *defect.warned)))


@cache
def all_checks() -> frozenset[str]:
    """The ids of all checks."""
    return frozenset(id for id, _, _, _ in _declared())


def needing(right: str) -> set[str]:
    """The checks that cannot look without a resource: a probe of theirs asks for it, or they read that kind."""
    found = set()
    for id, _, needs, kinds in _declared():
        probes = closure(needs, all_probes())
        asked = {each.resource for probe in probes for each in (*probe.rights, *((FORWARD,) if probe.reaches else ()))}
        if right in asked | {KINDS[name].plural for name in kinds}:
            found.add(id)
    return found


@cache
def _looks(check: str) -> tuple[Path, tuple[Probe, ...]]:
    for id, file, needs, _ in _declared():
        if id == check:
            return file, closure(needs, all_probes())
    raise ValueError(f"there is no check {check}")


@cache
def _declared() -> tuple[tuple[str, Path, tuple[str, ...], tuple[str, ...]], ...]:
    return tuple(each for file in sorted(CHECKS.rglob("test_*.py")) for each in _in_file(file))


def _in_file(file: Path) -> Iterator[tuple[str, Path, tuple[str, ...], tuple[str, ...]]]:
    name = "of_checks_" + re.sub(r"\W", "_", str(file.relative_to(CHECKS)))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for function in vars(module).values():
        if meta := meta_of(function):
            code = function.__code__
            yield meta.id, file, code.co_varnames[: code.co_argcount], meta.kinds


def _module(probe: Probe) -> Path:
    file = sys.modules[probe.function.__module__].__file__
    assert file
    return Path(file)
