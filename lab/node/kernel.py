"""The few system calls that Python 3.11 does not know."""

import ctypes
import os
import signal

NEWNS, NEWPID, NEWNET, NEWUTS, NEWIPC = 0x20000, 0x20000000, 0x40000000, 0x4000000, 0x8000000
NEW_NODE = NEWNS | NEWPID | NEWNET | NEWUTS | NEWIPC
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
_MNT_DETACH, _PR_SET_PDEATHSIG = 2, 1
_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE = 0x8, 0x80, 0x200

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). Raises OSError."""
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    given = data.encode() if data is not None else None
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), given), f"mount {kind or source} at {target}")


def detach(target: str) -> None:
    """Lets go of a mount; it is no error when there is none."""
    _libc.umount2(target.encode(), _MNT_DETACH)


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, however that ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def watch_folder(path: str) -> int:
    """A descriptor that can be read after a file in the folder was written, moved in or removed. Raises OSError."""
    descriptor: int = _libc.inotify_init1(os.O_CLOEXEC)
    added: int = _libc.inotify_add_watch(descriptor, path.encode(), _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE)
    _check(0 if descriptor >= 0 and added >= 0 else -1, f"inotify of {path}")
    return descriptor


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
