"""What time it is for the API server and for the kubelets, as far as the API server tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import LEASE
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes.probe import probe

#: Where each kubelet renews a Lease of its node's name (Kubernetes 1.34, docs/concepts/architecture/leases).
NAMESPACE = "kube-node-lease"
#: The API server tells its time in whole seconds, by the header Date and in managedFields.
SECOND = 1.0
#: A kubelet renews every ten seconds, and its node is lost after forty.
RENEWED = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class NodeClocks:
    """``server`` is by how many seconds the API server's clock is ahead of the verifier's, ``nodes`` the same of each
    node's, give or take a second; a node that is not there could not be asked about."""

    server: float
    nodes: Mapping[str, float]


@probe(limit=Limit.KUBERNETES)
def node_clocks(api: Api, deployment: Deployment) -> NodeClocks:
    """Ask for the Leases that kubelets renew: each tells its kubelet's time, and when the API server took it."""
    names = sorted({pod.node for pod in deployment.pods.values() if pod.node})

    def asker(name: str) -> Callable[[], float | None]:
        return lambda: ahead_of_server(api.get(LEASE.path(NAMESPACE, name)), api.now())

    outcomes = in_threads([asker(each) for each in names], Limit.REQUEST)
    # Cut to whole seconds, half a second is lost on average.
    server = (api.now() - datetime.now(UTC)).total_seconds() + SECOND / 2
    nodes: dict[str, float] = {}
    for name, outcome in zip(names, outcomes, strict=True):
        error = outcome.exception()
        if error is not None and not isinstance(error, ApiError | TimeoutError):
            raise error
        if error is None and (ahead := outcome.result()) is not None:
            nodes[name] = server + ahead
    return NodeClocks(server, nodes)


def ahead_of_server(lease: Mapping[str, object], now: datetime) -> float | None:
    """By how many seconds the kubelet that renewed a Lease was ahead of the API server that took it. None where the
    Lease does not tell, or nobody has renewed it: by the API server's clock it is ``now``."""
    spec, meta = lease.get("spec"), lease.get("metadata")
    renewed = spec.get("renewTime") if isinstance(spec, Mapping) else None
    fields = meta.get("managedFields") if isinstance(meta, Mapping) else None
    taken = max((str(each["time"]) for each in fields or () if "time" in each), default="")
    if not renewed or not taken:
        return None
    at = datetime.strptime(taken, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    if now - at > RENEWED:
        return None
    return (datetime.fromisoformat(str(renewed)) - at).total_seconds() - SECOND / 2
