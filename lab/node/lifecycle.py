"""Start and end of a lab, seen from the machine."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lab.errors import LabError
from lab.node import cgroups, config, kernel, pki
from lab.node.spec import Node, Spec, load, write

_CHECKOUT = Path(__file__).resolve().parents[2]
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("-m", "-p", "-n", "-u", "-i")


@dataclass(frozen=True, slots=True)
class Running:
    """A lab's PID 1 as the machine numbers it, and the API server's port on 127.0.0.1."""

    pid: int
    port: int
    since: float  # seconds since 1970


def running(home: Path) -> Running | None:
    """The lab in `home`, or None. A recycled pid is told by its start time."""
    try:
        kept = json.loads((home / "run.json").read_text())
        if _start_time(kept["pid"]) == kept["start"]:
            return Running(kept["pid"], kept["port"], kept["since"])
    except (OSError, ValueError, KeyError):
        pass
    return None


@contextlib.contextmanager
def locked(home: Path) -> Iterator[int]:
    """One at a time: who makes, starts or ends the lab in `home`. Freed when its holder dies, however it dies."""
    home.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home.parent / f".{home.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def start(spec: Spec) -> Running:
    """Starts every component; the caller holds the lock. Raises LabError or OSError. Nothing is Ready yet."""
    if running(spec.home):
        raise LabError(f"lab {spec.home.name} is up already: `make lab-down` ends it")
    cgroups.remove(spec.cgroup)
    spec.save()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        port = listener.getsockname()[1]
        pki.write_all(spec, port)
        for node in spec.all_nodes:
            config.write_all(spec, node)
            cgroups.create(f"{spec.cgroup}/{node.name}")
        (spec.home / "init.log").unlink(missing_ok=True)
        _launch(spec, listener, port)
    if found := running(spec.home):
        return found
    raise LabError(f"lab {spec.home.name} ended as it started: {_last_words(spec.home)}")


def stop(home: Path) -> None:
    """Ends the lab in `home` and leaves its state; no error when it does not run. The caller holds the lock."""
    if found := running(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)  # the kernel kills every process of the PID namespace
        while _start_time(found.pid):
            time.sleep(0.01)
    cgroups.remove(Spec(home, home).cgroup)
    (home / "run.json").unlink(missing_ok=True)
    (home / "internet").unlink(missing_ok=True)


@contextlib.contextmanager
def frozen(home: Path) -> Iterator[None]:
    """All processes of a running lab but its PID 1 stand still: its files are as a power failure would leave them."""
    found = running(home)
    if found is None:
        yield
        return
    _signal_all(found.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_all(found.pid, signal.SIGCONT)


def enter(node: Node, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the namespaces of a node. Raises LabError when the lab is down."""
    command = ["nsenter", "-t", str(_must_run(node.home).pid), *_NAMESPACES, "--"]
    if node.number > 1:
        try:
            pid = (node.folder / "pid").read_text()
        except OSError:
            raise LabError(f"lab {node.home.name} has no {node.name}: `up --nodes {node.number}`") from None
        command += ["nsenter", "-t", pid, *_NAMESPACES, "--"]
    bin_folder = load(node.home).bin
    environment = (f"PATH={bin_folder}:{_SYSTEM_PATH}", "KUBECONFIG=/run/state/pki/admin-inside.conf")
    return [*command, "env", *environment, *argv]


def enter_internet(home: Path, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` on the "internet". Raises LabError when the lab is down."""
    pid = internet(home)
    return [*enter(Node(home, 1), ["nsenter", "-t", str(pid), "-n", "--"]), *argv]


def internet(home: Path) -> int:
    """The process that holds the "internet", as the lab numbers it. Raises LabError when the lab is down."""
    _must_run(home)
    return int((home / "internet").read_text())


def _must_run(home: Path) -> Running:
    if found := running(home):
        return found
    raise LabError(f"lab {home.name} is not up: `make lab-up`")


def _signal_all(pid: int, number: signal.Signals) -> None:
    # To -1: all of the PID namespace at once, except the sender and PID 1.
    code = f"import os; os.kill(-1, {int(number)})"
    subprocess.run(["nsenter", "-t", str(pid), "-p", "--", sys.executable, "-I", "-S", "-c", code], check=True)


def _launch(spec: Spec, listener: socket.socket, port: int) -> None:
    """Forks a launcher that may be killed at any moment: either its PID 1 is on record, or it never begins."""
    done, tell = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        try:
            os.setsid()
            kernel.unshare(kernel.NEW_NODE)
            go, recorded = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(recorded)
                os.close(tell)
                _become_init(spec, listener, go)
            now = time.time()
            record = {"pid": pid, "start": _start_time(pid), "port": port, "since": now}
            write(spec.home / "run.json", json.dumps(record))
            os.write(recorded, b"x")
            os.write(tell, b"x")
        except BaseException as error:
            (spec.home / "init.log").write_text(f"{error}\n")
        finally:
            os._exit(0)
    os.close(tell)
    os.read(done, 1)
    os.close(done)
    os.waitpid(launcher, 0)


def _become_init(spec: Spec, listener: socket.socket, go: int) -> NoReturn:
    if os.read(go, 1) != b"x":
        os._exit(1)
    output = os.open(spec.home / "init.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10)
    os.set_inheritable(kept, True)
    argv = [sys.executable, "-m", "lab.node.init", str(spec.home), str(kept)]
    environment = {"PATH": _SYSTEM_PATH, "PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir("/")
    os.execve(argv[0], argv, environment)


def _start_time(pid: int) -> str | None:
    """In clock ticks since boot; None for no such process or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _last_words(home: Path) -> str:
    try:
        lines = (home / "init.log").read_text().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it left no word"


def missing_programs() -> list[str]:
    """Programs of the machine that a lab needs and that are not there."""
    needed = ("containerd", "runc", "ip", "nft", "iptables", "conntrack", "nsenter", "openssl")
    found = [name for name in needed if not shutil.which(name, path=_SYSTEM_PATH)]
    return found + ([] if Path("/usr/lib/cni/ptp").exists() else ["/usr/lib/cni/ptp"])
