"""ClamAV's daemons, asked themselves: without them a scan command fails, and what fails is taken for a find.

Source: ClamAV 1.4, clamd(8): a command between ``z`` and a zero byte, and for INSTREAM the file in pieces, each behind
its length in four bytes, the last of length 0.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.scan_parts import Clamd
from postflight.limits import Limit
from postflight.probes.eicar import eicar
from postflight.probes.probe import probe
from postflight.settings import Settings

HARMLESS = b"postflight\n"
#: Of an answer that is read.
MOST = 4096
FOUND, PASSED = " FOUND", ": OK"


@dataclass(frozen=True, slots=True)
class ClamdSaid:
    """What a clamd in one pod said: its ``version`` with that of its database, and of two files, in its own words.
    ``eicar`` is "" where it was not asked for; ``problem`` says why it said nothing, or no more."""

    clamd: Clamd
    pod: Pod
    version: str = ""
    harmless: str = ""
    eicar: str = ""
    problem: str = ""

    @property
    def finds_anything(self) -> bool:
        return self.harmless.endswith(FOUND)

    @property
    def finds_nothing(self) -> bool:
        return self.eicar.endswith(PASSED)


@probe(limit=Limit.INSIDE, reaches=True)
def clamd_answers(deployment: Deployment, access: Access, settings: Settings) -> tuple[ClamdSaid, ...]:
    """Ask each ClamAV daemon what it is, and to scan two small files: nothing of them is kept."""
    places = [(clamd, pod) for clamd in deployment.antivirus.clamds for pod in clamd.pods]

    def asker(clamd: Clamd, pod: Pod) -> Callable[[], ClamdSaid]:
        return lambda: _ask(access, clamd, pod, settings.eicar)

    outcomes = in_threads([asker(*each) for each in places], Limit.INSIDE - 1)
    return tuple(
        ClamdSaid(*place, problem="no answer in time") if outcome.exception() else outcome.result()
        for place, outcome in zip(places, outcomes, strict=True)
    )


def _ask(access: Access, clamd: Clamd, pod: Pod, with_eicar: bool) -> ClamdSaid:
    files: Sequence[bytes] = (HARMLESS, *((eicar(),) if with_eicar else ()))
    said: list[str] = []
    problem = ""
    try:
        with access.to_pod(pod.namespace, pod.name, pod.ip, clamd.port) as address:
            said.append(_said(address, b"zVERSION\0"))
            said += [_said(address, b"zINSTREAM\0" + _piece(file) + _piece(b"")) for file in files]
    except (OSError, ApiError) as error:
        problem = " ".join(str(error).split())[:200] or type(error).__name__
    version, harmless, virus = (*said, "", "", "")[:3]
    return ClamdSaid(clamd, pod, version, harmless, virus, problem)


def _piece(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _said(address: tuple[str, int], command: bytes) -> str:
    """Raises OSError where no answer comes."""
    with _connected(address) as line:
        line.sendall(command)
        answer = b""
        while b"\0" not in answer and len(answer) < MOST and (more := line.recv(MOST)):
            answer += more
    if not answer:
        raise ConnectionError("it closes the connection without an answer")
    return answer.partition(b"\0")[0].decode("utf-8", "replace").strip()


@contextmanager
def _connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=Limit.CONNECT) as line:
        line.settimeout(Limit.HTTP / 2)
        yield line
