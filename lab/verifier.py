"""The verifier's own image, as deploy/image/Dockerfile makes it, on the lab's Debian, imported into a running lab.

It is no part of the lab's one image: its code changes with every commit. The archive holds one layer; the layer
beneath it is in every lab already.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import Cluster
from lab.homes import CHECKOUT, Home
from lab.setup.image import architecture

NAME = "docker.io/library/postflight:lab"
INSIDE = "opt/postflight"
USER = 10991
_CONFIG = {
    "Env": [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        f"PYTHONPATH=/{INSIDE}",
        "PYTHONDONTWRITEBYTECODE=1",
        "HOME=/tmp",
        "LANG=C.UTF-8",
    ],
    "Entrypoint": ["python", "-m", "postflight"],
    "User": f"{USER}:{USER}",
    "WorkingDir": "/tmp",
}
_OCI = "application/vnd.oci.image"


def load(home: Home, cluster: Cluster) -> str:
    """Builds the image of this checkout on what the set-up downloaded, imports it into every node, and returns its name.
    Raises LabError, OSError."""
    archive = cluster.home / "verifier.tar"
    _write(home, archive)
    try:
        for node in range(1, cluster.nodes + 1):
            cluster.exec_in_node(["ctr", "-n", "k8s.io", "images", "import", str(archive)], node, timeout=120)
    finally:
        archive.unlink()
    return NAME


def _write(home: Home, archive: Path) -> None:
    """An OCI archive with the image's index, manifest, configuration and upper layer."""
    layer = archive.with_suffix(".layer")
    _layer(home.verifier, layer)
    below, size = _debian(home)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": _CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{below}", f"sha256:{digest}"]},
        }
    ).encode()
    layers = [_blob(f"{_OCI}.layer.v1.tar", below, size), _blob(f"{_OCI}.layer.v1.tar", digest, layer.stat().st_size)]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _blob(f"{_OCI}.config.v1+json", hashlib.sha256(config).hexdigest(), len(config)),
            "layers": layers,
        }
    ).encode()
    named = _blob(f"{_OCI}.manifest.v1+json", hashlib.sha256(manifest).hexdigest(), len(manifest))
    named["annotations"] = {"io.containerd.image.name": NAME}
    index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", index)
        for data in (manifest, config):
            _add(tar, f"blobs/sha256/{hashlib.sha256(data).hexdigest()}", data)
        tar.add(layer, f"blobs/sha256/{digest}")
    layer.unlink()


def _layer(beneath: Path, out: Path) -> None:
    """The packages and this checkout's code; the same content gives the same layer."""
    with tarfile.open(out, "w") as tar:
        for file, name in _files(beneath):
            tar.add(file, f"{INSIDE}/{name}", recursive=False, filter=_plain)


def _files(beneath: Path) -> Iterator[tuple[Path, Path]]:
    """Each file and folder with its place in the image, a folder before what is in it."""
    for root, place in (
        (beneath, Path()),
        (CHECKOUT / "postflight", Path("postflight")),
        (CHECKOUT / "checks", Path("postflight/checks")),
    ):
        yield root, place
        for file in sorted(root.rglob("*")):
            if root == beneath or "__pycache__" not in file.parts:
                yield file, place / file.relative_to(root)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _debian(home: Home) -> tuple[str, int]:
    """Digest and size of the lowest layer of the lab's image."""
    with tarfile.open(home.image / "image.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())[0]
        config = json.load(tar.extractfile(manifest["Config"]) or io.BytesIO())
        return config["rootfs"]["diff_ids"][0].removeprefix("sha256:"), tar.getmember(manifest["Layers"][0]).size


def _blob(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
