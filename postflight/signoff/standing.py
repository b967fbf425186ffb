"""What stands in the cluster, as far as a signature is about it: configuration and images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from postflight.cluster.kinds import JOB, POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Pod, Workload
from postflight.deployment.pods import read_pod, read_workloads
from postflight.signoff import configuration
from postflight.traces import MANAGED_BY, NAME

DIGEST = re.compile(r"(?:^|[@:/])(?:(sha256|sha512):)?([0-9a-f]{64}|[0-9a-f]{128})$")


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """``name`` as the pod's spec has it, ``id`` as the kubelet reports what it runs: the digest of a
    manifest in a registry, or that of the image's own configuration."""

    name: str
    id: str

    @property
    def digest(self) -> Mapping[str, str]:
        """As a digest map, empty where the id holds none."""
        found = DIGEST.search(self.id)
        return {found[1] or "sha256": found[2]} if found else {}


@dataclass(frozen=True, slots=True)
class Standing:
    """``objects`` maps each object of the configuration to its SHA-256; ``images`` maps each container
    (``kind/namespace/name container NAME``) to what it runs: more than one image where its pods differ."""

    namespaces: tuple[str, ...]
    objects: Mapping[str, str]
    images: Mapping[str, frozenset[Image]]

    @property
    def configuration(self) -> str:
        """The SHA-256 over all objects."""
        return configuration.digest(self.objects)


def standing(snapshot: Snapshot) -> Standing:
    """What stands there by a snapshot that holds the kinds in ``CONFIGURATION``."""
    pods = {pod.id: pod for pod in map(read_pod, snapshot.all(POD))}
    images: dict[str, set[Image]] = {}
    for workload in read_workloads(snapshot, pods):
        for container, image in _running(workload):
            images.setdefault(f"{workload.id} container {container}", set()).add(image)
    return Standing(
        snapshot.namespaces,
        configuration.hashes(snapshot),
        {container: frozenset(images[container]) for container in sorted(images)},
    )


def differences(signed: Standing, now: Standing) -> tuple[str, ...]:
    """A line for each thing that is not as it was signed; empty when all is.

    A container that does not run at the moment is no difference: that its workload must run is what a
    run says. One that was not there is, unless it is a Job's: those come and go.
    """
    lines = []
    for container, images in now.images.items():
        known = signed.images.get(container)
        if known is None and container.startswith(f"{JOB.name.lower()}/"):
            continue
        for image in sorted(images - (known or frozenset())):
            was = f"signed was {', '.join(map(_image, sorted(known)))}" if known else "nothing was signed there"
            lines.append(f"{container} runs {_image(image)}; {was}")
    for name in sorted(signed.objects.keys() | now.objects.keys()):
        if name not in now.objects:
            lines.append(f"{name} is gone")
        elif name not in signed.objects:
            lines.append(f"{name} was not there when it was signed")
        elif now.objects[name] != signed.objects[name]:
            lines.append(f"{name} is not as it was signed")
    return tuple(lines)


def _running(workload: Workload) -> Iterator[tuple[str, Image]]:
    for pod in workload.pods:
        if _ours(pod) or pod.phase != "Running":
            continue
        for each in (*pod.init, *pod.containers):
            if each.image_id:
                yield each.name, Image(each.image, each.image_id)


def _ours(pod: Pod) -> bool:
    return pod.labels.get(MANAGED_BY) == NAME


def _image(image: Image) -> str:
    return f"{image.name} ({image.id})"
