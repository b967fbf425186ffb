"""The checkout's virtual environment, and packages from the index that pip is configured for."""

import hashlib
import platform
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.homes import CHECKOUT
from lab.setup.runner import Work

VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin/python"
IMAGE_PYTHON = "3.11"  # of Debian bookworm
_GLIBC = (36, 35, 34, 31, 28, 24, 17, 12, 5)  # bookworm has 2.36; a wheel names the oldest it runs with


def requirements() -> Path:
    """The verifier's locked requirements."""
    return CHECKOUT / "requirements.txt"


def made() -> Path:
    """There once the environment is whole. In it, because checkouts that share a cache have each their own."""
    return VENV / ".made"


def installed() -> Path:
    """There once exactly these requirements are installed."""
    return VENV / f".requirements-{hashlib.sha256(requirements().read_bytes()).hexdigest()[:12]}"


def make_venv(work: Work) -> None:
    """An empty environment with pip. Raises LabError."""
    shutil.rmtree(VENV, ignore_errors=True)
    work.run("python3", "-m", "venv", VENV)
    made().touch()


def install(work: Work) -> None:
    """Exactly the locked requirements. Raises LabError."""
    work.run(*_pip("install"), "--require-hashes", "-r", requirements())
    installed().touch()


def download_for_image(work: Work, locked: Path, target: Path) -> None:
    """Wheels for the image's Python, unpacked into `target`, whatever Python runs this. Raises LabError."""
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}"]
    options = [f"--platform={name}" for name in platforms] + [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
    options += [f"--python-version={IMAGE_PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    options += ["--require-hashes", "--no-deps", "--no-compile", "--target", str(target)]
    work.run(*_pip("install"), *options, "-r", locked)


def download_source(work: Work, locked: Path, backend: Path, folder: Path) -> None:
    """The source archive of what has no wheel. Pip asks the archive what it is, by a build backend that it finds in
    `backend`; nothing is built. Raises LabError."""
    options = ["--require-hashes", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--dest", str(folder)]
    work.run(*_pip("download"), *options, "-r", locked, environment={"PYTHONPATH": str(backend)})


def try_index(work: Work, folder: Path) -> None:
    """Raises LabError when the index cannot be had."""
    locked = Path(__file__).with_name("index-probe.txt")
    try:
        work.run("python3", "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", folder, "-r", locked)
    except LabError as error:
        raise LabError(f"Python packages cannot be had ({error}): pip.conf or PIP_INDEX_URL names the index") from error


def _pip(command: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", command, "-q", "--disable-pip-version-check", "--no-input"]
