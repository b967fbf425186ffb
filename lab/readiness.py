"""When a workload is as it is declared, with all its pods Ready."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError

Object = dict[str, Any]

# What makes pods of a template.
CONTROLLERS = ("Deployment", "StatefulSet", "DaemonSet")


def wait(missing: Callable[[], str], timeout: float, what: str = "not Ready") -> None:
    """Calls `missing` until it has nothing to name. Raises LabError with what it named last."""
    deadline = time.monotonic() + timeout
    while text := _tried(missing):
        if time.monotonic() > deadline:
            raise LabError(f"{what} after {timeout:.0f} s: {text}")
        time.sleep(0.25)


def unready(cluster: Cluster, objects: Iterable[Object], since: float = 0) -> str:
    """What is not as declared and Ready, or an empty string."""
    lists: dict[str, list[Object]] = {}
    for o in objects:
        if o["kind"] not in (*CONTROLLERS, "Cluster"):
            continue
        space = o["metadata"]["namespace"]
        mine = collection(o)
        if mine not in lists:
            lists[mine] = cluster.get(mine)["items"]
        pods = f"/api/v1/namespaces/{space}/pods"
        if pods not in lists:
            lists[pods] = cluster.get(pods)["items"]
        live = next((x for x in lists[mine] if x["metadata"]["name"] == o["metadata"]["name"]), None)
        if text := "not there" if live is None else _unready(o, live, lists[pods], since):
            return f"{o['kind']} {o['metadata']['name']}: {text}"
    return ""


def pod_state(pod: Object) -> str:
    """One word: Ready, NotReady, Terminating, Pending, Init, Crashing, Completed, or why its container waits."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    containers = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    if any(_crashing(c) for c in containers):
        return "Crashing"
    for c in containers:
        reason = c.get("state", {}).get("waiting", {}).get("reason", "")
        if reason not in ("", "PodInitializing", "ContainerCreating"):
            return str(reason)
    if status.get("phase") == "Succeeded":
        return "Completed"
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if conditions.get("Ready") == "True":
        return "Ready"
    if conditions.get("PodScheduled") != "True":
        return "Pending"
    return "NotReady" if conditions.get("Initialized") == "True" else "Init"


def selector(workload: Object) -> dict[str, str]:
    """The labels by which a workload finds its pods."""
    if workload["kind"] == "Cluster":
        return {"cnpg.io/cluster": workload["metadata"]["name"], "cnpg.io/podRole": "instance"}
    labels: dict[str, str] = workload["spec"]["selector"]["matchLabels"]
    return labels


def chosen(pods: Iterable[Object], labels: dict[str, str]) -> list[Object]:
    """The pods that carry all `labels`."""
    return [p for p in pods if labels.items() <= p["metadata"].get("labels", {}).items()]


def group(o: Object) -> str:
    """The API group of an object, empty for the core."""
    return str(o["apiVersion"]).rpartition("/")[0]


def path(o: Object) -> str:
    """The API path of an object."""
    return f"{collection(o)}/{o['metadata']['name']}"


def collection(o: Object) -> str:
    """The API path of the collection that an object is in."""
    root = f"/apis/{o['apiVersion']}" if group(o) else f"/api/{o['apiVersion']}"
    kind = o["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"
    space = o["metadata"].get("namespace")
    return f"{root}/namespaces/{space}/{plural}" if space else f"{root}/{plural}"


def _tried(missing: Callable[[], str]) -> str:
    try:
        return missing()
    except LabError as error:
        return str(error)


def _unready(declared: Object, live: Object, pods: list[Object], since: float) -> str:
    spec, status, mine = live["spec"], live.get("status", {}), chosen(pods, selector(declared))
    if declared["kind"] == "Cluster":
        wanted = int(spec["instances"])
        if status.get("phase") != "Cluster in healthy state" or status.get("readyInstances") != wanted:
            return f"{status.get('readyInstances', 0)} of {wanted} instances, {status.get('phase', 'unknown to the operator')}"
    elif declared["kind"] == "DaemonSet":
        # One on each node, and so on none before there is one.
        wanted = max(1, int(status.get("desiredNumberScheduled", 0)))
        if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
            return "not seen by its controller"
        if status.get("updatedNumberScheduled", 0) < wanted:
            return f"{status.get('updatedNumberScheduled', 0)} of {wanted} pods up to date"
    else:
        wanted = int(spec["replicas"])
        if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
            return "not seen by its controller"
        old = int(spec.get("updateStrategy", {}).get("rollingUpdate", {}).get("partition", 0))
        if status.get("updatedReplicas", 0) < wanted - old:
            return f"{status.get('updatedReplicas', 0)} of {wanted} replicas up to date"
    for pod in mine:
        state = pod_state(pod)
        if state != "Ready":
            return f"{pod['metadata']['name']} is {state}"
        if _ready_since(pod) < since - 1.5:
            return f"{pod['metadata']['name']} is Ready from before"
    return "" if len(mine) == wanted else f"{len(mine)} of {wanted} pods"


def _ready_since(pod: Object) -> float:
    at = next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return datetime.fromisoformat(at).timestamp()


def _crashing(container: Object) -> bool:
    waiting = container.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
    failed = container.get("state", {}).get("terminated", {}).get("exitCode", 0) != 0
    return (
        waiting
        or failed
        or (container.get("restartCount", 0) > 0 and not container.get("ready") and _failed_before(container))
    )


def _failed_before(container: Object) -> bool:
    return bool(container.get("lastState", {}).get("terminated", {}).get("exitCode", 0))
