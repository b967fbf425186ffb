import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from postflight.check import check
from postflight.cluster.api import Object
from postflight.cluster.kinds import AUTOSCALER, POD
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Workload, workload_id
from postflight.deployment.pods import quantity
from postflight.probes.autoscalers import (
    ABLE,
    ACTIVE,
    BY_PODS,
    LIMITED,
    SCALED,
    Autoscalers,
    Metered,
    bounds,
    condition,
    holds,
)
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: A pod is given this long until its metrics are there: two rounds of metrics-server and of the kubelet behind it.
FIRST_SAMPLES = timedelta(seconds=120)
#: An autoscaler acts on more than a tenth above its target (tolerance, Kubernetes 1.34).
TOLERANCE = 1.1
#: Turns between growing and shrinking within an hour.
FLAPS = 3
MIB = 2**20


@check(
    "autoscaling.workers",
    severity=Severity.MAJOR,
    finding="5.1",
    kinds=(AUTOSCALER,),
    remedy="install metrics-server, request what is scaled by, and set targets that are met before a pod is killed",
    blind_spots="whether the database bears the maxima (database.connections judges that); whether the thresholds are good"
    " ones; how fast it scales under load; a pod's first two minutes, in which it has no metrics yet",
)
def test_the_autoscalers_get_their_metrics_and_can_scale(
    snapshot: Snapshot, deployment: Deployment, autoscalers: Autoscalers, judge: Judge
) -> None:
    """An autoscaler without metrics looks like one that has nothing to do, until the load comes."""
    if not autoscalers.found:
        judge.absent(f"there is no HorizontalPodAutoscaler in namespace {', '.join(snapshot.namespaces)}")
        return
    workloads = {each.id: each for each in deployment.workloads}
    unmetered: list[str] = []
    for id, raw in autoscalers.found.items():
        judge.saw(id)
        namespace, target = raw["metadata"]["namespace"], raw["spec"]["scaleTargetRef"]
        workload = workloads.get(workload_id(namespace, target["kind"], target["name"]))
        if not condition(raw, ABLE):
            judge.unknown(id, f"no controller has looked at autoscaler {raw['metadata']['name']} yet")
            continue
        _size(id, raw, workload, judge)
        if workload is None:
            continue
        containers = _containers(snapshot, workload)
        counts, metered = _requests(id, raw, workload, containers, judge), autoscalers.metered.get(namespace)
        if counts and not holds(raw, ACTIVE) and not _arrive(id, raw, workload, metered, snapshot.taken, judge):
            unmetered.append(id)
        _memory(id, raw, workload, containers, judge)
        _flapping(id, raw, autoscalers.sizes.get(id, ()), judge)
    if unmetered:
        _no_metrics(autoscalers, unmetered, judge)


def _size(id: str, raw: Object, workload: Workload | None, judge: Judge) -> None:
    """That it may set the size, and that the size is within its bounds."""
    name, target = raw["metadata"]["name"], raw["spec"]["scaleTargetRef"]
    current, least, most = bounds(raw)
    able, limited = condition(raw, ABLE), condition(raw, LIMITED)
    stuck = able.get("status") == "False"
    message = f"{able.get('reason')}: {able.get('message')}" if stuck else ""
    outside = not least <= current <= most
    if outside or stuck:
        where = f"has {current} replicas, {'its minimum is' if current < least else 'its maximum is'} "
        where += str(least if current < least else most)
        judge.wrong(
            id,
            f"autoscaler {name} is stuck: {target['name']} {where}" + (", and it cannot set the size" if stuck else "")
            if outside
            else f"autoscaler {name} cannot scale {target['name']}",
            observed=f"{current} replicas; AbleToScale {able.get('status')} ({able.get('reason')})",
            expected=f"{least} to {most} replicas, and a target whose size it may set",
            cause=message or ("its target is scaled to 0, which turns it off" if not current else ""),
            remedy=f"kubectl -n {raw['metadata']['namespace']} describe hpa {name}",
            needs=(id, *((workload.id,) if workload else ())),
        )
    elif limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        judge.warn(id, f"autoscaler {name} wants more than its maximum, {most}: {limited.get('message')}")
    rules = ((raw["spec"].get("behavior") or {}).get("scaleUp") or {}).get("selectPolicy")
    if rules == "Disabled":
        judge.warn(id, f"autoscaler {name} may not scale up: its behavior says scaleUp.selectPolicy: Disabled")


def _containers(snapshot: Snapshot, workload: Workload) -> Sequence[Mapping[str, Any]]:
    """As the pods have them, with what defaults gave them; as their template says, where there is no pod."""
    raws = (snapshot.get(POD, each.namespace, each.name) for each in workload.pods)
    spec = next((each["spec"] for each in raws if each), None)
    if spec is None:
        kind = SCALED.get(workload.kind)
        made = snapshot.get(kind, workload.namespace, workload.name) if kind else None
        spec = template_of(made) if made else {}
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    return (*(spec.get("containers") or ()), *sidecars)


def _metrics(raw: Object) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Resource, target, and the only container that it is about ("" for all), of each metric of pods."""
    for each in raw["spec"].get("metrics") or ():
        if each.get("type") in BY_PODS:
            own = each.get("resource") or each.get("containerResource") or {}
            yield str(own.get("name")), own.get("target") or {}, str(own.get("container") or "")


def _requests(id: str, raw: Object, workload: Workload, containers: Sequence[Mapping[str, Any]], judge: Judge) -> bool:
    """Whether it can compute what share of a request is in use; else judge it."""
    for resource, target, only in _metrics(raw):
        if target.get("type") != "Utilization":
            continue
        among = [each for each in containers if only in ("", each["name"])]
        bare = [each["name"] for each in among if resource not in ((each.get("resources") or {}).get("requests") or {})]
        if bare:
            message = condition(raw, ACTIVE).get("message")
            judge.wrong(
                id,
                f"autoscaler {raw['metadata']['name']} cannot count: container {several(bare)} of {workload.name} requests"
                f" no {resource}",
                observed=f"ScalingActive {condition(raw, ACTIVE).get('status')}: {message}",
                expected=f"a request of {resource} in every container: its target is a percentage of that",
                cause=f"no resources.requests.{resource} in {workload.name}",
                remedy=f"set resources.requests.{resource} in every container of {workload.name}",
            )
            return False
    return True


def _arrive(id: str, raw: Object, workload: Workload, metered: Metered | None, now: datetime, judge: Judge) -> bool:
    """Judge one that is not active though it could count. Returns False where no metrics are served at all."""
    active = condition(raw, ACTIVE)
    name, message = raw["metadata"]["name"], f"{active.get('reason')}: {active.get('message')}"
    if not bounds(raw)[0] and active.get("reason") == "ScalingDisabled":
        return True
    if metered and metered.unasked:
        judge.unknown(id, f"why autoscaler {name} has no metrics was not seen: {metered.problem} ({message})")
        return True
    if metered and (metered.problem or not metered.pods):
        return False
    settled = [each for each in workload.pods if each.ready and _age(each, now) > FIRST_SAMPLES]
    if metered and not settled:
        # A pod that is not up, or not for long, has no metrics anywhere; that of others arrive was seen.
        return True
    judge.wrong(
        id,
        f"autoscaler {name} does not scale: {message}",
        observed=f"metrics of {len(metered.pods)} pods are served" if metered else "",
        expected="ScalingActive: it computes a size from its metrics",
        remedy=f"kubectl -n {raw['metadata']['namespace']} describe hpa {name}",
    )
    return True


def _age(pod: Pod, now: datetime) -> timedelta:
    began = [each.started for each in pod.containers if each.started]
    return now - max(began) if began else timedelta(0)


def _no_metrics(autoscalers: Autoscalers, unmetered: Sequence[str], judge: Judge) -> None:
    """Once for all that wait for them."""
    first = autoscalers.found[unmetered[0]]
    metered = autoscalers.metered[first["metadata"]["namespace"]]
    names = several(autoscalers.found[each]["metadata"]["name"] for each in unmetered)
    judge.wrong(
        unmetered[0],
        f"no metrics of pods arrive: {names} cannot scale",
        observed=metered.problem or "metrics.k8s.io answers, and has no pod's metrics",
        expected="the API metrics.k8s.io serves CPU and memory of the pods",
        cause="metrics-server is not installed, or does not answer, or reaches no kubelet",
        remedy="kubectl get apiservice v1beta1.metrics.k8s.io says what it lacks; install metrics-server",
        evidence=(str(condition(first, ACTIVE).get("message")),),
    )


def _memory(id: str, raw: Object, workload: Workload, containers: Sequence[Mapping[str, Any]], judge: Judge) -> None:
    """It must grow before the kernel kills: a pod over its limit is ended, not scaled."""
    for resource, target, only in _metrics(raw):
        among = [each for each in containers if only in ("", each["name"])]
        if resource != "memory" or not among:
            continue
        requested = [_of(each, "requests") for each in among]
        limits = [_of(each, "limits") for each in among]
        known = [each for each in limits if each]
        fires = quantity(target.get("averageValue")) or 0
        if target.get("type") == "Utilization":
            fires = sum(each or 0 for each in requested) * int(target.get("averageUtilization") or 0) // 100
        if not fires or len(known) < len(limits) or fires * TOLERANCE < sum(known):
            continue
        judge.wrong(
            id,
            f"autoscaler {raw['metadata']['name']} would add pods at {fires * TOLERANCE / MIB:.0f} MiB of memory, a pod of"
            f" {workload.name} is killed at {sum(known) / MIB:.0f} MiB",
            observed=f"memory target {fires / MIB:.0f} MiB for each pod, limit {sum(known) / MIB:.0f} MiB; it acts a tenth"
            " above its target",
            expected="a memory target well below the limit",
            cause=f"averageUtilization {target.get('averageUtilization')} is of the request, {sum(filter(None, requested)) / MIB:.0f} MiB"
            if target.get("type") == "Utilization"
            else f"averageValue {target.get('averageValue')}",
            remedy=f"lower the memory target of {raw['metadata']['name']}, or raise the limit of {workload.name}",
        )


def _of(container: Mapping[str, Any], which: str) -> int | None:
    return quantity(((container.get("resources") or {}).get(which) or {}).get("memory"))


def _flapping(id: str, raw: Object, sizes: Sequence[int], judge: Judge) -> None:
    steps = [b - a for a, b in itertools.pairwise(sizes) if a != b]
    turns = sum((a > 0) != (b > 0) for a, b in itertools.pairwise(steps))
    if turns >= FLAPS:
        judge.warn(
            id,
            f"autoscaler {raw['metadata']['name']} flaps: {turns} turns between growing and shrinking within an hour",
            observed=f"sizes {', '.join(map(str, sizes))}",
            expected="a size that follows the load, not its own last step",
            remedy="behavior.scaleDown.stabilizationWindowSeconds, or a target further from what an idle pod uses",
        )
