"""``postflight``: the checks that ship in the package, run by pytest; ``postflight prepare``."""

from __future__ import annotations

import sys
from importlib import resources

import pytest

from postflight import prepare


def main() -> int:
    """Run the packaged checks with the command line's options, or a command that is named first; returns
    the exit code."""
    if sys.argv[1:2] == ["prepare"]:
        return prepare.main(sys.argv[2:])
    checks = resources.files("postflight") / "checks"
    if not checks.is_dir():
        print("postflight: the package holds no checks: run `pytest checks/` in the checkout instead", file=sys.stderr)
        return 4
    options = ["-p", "postflight.plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]
    return int(pytest.main([*options, *sys.argv[1:], str(checks)]))
