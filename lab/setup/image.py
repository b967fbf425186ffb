"""The images as a docker-archive, one with many names and one with the older Synapse; a lab state that has them."""

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.homes import Home
from lab.releases import NEWEST, OLDER, Release
from lab.setup import rootfs
from lab.setup.runner import Work

TAGS = rootfs.IMAGE / "tags.txt"
_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
)
_PAUSE = ("/usr/bin/catatonit", "-P")  # so that it serves as the sandbox image too


def archive(work: Work) -> None:
    """image/image.tar: one layer of Debian and Synapse, one of Go programs; over both, one of the older Synapse, in an
    image of its own. Raises LabError or OSError."""
    home = work.home
    rootfs.compile_synapse(work, home)
    _put_programs(work)
    below = [_layer(home.image / name, home.image / f"{name}.layer") for name in ("debian", "programs")]
    older = _layer(home.image / "older", home.image / "older.layer")
    part = home.image / "image.tar.part"
    images = [
        _image(NEWEST, TAGS.read_text().split(), below),  # the first is the one that others build on
        _image(OLDER, [OLDER.image], [*below, older]),
    ]
    paths = [path for path, _ in (*below, older)]
    with tarfile.open(part, "w") as tar:
        _add(tar, "manifest.json", json.dumps([manifest for manifest, _ in images]).encode())
        for manifest, config in images:
            _add(tar, manifest["Config"], config)
        for path in paths:
            tar.add(path, path.name)
    for path in paths:
        path.unlink()
    part.replace(home.image / "image.tar")


def base(work: Work) -> None:
    """base/: the state of a lab in which only the images were imported, by a containerd of its own. Raises LabError."""
    home = work.home
    part = home.root / "base.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    config = part / "containerd.toml"
    config.write_text(f'version = 2\nroot = "{part}/containerd"\nstate = "/run/containerd"\n')
    script = f"""mount -t tmpfs tmpfs /run
containerd --config {config} --log-level warn &
for try in $(seq 100); do ctr version > /dev/null 2>&1 && break; sleep 0.1; done
ctr -n k8s.io images import {home.image}/image.tar > /dev/null"""
    namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    work.run(*namespaces, "sh", "-c", script)
    config.unlink()
    if home.base.exists():
        shutil.rmtree(home.base)
    part.rename(home.base)


def identity(home: Home) -> bytes:
    """What the images are made of, by digests: made twice of the same they are not the same. Raises OSError before set-up."""
    with tarfile.open(home.image / "image.tar") as tar:
        return (tar.extractfile("manifest.json") or io.BytesIO()).read()


def architecture() -> str:
    """As Go and image indexes call this machine's. Raises LabError."""
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    try:
        return known[platform.machine()]
    except KeyError:
        raise LabError(f"a lab runs on x86_64 and aarch64, not on {platform.machine()}") from None


def _image(release: Release, tags: list[str], layers: list[tuple[Path, str]]) -> tuple[dict[str, Any], bytes]:
    """Its entry in the archive's manifest, and its configuration: Python finds this release of Synapse."""
    config = {
        "architecture": architecture(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for _, digest in layers]},
        "config": {"Env": [*_ENVIRONMENT, f"PYTHONPATH=/{release.folder}"], "Cmd": _PAUSE},
    }
    data = json.dumps(config).encode()
    name = f"{hashlib.sha256(data).hexdigest()}.json"
    return {"Config": name, "RepoTags": tags, "Layers": [path.name for path, _ in layers]}, data


def _put_programs(work: Work) -> None:
    """CoreDNS, LiveKit, MinIO, and the operator, each where its own image has it."""
    root = work.home.image / "programs"
    shutil.rmtree(root, ignore_errors=True)
    (root / "operator").mkdir(parents=True)
    for name in ("coredns", "livekit-server"):
        shutil.copy(work.home.bin / name, root / name)
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(work.home.bin / "minio", root / "usr/bin/minio")
    shutil.copy(work.home.bin / "cnpg-manager", root / "manager")
    for name in ("manager", f"manager_{architecture()}"):
        (root / "operator" / name).hardlink_to(root / "manager")


def _layer(root: Path, out: Path) -> tuple[Path, str]:
    """A tar of `root` and its SHA-256, read once."""
    left_out = [f"--exclude=./{name}/*" for name in ("proc", "sys", "dev")]
    command = ["tar", "-C", str(root), "--numeric-owner", "--sort=name", *left_out, "-cf", "-", "."]
    digest = hashlib.sha256()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar, out.open("wb") as file:
        assert tar.stdout is not None
        while block := tar.stdout.read(1 << 20):
            digest.update(block)
            file.write(block)
    if tar.returncode:
        raise LabError(f"tar of {root} failed: is the disk full?")
    return out, digest.hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
