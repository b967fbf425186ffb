"""What a machine must have, told in one line each before anything is begun."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.errors import LabError
from lab.homes import Home
from lab.node import cgroups, kernel
from lab.setup import golang, image, python
from lab.setup.runner import Step, Work

_DISK = 14 << 30  # what a set-up and two labs take, with the Go caches


def machine() -> None:
    """Raises LabError when this machine can run no lab."""
    if sys.platform != "linux":
        raise LabError(f"a lab needs Linux, this is {sys.platform}: use a Linux machine, or kind (lab/README.md)")
    image.architecture()
    if os.geteuid() != 0:
        raise LabError("a lab makes namespaces and cgroups, so it needs root: sudo make ...")
    if missing := cgroups.missing():
        raise LabError(f"{cgroups.ROOT} has no controller {', '.join(missing)}: give this machine or container all")
    _in_a_child(_try_cgroups, "cgroups cannot be made in /sys/fs/cgroup", "mount it writable")
    _in_a_child(_try_namespaces, "namespaces or mounts are refused", "run it where root has CAP_SYS_ADMIN")


def disk(home: Home) -> None:
    """Raises LabError when the cache has no room for a set-up."""
    home.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.root).free
    if free < _DISK:
        raise LabError(
            f"{home.root} has {free >> 30} GB free, a set-up needs {_DISK >> 30}: free some, or set POSTFLIGHT_HOME"
        )


def registries(work: Work, todo: Iterable[Step]) -> None:
    """One small thing from each registry that is still needed. Raises LabError for the first that is out of reach."""
    names = {step.name for step in todo}
    folder = work.home.root / "try.part"
    if names & {"requirements", "synapse", "scanner", "verifier"}:
        python.try_index(work, folder)
    if names & {"modules", "livekit", "minio", "metrics"} and (program := golang.on_path()):
        environment = golang.environment(work.home)
        try:
            work.run(program, "mod", "download", "k8s.io/klog/v2", environment=environment, folder=golang.MODULE)
        except LabError as error:
            raise LabError(f"Go modules cannot be had ({error}): GOPROXY names the proxy") from error
    if "debian" in names and shutil.which("apt-get"):
        try:
            work.run("apt-get", "update", "-q", keep=True)
        except LabError as error:
            raise LabError(f"Debian packages cannot be had ({error}): see /etc/apt/sources.list*") from error
    shutil.rmtree(folder, ignore_errors=True)


def _in_a_child(attempt: Callable[[], None], what: str, remedy: str) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            attempt()
        except OSError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        refusal = told.read()
    os.waitpid(child, 0)
    if refusal:
        raise LabError(f"{what} ({refusal}): {remedy}")


def _try_cgroups() -> None:
    name = f"postflight-try-{os.getpid()}"
    try:
        cgroups.create(name)
    finally:
        cgroups.remove(name)


def _try_namespaces() -> None:
    kernel.unshare(kernel.NEW_NODE)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/run", "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        Path("/run", name).mkdir()
    kernel.mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work")
