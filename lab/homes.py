"""Where everything that the lab makes is kept: one folder outside the checkout."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parent.parent

# Every node puts its own folders over these, so nothing that a node needs may lie under them.
COVERED = ("/run", "/var/run", "/var/lib", "/var/log", "/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Home:
    """The cache: `root` and the folders in it, all on one file system (labs share images by hard links)."""

    root: Path

    @property
    def bin(self) -> Path:
        """Kubernetes, etcd, CoreDNS and the PostgreSQL operator."""
        return self.root / "bin"

    @property
    def go(self) -> Path:
        """Caches of the Go tool, and Go itself where the machine has none."""
        return self.root / "go"

    @property
    def image(self) -> Path:
        """The container image and what it is made of."""
        return self.root / "image"

    @property
    def operator(self) -> Path:
        """The PostgreSQL operator's manifest, a JSON List."""
        return self.root / "operator.json"

    @property
    def verifier(self) -> Path:
        """What the verifier's own image has beside its code."""
        return self.root / "verifier"

    @property
    def base(self) -> Path:
        """A lab's state that holds the imported image and nothing else."""
        return self.root / "base"

    @property
    def golden(self) -> Path:
        """States in which everything was Ready, by content."""
        return self.root / "golden"

    @property
    def labs(self) -> Path:
        """One folder per lab."""
        return self.root / "labs"

    def lab(self, name: str) -> Path:
        """The folder of one lab. Raises LabError when `name` cannot name a folder and a host."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            raise LabError(f"a lab's name is up to 32 of a-z, 0-9 and -, not {name!r}: choose another --name")
        return self.labs / name

    def names(self) -> list[str]:
        """Every lab that has a folder, running or not."""
        folders = self.labs.iterdir() if self.labs.is_dir() else ()
        return sorted(p.name for p in folders if p.is_dir() and not p.name.startswith("."))


def home() -> Home:
    """$POSTFLIGHT_HOME, else $XDG_CACHE_HOME/postflight, else ~/.cache/postflight."""
    given = os.environ.get("POSTFLIGHT_HOME")
    cache = os.environ.get("XDG_CACHE_HOME")
    chosen = Path(given) if given else (Path(cache) if cache else Path.home() / ".cache") / "postflight"
    root = Path(os.path.realpath(chosen.expanduser()))
    refuse_covered(root, "set POSTFLIGHT_HOME to another folder")
    refuse_covered(CHECKOUT, "move the checkout")
    return Home(root)


def refuse_covered(path: Path, remedy: str) -> None:
    """Raises LabError when a node could not see `path`."""
    for covered in COVERED:
        if path.is_relative_to(covered):
            raise LabError(f"{path} lies under {covered}, which every node of a lab covers with its own: {remedy}")
