"""Pod disruption budgets, and the pods that each of them is over.

Source: pkg/controller/disruption and the eviction subresource of Kubernetes 1.34: a pod under two budgets is never evicted;
``expectedPods`` follows what the pods' controllers are to have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.kinds import BUDGET, POSTGRES_CLUSTER
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod

DONE = ("Succeeded", "Failed")
#: The controller's own word for a budget that it cannot compute.
NOT_COMPUTED = "SyncFailed"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget and its pods, ``expected`` of which there are to be and ``kept`` of which no eviction takes.

    ``cluster`` is the Cluster of CloudNativePG whose operator made it, "" for any other; ``trouble`` is why its controller
    cannot compute it; ``fresh``: the controller has seen it as it is now.
    """

    id: str
    namespace: str
    name: str
    pods: tuple[Pod, ...]
    expected: int
    kept: int
    cluster: str = ""
    trouble: str = ""
    fresh: bool = True

    @property
    def lets_go(self) -> int:
        """How many pods evictions may take at once, when all of them are there."""
        return max(0, self.expected - self.kept)


def budgets_of(snapshot: Snapshot, deployment: Deployment) -> tuple[Budget, ...]:
    """Every budget in scope."""
    found = []
    for raw in snapshot.all(BUDGET):
        meta, status = raw["metadata"], raw.get("status") or {}
        pods = tuple(
            pod
            for pod in deployment.pods.values()
            if pod.namespace == meta["namespace"]
            and pod.phase not in DONE
            and selects(raw["spec"].get("selector"), pod.labels)
        )
        owners = [each for each in meta.get("ownerReferences") or () if each["kind"] == POSTGRES_CLUSTER.name]
        conditions = [each for each in status.get("conditions") or () if each.get("reason") == NOT_COMPUTED]
        found.append(
            Budget(
                id=f"poddisruptionbudget/{meta['namespace']}/{meta['name']}",
                namespace=meta["namespace"],
                name=meta["name"],
                pods=pods,
                expected=int(status.get("expectedPods") or 0),
                kept=int(status.get("desiredHealthy") or 0),
                cluster=owners[0]["name"] if owners else "",
                trouble=str(conditions[0].get("message") or NOT_COMPUTED) if conditions else "",
                fresh=bool(status) and int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
            )
        )
    return tuple(found)


def over(budgets: Sequence[Budget], pods: Sequence[Pod]) -> tuple[Budget, ...]:
    """The budgets over any of these pods."""
    ids = {each.id for each in pods}
    return tuple(each for each in budgets if ids & {pod.id for pod in each.pods})


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector means a pod with these labels; an empty one means all, none means none (policy/v1)."""
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in (expression.get("values") or ())
        case "NotIn":
            return value not in (expression.get("values") or ())
        case "Exists":
            return value is not None
        case _:
            return value is None
