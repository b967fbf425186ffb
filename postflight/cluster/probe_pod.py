"""A place of its own in the cluster: a Job whose one pod takes the outpost over exec.

The Job has a deadline and goes by itself, even after SIGKILL. By default it runs the image of a Synapse
pod, which is on the nodes already and has Python, so that an air-gapped cluster needs nothing new. It
meets Pod Security *restricted* and a ResourceQuota.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import EVENT, JOB, POD
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.settings import Settings
from postflight.traces import MANAGED_BY, NAME, RUN_LABEL, Traces

CONTAINER = "probe"
#: What a probe pod is there for: by this label a NetworkPolicy lets it do that.
PURPOSE = "postflight/purpose"
DEADLINE = 200
#: Ends at once when it is told to: as PID 1 a process without a handler would wait for the kill.
WAIT = f"import signal as s; s.pthread_sigmask(s.SIG_BLOCK, [15]); s.sigtimedwait([15], {DEADLINE})"
GONE_AFTER = 10
REQUESTED = {"cpu": "100m", "memory": "64Mi"}
#: Python starts anew for each thing that the pod is asked: with a tenth of a processor that takes most of a second.
#: Two participants of a call take 41 MB beside the 10 of who waits: OpenSSL is most of it.
LIMITS = {"cpu": "500m", "memory": "96Mi"}
#: Keys of a pod's spec that say where it may run and with what.
TAKEN = ("imagePullSecrets", "nodeSelector", "tolerations", "runtimeClassName")
UID = 10991
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class NoProbePod(Exception):
    """The probe pod could not be had; the message quotes why."""


@dataclass(frozen=True, slots=True)
class ProbePod:
    """A probe pod that runs. ``what`` is what the run's traces call it: settle that when it is done with."""

    namespace: str
    name: str
    what: str


def start_probe_pod(
    api: Api,
    traces: Traces,
    like: Object,
    settings: Settings,
    purpose: str,
    labels: Mapping[str, str] = NO_LABELS,
    *,
    limit: float,
) -> ProbePod:
    """Make a probe pod beside the pod ``like`` and return it once it runs.

    ``purpose`` ends its name and is a label of the pod; ``labels`` are put on it beside the run's own. The settings say its
    image and what to merge into its spec and metadata (for admission policies). Raises
    :class:`NoProbePod`, with the admission's or the kubelet's own words.
    """
    namespace = like["metadata"]["namespace"]
    name = f"postflight-{traces.run_id}-{purpose}"
    path = JOB.path(namespace, name)
    asked = threading.Event()

    def remove() -> None:
        # What is being made while an interrupt has all removed would be there afterwards.
        asked.wait(Limit.REQUEST)
        _delete(api, path)
        # Whether anyone has seen its pod yet or not.
        wait_for(partial(_gone, api, namespace, name), limit=Limit.CLEAN_UP / 2, every=0.1)

    traces.will_make(f"Job {name}", remove, path)
    try:
        made = job(name, traces.labels, like, settings.probe_image, settings.probe_pod, {**labels, PURPOSE: purpose})
        api.request("POST", JOB.path(namespace), made)
    except ApiError as error:
        raise NoProbePod(f"the cluster refuses a probe pod: {error}") from error
    finally:
        asked.set()
    try:
        pod = wait_for(lambda: _running(api, namespace, name), limit=limit, every=0.2)
    except TimedOut as error:
        raise NoProbePod(f"the probe pod does not run: {error}") from error
    traces.made.append(POD.path(namespace, pod))
    return ProbePod(namespace, pod, f"Job {name}")


def remove_others(api: Api, traces: Traces, namespace: str, labels: Mapping[str, str], *, limit: float) -> None:
    """Remove the probe pods with these labels that other runs made: whoever has the turn is alone, so they were
    killed. Returns once they are gone. Raises TimedOut, or ApiError."""
    selector = ",".join(f"{key}={value}" for key, value in {**labels, MANAGED_BY: NAME}.items())

    def none_left() -> None:
        pods = api.get(POD.path(namespace), labelSelector=selector)["items"]
        others = [each for each in pods if each["metadata"]["labels"].get(RUN_LABEL) != traces.run_id]
        for name in filter(None, (each["metadata"]["labels"].get("batch.kubernetes.io/job-name") for each in others)):
            _delete(api, JOB.path(namespace, name))
        if others:
            raise NotYet(f"{others[0]['metadata']['name']} of a run that was killed still stands")

    wait_for(none_left, limit=limit, every=0.3)


def job(
    name: str,
    labels: Mapping[str, str],
    like: Object,
    image: str,
    patch: Mapping[str, object],
    pod_labels: Mapping[str, str] = NO_LABELS,
) -> dict[str, Any]:
    """The manifest. Image digest, pull secrets, node selector and tolerations are those of ``like``."""
    spec, status = like["spec"], like.get("status") or {}
    theirs = spec.get("securityContext") or {}
    user = theirs.get("runAsUser") or UID
    pod: dict[str, Any] = {
        "metadata": {
            "labels": {**labels, **pod_labels},
            "annotations": {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
        },
        "spec": {
            **{key: spec[key] for key in TAKEN if key in spec},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user,
                "runAsGroup": theirs.get("runAsGroup") or user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image or _image(spec, status),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", WAIT],
                    "resources": {"requests": REQUESTED, "limits": LIMITS},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": JOB.name,
        "metadata": {"name": name, "namespace": like["metadata"]["namespace"], "labels": dict(labels)},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE,
            "ttlSecondsAfterFinished": GONE_AFTER,
            "template": _merge(pod, patch),
        },
    }


def _image(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """By digest where the kubelet names one that a registry serves, else as the pod names it. A mesh
    may put its sidecar first, so the image tells."""
    containers = spec["containers"]
    first = next((each for each in containers if "synapse" in each["image"]), containers[0])
    reported: Mapping[str, Any] = next(
        (s for s in status.get("containerStatuses") or () if s["name"] == first["name"]), {}
    )
    by_digest = str(reported.get("imageID") or "").removeprefix("docker-pullable://")
    return by_digest if "@sha256:" in by_digest else str(first["image"])


def _merge(base: Any, patch: Any) -> Any:
    """Key by key, and null takes a key away; containers, and whatever else has names, name by name;
    all other lists as given."""
    if isinstance(base, dict) and isinstance(patch, Mapping):
        kept = {key: value for key, value in base.items() if key not in patch}
        return kept | {key: _merge(base.get(key), value) for key, value in patch.items() if value is not None}
    if (
        isinstance(base, list)
        and isinstance(patch, list)
        and all(isinstance(each, Mapping) and "name" in each for each in (*base, *patch))
    ):
        named = {each["name"]: each for each in base}
        return list((named | {each["name"]: _merge(named.get(each["name"]), each) for each in patch}).values())
    return patch if patch is not None else base


def _pods(api: Api, namespace: str, job_name: str) -> list[Object]:
    found: list[Object] = api.get(POD.path(namespace), labelSelector=f"batch.kubernetes.io/job-name={job_name}")[
        "items"
    ]
    return found


def _running(api: Api, namespace: str, job_name: str) -> str:
    for pod in _pods(api, namespace, job_name):
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        if any("running" in (each.get("state") or {}) for each in statuses):
            return str(pod["metadata"]["name"])
        waiting: Mapping[str, Any] = next((w for s in statuses if (w := (s.get("state") or {}).get("waiting"))), {})
        conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
        scheduled = conditions.get("PodScheduled") or {}
        why = waiting.get("message") or waiting.get("reason") or scheduled.get("message") or "starting"
        raise NotYet(f"{pod['metadata']['name']}: {why}")
    raise NotYet(_refused(api, namespace, job_name) or "no pod of its Job yet")


def _refused(api: Api, namespace: str, job_name: str) -> str:
    """What admission or a quota said to the Job's controller."""
    selector = f"involvedObject.name={job_name},type=Warning"
    events = api.get(EVENT.path(namespace), fieldSelector=selector).get("items") or ()
    return str(events[-1].get("message") or "") if events else ""


def _gone(api: Api, namespace: str, job_name: str) -> None:
    for pod in _pods(api, namespace, job_name):
        raise NotYet(f"{pod['metadata']['name']} is still there")


def _delete(api: Api, path: str) -> None:
    try:
        api.request("DELETE", path, {"propagationPolicy": "Background"})
    except ApiError as error:
        if error.status != 404:
            raise
