"""A node beyond the first, started by the lab's PID 1 in the first node's namespaces.

`python -m lab.node.further HOME NUMBER`
"""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from lab.node import cgroups, components, kernel, mounts, network
from lab.node.init import environment
from lab.node.spec import INSIDE, Node, Spec, load, write
from lab.node.supervisor import supervise


def main(home: Path, number: int) -> None:
    """Ends when the node ends. Raises OSError or CalledProcessError when the machine refuses."""
    spec = load(home)
    node = Node(home, number)
    # Of a node that was killed: kubelet would spend 3 s on each old container.
    cgroups.remove(f"{spec.cgroup}/{node.name}/kubepods")
    cables, plugged = os.pipe()
    told, tell = os.pipe()
    between = os.fork()  # only the children of a process that unshares its PID namespace are in it
    if between == 0:
        kernel.die_with_parent()
        os.close(plugged)
        kernel.unshare(kernel.NEW_NODE)
        pid = os.fork()
        if pid == 0:
            kernel.die_with_parent()
            _become(spec, node, cables)
        os.write(tell, str(pid).encode())
        os.waitpid(pid, 0)
        os._exit(1)
    pid = int(os.read(told, 16))
    network.plug(node, pid, int((home / "internet").read_text()))
    write(node.folder / "pid", str(pid))
    os.write(plugged, b"x")
    os.waitpid(between, 0)


def _become(spec: Spec, node: Node, cables: int) -> NoReturn:
    if os.read(cables, 1) != b"x":
        os._exit(1)
    mounts.prepare(node)
    socket.sethostname(node.name)
    network.configure(node, spec)
    supervise(components.of(spec, node), INSIDE / "logs", environment(spec))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
