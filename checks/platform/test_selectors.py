from collections.abc import Mapping
from typing import Any

from postflight.check import check
from postflight.cluster.api import Object
from postflight.cluster.kinds import AUTOSCALER, BUDGET, DEPLOYMENT, POD, POLICY, SERVICE, SERVICE_MONITOR, STATEFUL_SET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import selections
from postflight.deployment.labels import selects
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side
from postflight.probes.looks import Looks
from postflight.probes.probe import NotTried
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

SHOWN = 3


@check(
    "platform.selectors",
    severity=Severity.MAJOR,
    kinds=(AUTOSCALER, BUDGET, POLICY, SERVICE_MONITOR),
    remedy="compare the selector with the labels of the pods that are meant: kubectl get pods --show-labels",
    blind_spots="a selector that leads to other pods than were meant, of one side; what NetworkPolicies allow, and whom:"
    " a policy over both sides may be meant so; a ServiceMonitor that finds nothing is told of by platform.monitoring, a"
    " budget without pods by availability.budgets, a Service of LI's Synapse that leads to main by li.identity",
)
def test_whatever_selects_pods_finds_some_of_one_side_that_listen(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    pod_looks: Looks | NotTried,
    judge: Judge,
) -> None:
    """A label that is spelled differently is no error to Kubernetes: a budget, a policy or a Service then holds for nobody,
    and nobody is told. One that is told too little of a label takes LI's pods for main's."""
    looks = Looks({}, {}) if isinstance(pod_looks, NotTried) else pod_looks
    unseen: dict[str, None] = {}
    for service in snapshot.all(SERVICE):
        selector = selections.of_service(service)
        if selector is None or _name(service) == settings.canary.service:
            continue
        pods = _selected("Service", service, selector, deployment, snapshot, judge)
        if not _is_of_synapse(deployment, pods):
            _sides("Service", service, pods, deployment, judge)
        _ports(service, pods, snapshot, looks, unseen, judge)
    for budget in snapshot.all(BUDGET):
        judge.saw(_id("budget", budget))
        pods = selections.pods_of(deployment, budget["metadata"]["namespace"], budget["spec"].get("selector"))
        _sides("budget", budget, pods, deployment, judge)
    for policy in snapshot.all(POLICY):
        if selector := policy["spec"].get("podSelector"):
            _selected("NetworkPolicy", policy, selector, deployment, snapshot, judge)
    for autoscaler in snapshot.all(AUTOSCALER):
        _target(autoscaler, snapshot, judge)
    for monitor in snapshot.all(SERVICE_MONITOR):
        _monitored(monitor, snapshot, judge)
    if unseen:
        why = f": {pod_looks.reason}" if isinstance(pod_looks, NotTried) else ""
        judge.unproven(
            "ports",
            f"whether anybody listens at {several(unseen, SHOWN)} was not seen{why}",
            observed="; ".join(dict.fromkeys(looks.unseen.values())),
        )


def _name(each: Object) -> str:
    return str(each["metadata"]["name"])


def _id(words: str, each: Object) -> str:
    return f"{words.lower()}/{each['metadata']['namespace']}/{_name(each)}"


def _selected(
    words: str,
    each: Object,
    selector: Mapping[str, Any] | None,
    deployment: Deployment,
    snapshot: Snapshot,
    judge: Judge,
) -> tuple[Pod, ...]:
    namespace = each["metadata"]["namespace"]
    pods = selections.pods_of(deployment, namespace, selector)
    judge.saw(_id(words, each))
    made = selections.would_select(snapshot, deployment, namespace, selector)
    if pods or made or selections.is_operated(each):
        return pods
    judge.wrong(
        _id(words, each),
        f"{words} {_name(each)} selects nothing: no pod and no workload has {_said(selector)}",
        observed=f"selector {_said(selector)}",
        expected=f"{words} {_name(each)} selects pods in namespace {namespace}",
        cause="a label is spelled differently, or what it was for is gone",
        remedy=f"correct the selector of {words} {_name(each)} in namespace {namespace}, or remove it",
    )
    return ()


def _said(selector: Mapping[str, Any] | None) -> str:
    if selector is None:
        return "no selector at all"
    said = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        said.append(" ".join((each["key"], each["operator"], ",".join(each.get("values") or ()))).strip())
    return ", ".join(said)


def _is_of_synapse(deployment: Deployment, pods: tuple[Pod, ...]) -> bool:
    """Whether Synapse of both sides is among them: li.identity tells of that."""
    found = {each.side for each in deployment.synapse if each.pod in pods}
    return len(found) > 1


def _sides(words: str, each: Object, pods: tuple[Pod, ...], deployment: Deployment, judge: Judge) -> None:
    found = selections.sides(deployment, pods)
    if len(found) < 2:
        return
    mains, others = (several((pod.name for pod in found[side]), SHOWN) for side in (Side.MAIN, Side.LI))
    judge.wrong(
        _id(words, each),
        f"{words} {_name(each)} selects pods of main and of LI: {mains}; {others}",
        observed=f"main's {mains}; LI's {others}",
        expected="one of its own for either side",
        cause=f"the selector of {words} {_name(each)} does not tell LI's pods from main's",
        remedy=f"add the label that tells them apart (matrix.instance) to the selector of {words} {_name(each)}",
    )


def _ports(
    service: Object,
    pods: tuple[Pod, ...],
    snapshot: Snapshot,
    looks: Looks,
    unseen: dict[str, None],
    judge: Judge,
) -> None:
    for port in service["spec"].get("ports") or ():
        protocol, deaf = port.get("protocol") or "TCP", []
        for pod in (each for each in pods if each.ready):
            raw = snapshot.get(POD, pod.namespace, pod.name)
            number = selections.target(port, raw) if raw else None
            look = looks.seen.get(pod.id)
            heard = look.listens(number, protocol) if look and number else None
            if raw and number is None:
                deaf.append(f"{pod.name} has no port called {port.get('targetPort')}")
            elif heard is False:
                deaf.append(f"nothing in {pod.name} listens at {protocol} port {number}")
            elif heard is None and not (raw and number and protocol == "TCP" and selections.is_asked(raw, number)):
                unseen[f"port {number} of {pod.name}"] = None
        if deaf:
            named = f"{port['name']} ({port['port']})" if port.get("name") else f"{port['port']}"
            judge.wrong(
                _id("Service", service),
                f"port {named} of Service {_name(service)} leads to nobody: {several(deaf)}",
                observed="; ".join(deaf),
                expected=f"every ready pod of Service {_name(service)} listens there, beyond its own loopback",
                cause="the port is another one, or what listened there is not configured any more",
                remedy=f"correct targetPort of Service {_name(service)}, or remove the port",
            )


def _target(autoscaler: Object, snapshot: Snapshot, judge: Judge) -> None:
    reference, namespace = autoscaler["spec"]["scaleTargetRef"], autoscaler["metadata"]["namespace"]
    judge.saw(_id("HorizontalPodAutoscaler", autoscaler))
    kind = next((each for each in (DEPLOYMENT, STATEFUL_SET) if each.name == reference["kind"]), None)
    if kind and not snapshot.get(kind, namespace, reference["name"]):
        judge.wrong(
            _id("HorizontalPodAutoscaler", autoscaler),
            f"HorizontalPodAutoscaler {_name(autoscaler)} scales {kind.name} {reference['name']}, which does not exist",
            expected=f"{kind.name} {reference['name']} in namespace {namespace}",
            remedy=f"correct scaleTargetRef of HorizontalPodAutoscaler {_name(autoscaler)}, or remove it",
        )


def _monitored(monitor: Object, snapshot: Snapshot, judge: Judge) -> None:
    """Whether it takes LI's numbers for main's: by the labels of the Services that it finds."""
    spec, own = monitor["spec"], monitor["metadata"]["namespace"]
    spaces = spec.get("namespaceSelector") or {}
    wanted = snapshot.namespaces if spaces.get("any") else spaces.get("matchNames") or (own,)
    judge.saw(_id("ServiceMonitor", monitor))
    found: dict[Side, str] = {}
    for service in snapshot.all(SERVICE):
        labels = service["metadata"].get("labels") or {}
        here = service["metadata"]["namespace"] in wanted and selects(spec.get("selector"), labels)
        if here and (side := selections.side_by(labels)):
            found.setdefault(side, _name(service))
    if len(found) > 1:
        judge.wrong(
            _id("ServiceMonitor", monitor),
            f"ServiceMonitor {_name(monitor)} selects Services of main and of LI: {found[Side.MAIN]}, {found[Side.LI]}",
            expected="one of its own for either side",
            remedy=f"add the label that tells them apart (matrix.instance) to the selector of {_name(monitor)}",
        )
