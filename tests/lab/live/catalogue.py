"""``make catalogue``: the table of the findings, after what is not proven by the content of now has been tried."""

import shutil
import subprocess
import sys
from collections.abc import Sequence

from lab.defects import names
from lab.homes import CHECKOUT
from tests.lab.live import findings, table
from tests.lab.live.findings import Finding, Line

FOLDER = "tests/lab/live"
TRIED = f"{FOLDER}/test_defects.py::test_the_cause_is_red_and_nothing_else"


def main(arguments: Sequence[str]) -> int:
    """Tries what is missing, unless told to ``--only-print``; 0 when all of it is proven."""
    known = names()
    declared = findings.declared(known)
    found = current(declared)
    if "--only-print" not in arguments and (wanted := command(declared, found)):
        subprocess.run(wanted, cwd=CHECKOUT, check=False)
        found = current(declared)
    findings.write(found)
    print(findings.printed(found, shutil.get_terminal_size((200, 24)).columns))
    for line in (missing := findings.unproven(found)):
        print(f"not proven: {line}")
    return int(bool(missing))


def current(declared: Sequence[Finding]) -> list[Line]:
    """The table by what was kept."""
    known = {each.name: each for each in names()}
    return findings.lines(declared, known, table.read(), findings.read_greens())


def command(declared: Sequence[Finding], found: Sequence[Line]) -> list[str]:
    """The tests that prove what is not proven; empty when all is. What has no defect yet, no test can prove."""
    known = {each.name for each in names()}
    open_ = [each for each in found if not each.proves]
    defects = sorted({each.defect for each in open_} & known)
    tests = [f"{FOLDER}/test_findings.py::test_the_controls_are_green"]
    if not any(each.defect == findings.HEALTHY for each in open_):
        tests = []
    if defects:
        tests.append(TRIED)
    if not tests:
        return []
    only = [word for each in defects for word in ("--defect", each)]
    return [sys.executable, "-m", "pytest", *tests, *only, "-v", "--durations=0"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
