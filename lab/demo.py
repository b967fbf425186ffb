"""What the verifier says about a healthy lab, about the same lab broken, and after it was healed."""

import signal
import subprocess
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from lab import defects, labs
from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import CHECKOUT, Home

DEFECT = "database-password"
_NAME = "demo"
_PYTEST = CHECKOUT / ".venv/bin/pytest"


def run(home: Home, defect: str, say: Callable[[str], None]) -> int:
    """0 when the verifier was green, red and green again. The lab is gone afterwards, also on failure or Ctrl-C.

    Raises LabError.
    """
    if not _PYTEST.exists():
        raise LabError(f"there is no {_PYTEST.relative_to(CHECKOUT)}: run `make setup`")
    signal.signal(signal.SIGTERM, _interrupt)
    if _NAME in home.names():
        labs.down(home, _NAME, remove=True)
    try:
        say(f"== a healthy lab ({_NAME})")
        cluster = labs.up(home, labs.Wanted(_NAME), say)
        _verify(cluster, "healthy", red=False)
        say(f"== broken: {defect}")
        defects.break_(cluster, [defect])
        _verify(cluster, defect, red=True)
        say("== healed")
        defects.heal(cluster)
        _verify(cluster, "healed", red=False)
    finally:
        labs.down(home, _NAME, remove=True)
        say(f"== lab {_NAME} is down, the reports are in reports/")
    return 0


def _verify(cluster: Cluster, report: str, red: bool) -> None:
    folder = f"reports/{report}"
    command = [str(_PYTEST), "checks/", "--kubeconfig", str(cluster.kubeconfig), "--report-dir", folder]
    code = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
    if red and code == 0:
        raise LabError(f"the verifier is green although the lab is broken: see {folder}")
    if red and code != 1:
        raise LabError(f"the verifier ended with {code} instead of 1: see {folder}")
    if not red and code != 0:
        raise LabError(f"the verifier ended with {code} although the lab is healthy: see {folder}")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
