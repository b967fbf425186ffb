"""The autoscalers as they are now, whether the metrics that they scale by arrive, and what they did in the last hour.

Source: pkg/controller/podautoscaler of Kubernetes 1.34 (a look every 15 s by default, conditions, events SuccessfulRescale).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import AUTOSCALER, DEPLOYMENT, EVENT, STATEFUL_SET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.pods import instant
from postflight.limits import Limit
from postflight.probes.probe import Right, Unseen, probe

METRICS = "/apis/metrics.k8s.io/v1beta1"
METERED = Right("list", "pods", "metrics.k8s.io")
#: What it is called where metrics of pods are the source.
BY_PODS = ("Resource", "ContainerResource")
#: What an autoscaler scales here, by kind.
SCALED = {each.name: each for each in (DEPLOYMENT, STATEFUL_SET)}
ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
RESCALED = "SuccessfulRescale"
SIZE = re.compile(r"New size: (\d+)")
HOUR = timedelta(hours=1)
#: Who is without metrics for longer has lost more than one round, of its own and of metrics-server's.
ROUNDS = timedelta(seconds=45)
#: Seconds: whoever is without is given one more look of its own. Metrics may have come since its last.
LOOK = 18.0
PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Metered:
    """The pods of a namespace that metrics are there of; ``problem`` says why nobody knows, ``unasked``: for want of a
    right."""

    pods: frozenset[str] = frozenset()
    problem: str = ""
    unasked: bool = False


@dataclass(frozen=True, slots=True)
class Autoscalers:
    """``found`` are the raw objects, by their id; ``metered`` is by namespace, for those where an autoscaler that goes by
    metrics of pods is not active; ``sizes`` are those that each set within the last hour, in turn."""

    found: Mapping[str, Object]
    metered: Mapping[str, Metered] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@probe(limit=Limit.AUTOSCALING, helped_by=(METERED,))
def autoscalers(snapshot: Snapshot, api: Api) -> Autoscalers:
    """Wait until each autoscaler has looked at its target and got its metrics, and ask for metrics where one has none."""
    if why := snapshot.why_unseen(AUTOSCALER):
        raise Unseen(why)
    began = time.monotonic()
    deadline = began + Limit.AUTOSCALING - Limit.REQUEST
    found = _by_id(snapshot.all(AUTOSCALER))
    try:
        while _waits(found, snapshot, api.now(), time.monotonic() - began) and time.monotonic() + PAUSE < deadline:
            time.sleep(PAUSE)
            found = _read(api, snapshot.namespaces)
        if not found:
            return Autoscalers({})
        sizes = _sizes(api, {each["metadata"]["namespace"] for each in found.values()})
    except ApiError as error:
        raise Unseen(str(error)) from error
    without = {each["metadata"]["namespace"] for each in found.values() if not _has_metrics(each)}
    return Autoscalers(found, {namespace: _metered(api, namespace) for namespace in sorted(without)}, sizes)


def condition(raw: Object, name: str) -> Mapping[str, Any]:
    """One of its conditions; empty where its controller has not said it."""
    listed = (raw.get("status") or {}).get("conditions") or ()
    return next((each for each in listed if each.get("type") == name), {})


def holds(raw: Object, name: str) -> bool:
    return condition(raw, name).get("status") == "True"


def bounds(raw: Object) -> tuple[int, int, int]:
    """How many replicas there were when it last looked, its minimum and its maximum."""
    spec, status = raw["spec"], raw.get("status") or {}
    least = spec.get("minReplicas")
    return int(status.get("currentReplicas") or 0), 1 if least is None else int(least), int(spec["maxReplicas"])


def settled(raw: Object) -> bool:
    """Whether it has looked at its target, and has no size to correct that it can."""
    current, least, most = bounds(raw)
    able = condition(raw, ABLE)
    return bool(able) and (least <= current <= most or able.get("status") == "False")


def _waits(found: Mapping[str, Object], snapshot: Snapshot, now: datetime, waited: float) -> bool:
    """Whether one has not settled, or is without metrics and has not looked again, or only lost a round."""
    for raw in found.values():
        since = instant(condition(raw, ACTIVE).get("lastTransitionTime"))
        due = waited < LOOK or (since is not None and now - since < ROUNDS)
        if not settled(raw) or (due and not _has_metrics(raw) and _is_up(raw, snapshot)):
            return True
    return False


def _is_up(raw: Object, snapshot: Snapshot) -> bool:
    """Whether its target has pods that metrics could be there of."""
    target = raw["spec"]["scaleTargetRef"]
    kind = SCALED.get(target["kind"])
    made = snapshot.get(kind, raw["metadata"]["namespace"], target["name"]) if kind else None
    return made is not None and bool((made.get("status") or {}).get("readyReplicas"))


def _has_metrics(raw: Object) -> bool:
    """Also where it goes by none of pods."""
    by_pods = any(each.get("type") in BY_PODS for each in raw["spec"].get("metrics") or ())
    return not by_pods or holds(raw, ACTIVE)


def _read(api: Api, namespaces: Sequence[str]) -> dict[str, Object]:
    return _by_id(each for namespace in namespaces for each in api.list_all(AUTOSCALER, namespace))


def _by_id(raws: Iterable[Object]) -> dict[str, Object]:
    return {
        f"horizontalpodautoscaler/{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in raws
    }


def _metered(api: Api, namespace: str) -> Metered:
    try:
        said = api.get(f"{METRICS}/namespaces/{namespace}/pods")
    except ApiError as error:
        return Metered(problem=str(error), unasked=error.status == 403)
    return Metered(frozenset(each["metadata"]["name"] for each in said.get("items") or ()))


def _sizes(api: Api, namespaces: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
    """Each event counts once: a repeated one has the same size, and so the same message."""
    since = api.now() - HOUR
    seen: dict[str, list[tuple[str, int]]] = {}
    for namespace in sorted(namespaces):
        query = {"fieldSelector": f"involvedObject.kind={AUTOSCALER.name},reason={RESCALED}"}
        for each in api.list_all(EVENT, namespace, **query):
            at = str(each.get("lastTimestamp") or each.get("eventTime") or "").partition(".")[0].rstrip("Z")
            size = SIZE.search(str(each.get("message") or ""))
            moment = instant(f"{at}Z") if at else None
            if size and moment and moment > since:
                name = f"horizontalpodautoscaler/{namespace}/{each['involvedObject']['name']}"
                seen.setdefault(name, []).append((at, int(size[1])))
    return {name: tuple(size for _, size in sorted(moments)) for name, moments in seen.items()}
