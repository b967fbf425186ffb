"""Runs set-up steps side by side as soon as what they need is there, each at most once per content."""

import fcntl
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from lab.errors import LabError
from lab.homes import Home
from lab.node.spec import write


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to make. `content` is all that its result depends on beside the steps in `after`."""

    name: str
    title: str
    make: Callable[["Work"], None]
    content: str
    outputs: tuple[Path, ...]
    after: tuple[str, ...] = ()
    usual: int = 0  # seconds on two cores, told when it starts
    holds: Callable[[], bool] = lambda: True  # for what lies outside the cache


class Stopped(Exception):
    """Another step failed, or the user gave up."""


@dataclass(slots=True)
class Work:
    """What a step works with: a log, and programs that end when the set-up ends."""

    home: Home
    log: Path
    _stop: threading.Event
    _lock: int
    _running: set[int] = field(default_factory=set)

    def run(
        self,
        *argv: str | Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        given: str | None = None,
        keep: bool = False,
    ) -> str:
        """Output of a program. Raises LabError with its last words. `keep`: nothing kills it half way."""
        command = [str(word) for word in argv]
        if not keep:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            begin = log.tell()
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **(environment or {})},
                    cwd=folder,
                    start_new_session=True,
                    pass_fds=(self._lock,),  # who outlives a killed set-up holds back the next one
                )
            except OSError as error:
                raise LabError(f"{argv[0]} cannot run: {error.strerror}") from error
            self._running.add(process.pid)
            try:
                output, _ = process.communicate(given)
            finally:
                self._running.discard(process.pid)
            log.write(output)
        if self._stop.is_set():
            raise Stopped
        if process.returncode:
            with self.log.open() as log:
                log.seek(begin)
                raise LabError(f"{Path(command[3 if not keep else 0]).name}: {_last_words(log.read())}")
        return output

    def end(self) -> None:
        """Ends what is running. Only whole process groups that this step started."""
        for pid in list(self._running):
            try:
                os.killpg(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue


def keys(steps: Sequence[Step]) -> dict[str, str]:
    """Each step's key: its own content and that of all it comes after."""
    found: dict[str, str] = {}
    for step in steps:
        parts = [step.content, *(found[name] for name in step.after)]
        found[step.name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return found


def to_do(home: Home, steps: Sequence[Step]) -> list[Step]:
    """Steps without a whole result for their key."""
    wanted = keys(steps)
    return [step for step in steps if not _is_done(home, step, wanted[step.name])]


def run(home: Home, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Makes `steps` (in an order that respects `after`). Raises LabError for the first that fails."""
    wanted = keys(steps)
    todo = {step.name: step for step in to_do(home, steps)}
    logs = home.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    stop, ended = threading.Event(), SimpleQueue[tuple[Step, float, BaseException | None]]()
    working: dict[str, Work] = {}
    left = len(todo)
    with _one_at_a_time(home, say) as lock:
        try:
            while left:
                for step in [s for s in todo.values() if not any(n in todo or n in working for n in s.after)]:
                    del todo[step.name]
                    work = Work(home, logs / f"{step.name}.log", stop, lock)
                    work.log.write_text("")
                    working[step.name] = work
                    say(f"      ...  {step.title}" + (f" (usually {_duration(step.usual)})" if step.usual else ""))
                    threading.Thread(target=_make, args=(step, work, ended), daemon=True).start()
                step, took, error = ended.get()
                work = working.pop(step.name)
                if error is not None:
                    raise _described(step, work, error)
                write(home.root / "stamps" / step.name, wanted[step.name])
                left -= 1
                say(f"{took:7.1f} s  {step.title}, {left} left")
        finally:
            stop.set()
            for work in working.values():
                work.end()


def _make(step: Step, work: Work, ended: "SimpleQueue[tuple[Step, float, BaseException | None]]") -> None:
    began = time.monotonic()
    error: BaseException | None = None
    try:
        step.make(work)
    except BaseException as caught:
        error = caught
    ended.put((step, time.monotonic() - began, error))


def _is_done(home: Home, step: Step, key: str) -> bool:
    try:
        kept = (home.root / "stamps" / step.name).read_text()
    except OSError:
        return False
    return kept == key and all(output.exists() for output in step.outputs) and step.holds()


@contextmanager
def _one_at_a_time(home: Home, say: Callable[[str], None]) -> Iterator[int]:
    descriptor = os.open(home.root / ".setup.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("           waiting for another set-up, or for what an interrupted one still runs")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _described(step: Step, work: Work, error: BaseException) -> LabError:
    what = str(error) if isinstance(error, LabError | OSError) else repr(error)
    return LabError(f"{step.title}: {what} (log: {work.log}; `make setup` goes on where it stopped)")


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("e:", "error", "fatal", "go: "))]
    return (telling or lines or ["it failed without a word"])[-1]


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"
