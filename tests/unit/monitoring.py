"""Monitors and rules over the recorded lab, and what their targets would answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import POD_MONITOR, PROMETHEUS_RULE, SERVICE_MONITOR, Kind
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.monitors import monitors_of, rules_of
from postflight.probes.monitors import Page, Scraped
from tests.unit.worlds import NAMESPACE, Json

SERIES = frozenset(("synapse_a_total", "synapse_b_bucket"))


def monitor(kind: Kind, name: str, labels: dict[str, str], endpoint: Json | None = None, **spec: Any) -> Json:
    field = "endpoints" if kind is SERVICE_MONITOR else "podMetricsEndpoints"
    made = {"selector": {"matchLabels": labels}, field: [{"port": "metrics", **(endpoint or {})}], **spec}
    return {"kind": kind.name, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": made}


def rules(*exprs: str, record: str = "") -> Json:
    found: list[Json] = [{"alert": f"Alert{at}", "expr": each} for at, each in enumerate(exprs)]
    if record:
        found.append({"record": record, "expr": "synapse_a_total"})
    spec = {"groups": [{"name": "all", "rules": found}]}
    return {"kind": PROMETHEUS_RULE.name, "metadata": {"name": "alerts", "namespace": NAMESPACE}, "spec": spec}


def with_objects(world: Snapshot, *objects: Json) -> Snapshot:
    """The same cluster with these beside what stands in it."""
    kinds = {each.name: each for each in (SERVICE_MONITOR, POD_MONITOR, PROMETHEUS_RULE)}
    found = dict(world.objects)
    for each in objects:
        key = (kinds[each["kind"]], NAMESPACE)
        found[key] = (*found.get(key, ()), each)
    return replace(world, objects=found, served=world.served | set(kinds.values()))


ALL = monitor(SERVICE_MONITOR, "synapse", {"app.kubernetes.io/name": "synapse"}, {"path": "/_synapse/metrics"})


def scraped(model: Deployment, world: Snapshot, *objects: Json, series: frozenset[str] = SERIES) -> Scraped:
    """Every target answers with the same names."""
    of = with_objects(world, *(objects or (ALL, rules("synapse_a_total > 1"))))
    monitors = monitors_of(of, model.pods)
    pages = {each.where: Page(series) for one in monitors for each in one.targets if each.ready}
    return Scraped(monitors, rules_of(of), pages)
