"""What label selectors lead to: pods, workloads that would have such pods, their side, and the ports behind a Service.

Source: Kubernetes 1.34 (Service: a selector of its own form, targetPort by number or name; probes of the kubelet).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import CRON_JOB, WORKLOADS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import canary
from postflight.deployment.labels import selects
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side

#: Whose objects a person has not written: an operator's own kinds are in groups with a domain of their own.
BUILT_IN = ("apps/", "batch/", "v1", "policy/", "autoscaling/", "networking.k8s.io/", "discovery.k8s.io/")
#: Labels that only operators give, to pods of whose templates nobody else knows.
OPERATED = ("cnpg.io/", "v1.min.io/")
#: Those that pods of a run have.
OWN = "postflight/"
#: Labels by which main and LI are told apart where they share a namespace.
SIDE_LABELS = ("matrix.instance", "app.kubernetes.io/instance")
SIDES = {each.value: each for each in Side}


def is_operated(each: Object) -> bool:
    """Whether an operator made it, and leaves it empty on purpose (a ``-ro`` Service without replicas)."""
    owners = each["metadata"].get("ownerReferences") or ()
    return any(not str(owner.get("apiVersion") or "v1").startswith(BUILT_IN) for owner in owners)


def of_service(service: Object) -> Mapping[str, Any] | None:
    """A Service's selector as a LabelSelector; None where it has none, or leads elsewhere."""
    spec = service["spec"]
    labels = spec.get("selector")
    return {"matchLabels": labels} if labels and spec.get("type") != "ExternalName" else None


def pods_of(deployment: Deployment, namespace: str, selector: Mapping[str, Any] | None) -> tuple[Pod, ...]:
    """Those that are there and stay."""
    return tuple(
        each
        for each in deployment.pods.values()
        if each.namespace == namespace and not each.deleting and selects(selector, each.labels)
    )


def would_select(
    snapshot: Snapshot, deployment: Deployment, namespace: str, selector: Mapping[str, Any] | None
) -> bool:
    """Whether some workload makes such pods, if it makes any at the moment; also where only an operator or a run of the
    verifier would, and none of its pods is there."""
    if any(selects(selector, labels) for labels in _made(snapshot, namespace)):
        return True
    if selects(selector, canary.LABELS):
        return True
    asked = {each["key"] for each in (selector or {}).get("matchExpressions") or ()}
    asked |= ((selector or {}).get("matchLabels") or {}).keys()
    known = {key for pod in deployment.pods.values() if pod.namespace == namespace for key in pod.labels}
    # Of a run the pods go; one that was killed may have left some of them.
    return any(key.startswith(OPERATED) for key in asked - known) or any(key.startswith(OWN) for key in asked)


def _made(snapshot: Snapshot, namespace: str) -> Iterator[Mapping[str, str]]:
    for kind in WORKLOADS:
        for each in snapshot.all(kind, namespace):
            spec = each["spec"]["jobTemplate"]["spec"] if kind is CRON_JOB else each["spec"]
            yield ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def sides(deployment: Deployment, pods: Iterable[Pod]) -> dict[Side, list[Pod]]:
    """These pods by the side that they belong to, as far as they belong to one."""
    known = {each.pod.id: each.side for each in deployment.synapse if each.pod}
    if li := deployment.li:
        for cluster, side in ((li.main_cluster, Side.MAIN), (li.cluster, Side.LI)):
            if cluster and li.cluster != li.main_cluster:
                known |= {pod.id: side for pod in cluster.pods}
    found: dict[Side, list[Pod]] = {}
    for pod in pods:
        if own := known.get(pod.id) or side_by(pod.labels):
            found.setdefault(own, []).append(pod)
    return found


def side_by(labels: Mapping[str, str]) -> Side | None:
    """The side that labels name."""
    return next((SIDES[labels[key]] for key in SIDE_LABELS if labels.get(key) in SIDES), None)


def target(port: Mapping[str, Any], raw: Object) -> int | None:
    """The number of the port in a pod that a Service's port leads to; None where the pod names none so."""
    wanted = port.get("targetPort") or port["port"]
    if not isinstance(wanted, str):
        return int(wanted)
    named = (
        each
        for container in _containers(raw)
        for each in container.get("ports") or ()
        if each.get("name") == wanted and (each.get("protocol") or "TCP") == (port.get("protocol") or "TCP")
    )
    return next((int(each["containerPort"]) for each in named), None)


def is_asked(raw: Object, port: int) -> bool:
    """Whether the kubelet asks at a TCP port before it calls the pod ready."""
    for container in _containers(raw):
        ready = container.get("readinessProbe") or {}
        for way in ("httpGet", "tcpSocket", "grpc"):
            wanted = (ready.get(way) or {}).get("port")
            numbers = {each["containerPort"] for each in container.get("ports") or () if each.get("name") == wanted}
            if port in {wanted, *numbers}:
                return True
    return False


def _containers(raw: Object) -> Iterator[Mapping[str, Any]]:
    yield from (raw.get("spec") or {}).get("containers") or ()
