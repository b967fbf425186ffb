"""What scans media: the content scanners, and the ClamAV daemons that their commands ask, as parts of the model."""

from __future__ import annotations

from dataclasses import dataclass

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
    script: str = ""
    homeserver: str = ""


@dataclass(frozen=True, slots=True)
class Antivirus:
    """All of it. ``announced`` says which configurations speak of a scanner."""

    scanners: tuple[Scanner, ...] = ()
    clamds: tuple[Clamd, ...] = ()
    announced: tuple[str, ...] = ()

    @property
    def referred(self) -> bool:
        """Whether anything in the deployment refers to a scanner."""
        return bool(self.scanners or self.clamds or self.announced)
