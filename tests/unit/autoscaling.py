"""What the recorded lab's autoscalers would say with a metrics server there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from postflight.cluster.kinds import AUTOSCALER
from postflight.cluster.snapshot import Snapshot
from postflight.probes.autoscalers import ABLE, ACTIVE, Autoscalers
from tests.unit.worlds import Json


def seen(
    snapshot: Snapshot,
    change: Callable[[Json], object] | None = None,
    name: str = "synapse-generic-worker",
    **rest: Any,
) -> Autoscalers:
    """All of them able and active; ``change`` is made to the one of that name."""
    found: dict[str, Json] = {}
    for each in snapshot.all(AUTOSCALER):
        raw: Json = copy.deepcopy(dict(each))
        conditions = [
            {"type": which, "status": "True", "reason": "Valid", "message": "fine"} for which in (ABLE, ACTIVE)
        ]
        raw["status"] = {"currentReplicas": 2, "conditions": conditions}
        raw["spec"]["minReplicas"] = 2
        if change and raw["metadata"]["name"] == name:
            change(raw)
        found[f"horizontalpodautoscaler/{raw['metadata']['namespace']}/{raw['metadata']['name']}"] = raw
    return Autoscalers(found, **rest)


def told(which: str, reason: str, message: str = "it says") -> Callable[[Json], None]:
    """A condition that does not hold."""

    def change(raw: Json) -> None:
        for each in raw["status"]["conditions"]:
            if each["type"] == which:
                each.update(status="False", reason=reason, message=message)

    return change
