"""Which defects are tried together, and which are tried at all."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import yaml

from lab.defects import Defect
from tests.lab.live import content
from tests.lab.live.table import Row

FILE = Path(__file__).with_name("batches.yaml")
Group = tuple[str, ...]


def declared(file: Path = FILE) -> list[Group]:
    """The groups as they stand in the file."""
    return [tuple(group) for group in yaml.safe_load(file.read_text(encoding="utf-8"))]


def mistakes(groups: Iterable[Group], known: Mapping[str, Defect]) -> list[str]:
    """Why defects of a group could not be told apart, or would not bite as described; a line for each."""
    found: list[str] = []
    seen: set[str] = set()
    for group in groups:
        found += [f"there is no defect {name}" for name in group if name not in known]
        found += [f"{name} is in two groups" for name in group if name in seen]
        seen |= set(group)
        pairs = combinations([known[name] for name in group if name in known], 2)
        found += [f"{one.name} and {two.name} {why}" for one, two in pairs for why in _clashes(one, two)]
    return found


def stale(known: Iterable[Defect], rows: Mapping[str, Row]) -> list[str]:
    """The defects without a row, or whose row rests on other content than there is now."""
    return [each.name for each in known if each.name not in rows or rows[each.name].hash != content.digest(each)]


def to_try(known: Collection[Defect], rows: Mapping[str, Row], groups: Sequence[Group]) -> list[Group]:
    """The groups that hold every stale defect, and quick ones until each check has at least one defect."""
    by_name = {each.name: each for each in known}
    units = _units(known, groups)
    waiting = set(stale(known, rows))
    chosen = [unit for unit in units if waiting & set(unit)]

    def proves(unit: Group) -> set[str]:
        return {check for name in unit for check in content.checks_of(by_name[name])}

    left = {check for each in known for check in content.checks_of(each)}
    left -= {check for unit in chosen for check in proves(unit)}
    while left:
        best = max(units, key=lambda unit: len(proves(unit) & left) / _seconds(unit, rows))
        chosen.append(best)
        left -= proves(best)
    for unit in [each for each in chosen if not waiting & set(each)]:
        others = [each for each in chosen if each != unit]
        if proves(unit) <= {check for other in others for check in proves(other)}:
            chosen = others
    return [unit for unit in units if unit in chosen]


def holding(known: Collection[Defect], groups: Sequence[Group], wanted: Collection[str]) -> list[Group]:
    """The groups that hold one of these defects."""
    return [unit for unit in _units(known, groups) if set(unit) & set(wanted)]


def _units(known: Iterable[Defect], groups: Sequence[Group]) -> list[Group]:
    grouped = {name: group for group in groups for name in group}
    return list(dict.fromkeys(grouped.get(each.name, (each.name,)) for each in known))


def _clashes(one: Defect, two: Defect) -> list[str]:
    mine, others = set(content.checks_of(one)), set(content.checks_of(two))
    found = [f"both touch {part}" for part in one.touches if part in two.touches]
    found += [f"are both there for {check}" for check in sorted(mine & others)]
    found += [f"do not go together: {one.name} blocks {check}" for check in one.blocked if check in others]
    found += [f"do not go together: {two.name} blocks {check}" for check in two.blocked if check in mine]
    found += [
        f"do not go together: with {a.name} there is no {c}"
        for a, b in ((one, two), (two, one))
        for c in a.absent
        if c in content.checks_of(b)
    ]
    if one.restart != two.restart:
        found.append("do not go together: only one of them leaves the pods running")
    return found


def _seconds(unit: Group, rows: Mapping[str, Row]) -> float:
    """What it took last time, or as much as most take."""
    return max((float(rows[name].seconds) for name in unit if name in rows), default=60.0)
