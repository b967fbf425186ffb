"""The unit tests in parts, for those who have more than one processor."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", metavar="N/M", help="of every M files of unit tests the Nth")


@cache
def _files() -> list[Path]:
    """The largest first, so that no part gets all of them."""
    return sorted(Path(__file__).parent.glob("test_*.py"), key=lambda file: (-file.stat().st_size, file.name))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not collection_path.is_relative_to(Path(__file__).parent) or not collection_path.match("test_*.py"):
        return None
    number, _, parts = str(config.getoption("--part")).partition("/")
    place = _files().index(collection_path)
    return None if place % int(parts) == int(number) - 1 else True
