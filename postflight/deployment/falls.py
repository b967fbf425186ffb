"""Whether a container was up in its pod and does not come up again, as against one that never did.

Source: Kubernetes 1.34, pod conditions: Ready keeps the time of its last change, so that of a pod that never was ready it
is older than the end of its init containers.
"""

from __future__ import annotations

from datetime import datetime

from postflight.cluster.api import Object
from postflight.deployment.parts import Container
from postflight.deployment.pods import instant

CRASHING = "CrashLoopBackOff"
#: After so many starts that ended badly the next one is not waited for.
STARTS = 2


def fell(raw: Object, container: Container) -> datetime | None:
    """When a pod that was ready went down for good, as far as one can tell: its container has been started since, and
    ended again. None where it runs, never was ready, or may just be starting."""
    told = (raw.get("status") or {}).get("conditions") or ()
    changed = {each["type"]: instant(each.get("lastTransitionTime")) for each in told}
    ready = next((each["status"] for each in told if each["type"] == "Ready"), "")
    since, began = changed.get("Ready"), changed.get("Initialized")
    if ready != "False" or since is None or began is None or since <= began:
        return None
    failing = container.waiting == CRASHING or (container.restarts >= STARTS and container.last_exit not in (0, None))
    return since if failing and not container.ready else None
