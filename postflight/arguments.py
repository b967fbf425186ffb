"""The command line of the commands beside the checks, with the exit codes that runs have."""

from __future__ import annotations

import argparse
from typing import NoReturn

from postflight.verdict.status import Exit


class Parser(argparse.ArgumentParser):
    """Ends with pytest's exit code for a wrong command line, 4, where argparse itself takes 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message} (--help says more)\n")
