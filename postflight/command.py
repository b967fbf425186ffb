"""``postflight``: the checks that ship in the package, run by pytest."""

from __future__ import annotations

import sys
from importlib import resources

import pytest


def main() -> int:
    """Run the packaged checks with the command line's options; returns the exit code of the run."""
    checks = resources.files("postflight") / "checks"
    if not checks.is_dir():
        print("postflight: the package holds no checks: run `pytest checks/` in the checkout instead", file=sys.stderr)
        return 4
    options = ["-p", "postflight.plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]
    return int(pytest.main([*options, *sys.argv[1:], str(checks)]))
