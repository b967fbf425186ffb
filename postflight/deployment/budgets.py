"""PodDisruptionBudgets: which pods they are about, and how many of them they let go at once.

Source: Kubernetes 1.34, pkg/controller/disruption (percentages of either kind are rounded up).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.deployment.labels import selects
from postflight.deployment.parts import Pod


@dataclass(frozen=True, slots=True)
class Budget:
    """``pods`` are those that it selects, without those that have ended; ``least`` is how many of them must stay, and
    ``words`` are what says so (``minAvailable: 1``)."""

    id: str
    namespace: str
    name: str
    pods: tuple[Pod, ...]
    least: int
    words: str

    @property
    def allows(self) -> int:
        """How many may go at once when all are healthy."""
        return max(0, len(self.pods) - self.least)


def read_budgets(raws: Iterable[Object], pods: Sequence[Pod]) -> tuple[Budget, ...]:
    """Each of these PodDisruptionBudgets, with those of the ``pods`` that it selects."""
    return tuple(_read(each, pods) for each in raws)


def _read(raw: Object, pods: Sequence[Pod]) -> Budget:
    meta, spec = raw["metadata"], raw["spec"]
    found = tuple(
        each
        for each in pods
        if each.namespace == meta["namespace"]
        and each.phase not in ("Succeeded", "Failed")
        and selects(spec.get("selector"), each.labels)
    )
    field = next((name for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None), "")
    count = _scaled(spec.get(field), len(found)) if field else 0
    least = len(found) - count if field == "maxUnavailable" else count
    words = f"{field}: {spec[field]}" if field else "nothing to keep"
    name = f"budget/{meta['namespace']}/{meta['name']}"
    return Budget(name, meta["namespace"], meta["name"], found, max(0, least), words)


def _scaled(value: Any, of: int) -> int:
    text = str(value)
    return -(-int(text.removesuffix("%")) * of // 100) if text.endswith("%") else int(text)
