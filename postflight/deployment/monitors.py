"""What prometheus-operator is told to scrape, and what its rules ask for.

Source: prometheus-operator, Documentation/api-reference/api.md (monitoring.coreos.com/v1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from postflight.cluster.api import Object
from postflight.cluster.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    POD,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SERVICE,
    SERVICE_MONITOR,
    STATEFUL_SET,
    Kind,
)
from postflight.cluster.references import template_of
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Pod, pod_id
from postflight.deployment.promql import asked_for
from postflight.deployment.services import SERVICE_LABEL

KINDS = (SERVICE_MONITOR, POD_MONITOR, PROMETHEUS_RULE)
PATH = "/metrics"
#: What is labelled so is made by CloudNativePG's operator, from no template that anybody could look at.
OPERATED = "cnpg.io/"
#: Fields of an endpoint by which Prometheus shows who it is.
CREDENTIALS = ("basicAuth", "authorization", "bearerTokenSecret", "bearerTokenFile", "oauth2")


@dataclass(frozen=True, slots=True)
class Target:
    """An address that a monitor has scraped. ``ready``: its pod takes requests; ``secured``: with credentials."""

    pod: Pod
    port: int
    path: str
    tls: bool
    ready: bool
    secured: bool = False

    @property
    def where(self) -> tuple[str, int, str, bool]:
        """What two monitors may have in common."""
        return self.pod.id, self.port, self.path, self.tls


@dataclass(frozen=True, slots=True)
class Monitor:
    """A ServiceMonitor or PodMonitor. ``problem`` says why it, or one of its endpoints, leads to nothing; ``elsewhere``
    are namespaces that it looks for targets in and which are not in the picture ("" where it means all there are);
    ``waits``: what it selects is to come, by a workload or an operator, and no pod of it is there."""

    id: str
    kind: str
    namespace: str
    name: str
    targets: tuple[Target, ...]
    problem: str = ""
    elsewhere: tuple[str, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a PrometheusRule, ``id``; ``name`` is the alert's or what is recorded."""

    id: str
    of: str
    name: str
    names: tuple[str, ...]
    either: bool
    recorded: bool


def monitors_of(snapshot: Snapshot, pods: Mapping[str, Pod]) -> tuple[Monitor, ...]:
    """All of them, each followed to the pods that it selects."""
    found = [_service_monitor(raw, snapshot, pods) for raw in snapshot.all(SERVICE_MONITOR)]
    return (*found, *(_pod_monitor(raw, snapshot, pods) for raw in snapshot.all(POD_MONITOR)))


def rules_of(snapshot: Snapshot) -> tuple[Rule, ...]:
    return tuple(_rules(snapshot))


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector of Kubernetes selects who has these labels; an empty one selects all."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for each in selector.get("matchExpressions") or ():
        value, among = labels.get(each["key"]), each.get("values") or ()
        held = {
            "In": value in among,
            "NotIn": value not in among,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not held.get(each["operator"], False):
            return False
    return True


def _rules(snapshot: Snapshot) -> Iterator[Rule]:
    for raw in snapshot.all(PROMETHEUS_RULE):
        for group in raw["spec"].get("groups") or ():
            for each in group.get("rules") or ():
                name = str(each.get("record") or each.get("alert") or "?")
                asked = asked_for(str(each.get("expr") or ""))
                of = str(raw["metadata"]["name"])
                yield Rule(_id(raw), of, name, asked.names, asked.either, recorded=bool(each.get("record")))


def _service_monitor(raw: Object, snapshot: Snapshot, pods: Mapping[str, Pod]) -> Monitor:
    spec = raw["spec"]
    inside, elsewhere = _namespaces(raw, snapshot)
    selector = spec.get("selector") or {}
    services = [each for where in inside for each in snapshot.all(SERVICE, where) if matches(selector, _labels(each))]
    if not services:
        problem = f"no Service has the labels {_told(selector)}{_nearest(selector, snapshot, inside, SERVICE)}"
        return _monitor(raw, (), problem, elsewhere)
    targets: list[Target] = []
    problems: list[str] = []
    waits = False
    for endpoint in spec.get("endpoints") or ():
        name, number = endpoint.get("port"), endpoint.get("targetPort")
        fitting = [each for each in services if number or _has_port(each, str(name))]
        if not fitting:
            names = ", ".join(sorted({each["metadata"]["name"] for each in services}))
            problems.append(f"no port of Service {names} is called {name}")
            continue
        own = [found for each in fitting for found in _behind(each, endpoint, snapshot, pods)]
        targets += own
        coming = not own and any(_made(each["spec"].get("selector") or {}, each, snapshot) for each in fitting)
        waits |= coming
        if not own and not coming:
            problems.append(f"Service {fitting[0]['metadata']['name']} selects no pod")
    return _monitor(raw, targets, "; ".join(dict.fromkeys(problems)), elsewhere, waits)


def _behind(
    service: Object, endpoint: Mapping[str, Any], snapshot: Snapshot, pods: Mapping[str, Pod]
) -> Iterator[Target]:
    """The pods behind a Service, ready or not, at the port that an endpoint names."""
    meta = service["metadata"]
    for piece in snapshot.all(ENDPOINT_SLICE, meta["namespace"]):
        if (piece["metadata"].get("labels") or {}).get(SERVICE_LABEL) != meta["name"]:
            continue
        ports = {str(each.get("name") or ""): each.get("port") for each in piece.get("ports") or ()}
        for each in piece.get("endpoints") or ():
            ref = each.get("targetRef") or {}
            pod = pods.get(pod_id(meta["namespace"], str(ref.get("name")))) if ref.get("kind") == POD.name else None
            target = endpoint.get("targetPort")
            if pod is None:
                continue
            port = _port_of(snapshot, pod, target) if target else ports.get(str(endpoint.get("port") or ""))
            if port:
                yield _target(pod, int(port), endpoint)


def _pod_monitor(raw: Object, snapshot: Snapshot, pods: Mapping[str, Pod]) -> Monitor:
    spec = raw["spec"]
    inside, elsewhere = _namespaces(raw, snapshot)
    selector = spec.get("selector") or {}
    chosen = [pod for pod in pods.values() if pod.namespace in inside and matches(selector, pod.labels)]
    if not chosen:
        templates = [labels for where in inside for labels in _templates(snapshot, where)]
        operated = any(OPERATED in key for key in selector.get("matchLabels") or {})
        if operated or any(matches(selector, labels) for labels in templates):
            return _monitor(raw, (), "", elsewhere, waits=True)
        problem = f"no pod has the labels {_told(selector)}{_nearest(selector, snapshot, inside, POD)}"
        return _monitor(raw, (), problem, elsewhere)
    targets: list[Target] = []
    problems: list[str] = []
    for endpoint in spec.get("podMetricsEndpoints") or ():
        wanted = endpoint.get("portNumber") or endpoint.get("port") or endpoint.get("targetPort")
        own = [_target(pod, port, endpoint) for pod in chosen if (port := _port_of(snapshot, pod, wanted)) is not None]
        targets += own
        if not own:
            problems.append(f"no container of {chosen[0].name} has a port called {wanted}")
    return _monitor(raw, targets, "; ".join(dict.fromkeys(problems)), elsewhere)


def _target(pod: Pod, port: int, endpoint: Mapping[str, Any]) -> Target:
    params = urlencode(dict(endpoint.get("params") or {}), doseq=True)
    path = str(endpoint.get("path") or PATH) + (f"?{params}" if params else "")
    tls = endpoint.get("tlsConfig") or {}
    secured = any(endpoint.get(word) for word in CREDENTIALS) or bool(tls.get("keySecret") or tls.get("keyFile"))
    return Target(pod, port, path, str(endpoint.get("scheme") or "http").lower() == "https", pod.ready, secured)


def _monitor(
    raw: Object, targets: Sequence[Target], problem: str, elsewhere: tuple[str, ...], waits: bool = False
) -> Monitor:
    meta = raw["metadata"]
    # Several Services may lead to one pod.
    own = tuple({each.where: each for each in targets}.values())
    return Monitor(_id(raw), raw["kind"], meta["namespace"], meta["name"], own, problem, elsewhere, waits)


def _namespaces(raw: Object, snapshot: Snapshot) -> tuple[list[str], tuple[str, ...]]:
    """Those in the picture that a monitor looks for its targets in, and those that are not."""
    chosen = raw["spec"].get("namespaceSelector") or {}
    if chosen.get("any"):
        return list(snapshot.namespaces), ("",)
    names = chosen.get("matchNames") or [raw["metadata"]["namespace"]]
    inside = [each for each in names if each in snapshot.namespaces]
    return inside, tuple(each for each in names if each not in inside)


def _has_port(service: Object, name: str) -> bool:
    return any(str(each.get("name") or "") == name for each in service["spec"].get("ports") or ())


def _port_of(snapshot: Snapshot, pod: Pod, wanted: Any) -> int | None:
    """A port of a pod's containers by its name; a number stands for itself."""
    if isinstance(wanted, int) or str(wanted).isdigit():
        return int(wanted)
    spec = (snapshot.get(POD, pod.namespace, pod.name) or {}).get("spec") or {}
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    ports = [port for each in containers for port in each.get("ports") or ()]
    return next((int(each["containerPort"]) for each in ports if each.get("name") == wanted), None)


def _made(selector: Mapping[str, str], service: Object, snapshot: Snapshot) -> bool:
    """Whether a workload makes pods that a Service selects: they may just be down."""
    templates = _templates(snapshot, service["metadata"]["namespace"])
    return bool(selector) and any(selector.items() <= labels.items() for labels in templates)


def _templates(snapshot: Snapshot, namespace: str) -> Iterator[Mapping[str, str]]:
    for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET):
        for raw in snapshot.all(kind, namespace):
            if template_of(raw):
                yield (raw["spec"]["template"].get("metadata") or {}).get("labels") or {}


def _nearest(selector: Mapping[str, Any], snapshot: Snapshot, namespaces: Sequence[str], kind: Kind) -> str:
    """Which of the labels nobody has at all, and what else stands under its key."""
    everyone = [_labels(each) for where in namespaces for each in snapshot.all(kind, where)]
    for key, value in (selector.get("matchLabels") or {}).items():
        values = sorted({labels[key] for labels in everyone if key in labels})
        if value not in values:
            return f": none has {key}={value}, there is {', '.join(values[:5]) or 'no such label'}"
    return ""


def _told(selector: Mapping[str, Any]) -> str:
    told = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        told.append(" ".join((each["key"], each["operator"], ",".join(each.get("values") or ()))).strip())
    return ", ".join(told) or "(any)"


def _labels(raw: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = raw["metadata"].get("labels") or {}
    return found


def _id(raw: Object) -> str:
    meta = raw["metadata"]
    return f"{str(raw['kind']).lower()}/{meta['namespace']}/{meta['name']}"
