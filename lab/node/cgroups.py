"""A lab's own cgroups, in version 1 (one tree per controller) and version 2 (one tree)."""

import os
import time
from errno import EBUSY
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_NEEDED_V2 = ("cpu", "memory", "pids")
# The share of the processors for all pods of a lab, by version: that of four processes which are in no cgroup. No
# cluster waits for whoever looks at it, as its pods would do here: a Sentinel that waits for 2 s trusts nothing any more.
_SHARES = {"cpu.shares": 4096, "cpu.weight": 400}


def unified() -> bool:
    """Whether the machine has version 2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def trees() -> list[Path]:
    """The roots of all hierarchies in which cgroups can be made."""
    if unified():
        return [ROOT]
    # A link such as cpu -> cpu,cpuacct is the same tree again.
    found = (p for p in sorted(ROOT.iterdir()) if p.is_dir() and not p.is_symlink()) if ROOT.is_dir() else ()
    return [p for p in found if (p / "cgroup.procs").exists()]


def create(name: str) -> None:
    """Makes cgroup `name` in every tree, ready to have children with limits. Raises OSError."""
    for tree in trees():
        own = tree / name
        own.mkdir(parents=True, exist_ok=True)
        if unified():
            # Only what the tree offers: a missing one is for the preflight to tell.
            offered = (tree / "cgroup.controllers").read_text().split()
            enable = " ".join(f"+{controller}" for controller in offered)
            parent = tree
            for part in (None, *Path(name).parts):
                parent = parent / part if part else parent
                (parent / "cgroup.subtree_control").write_text(enable)
        elif "cpuset" in tree.name.split(","):
            # A new cpuset of version 1 is empty, and what is empty can hold no process.
            for file in ("cpuset.cpus", "cpuset.mems"):
                _inherit(tree, Path(name), file)
        for file, share in _SHARES.items():
            if (whole := tree / Path(name).parts[0] / file).exists():
                whole.write_text(str(share))


def missing() -> list[str]:
    """Controllers that Kubernetes needs and this machine does not offer."""
    if unified():
        offered = (ROOT / "cgroup.controllers").read_text().split()
        return [controller for controller in _NEEDED_V2 if controller not in offered]
    have = {controller for tree in trees() for controller in tree.name.split(",")}
    return [controller for controller in ("cpu", "cpuacct", "memory", "pids") if controller not in have]


def remove(name: str) -> None:
    """Removes cgroup `name` and all below it; its processes are dead or dying. Raises OSError after 2 s."""
    for tree in trees():
        for folder, _, _ in os.walk(tree / name, topdown=False):
            _rmdir(folder)


def _inherit(tree: Path, name: Path, file: str) -> None:
    value = (tree / file).read_text()
    folder = tree
    for part in name.parts:
        folder /= part
        if not (folder / file).read_text().strip():
            (folder / file).write_text(value)


def _rmdir(folder: str) -> None:
    last = time.monotonic() + 2
    while True:
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != EBUSY or time.monotonic() > last:
                raise
            time.sleep(0.02)
        else:
            return
