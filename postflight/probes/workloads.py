"""What containers that do not run have to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Container, Pod
from postflight.limits import Limit
from postflight.probes.probe import Right, probe

LINES = 40
KEPT = 6
MOST = 24


@probe(limit=Limit.KUBERNETES, helped_by=(Right("get", "pods/log"),))
def last_words(api: Api, deployment: Deployment) -> Mapping[str, tuple[str, ...]]:
    """The last log lines of containers that are not ready, by pod id.

    A container between two crashes has said its last words in its previous life.
    """
    silent = [(pod, each) for pod in deployment.pods.values() for each in troubled(pod)][:MOST]

    def reader(pod: Pod, container: Container) -> Callable[[], tuple[str, ...]]:
        return lambda: _tail(api, pod, container)

    answers = in_threads([reader(*each) for each in silent], Limit.REQUEST)
    said: dict[str, tuple[str, ...]] = {}
    for (pod, _), answer in zip(silent, answers, strict=True):
        if answer.exception() is None:
            said[pod.id] = (*said.get(pod.id, ()), *answer.result())
    return said


def troubled(pod: Pod) -> list[Container]:
    """The containers that keep a pod from being Ready: first those that must end before the others start."""
    if pod.ready or pod.phase == "Succeeded":
        return []
    first = [each for each in pod.init if not each.sidecar]
    unfinished = [each for each in first if each.running or each.last_exit not in (0, None)]
    lasting = (*(each for each in pod.init if each.sidecar), *pod.containers)
    return unfinished or [each for each in lasting if not each.ready]


def _tail(api: Api, pod: Pod, container: Container) -> tuple[str, ...]:
    path = POD.path(pod.namespace, pod.name, "log")
    lines: list[str] = []
    for previous in ("true", "false") if container.restarts else ("false",):
        try:
            lines = api.log(path, container=container.name, previous=previous, tailLines=str(LINES))
        except ApiError:
            continue
        if lines:
            break
    return tuple(lines[-KEPT:])
