"""Which releases of Synapse the lab's image holds, and which of them a lab runs."""

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.homes import CHECKOUT

REPOSITORY = "matrixdotorg/synapse"
_IMAGE = CHECKOUT / "lab/image"
_RECORD = "synapse"  # in a lab's folder, as rename.yaml is


@dataclass(frozen=True, slots=True)
class Release:
    """One release, with all that it imports in a folder of its own. ``locked`` are the requirements in it."""

    version: str
    locked: Path
    folder: str

    @property
    def image(self) -> str:
        """What the pods that run it name."""
        return f"{REPOSITORY}:v{self.version}"

    @property
    def series(self) -> str:
        """Its version without the last number."""
        return self.version.rpartition(".")[0]

    def called(self, name: str) -> bool:
        """Whether a user means it: 1.119, 1.119.0 or v1.119.0."""
        return name.removeprefix("v") in (self.version, self.series)


def _release(locked: Path, folder: str) -> Release:
    found = re.search(r"^matrix-synapse==([\d.]+)", locked.read_text(), re.MULTILINE)
    if found is None:
        raise LabError(f"{locked} names no matrix-synapse")
    return Release(found[1], locked, folder)


#: What the manifests name, and what a lab runs unless it is asked for another.
NEWEST = _release(_IMAGE / "requirements.txt", "opt/synapse")
OLDER = _release(_IMAGE / "requirements-1.119.txt", "opt/synapse-1.119")
ALL = (NEWEST, OLDER)


def find(name: str) -> Release:
    """The release that is called so; the newest where none is named. Raises LabError."""
    for each in ALL:
        if not name or each.called(name):
            return each
    raise LabError(f"the lab has Synapse {' and '.join(each.version for each in ALL)}, not {name}")


def of(home: Path) -> Release:
    """What the lab in this folder runs. Raises LabError when it is none of those that there are."""
    file = home / _RECORD
    return find(file.read_text().strip() if file.exists() else "")


def record(home: Path, release: Release) -> None:
    """Writes down what a lab runs, for whoever breaks or copies it later."""
    (home / _RECORD).write_text(f"{release.version}\n")
