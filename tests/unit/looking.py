"""What a look into each pod would show of the recorded lab."""

from __future__ import annotations

from postflight.deployment.model import Deployment
from postflight.probes.looks import Look, Looks
from postflight.probes.node_clocks import NodeClocks


def looks(model: Deployment, unseen: dict[str, str] | None = None, **ahead: float) -> Looks:
    """Every pod, with a clock that is right to a tenth of a second; ``ahead`` are other clocks, by a name without
    hyphens that the pod's begins with."""
    seen: dict[str, Look] = {}
    calls = [each.pods for each in model.calls.jwt_services]
    calls += [each.pods for each in model.calls.sfus] + [each.pods for each in model.turn.servers]
    pods = {**model.pods, **{pod.id: pod for group in calls for pod in group}}
    for id, pod in pods.items():
        name = pod.name.replace("-", "")
        by = next((value for key, value in ahead.items() if name.startswith(key)), 0.02)
        if id not in (unseen or {}):
            seen[id] = Look(id, pod.containers[0].name, by, 0.1, frozenset(), {}, ("/",))
    return Looks(seen, unseen or {})


def nodes(server: float = 0.1, **by_name: float) -> NodeClocks:
    return NodeClocks(server, by_name or {"node1": 0.3})
