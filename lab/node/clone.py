"""Copies of a lab's state. Image layers and blobs are shared by hard links: containerd never writes to them again."""

import os
import shutil
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from stat import S_ISREG

from lab.errors import LabError

_BLOBS = "containerd/io.containerd.content.v1.content"
_SNAPSHOTS = "containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
_DATABASES = (
    "containerd/io.containerd.metadata.v1.bolt/meta.db",
    "containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db",
)
_RUNNING_STATE = ("etcd", "pki", "kubelet", "kubelet-pki", "volumes", "root")
_OF_THIS_BOOT = ("cpu_manager_state", "memory_manager_state")


def images(source: Path, target: Path) -> None:
    """The images of a stopped lab, for a new one: 0.3 s. Raises OSError."""
    for linked in (_BLOBS, _SNAPSHOTS):
        if (source / linked).exists():
            _copy_tree(source / linked, target / linked, link_all=True)
    for database in _DATABASES:
        if (source / database).exists():
            (target / database).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / database, target / database)


def everything(source: Path, target: Path, freeze: AbstractContextManager[None]) -> None:
    """A lab with all that runs in it, as if its power had failed; it stands still only for the second pass.

    Raises OSError.
    """
    nodes = ["", *(p.name for p in sorted(source.glob("node[0-9]*")))]
    layers = {path for node in nodes for path in _layers(source / node)}
    for path in layers:
        _copy_tree(path, target / path.relative_to(source), link_all=True)
    since = time_ns(source) - 50_000_000  # a file's time is only as fine as the kernel's tick
    for path in _changing(source, nodes, layers):
        _copy_tree(path, target / path.relative_to(source))
    with freeze:
        for path in _changing(source, nodes, layers):
            _copy_tree(path, target / path.relative_to(source), since=since)
        for node in nodes:
            _drop_gone(source / node / _SNAPSHOTS, target / node / _SNAPSHOTS)
    for node in nodes:
        for name in _OF_THIS_BOOT:
            (target / node / "kubelet" / name).unlink(missing_ok=True)


def time_ns(folder: Path) -> int:
    """Now, by the clock of the file system that holds `folder`. Raises OSError."""
    probe = folder / f".clock.{os.getpid()}"
    probe.touch()
    try:
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink()


def _layers(node: Path) -> Iterator[Path]:
    """What never changes: blobs, and the snapshots whose every file has more names than one."""
    if (node / _BLOBS).exists():
        yield node / _BLOBS
    yield from (snapshot for snapshot in _snapshots(node) if _is_layer(snapshot))


def _is_layer(snapshot: Path) -> bool:
    files = 0
    for folder, _, names in os.walk(snapshot):
        for name in names:
            stat = os.lstat(f"{folder}/{name}")
            if S_ISREG(stat.st_mode):
                files += 1
                if stat.st_nlink == 1:
                    return False
    return files > 0


def _changing(source: Path, nodes: Iterable[str], layers: Container[Path]) -> Iterator[Path]:
    for node in nodes:
        yield from (path for path in _snapshots(source / node) if path not in layers)
        parts = (source / node / part for part in (*_DATABASES, *_RUNNING_STATE))
        yield from (path for path in parts if path.exists())


def _snapshots(node: Path) -> list[Path]:
    return sorted((node / _SNAPSHOTS).iterdir()) if (node / _SNAPSHOTS).exists() else []


def _drop_gone(source: Path, target: Path) -> None:
    if target.exists():
        for name in set(os.listdir(target)) - set(os.listdir(source)):
            _remove(f"{target}/{name}")


def _copy_tree(source: Path, target: Path, link_all: bool = False, since: int | None = None) -> None:
    """Copies files, links, folders, owners, modes and times; leaves out sockets and devices.

    With `since` (ns) the target is an earlier copy that is brought up to date: what changed later is copied again,
    what is gone is removed.
    """
    try:
        kind = source.lstat()
    except FileNotFoundError:
        return
    if not source.is_dir() or source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(os.fspath(source), os.fspath(target), kind, since)
        return
    target.mkdir(parents=True, exist_ok=True)
    stack = [(os.fspath(source), os.fspath(target))]
    while stack:
        here, there = stack.pop()
        for entry in _entries(here):
            copy = f"{there}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not os.path.isdir(copy):
                        os.mkdir(copy)
                    stack.append((entry.path, copy))
                elif link_all and entry.is_file(follow_symlinks=False):
                    os.link(entry.path, copy)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    _copy_file(entry.path, copy, entry.stat(follow_symlinks=False), since)
            except FileNotFoundError:
                continue  # gone meanwhile, which only the second pass must know
        if since is not None:
            _drop_gone(Path(here), Path(there))
        _copy_owner(here, there)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _copy_file(source: str, target: str, stat: os.stat_result, since: int | None) -> None:
    if since is not None and os.path.lexists(target):
        if stat.st_mtime_ns < since and stat.st_ctime_ns < since:
            return
        os.unlink(target)
    shutil.copy2(source, target, follow_symlinks=False)
    os.chown(target, stat.st_uid, stat.st_gid, follow_symlinks=False)
    if not os.path.islink(target):
        os.chmod(target, stat.st_mode & 0o7777)  # chown drops set-user-id


def _copy_owner(source: str, target: str) -> None:
    try:
        stat = os.stat(source)
    except FileNotFoundError:
        return
    os.chown(target, stat.st_uid, stat.st_gid)
    os.chmod(target, stat.st_mode & 0o7777)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def remove(home: Path) -> None:
    """Removes a state that does not run. Raises LabError when something in it is still mounted."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if any(Path(point).is_relative_to(home) for point in mounted):
        raise LabError(f"{home} still has something mounted in it: unmount it, then try again")
    if home.exists():
        shutil.rmtree(home)
