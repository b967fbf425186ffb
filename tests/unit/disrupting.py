"""What the disruptive probes would find of a deployment that takes it well."""

from __future__ import annotations

from typing import Any

from postflight.deployment.model import Deployment
from postflight.probes.outages import Disrupted, Disruption, Outage

#: Of each probe, by the check that reads it.
PROBES = {
    "disruption.synapse_main": "main_away",
    "disruption.redis": "redis_away",
    "disruption.postgresql": "primary_away",
    "disruption.proxy": "proxy_away",
    "disruption.storage": "store_away",
    "disruption.node": "node_away",
}
SHORT = Outage("versions", 0.3, 1, 40, "502")
LONG = Outage("account data", 12.5, 20, 60, "503")
OPEN = Outage("sync", 41.0, 80, 90, "no answer", open=True)


def taken(**fields: Any) -> Disrupted:
    """One part that was taken away and came back in time, but for what ``fields`` say."""
    common: dict[str, Any] = {
        "subject": "statefulset/matrix/part",
        "name": "part",
        "bound": 30.0,
        "what": "pod part-0 was deleted with a second's grace",
        "outages": (SHORT, LONG),
        "seconds": 20.0,
    }
    return Disrupted((Disruption(**(common | fields)),))


def observations(model: Deployment) -> dict[str, Any]:
    """By the probes' names."""
    return dict.fromkeys(PROBES.values(), taken())
