"""What a node sees of the machine's files: all, with its own folders over the paths that its programs write to."""

import re
import shutil
from pathlib import Path

from lab.node import kernel
from lab.node.spec import INSIDE, Node

# kubelet insists on these machine-wide settings; it gets files of its own to write to.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def prepare(node: Node) -> None:
    """To be called once in new mount and PID namespaces. Raises OSError."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    if node.number > 1:
        _let_go_of_the_first_node(node.home)
    # Volumes are mounted by kubelet and must be seen by containerd: shared among this node's namespaces only.
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_SHARED)
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("tmpfs", "/run", "tmpfs")
    for folder in (Path("/run/netns"), Path("/run/lock"), INSIDE):
        folder.mkdir()
    kernel.mount(str(node.folder), str(INSIDE), None, kernel.MS_BIND)
    for path in ("/var/lib", "/var/log"):
        own = INSIDE / "root" / path[1:]
        own.mkdir(parents=True, exist_ok=True)
        kernel.mount(str(own), path, None, kernel.MS_BIND)
    # Whatever had an address before this start has none now.
    shutil.rmtree("/var/lib/cni", ignore_errors=True)
    _cover_sysctls()


def _let_go_of_the_first_node(home: Path) -> None:
    theirs = re.compile(rf"(/run|/var/lib|/var/log|{re.escape(str(home))})(/|$)")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if theirs.match(point):
            kernel.detach(point)


def _cover_sysctls() -> None:
    for name, value in _SYSCTLS.items():
        # On tmpfs: a bind from a disk's file makes cAdvisor lose that disk ("cannot find filesystem info").
        own = Path("/run/sysctl", name)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(f"{value}\n")
        real = Path("/proc/sys", name)
        if real.exists():
            kernel.mount(str(own), str(real), None, kernel.MS_BIND)
