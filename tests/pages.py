"""docs/checks/: a page for each check, made of what the check, its probes and its defects say of themselves.

``make docs`` writes them, and takes away what no check is called. Nobody edits them.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lab.defects import Defect, names
from postflight.check import meta_of
from postflight.probes.probe import Probe, Safety
from postflight.probes.registry import all_probes
from postflight.probes.runner import closure
from postflight.verdict.record import CheckMeta
from tests.lab.live import table
from tests.unit.test_registry import ROOT, checks

FOLDER = ROOT / "docs" / "checks"
RESIDUE = ROOT / "docs" / "residue.md"
INDEX = "README.md"
WIDTH = 118
INTRODUCTION = """\
Each page says what its check proves, how it looks, what it needs, and what was seen to turn it red. They are made by
`make docs` of what the checks, the probes and the defects of the lab say of themselves; nobody edits them."""


def pages(folder: Path = FOLDER) -> dict[Path, str]:
    """The text of every page that there is to be, by its file."""
    found = {meta.id: (meta, place, function) for place, function in checks().items() if (meta := meta_of(function))}
    defects, rows = names(), table.read()
    made = {
        folder / f"{id}.md": _page(*found[id], [each for each in defects if _is_about(each, id)], rows)
        for id in sorted(found)
    }
    return {folder / INDEX: _index([found[id] for id in sorted(found)]), **made}


def differences(folder: Path = FOLDER) -> list[str]:
    """A line for each page that is missing, stale or superfluous, with what to do."""
    wanted = pages(folder)
    there = {file: file.read_text(encoding="utf-8") for file in folder.glob("*") if file.is_file()}
    lines = [
        f"{file.name} is {'stale' if file in there else 'missing'}"
        for file in wanted
        if there.get(file) != wanted[file]
    ]
    lines += [f"{file.name} is superfluous: no check is called that" for file in sorted(there.keys() - wanted.keys())]
    return [f"docs/checks/{line}; `make docs` makes the pages anew" for line in lines]


def write(folder: Path = FOLDER) -> None:
    """Makes the folder hold these pages and nothing else."""
    wanted = pages(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*"):
        if file not in wanted and file.is_file():
            file.unlink()
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")


def links(text: str) -> list[str]:
    """Where a page's links within the checkout lead, from the folder of the pages."""
    return re.findall(r"\]\(([^)#:]+)\)", text)


def _index(found: Sequence[tuple[CheckMeta, str, Callable[..., None]]]) -> str:
    lines = ["# The checks", "", INTRODUCTION, ""]
    lines += ["| check | finding | severity | true when it is green | safety |", "|---|---|---|---|---|"]
    for meta, _, function in found:
        cells = (f"[`{meta.id}`]({meta.id}.md)", meta.finding or "-", meta.severity.value, meta.sentence)
        lines.append(_row(*cells, _safety(_probes(function)).value))
    return "\n".join(lines) + "\n"


def _page(
    meta: CheckMeta, place: str, function: Callable[..., None], defects: Sequence[Defect], rows: Mapping[str, table.Row]
) -> str:
    probes, file = _probes(function), place.partition("::")[0]
    finding = f", finding {meta.finding} of the review" if meta.finding else ""
    lines = [f"# {meta.id}", "", _filled(f"**{meta.sentence[0].upper()}{meta.sentence[1:]}.** {meta.why}"), ""]
    lines += [_filled(f"Severity {meta.severity.value}{finding}. Source: [`{file}`](../../{file})."), ""]
    lines += ["## How it looks", "", *_how(meta, function, probes), ""]
    lines += ["## What it leaves behind", "", *_residue(meta, probes), ""]
    lines += ["## Causes seen", "", *_causes(meta, defects, rows), ""]
    lines += ["## Remedy", "", _filled(_sentence(meta.remedy)), ""]
    lines += ["## What it cannot see", "", _filled(_sentence(meta.blind_spots)), ""]
    return "\n".join(lines)


def _how(meta: CheckMeta, function: Callable[..., None], probes: Sequence[Probe]) -> Iterator[str]:
    also = f" and, for this check, {', '.join(f'`{each}`' for each in meta.kinds)}" if meta.kinds else ""
    needs = {*inspect.signature(function).parameters, *(name for each in probes for name in each.inputs)}
    named = ", and the Secrets that its workloads name (right: get)" if "secrets" in needs else ""
    yield _filled(f"It reads what Kubernetes says of the deployment (right: view){named}{also}.")
    if not probes:
        return
    optional = {name for name, each in inspect.signature(function).parameters.items() if "NotTried" in str(each)}
    yield from ("", "| probe | does | rights beyond view | safety | at most |", "|---|---|---|---|---|")
    for each in probes:
        rights = [str(right) for right in each.rights] + (["a way to the pods"] if each.reaches else [])
        rights += [f"helped by {right}" for right in each.helped_by]
        name = f"`{each.name}`" + (" (without it: a weaker way)" if each.name in optional else "")
        yield _row(name, each.sentence, ", ".join(rights) or "-", each.safety.value, f"{each.limit:g} s")


def _residue(meta: CheckMeta, probes: Sequence[Probe]) -> Iterator[str]:
    """What of docs/residue.md names this check."""
    text = RESIDUE.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    own = [f"- {_plain(what)} (in {where})" for what, where, when in rows if f"`{meta.id}`" in when]
    if not own and _safety(probes) is Safety.READ_ONLY:
        yield "Nothing: it makes nothing."
        return
    yield from own
    yield from ("",) if own else ()
    yield _filled("What every run makes that may make something, and how all of it goes: [residue](../residue.md).")


def _causes(meta: CheckMeta, defects: Sequence[Defect], rows: Mapping[str, table.Row]) -> Iterator[str]:
    yield _filled("The defects of the lab that must turn it red or warned, and what it said first of each.")
    yield ""
    for each in sorted(defects, key=lambda defect: defect.name):
        row = rows.get(each.name)
        said = f" {row.verdict.upper()}: {_plain(row.first_line)}" if row and row.check == meta.id else ""
        title = _plain(_sentence(each.title))
        yield _filled(f"- {title} ([`{each.name}`](../../lab/defects/{each.name}/expect.yaml)){said}", "  ")


def _is_about(defect: Defect, id: str) -> bool:
    return id in (defect.check, *defect.failed, *defect.warned)


def _probes(function: Callable[..., None]) -> tuple[Probe, ...]:
    return closure(inspect.signature(function).parameters, all_probes())


def _safety(probes: Sequence[Probe]) -> Safety:
    return max((each.safety for each in probes), key=list(Safety).index, default=Safety.READ_ONLY)


def _row(*cells: str) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """With what Markdown would take for a tag, or reStructuredText for a literal, spelled its way."""
    return " ".join(text.split()).replace("``", "`").replace("<", "&lt;")


def _sentence(text: str) -> str:
    """With a capital where it begins with a word and no name, and a full stop."""
    begin = text[0].upper() + text[1:] if re.match(r"[a-z]+[\s,:;]", text) else text
    return begin if begin.endswith(".") else f"{begin}."


def _filled(text: str, indent: str = "") -> str:
    given = " ".join(text.split()).replace("``", "`")
    return textwrap.fill(given, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    write()
