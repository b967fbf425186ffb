"""What can be asked of a running lab, and done in it: the steps that a defect's description is made of."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError
from lab.readiness import CONTROLLERS, Object, chosen, pod_state, unready, wait

Step = dict[str, Any]
# Seconds for which an action is repeated at most.
REPEAT_TIMEOUT = 180.0

ASK = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
connection.request("GET", sys.argv[3])
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode(errors="replace"))
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A lab and the deployment in it, as it is declared at the moment."""

    cluster: Cluster
    objects: list[Object]

    @property
    def namespace(self) -> str:
        """The deployment's own: where most of its StatefulSets stand."""
        found = Counter(o["metadata"]["namespace"] for o in self.objects if o["kind"] == "StatefulSet")
        return str(found.most_common(1)[0][0])

    def pods(self, value: Step) -> list[Object]:
        """The pods that a step names by `labels` or `pod`; those on their way out are left out."""
        pods = self.cluster.get(f"/api/v1/namespaces/{value.get('namespace', self.namespace)}/pods")["items"]
        found = chosen(pods, value["labels"]) if "labels" in value else _named(pods, value["pod"])
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def steps(given: Any, known: Mapping[str, object], where: str) -> list[Step]:
    """The steps that a file lists, each of a known kind. Raises LabError that names a wrong one."""
    for step in given or []:
        if not isinstance(step, dict) or len(step) != 1 or next(iter(step)) not in known:
            raise LabError(f"{where}: {json.dumps(step)} is none of {', '.join(known)}")
        if again := step.get("repeat"):
            steps(again["do"], ACTIONS, where)
            steps(again["until"], CONDITIONS, where)
    return list(given or [])


def missing(scene: Scene, conditions: Iterable[Step]) -> str:
    """The first condition that does not hold and what was seen instead, or an empty string. Conditions only look."""
    for step in conditions:
        ((kind, value),) = step.items()
        if text := CONDITIONS[kind](scene, value):
            return text
    return ""


def perform(scene: Scene, actions: Iterable[Step]) -> None:
    """Does each action. Raises LabError with the first refusal."""
    for step in actions:
        ((kind, value),) = step.items()
        ACTIONS[kind](scene, value)


def _pods(scene: Scene, value: Step) -> str:
    """pods: {labels | pod, state, count}: so many (all of at least one, if no count is given) are in that state."""
    states = {p["metadata"]["name"]: pod_state(p) for p in scene.pods(value)}
    fitting = sum(state == value.get("state", state) for state in states.values())
    enough = fitting == value["count"] if "count" in value else states and fitting == len(states)
    wanted = " ".join(str(value[word]) for word in ("count", "state") if word in value)
    return "" if enough else f"wanted {wanted}, seen {states or 'no pod'}"


def _ready(scene: Scene, value: dict[str, str]) -> str:
    """ready: {label: value}: every workload whose pods carry these labels is as declared now, with all its pods."""
    mine = _workloads(scene, value)
    return unready(scene.cluster, mine) if mine else f"no workload has {value}"


def _get(scene: Scene, value: Step) -> str:
    """get: {path, field, is}: a field of what the API server answers. In a list, a part of the dotted path is a name or type."""
    found: Any = scene.cluster.get(value["path"].replace("NAMESPACE", scene.namespace))
    for part in value["field"].split("."):
        if isinstance(found, list):
            found = next((x for x in found if part in (x.get("name"), x.get("type"))), None)
        else:
            found = (found or {}).get(part)
    return "" if found == value["is"] else f"{value['path']}: {value['field']} is {found!r}, not yet {value['is']!r}"


def _answers(scene: Scene, value: Step) -> str:
    """answers: {labels | pod, port, path, status, text}: each such pod's HTTP answer, asked from its node, matches."""
    for pod in scene.pods(value):
        name, status, text = pod["metadata"]["name"], *_asked(scene, pod, value)
        if status != value.get("status", 200) or not re.search(value["text"], text):
            return f"{name} answers {value['path']} with {status}, not yet with {value['text']!r}"
    return ""


def _asked(scene: Scene, pod: Object, value: Step) -> tuple[int, str]:
    """From where the kubelet asks: policies let that pass, and the API server of another node they need not."""
    where = (str(pod["status"].get("podIP", "")), str(value["port"]), value["path"])
    node = int(pod["spec"]["nodeName"].removeprefix("node"))
    status, _, text = scene.cluster.exec_in_node([sys.executable, "-Ic", ASK, *where], node).partition("\n")
    return int(status), text


def _says(scene: Scene, value: Step) -> str:
    """says: {labels | pod, container, run, text}: a shell command in each such pod prints text that matches."""
    for pod, out in _run(scene, value).items():
        if not re.search(value["text"], out):
            return f"{pod} says {' '.join(out.split())[:200]!r}, not yet {value['text']!r}"
    return ""


def _exec(scene: Scene, value: Step) -> None:
    """exec: {labels | pod, container, run}: a shell command in each such pod, once they are Ready."""
    workloads = _workloads(scene, value.get("labels", {}))
    wait(lambda: unready(scene.cluster, workloads) or _pods(scene, {**value, "state": "Ready"}), 120)
    _run(scene, value)


def _run(scene: Scene, value: Step) -> dict[str, str]:
    names = [pod["metadata"]["name"] for pod in scene.pods(value)]
    if not names:
        raise LabError(f"no pod is {value.get('labels', value.get('pod'))}")
    argv = ["-c", value["container"], "--", "sh", "-ec", value["run"]]
    space = value.get("namespace", scene.namespace)
    with ThreadPoolExecutor() as pool:
        said = pool.map(lambda name: scene.cluster.kubectl("exec", "-n", space, name, *argv), names)
        return dict(zip(names, said, strict=True))


def _restart(scene: Scene, value: Step) -> None:
    """restart: {labels | pod}: ends these pods, at once."""
    for pod in scene.pods(value):
        name = pod["metadata"]["name"]
        scene.cluster.kubectl("delete", "pod", name, "-n", scene.namespace, "--grace-period=1", "--wait=false")


def _touch(scene: Scene, value: Step) -> None:
    """touch: {secret}: a new version of a Secret with the same content, for whoever watches it."""
    note = f"postflight.lab/touched={time.time():.3f}"
    scene.cluster.kubectl("annotate", "secret", value["secret"], "-n", scene.namespace, "--overwrite", note)


def _kubectl(scene: Scene, value: list[str]) -> None:
    """kubectl: [arguments]: anything else."""
    scene.cluster.kubectl(*value)


def _repeat(scene: Scene, value: dict[str, list[Step]]) -> None:
    """repeat: {do: [actions], until: [conditions]}: the actions, then a look, and again until all the conditions hold."""

    def done() -> str:
        perform(scene, value["do"])
        return missing(scene, value["until"])

    wait(done, REPEAT_TIMEOUT, "what is repeated does not help")


def _workloads(scene: Scene, labels: dict[str, str]) -> list[Object]:
    declared = [o for o in scene.objects if o["kind"] in CONTROLLERS]
    return [o for o in declared if labels and chosen([o["spec"]["template"]], labels)]


def _named(pods: list[Object], name: str) -> list[Object]:
    return [pod for pod in pods if pod["metadata"]["name"] == name]


CONDITIONS: dict[str, Callable[[Scene, Any], str]] = {
    "pods": _pods,
    "ready": _ready,
    "get": _get,
    "answers": _answers,
    "says": _says,
}
ACTIONS: dict[str, Callable[[Scene, Any], None]] = {
    "exec": _exec,
    "restart": _restart,
    "touch": _touch,
    "kubectl": _kubectl,
    "repeat": _repeat,
}
