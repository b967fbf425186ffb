"""What scans media: the content scanners, and the ClamAV daemons that their commands ask, as parts of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from postflight.deployment.parts import Pod


@dataclass(frozen=True, slots=True)
class Clamd:
    """ClamAV's daemon. ``port`` is the TCP port that it is asked at."""

    id: str
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Scanner:
    """matrix-content-scanner. ``script`` is the command that it scans a file with, ``homeserver`` where it fetches files
    from ("" where its configuration is not known)."""

    id: str
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int
    script: str = field(default="", repr=False)
    homeserver: str = ""

    @property
    def program(self) -> str:
        """The name of what the command runs, "" where it is not known: whatever else it says may be a credential."""
        words = (each for each in self.script.split() if not re.match(r"\w+=", each))
        return next(words, "").strip("\"'").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Antivirus:
    """All of it. ``announced`` says which configurations speak of a scanner; ``elsewhere`` which of them lead to a namespace
    that is not looked at, and which; ``modules`` are those of Synapse that may scan by themselves, by their names."""

    scanners: tuple[Scanner, ...] = ()
    clamds: tuple[Clamd, ...] = ()
    announced: tuple[str, ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def referred(self) -> bool:
        """Whether anything in the deployment refers to a scanner."""
        return bool(self.scanners or self.clamds or self.announced)
