"""The budgets of the reference deployment, which the recording does not hold, as far as checks ask for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import BUDGET
from postflight.cluster.snapshot import Snapshot
from tests.unit.worlds import Json, thing


def budget(name: str, app: str, **spec: Any) -> Json:
    return thing(BUDGET, name, spec={"selector": {"matchLabels": {"app.kubernetes.io/name": app}}, **spec})


def snapshot(of: Snapshot) -> Snapshot:
    """With the proxy's budget, where there is none at all."""
    if (BUDGET, "matrix") in of.objects:
        return of
    return replace(of, objects={**of.objects, (BUDGET, "matrix"): (budget("haproxy-pdb", "haproxy", minAvailable=1),)})
