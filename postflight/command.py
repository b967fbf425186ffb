"""``postflight``: the checks that ship in the package, run by pytest, and what goes with them."""

from __future__ import annotations

import importlib
import sys
from importlib import resources
from pathlib import Path

from postflight.verdict.status import Exit

#: Words that begin a command of their own, each in a module with a ``main`` over the arguments after it.
COMMANDS = {"prepare": "postflight.prepare", "roles": "postflight.roles", "verify-signoff": "postflight.verify_signoff"}


def main() -> int:
    """A command of its own, or the packaged checks with the command line's options; returns the exit code."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in COMMANDS:
        return int(importlib.import_module(COMMANDS[first]).main(sys.argv[2:]))
    return _run_checks()


def _run_checks() -> int:
    import pytest

    checks = Path(str(resources.files("postflight"))) / "checks"
    if not checks.is_dir():
        print("postflight: the package holds no checks: run `pytest checks/` in the checkout instead", file=sys.stderr)
        return Exit.USAGE
    options = ["-p", "postflight.plugin", "-p", "no:cacheprovider", "--import-mode=importlib", "--report-dir=reports"]
    # Below the folder itself a module of checks/platform would be called platform, and hide Python's own.
    options.append(f"--rootdir={checks.parent}")
    return int(pytest.main([*options, *sys.argv[1:], str(checks)]))
