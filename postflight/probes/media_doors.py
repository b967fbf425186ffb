"""Which Synapse process knows media requests: each is asked by itself, without a token, for what changes nothing.

Seen on 1.119 and 1.163: one that has the media repository answers 401 M_MISSING_TOKEN, and 404 M_NOT_FOUND for a file
that does not exist; one that has not answers 404 M_UNRECOGNIZED, as for any path that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.listeners import PUBLIC, port_of, resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.matrix import Matrix, MatrixError, matrix
from postflight.probes.probe import probe

#: Of the client listener; of the media listener, and on to the database; of the admin API.
PATHS = (
    "/_matrix/client/v1/media/config",
    "/_matrix/media/v3/download/{server}/postflight-no-such-file",
    "/_synapse/admin/v1/media/{server}/postflight-no-such-file",
)
#: By which a listener is looked for. Whatever listens for one of the others serves no path of these.
ASKED = ("media", "client", "federation")
UNRECOGNIZED = "M_UNRECOGNIZED"


@dataclass(frozen=True, slots=True)
class MediaAnswer:
    """One request. ``status`` and ``errcode`` are as answered."""

    path: str
    status: int
    errcode: str

    @property
    def known(self) -> bool:
        """Whether the process has something behind the path (405: for another method)."""
        return not (self.status == 404 and self.errcode in (UNRECOGNIZED, ""))

    def __str__(self) -> str:
        return f"{self.path}: {self.status} {self.errcode}".rstrip()


@dataclass(frozen=True, slots=True)
class MediaDoor:
    """What one process said. ``problem`` says why it said nothing, or no more; ``unasked``: nobody could ask it, as
    its listeners take TLS or stand on unix sockets."""

    process: SynapseProcess
    answers: tuple[MediaAnswer, ...] = ()
    problem: str = ""
    unasked: bool = False

    @property
    def serves(self) -> bool:
        return any(each.known for each in self.answers)

    @property
    def broken(self) -> tuple[MediaAnswer, ...]:
        """What it knows and fails at."""
        return tuple(each for each in self.answers if each.status >= 500)


@probe(limit=Limit.INSIDE, reaches=True)
def media_doors(deployment: Deployment, access: Access) -> tuple[MediaDoor, ...]:
    """Ask each Synapse process that users or other servers reach whether it knows media requests."""
    processes = [each for each in deployment.synapse if PUBLIC & resources_of(each)]

    def asker(process: SynapseProcess) -> Callable[[], MediaDoor]:
        return lambda: _ask(access, process)

    outcomes = in_threads([asker(each) for each in processes], Limit.INSIDE - 1)
    return tuple(
        MediaDoor(process, problem="no answer in time")
        if isinstance(outcome.exception(), TimeoutError)
        else outcome.result()
        for process, outcome in zip(processes, outcomes, strict=True)
    )


def _ask(access: Access, process: SynapseProcess) -> MediaDoor:
    ports = {port: resource for resource in reversed(ASKED) if (port := port_of(process, resource))}
    if not ports:
        return MediaDoor(process, problem="its listeners take TLS only, or no TCP", unasked=True)
    found: list[MediaAnswer] = []
    try:
        for resource in ports.values():
            with matrix(access, process, resource) as door:
                found += [_answer(door, path.format(server=process.server_name)) for path in PATHS]
    except MatrixError as error:
        return MediaDoor(process, tuple(found), str(error))
    return MediaDoor(process, tuple(found))


def _answer(door: Matrix, path: str) -> MediaAnswer:
    """Silence is asked once more before it is believed. Raises MatrixError where no answer comes."""
    for again in (True, False):
        try:
            door.request("GET", path)
        except MatrixError as error:
            if error.status:
                return MediaAnswer(path, error.status, error.errcode)
            if not again:
                raise
        else:
            break
    return MediaAnswer(path, 200, "")
