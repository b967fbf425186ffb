"""Pod disruption budgets, and the pods that each of them is over.

Source: pkg/controller/disruption and the eviction subresource of Kubernetes 1.34: a pod under two budgets is never evicted;
percentages of either kind are rounded up; ``expectedPods`` follows what the pods' controllers are to have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import BUDGET, POSTGRES_CLUSTER
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.labels import selects
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod

DONE = ("Succeeded", "Failed")
#: The controller's own word for a budget that it cannot compute.
NOT_COMPUTED = "SyncFailed"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget and its pods, without those that have ended. ``least`` is how many of these must stay, and ``words`` are
    what says so (``minAvailable: 1``).

    By its controller's own count there are to be ``expected`` pods, ``kept`` of which no eviction takes. ``cluster`` is
    the Cluster of CloudNativePG whose operator made it, "" for any other; ``trouble`` is why its controller cannot
    compute it; ``fresh``: the controller has seen it as it is now.
    """

    id: str
    namespace: str
    name: str
    pods: tuple[Pod, ...]
    least: int = 0
    words: str = ""
    expected: int = 0
    kept: int = 0
    cluster: str = ""
    trouble: str = ""
    fresh: bool = True

    @property
    def allows(self) -> int:
        """How many of the pods that are there may go at once when all are healthy."""
        return max(0, len(self.pods) - self.least)

    @property
    def lets_go(self) -> int:
        """How many pods evictions may take at once, when all that are to be there are."""
        return max(0, self.expected - self.kept)


def budgets_of(snapshot: Snapshot, deployment: Deployment) -> tuple[Budget, ...]:
    """Every budget in scope."""
    return read_budgets(snapshot.all(BUDGET), tuple(deployment.pods.values()))


def read_budgets(raws: Iterable[Object], pods: Sequence[Pod]) -> tuple[Budget, ...]:
    """Each of these PodDisruptionBudgets, with those of the ``pods`` that it selects."""
    return tuple(_read(each, pods) for each in raws)


def over(budgets: Sequence[Budget], pods: Sequence[Pod]) -> tuple[Budget, ...]:
    """The budgets over any of these pods."""
    ids = {each.id for each in pods}
    return tuple(each for each in budgets if ids & {pod.id for pod in each.pods})


def _read(raw: Object, pods: Sequence[Pod]) -> Budget:
    meta, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    found = tuple(
        each
        for each in pods
        if each.namespace == meta["namespace"] and each.phase not in DONE and selects(spec.get("selector"), each.labels)
    )
    field = next((name for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None), "")
    count = _scaled(spec.get(field), len(found)) if field else 0
    owners = [each for each in meta.get("ownerReferences") or () if each["kind"] == POSTGRES_CLUSTER.name]
    conditions = [each for each in status.get("conditions") or () if each.get("reason") == NOT_COMPUTED]
    return Budget(
        id=f"poddisruptionbudget/{meta['namespace']}/{meta['name']}",
        namespace=meta["namespace"],
        name=meta["name"],
        pods=found,
        least=max(0, len(found) - count if field == "maxUnavailable" else count),
        words=f"{field}: {spec[field]}" if field else "nothing to keep",
        expected=int(status.get("expectedPods") or 0),
        kept=int(status.get("desiredHealthy") or 0),
        cluster=owners[0]["name"] if owners else "",
        trouble=str(conditions[0].get("message") or NOT_COMPUTED) if conditions else "",
        fresh=bool(status) and int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
    )


def _scaled(value: Any, of: int) -> int:
    text = str(value)
    return -(-int(text.removesuffix("%")) * of // 100) if text.endswith("%") else int(text)
