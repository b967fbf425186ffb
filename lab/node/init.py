"""PID 1 of a lab, which is also its first node. `python -m lab.node.init HOME LISTENER`"""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from lab.node import components, kernel, mounts, network
from lab.node.spec import INSIDE, Node, Spec, load, write
from lab.node.supervisor import supervise


def main(home: Path, listener: int) -> NoReturn:
    """Mounts, network, then the supervisor. Raises OSError or CalledProcessError when the machine refuses."""
    os.set_inheritable(listener, False)
    spec = load(home)
    node = Node(home, 1)
    mounts.prepare(node)
    socket.sethostname(node.name)
    internet = _internet(listener)
    network.prepare_internet(internet)
    network.plug(node, os.getpid(), internet)
    network.configure(node, spec)
    write(home / "internet", str(internet))
    supervise(components.of(spec, node), INSIDE / "logs", environment(spec), listener)


def environment(spec: Spec) -> dict[str, str]:
    """What every component of a node gets."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": f"{INSIDE}/root",
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _internet(listener: int) -> int:
    """A process that does nothing but hold the "internet" namespace; its pid as the lab numbers it."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(listener)
        os.close(ready)
        kernel.unshare(kernel.NEWNET)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # no way round a cut between nodes
        os.close(tell)
        while True:
            signal.pause()
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
