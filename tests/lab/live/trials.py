"""docs/trials.md: what long trials showed, and by which content. A fresh one is not tried again by `make test`."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pytest

from lab.homes import CHECKOUT
from tests.lab.live import table

FILE = CHECKOUT / "docs/trials.md"
HEAD = """\
# Long trials

Deployments of other shapes, parts taken away, a node cut off, a crowded cluster: each takes minutes, so `make test` runs
only those whose content has changed, and `make trials` all. They write this table; nobody edits it. The hash is over the
files that a trial names as those it rests on, and the trial itself.

"""
LENGTH = 12
#: What is made by running, not by writing.
LEFT_OUT = "__pycache__"


@dataclass(frozen=True, slots=True)
class Row:
    """One trial that passed, all as text."""

    trial: str
    seen: str
    seconds: str
    date: str
    hash: str


def digest(paths: Iterable[str], own: Path) -> str:
    """Over the files and folders (from the checkout's root), and the test's own file."""
    files = {own}
    for each in paths:
        named = CHECKOUT / each
        assert named.exists(), f"there is no {each}"
        files |= {file for file in ([named] if named.is_file() else named.rglob("*")) if _counts(file)}
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file.relative_to(CHECKOUT)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:LENGTH]


def _counts(file: Path) -> bool:
    return file.is_file() and LEFT_OUT not in file.parts


def read(file: Path = FILE) -> dict[str, Row]:
    """The rows by trial; what is no row of this shape is left out, and so counts as never tried."""
    return {cells[0]: Row(*cells) for cells in table.body(file, len(fields(Row)), "trial")}


def is_fresh(item: pytest.Item, rows: dict[str, Row]) -> bool:
    """Whether a test is a trial that was seen to pass with what there is now."""
    marker = item.get_closest_marker("trial")
    row = rows.get(_name(item))
    return marker is not None and row is not None and row.hash == digest(marker.args, item.path)


def keep(item: pytest.Item, seconds: float, file: Path = FILE) -> None:
    """Writes the row of a trial that has just passed."""
    marker = item.get_closest_marker("trial")
    if marker is None:
        return
    seen = "; ".join(str(value) for name, value in item.user_properties if name == "seen")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    row = Row(_name(item), seen or "-", f"{seconds:.0f}", date, digest(marker.args, item.path))
    rows = read(file) | {row.trial: row}
    lines = [[field.name for field in fields(Row)], *(list(astuple(rows[name])) for name in sorted(rows))]
    table.put(file, HEAD, lines)


def _name(item: pytest.Item) -> str:
    return item.name.removeprefix("test_").replace("_", " ")
