"""Labs for tests: bare nodes without the deployment, up in 4 s."""

import os
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Cluster
from lab.homes import Home
from lab.labs import wait_for_nodes
from lab.node import clone, lifecycle
from lab.node.spec import Spec


@dataclass(frozen=True, slots=True)
class Bare:
    """Brings bare labs up in the cache, each under a name that no other run has."""

    home: Home
    started: list[Path]

    def folder(self, name: str) -> Path:
        folder = self.home.labs / f"test-{os.getpid()}-{name}"
        if folder not in self.started:
            self.started.append(folder)
        return folder

    def prepare(self, name: str, nodes: int = 1) -> Spec:
        """A lab with images, not started."""
        spec = Spec(self.folder(name), self.home.bin, nodes)
        for node in spec.all_nodes:
            clone.images(self.home.base, node.folder)
        spec.save()
        return spec

    def start(self, spec: Spec) -> Cluster:
        with lifecycle.locked(spec.home):
            found = lifecycle.start(spec)
        cluster = Cluster(spec.home.name, spec.home, spec.bin, found.port, spec.nodes)
        wait_for_nodes(cluster, found.since)
        return cluster

    def up(self, name: str, nodes: int = 1) -> Cluster:
        return self.start(self.prepare(name, nodes))

    def stop(self, folder: Path) -> None:
        with lifecycle.locked(folder):
            lifecycle.stop(folder)
