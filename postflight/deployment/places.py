"""Every container of every workload, where it runs: what the kinds of service are looked for in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.kinds import DAEMON_SET, DEPLOYMENT, POD, STATEFUL_SET
from postflight.cluster.references import template_of
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Pod, Workload
from postflight.deployment.rendering import Spec


@dataclass(frozen=True, slots=True)
class Place:
    """A container by spec, in one pod, or (``pod`` None) in a workload that has no pods."""

    workload: Workload
    pod: Pod | None
    spec: Spec
    container: Mapping[str, Any]
    first: bool

    @property
    def name(self) -> str:
        return str(self.container["name"])

    @property
    def running_pod(self) -> Pod | None:
        """Its pod, where the container runs and can be asked."""
        status = self.pod.container(self.name) if self.pod else None
        return self.pod if status and status.running else None


def places(snapshot: Snapshot, secrets: SecretStore, workloads: Sequence[Workload]) -> tuple[Place, ...]:
    """All of them, pod by pod; a workload without pods counts once."""
    raw_pods = {(p["metadata"]["namespace"], p["metadata"]["name"]): p for p in snapshot.all(POD)}
    found: list[Place] = []
    for workload in workloads:
        for pod in workload.pods:
            found += _in(snapshot, secrets, workload, pod, raw_pods[(pod.namespace, pod.name)]["spec"])
        for kind in (STATEFUL_SET, DEPLOYMENT, DAEMON_SET):
            raw = snapshot.get(kind, workload.namespace, workload.name) if not workload.pods else None
            if raw and kind.name == workload.kind:
                found += _in(snapshot, secrets, workload, None, template_of(raw))
    return tuple(found)


def _in(
    snapshot: Snapshot, secrets: SecretStore, workload: Workload, pod: Pod | None, raw: Mapping[str, Any]
) -> Iterator[Place]:
    name = pod.name if pod else f"{workload.name}-0"
    spec = Spec(snapshot, secrets, workload.namespace, name, pod.ip if pod else "", raw)
    for index, container in enumerate(raw.get("containers") or ()):
        yield Place(workload, pod, spec, container, index == 0)
