"""One look into each pod: a single command that tells its clock, who listens in it, and how full what it mounts is."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.limits import Limit
from postflight.probes.probe import EXEC, probe

#: The clock first, as it is held against the way there and back; what may hang (df on a dead mount) last. Of the sockets
#: only those that listen (state 0A), or that are bound and not connected (07, UDP): a proxy has ten thousand others.
#: Source of the columns: Linux, Documentation/networking/proc_net_tcp.rst.
SCRIPT = """
echo "=clock"; date +%s.%N
sockets() {
  [ -r "/proc/net/$1" ] || return 0; echo "=$1"
  grep "^ *[0-9]*: [^ ]* [^ ]* $2 " "/proc/net/$1"; [ $? -le 1 ] || cat "/proc/net/$1"
}
sockets tcp 0A; sockets tcp6 0A; sockets udp 07; sockets udp6 07
echo "=bytes"; df -Pk "$@"
echo "=inodes"; df -Pi "$@"
echo "=end"
"""
#: So many at once: the more there are, the longer each is on its way, and the less its clock says.
AT_ONCE = 8
ROOT = "/"
#: What a pod mounts that can be full of its own doing.
STORES = ("persistentVolumeClaim", "emptyDir", "ephemeral", "hostPath", "nfs", "csi")
CLOCK = re.compile(r"(\d+)(?:\.(\d+))?")
SOCKET = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ (0A|07)\s")


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that something in the pod waits at. ``protocol`` is TCP or UDP; ``address`` is as the kernel has it,
    ``0.0.0.0`` or ``::`` for all."""

    protocol: str
    address: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only the pod itself gets there."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class Disk:
    """What df says of a path, in bytes and inodes. ``available`` is what a process without rights of its own may still
    write, so ``size`` is mostly more than ``used`` and ``available``. Where a filesystem counts no inodes, or was not
    asked for them, ``inodes`` and ``inodes_free`` are None."""

    path: str
    device: str
    size: int
    used: int
    available: int
    inodes: int | None = None
    inodes_free: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one container of a pod showed; all containers of a pod share its clock and its sockets, not its mounts.

    ``ahead`` is by how many seconds its clock is ahead of the verifier's (negative: behind), give or take ``within``:
    half of the way there and back, and a second more where its date knows whole seconds only. ``listeners`` is None
    where /proc/net could not be read. ``disks`` are by path: the root and the mounts of :data:`STORES` that df answered
    for; ``asked`` are all paths that it was asked for.
    """

    pod: str
    container: str
    ahead: float | None = None
    within: float = 0.0
    listeners: frozenset[Listener] | None = None
    disks: Mapping[str, Disk] = field(default_factory=dict)
    asked: tuple[str, ...] = ()

    def listens(self, port: int, protocol: str = "TCP") -> bool | None:
        """Whether someone waits at a port where other pods get to; None where that was not seen."""
        if self.listeners is None:
            return None
        return any(each.port == port and each.protocol == protocol and not each.local for each in self.listeners)


@dataclass(frozen=True, slots=True)
class Looks:
    """By pod id. ``unseen`` says why a pod could not be looked into: it has no shell, or did not answer."""

    seen: Mapping[str, Look]
    unseen: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wish:
    """Where to look: a running container, and the paths to ask df for."""

    pod: Pod
    container: str
    paths: tuple[str, ...]


@probe(limit=Limit.INSIDE, rights=(EXEC,))
def pod_looks(deployment: Deployment, snapshot: Snapshot, api: Api) -> Looks:
    """Look once into each running pod: its clock, its listening sockets, and the space on what it mounts."""
    return look_into(wishes(deployment, snapshot), partial(_look, api))


def look_into(wanted: Sequence[Wish], look: Callable[[Wish], Look], limit: float = Limit.INSIDE - 1) -> Looks:
    """Some at a time, in ``limit`` seconds. ``look`` raises :class:`ApiError` where a pod shows nothing."""
    seen: dict[str, Look] = {}
    unseen = {each.pod.id: "the pods before it took all the time" for each in wanted}
    waiting = iter(wanted)

    def lane() -> None:
        for each in waiting:
            unseen[each.pod.id] = "no answer within the time limit"
            try:
                seen[each.pod.id] = look(each)
            except ApiError as error:
                unseen[each.pod.id] = str(error)

    for outcome in in_threads([lane] * min(AT_ONCE, len(wanted)), limit):
        error = outcome.exception()
        if error is not None and not isinstance(error, TimeoutError):
            raise error
    # A lane that is late goes on writing: what it says now is no longer taken.
    known = dict(seen)
    return Looks(known, {id: why for id, why in dict(unseen).items() if id not in known})


def wishes(deployment: Deployment, snapshot: Snapshot) -> tuple[Wish, ...]:
    """Of each pod that runs, the container that mounts most of what can be full."""
    return tuple(
        wish
        for pod in deployment.pods.values()
        if pod.phase == "Running" and not pod.deleting
        for raw in (snapshot.get(POD, pod.namespace, pod.name),)
        if raw is not None and (wish := _wish(pod, raw)) is not None
    )


def _wish(pod: Pod, raw: Object) -> Wish | None:
    spec = raw.get("spec") or {}
    stores = {each["name"] for each in spec.get("volumes") or () if any(kind in each for kind in STORES)}
    mounts = {
        each["name"]: [
            str(mount["mountPath"]) for mount in each.get("volumeMounts") or () if mount.get("name") in stores
        ]
        for each in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    }
    running = [each.name for each in (*pod.containers, *(c for c in pod.init if c.sidecar)) if each.running]
    if not running:
        return None
    best = max(running, key=lambda name: len(mounts.get(name, ())))
    return Wish(pod, best, tuple(dict.fromkeys((ROOT, *sorted(mounts.get(best, ()))))))


def _look(api: Api, wish: Wish) -> Look:
    command = ("sh", "-c", SCRIPT, "sh", *wish.paths)
    began, ticks = time.time(), time.monotonic()
    answer = run_in_pod(api, wish.pod.namespace, wish.pod.name, wish.container, command)
    took = time.monotonic() - ticks
    text = answer.stdout.decode("utf-8", "replace")
    if "=clock" not in text:
        raise ApiError(0, f"container {wish.container} of {wish.pod.name} runs no shell command: {answer.complaint}")
    return understood(wish, text, began, took)


def understood(wish: Wish, text: str, began: float, took: float) -> Look:
    """What the lines of :data:`SCRIPT` say, asked for at ``began`` (seconds since 1970) and there after ``took``."""
    parts = _sections(text)
    ahead, within = _clock(parts.get("clock", ()), began, took)
    # What comes after the sockets is there only where they are whole.
    sockets = frozenset(_listeners(parts)) if {"tcp", "bytes"} <= parts.keys() else None
    disks = dict(_disks(wish.paths, parts.get("bytes", ()), parts.get("inodes", ())))
    return Look(wish.pod.id, wish.container, ahead, within, sockets, disks, wish.paths)


def _sections(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    held: list[str] = []
    for line in text.splitlines():
        if line.startswith("="):
            held = found.setdefault(line[1:], [])
        elif line.strip():
            held.append(line)
    return {name: tuple(lines) for name, lines in found.items()}


def _clock(lines: Sequence[str], began: float, took: float) -> tuple[float | None, float]:
    match = CLOCK.match(lines[0].strip()) if lines else None
    if match is None:
        return None, 0.0
    half = took / 2
    if match[2] is None:
        # Busybox knows no fractions: the truth lies somewhere in the second that it names.
        return int(match[1]) + 0.5 - (began + half), half + 0.5
    return float(match[0]) - (began + half), half


def _listeners(parts: Mapping[str, Sequence[str]]) -> Iterator[Listener]:
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in parts.get(name, ()):
            match = SOCKET.match(line)
            if match and match[3] == state:
                yield Listener(name[:3].upper(), _address(match[1]), int(match[2], 16))


def _address(text: str) -> str:
    """The kernel writes each 32 bits as a number of its own byte order, which is the little end first on what runs
    Kubernetes (amd64, arm64)."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return str(ipaddress.ip_address(raw))


def _disks(paths: Sequence[str], in_bytes: Sequence[str], in_inodes: Sequence[str]) -> Iterator[tuple[str, Disk]]:
    inodes = dict(_rows(paths, in_inodes))
    for path, (device, size, used, available) in _rows(paths, in_bytes):
        count = inodes.get(path)
        counted = count is not None and count[1] > 0
        yield (
            path,
            Disk(
                path,
                device,
                size * 1024,
                used * 1024,
                available * 1024,
                count[1] if count and counted else None,
                count[3] if count and counted else None,
            ),
        )


def _rows(paths: Sequence[str], lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, int, int, int]]]:
    """The rows of a df, each with the path that it is of: one for each in their order, or, where some are left out, by
    where it says that they are mounted."""
    rows = [row for row in (_row(line) for line in lines[1:]) if row]
    for at, (device, numbers, mounted) in enumerate(rows):
        path = paths[at] if len(rows) == len(paths) else mounted
        if path in paths:
            yield path, (device, *numbers)


def _row(line: str) -> tuple[str, tuple[int, int, int], str] | None:
    """POSIX: device, size, used, available, per cent, mounted on; "-" is no number."""
    match = re.fullmatch(r"(\S+(?: \S+)*?)\s+(\d+|-)\s+(\d+|-)\s+(-?\d+|-)\s+(?:\d+%|-)\s+(/.*)", line.strip())
    if match is None:
        return None
    first, second, third = (0 if word == "-" else int(word) for word in match.group(2, 3, 4))
    return match[1], (first, second, third), match[5]
