"""The volumes that hold data: PostgreSQL's with its WAL, Redis', the object store's and Synapse's media.

Source: Kubernetes 1.34, volumes (an emptyDir with a sizeLimit, or a claim, has an end of its own; others share the node's);
CloudNativePG 1.27, which mounts WAL of its own below /var/lib/postgresql/wal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import CLAIM, POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.pods import instant, quantity

#: What outlasts the pod.
LASTING = ("persistentVolumeClaim", "ephemeral", "hostPath", "nfs", "csi")
WAL = "/wal"
#: A filesystem that is so much larger than what was asked for is not this volume's alone.
ROOMY = 1.25


@dataclass(frozen=True, slots=True)
class DataVolume:
    """A volume in one pod, as ``words`` call it, with the ``paths`` at which each container has it. ``capacity`` (bytes)
    is what was asked for, None where nothing was; ``claim`` is the name of its claim, ``phase`` how that one is, and
    ``made`` since when it is."""

    pod: Pod
    words: str
    paths: Mapping[str, str]
    capacity: int | None = None
    claim: str = ""
    phase: str = ""
    made: datetime | None = None

    def is_alone(self, size: int) -> bool:
        """Whether a filesystem of this size is the volume's own, as against a node's that many share."""
        return self.capacity is not None and size <= self.capacity * ROOMY


def data_volumes(deployment: Deployment, snapshot: Snapshot) -> tuple[DataVolume, ...]:
    """All of them; of a pod without one that lasts, where its data are is taken for it."""
    found: dict[tuple[str, str], DataVolume] = {}
    for words, pod, path, wants in _keepers(deployment):
        raw = snapshot.get(POD, pod.namespace, pod.name)
        for name, each in _volumes(raw, snapshot, pod, words, wants) if raw else ():
            if any(_within(path, at) for at in each.paths.values()):
                found.setdefault((pod.id, name), each)
    return tuple(found.values())


def _keepers(deployment: Deployment) -> Iterator[tuple[str, Pod, str, bool]]:
    """What keeps data, in words, its pods, the path that is meant ("" for all), and whether data may lie where they do not
    last."""
    for cluster in deployment.postgres:
        yield from ((f"PostgreSQL {pod.name}", pod, "", False) for pod in cluster.pods)
    for group in deployment.redis:
        yield from ((f"Redis {node.pod.name}", node.pod, "", True) for node in group.nodes)
    workloads = {each.id: each for each in deployment.workloads}
    for store in deployment.stores:
        for own in filter(None, map(workloads.get, store.workloads)):
            yield from ((f"object store {pod.name}", pod, "", True) for pod in own.pods)
    for process in deployment.synapse:
        path = str((process.config or {}).get("media_store_path") or "")
        if process.pod and path.startswith("/"):
            yield f"media of {process.name}", process.pod, path, False


def _volumes(raw: Object, snapshot: Snapshot, pod: Pod, words: str, wants: bool) -> Iterator[tuple[str, DataVolume]]:
    volumes = {each["name"]: each for each in raw["spec"].get("volumes") or ()}
    mounts: dict[str, dict[str, str]] = {}
    for container in raw["spec"].get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            mounts.setdefault(mount["name"], {})[container["name"]] = str(mount["mountPath"])
    lasting = {name for name in mounts if any(kind in volumes.get(name, {}) for kind in LASTING)}
    limited = {name for name in mounts if wants and ((volumes.get(name) or {}).get("emptyDir") or {}).get("sizeLimit")}
    loose = {name for name in mounts if wants and "emptyDir" in (volumes.get(name) or {})}
    for name in sorted(lasting | limited or loose):
        wal = " WAL" if words.startswith("PostgreSQL") and any(WAL in path for path in mounts[name].values()) else ""
        yield name, _read(snapshot, pod, f"{words}{wal}", volumes[name], mounts[name])


def _read(snapshot: Snapshot, pod: Pod, words: str, volume: Mapping[str, Any], paths: Mapping[str, str]) -> DataVolume:
    claim = str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")
    if "ephemeral" in volume:
        claim = f"{pod.name}-{volume['name']}"
    if not claim:
        return DataVolume(pod, words, paths, quantity((volume.get("emptyDir") or {}).get("sizeLimit")))
    raw: Object = snapshot.get(CLAIM, pod.namespace, claim) or {}
    status = raw.get("status") or {}
    return DataVolume(
        pod,
        words,
        paths,
        quantity((status.get("capacity") or {}).get("storage")),
        claim,
        str(status.get("phase") or "missing"),
        instant((raw.get("metadata") or {}).get("creationTimestamp")),
    )


def _within(path: str, mount: str) -> bool:
    return not path or path == mount or path.startswith(f"{mount.rstrip('/')}/")
