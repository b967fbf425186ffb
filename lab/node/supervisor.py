"""What a node's PID 1 does for the rest of its life: start components, start them again, reap orphans."""

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lab.node.forward import LISTENER

_STEADY = 5.0  # seconds after which a component counts as having run
_AGAIN, _AGAIN_AFTER_CRASH = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class Component:
    """A program that is kept running; `listens` gives it the lab's listening socket."""

    argv: Sequence[str]
    listens: bool = False


def supervise(
    components: Mapping[str, Component], logs: Path, environment: Mapping[str, str], listener: int = -1
) -> NoReturn:
    """Never returns. Each component's output goes to LOGS/NAME.log, each end of one to LOGS/supervisor.log."""
    logs.mkdir(exist_ok=True)
    os.chdir("/")
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    running: dict[int, str] = {}
    began: dict[str, float] = {}
    due = dict.fromkeys(components, 0.0)
    while True:
        now = time.monotonic()
        for name in [name for name, when in due.items() if when <= now]:
            del due[name]
            began[name] = now
            running[_spawn(components[name], logs / f"{name}.log", environment, listener)] = name
        patience = max(0.0, min(due.values()) - time.monotonic()) if due else None
        if select.select([wake], [], [], patience)[0]:
            os.read(wake, 4096)
        for pid, status in _ended():
            if (ended := running.pop(pid, None)) is None:
                continue  # an orphan, such as a shim of containerd
            with (logs / "supervisor.log").open("a") as log:
                log.write(f"{time.time():.2f} {ended} ended with {os.waitstatus_to_exitcode(status)}\n")
            steady = time.monotonic() - began[ended] > _STEADY
            due[ended] = time.monotonic() + (_AGAIN if steady else _AGAIN_AFTER_CRASH)


def _spawn(component: Component, log: Path, environment: Mapping[str, str], listener: int) -> int:
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), output, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if component.listens:
        files.append((os.POSIX_SPAWN_DUP2, listener, LISTENER))
    # Python ignores these two, and what is ignored stays so over exec.
    back = (signal.SIGPIPE, signal.SIGXFSZ)
    return os.posix_spawnp(component.argv[0], list(component.argv), environment, file_actions=files, setsigdef=back)


def _ended() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))
