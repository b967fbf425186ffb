"""Pods as they are now, where a description from before may speak of ones that are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.deployment.pods import read_pod

#: Labels that tell the pods of one workload apart.
OWN = (
    *("pod-template-hash", "controller-revision-hash", "pod-template-generation"),
    *("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"),
)


def siblings(api: Api, pod: Pod) -> tuple[Pod, ...]:
    """The pods of its workload, by the labels that they share; one that has none stands for itself. Raises ApiError."""
    labels = shared(pod)
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
    found = [read_pod(raw) for raw in api.list_all(POD, pod.namespace, **query)]
    return tuple(each for each in found if labels or each.name == pod.name)


def shared(pod: Pod) -> Mapping[str, str]:
    """The labels of a pod that all pods of its workload have."""
    return {key: value for key, value in sorted(pod.labels.items()) if key not in OWN}


def now(api: Api, process: SynapseProcess) -> SynapseProcess:
    """A process with the pod that has its pod's name by now; as it was, where there is none. Raises ApiError."""
    if process.pod is None:
        return process
    try:
        raw = api.get(POD.path(process.pod.namespace, process.pod.name))
    except ApiError as error:
        if error.status == 404:
            return process
        raise
    return replace(process, pod=read_pod(raw))
