"""The lab that the tests work on: one at a time, brought up when first needed, healed or replaced when spoiled."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab import defects, labs, manifests, releases
from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import CHECKOUT, Home
from lab.node import lifecycle

#: For whoever works on the tests: the lab stays up after them, and the next ones take it.
KEEP = bool(os.environ.get("POSTFLIGHT_KEEP_LAB"))
#: Own to this checkout: a run that was killed is cleaned up by the next one, and no other's lab is touched.
NAME = f"tests-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]}"
Tell = Callable[[str], None]
#: Other names, another release of Synapse, and how many nodes.
Kind = tuple[Path | None, str, int]
USUAL: Kind = (None, "", 1)


class Bench:
    """Hands out a healthy lab. Whoever breaks it says so, by `broken`, `defective` or `spoiled`."""

    def __init__(self, home: Home, tell: Tell) -> None:
        self.home, self._tell = home, tell
        self._kind = USUAL
        self._spoiled = False
        self._defects: tuple[str, ...] = ()
        self._cluster: Cluster | None = None
        if KEEP and lifecycle.running(home.lab(NAME)):
            self._cluster, self._spoiled = labs.open_lab(home, NAME), True
            release = releases.of(self._cluster.home)
            series = "" if release == releases.NEWEST else release.series
            self._kind = (manifests.renamed(self._cluster), series, self._cluster.nodes)
        else:
            self._remove()

    def healthy(self, rename: Path | None = None, synapse: str = "", nodes: int = 1) -> Cluster:
        """The lab, with everything in it Ready, under the names that `rename` gives, of this release of Synapse, and on
        so many nodes. Raises LabError."""
        kind = (rename, synapse, nodes)
        if self._cluster and kind == self._kind:
            if not self._spoiled:
                return self._cluster
            if self._healed(self._cluster):
                self._spoiled, self._defects = False, ()
                return self._cluster
        self._remove()
        self._tell(f"lab {NAME}: up")
        wanted = labs.Wanted(NAME, nodes, rename=rename, synapse=synapse)
        self._cluster = labs.up(self.home, wanted, lambda line: self._tell(f"  {line}"))
        self._kind, self._spoiled, self._defects = kind, False, ()
        return self._cluster

    def defective(self, *names: str) -> Cluster:
        """The lab with these defects in it, each biting, until somebody asks for a healthy one. Raises LabError."""
        if self._cluster and self._kind == USUAL and self._defects == names:
            return self._cluster
        cluster = self.healthy()
        self._spoiled = True
        defects.break_(cluster, names)
        self._defects = names
        return cluster

    @contextlib.contextmanager
    def broken(
        self, names: Sequence[str], rename: Path | None = None, synapse: str = "", nodes: int = 1
    ) -> Iterator[Cluster]:
        """The lab with these defects in it, each biting; healed at the end. Raises LabError."""
        cluster = self.healthy(rename, synapse, nodes)
        self._spoiled = True
        defects.break_(cluster, names)
        yield cluster
        defects.heal(cluster)
        self._spoiled = False

    @contextlib.contextmanager
    def spoiled(self, rename: Path | None = None, nodes: int = 1) -> Iterator[Cluster]:
        """The lab, to do with as one likes: the next one who needs it gets it healed, or another."""
        cluster = self.healthy(rename, nodes=nodes)
        self._spoiled = True
        yield cluster

    @contextlib.contextmanager
    def thrown_away(self) -> Iterator[Cluster]:
        """The lab, to do with as one likes, once: the next one who needs it gets another."""
        try:
            yield self.healthy()
        finally:
            self._remove()

    @contextlib.contextmanager
    def with_nodes(self, nodes: int) -> Iterator[Cluster]:
        """A healthy lab of several nodes, once: the next one who needs a lab gets another. Raises LabError."""
        self._remove()
        self._tell(f"lab {NAME}: up, with {nodes} nodes")
        try:
            yield labs.up(self.home, labs.Wanted(NAME, nodes=nodes), lambda line: self._tell(f"  {line}"))
        finally:
            self._remove()

    @property
    def standing(self) -> Cluster | None:
        """The lab as it is, if one is up."""
        return self._cluster

    def close(self) -> None:
        """Ends the lab and removes its state, unless it is to be kept."""
        if not KEEP:
            self._remove()

    def _remove(self) -> None:
        self._cluster = None
        if NAME in self.home.names():
            labs.down(self.home, NAME, remove=True)

    def _healed(self, cluster: Cluster) -> bool:
        try:
            defects.heal(cluster)
        except LabError as error:
            self._tell(f"lab {NAME} cannot be healed, another takes its place: {error}")
            return False
        return True


@contextlib.contextmanager
def alone(home: Home) -> Iterator[None]:
    """One test run at a time per checkout. Raises LabError for a second one."""
    home.labs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home.labs / f".{NAME}.tests", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError("other tests of this checkout are running: wait until they have ended") from error
        yield
    finally:
        os.close(descriptor)
