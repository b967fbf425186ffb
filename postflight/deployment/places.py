"""Every container of every workload, where it runs: what the kinds of service are looked for in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.kinds import CRON_JOB, DAEMON_SET, DEPLOYMENT, POD, STATEFUL_SET
from postflight.cluster.references import template_of
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Pod, Workload, workload_id
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

    def is_among(self, named: Collection[str]) -> bool:
        """Whether settings name it: its workload where it is the first container, or ``workload/container``."""
        return (self.first and self.workload.name in named) or f"{self.workload.name}/{self.name}" in named

    @property
    def lasts(self) -> bool:
        """Whether it runs as long as its pod: no init container, and of no CronJob."""
        return self.pod.container(self.name) is not None if self.pod else self.workload.kind != CRON_JOB.name

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


def passing(snapshot: Snapshot, secrets: SecretStore, everywhere: Sequence[Place]) -> tuple[Place, ...]:
    """The containers that run for a while only: before those that are ``everywhere``, and by a schedule
    that is not suspended."""
    found = [
        Place(each.workload, each.pod, each.spec, container, first=False)
        for each in everywhere
        if each.first
        for container in each.spec.raw.get("initContainers") or ()
    ]
    for raw in snapshot.all(CRON_JOB):
        if not raw["spec"].get("suspend"):
            namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
            workload = Workload(
                workload_id(namespace, CRON_JOB.name, name), namespace, CRON_JOB.name, name, 0, 0, (), {}
            )
            found += _in(snapshot, secrets, workload, None, template_of(raw))
    return tuple(found)


def _in(
    snapshot: Snapshot, secrets: SecretStore, workload: Workload, pod: Pod | None, raw: Mapping[str, Any]
) -> Iterator[Place]:
    name = pod.name if pod else f"{workload.name}-0"
    spec = Spec(snapshot, secrets, workload.namespace, name, pod.ip if pod else "", raw)
    for index, container in enumerate(raw.get("containers") or ()):
        yield Place(workload, pod, spec, container, index == 0)
