"""Pods, containers and workloads, from raw objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import (
    AUTOSCALER,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
)
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Container, Pod, Workload, pod_id, workload_id

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "m": 1e-3}
#: Controllers that put another pod in the place of one that is going or was evicted.
REPLACED = (DEPLOYMENT.name, STATEFUL_SET.name, DAEMON_SET.name)
QUANTITY = re.compile(r"([0-9.]+(?:e[0-9]+)?)([A-Za-z]*)")


def quantity(text: Any) -> int | None:
    """A Kubernetes quantity in bytes; None when there is none."""
    match = QUANTITY.fullmatch(str(text or ""))
    return int(float(match[1]) * UNITS.get(match[2], 1)) if match else None


def number(value: Any, default: int) -> int:
    """A number from some configuration; the default where it is none (an unrendered placeholder)."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def instant(text: Any) -> datetime | None:
    """A timestamp of the API server, in UTC."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if text else None


def read_pod(raw: Object) -> Pod:
    meta, status = raw["metadata"], raw.get("status") or {}
    spec = raw.get("spec") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    problem = "" if scheduled.get("status") != "False" else str(scheduled.get("message") or "not scheduled")
    return Pod(
        id=pod_id(meta["namespace"], meta["name"]),
        namespace=meta["namespace"],
        name=meta["name"],
        ip=status.get("podIP") or "",
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "Pending",
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        deleting="deletionTimestamp" in meta,
        started=instant(status.get("startTime")),
        labels=meta.get("labels") or {},
        init=tuple(_containers(spec.get("initContainers"), status.get("initContainerStatuses"))),
        containers=tuple(_containers(spec.get("containers"), status.get("containerStatuses"))),
        problem=problem or str(status.get("message") or ""),
    )


def _containers(specs: Any, statuses: Any) -> Iterator[Container]:
    reported = {each["name"]: each for each in statuses or ()}
    for spec in specs or ():
        status = reported.get(spec["name"]) or {}
        state = status.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        last = (status.get("lastState") or {}).get("terminated") or ended
        limits = (spec.get("resources") or {}).get("limits") or {}
        yield Container(
            name=spec["name"],
            image=spec.get("image") or "",
            image_id=status.get("imageID") or "",
            ready=bool(status.get("ready")),
            running="running" in state,
            restarts=int(status.get("restartCount") or 0),
            waiting=str(waiting.get("reason") or ""),
            message=str(waiting.get("message") or last.get("message") or ""),
            last_exit=last.get("exitCode"),
            memory_limit=quantity(limits.get("memory")),
            sidecar=spec.get("restartPolicy") == "Always",
            started=instant((state.get("running") or {}).get("startedAt")),
        )


def read_workloads(snapshot: Snapshot, pods: Mapping[str, Pod]) -> tuple[Workload, ...]:
    """Deployments, StatefulSets, DaemonSets, Jobs, and pods that nobody (or a foreign kind) owns."""
    owned: dict[tuple[str, str, str], list[Pod]] = {}
    going: dict[tuple[str, str, str], list[Pod]] = {}
    replica_sets = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): _owner(each) for each in snapshot.all(REPLICA_SET)
    }
    for raw in snapshot.all(POD):
        namespace = raw["metadata"]["namespace"]
        owner_kind, name = _owner(raw)
        if owner_kind == REPLICA_SET.name:
            owner_kind, name = replica_sets.get((namespace, name)) or (DEPLOYMENT.name, name.rpartition("-")[0])
        pod = pods[pod_id(namespace, raw["metadata"]["name"])]
        if owner_kind in REPLACED and (pod.deleting or pod.phase in ("Failed", "Succeeded")):
            if pod.deleting:
                going.setdefault((namespace, owner_kind, name), []).append(pod)
            continue
        owned.setdefault((namespace, owner_kind, name), []).append(pod)
    maxima = {
        (hpa["metadata"]["namespace"], ref["kind"], ref["name"]): int(hpa["spec"]["maxReplicas"])
        for hpa in snapshot.all(AUTOSCALER)
        for ref in (hpa["spec"]["scaleTargetRef"],)
    }
    found: list[Workload] = []
    for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB):
        for raw in snapshot.all(kind):
            namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
            key = (namespace, kind.name, name)
            desired = _desired(raw)
            found.append(
                Workload(
                    id=workload_id(*key),
                    namespace=namespace,
                    kind=kind.name,
                    name=name,
                    desired=desired,
                    maximum=max(desired, maxima.get(key, 0)),
                    pods=tuple(owned.pop(key, ())),
                    images={c["name"]: c.get("image") or "" for c in template_of(raw).get("containers") or ()},
                    going=tuple(going.get(key, ())),
                )
            )
    for (namespace, owner, name), group in owned.items():
        if owner == CRON_JOB.name:
            continue
        images = {each.name: each.image for pod in group for each in pod.containers}
        identity = workload_id(namespace, owner, name)
        found.append(Workload(identity, namespace, owner, name, len(group), len(group), tuple(group), images))
    return tuple(found)


def _owner(raw: Object) -> tuple[str, str]:
    """The controller's kind and name; a pod without one stands for itself."""
    for owner in raw["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return owner["kind"], owner["name"]
    return raw["kind"], raw["metadata"]["name"]


def _desired(raw: Object) -> int:
    if raw["kind"] == DAEMON_SET.name:
        return int((raw.get("status") or {}).get("desiredNumberScheduled") or 0)
    if raw["kind"] == JOB.name:
        return 0
    replicas = raw["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)
