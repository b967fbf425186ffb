"""Fixtures for tests of the lab."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lab.errors import LabError
from lab.homes import home
from lab.node import clone
from tests.lab.bare import Bare


@pytest.fixture
def bare() -> Iterator[Bare]:
    where = home()
    if os.geteuid() != 0 or not where.base.exists():
        pytest.skip("needs root and `make setup`")
    labs = Bare(where, [])
    yield labs
    for folder in labs.started:
        labs.stop(folder)
        clone.remove(folder)
        with suppress(OSError):
            (folder.parent / f".{folder.name}.lock").unlink()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], float], None]:
    """Waits until a call returns something true, for so many seconds."""

    def wait(holds: Callable[[], object], timeout: float = 20) -> None:
        last = time.monotonic() + timeout
        while True:
            try:
                if holds():
                    return
                told = "it did not come true"
            except LabError as error:
                told = str(error)
            assert time.monotonic() < last, told
            time.sleep(0.1)

    return wait
