"""docs/defects.md: what every defect was seen to do, and by which content. Written here and nowhere else."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from lab.homes import CHECKOUT

FILE = CHECKOUT / "docs/defects.md"
HEAD = """\
# What turns each check red

Every defect of the lab, put into a healthy deployment, and what the verifier said. The tests write this table
(`make test-each` all of it, `make test` the rows whose content has changed); nobody edits it. The hash is over the
files of the check, of what it judges by (the modules of `deployment/` and `probes/` that it names itself, but for the
model), of the probes that it looks through, and of the defect: where it differs from the files, the row is no proof,
and `make test` tries the defect again. Seconds are from the break to the verdict.

"""


@dataclass(frozen=True, slots=True)
class Row:
    """One defect, all as text. `blocked` are the checks that came out blocked."""

    defect: str
    check: str
    variant: str
    verdict: str
    blocked: str
    first_line: str
    seconds: str
    date: str
    hash: str

    def says_the_same(self, other: "Row | None") -> bool:
        """Whether it proves what the other does: times, and generated names in a first line, differ every time."""
        return other is not None and self._proof() == other._proof()

    def _proof(self) -> tuple[str, ...]:
        return (self.defect, self.check, self.variant, self.verdict, self.blocked, self.hash)


def read(file: Path = FILE) -> dict[str, Row]:
    """The rows by defect; what is no row of this shape is left out, and so counts as never tried."""
    return {row[0]: Row(*row) for row in body(file, len(fields(Row)), "defect")}


def write(rows: Mapping[str, Row], file: Path = FILE) -> None:
    """All rows, sorted."""
    names = [field.name.replace("_", " ") for field in fields(Row)]
    put(file, HEAD, [names, *(list(astuple(rows[name])) for name in sorted(rows))])


def body(file: Path, width: int, first_title: str) -> list[list[str]]:
    """The rows of a page's table that are as wide, without their titles; none where there is no page."""
    if not file.exists():
        return []
    rows = map(cells, file.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if len(row) == width and row[0] not in (first_title, "---")]


def put(file: Path, head: str, rows: Sequence[Sequence[str]]) -> None:
    """A page with one table, whose first row has the titles, in one step: a reader never sees half of it."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    file.parent.mkdir(exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(head + "\n".join(map(line, lines)) + "\n", encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def line(row: Sequence[str]) -> str:
    """A row as Markdown has it."""
    return "| " + " | ".join(map(_cell, row)) + " |"


def cells(text: str) -> list[str]:
    """What stands in a row of Markdown."""
    return [_text(cell) for cell in text.replace("\\|", "\0").strip("| ").split("|")]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _text(cell: str) -> str:
    return cell.strip().replace("\0", "|").replace("&lt;", "<")
