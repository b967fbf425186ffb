"""What each MinIO server says of the whole: whether it takes writes and gives reads, and whether it could be spared.

Source: cmd/healthcheck-handler.go and cmd/erasure-server-pool.go (Health) of MinIO, 2026-02: no key is asked for. Each path
looks at all drives anew; the metrics are up to a minute old, and the admin API waits 35 s for a server that is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.store_parts import StoreServers
from postflight.limits import Limit
from postflight.probes.http import origin
from postflight.probes.probe import probe

WRITES, READS = "/minio/health/cluster", "/minio/health/cluster/read"
SPARED = f"{WRITES}?maintenance=true"
WRITE_QUORUM, READ_QUORUM = "x-minio-write-quorum", "x-minio-read-quorum"
HEALING, STATE = "x-minio-healing-drives", "x-minio-server-status"
OK = 200


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """One server's view. ``write_quorum`` and ``read_quorum`` are drives of the largest set, 0 where it did not say;
    ``spared``: writes would go on without it (MinIO says no while any drive is healing); ``healing`` are drives.
    ``state`` is its own word for not being ready; ``problem`` says why it did not answer."""

    pod: Pod
    writes: bool = False
    reads: bool = False
    spared: bool = False
    write_quorum: int = 0
    read_quorum: int = 0
    healing: int = 0
    state: str = ""
    problem: str = ""


@probe(limit=Limit.INSIDE, reaches=True)
def store_health(deployment: Deployment, access: Access) -> Mapping[str, tuple[ServerHealth, ...]]:
    """Ask every MinIO server how it sees all of them. By group of servers."""
    asked = [(group, pod) for group in deployment.store_servers for pod in group.pods]

    def asker(group: StoreServers, pod: Pod) -> Callable[[], ServerHealth]:
        return lambda: ask(access, group, pod)

    outcomes = in_threads([asker(*each) for each in asked], Limit.INSIDE - 1)
    found: dict[str, tuple[ServerHealth, ...]] = {group.id: () for group in deployment.store_servers}
    for (group, pod), outcome in zip(asked, outcomes, strict=True):
        said = ServerHealth(pod, problem="no answer in time") if outcome.exception() else outcome.result()
        found[group.id] = (*found[group.id], said)
    return found


def ask(access: Access, group: StoreServers, pod: Pod) -> ServerHealth:
    """One server's three answers. A certificate is not looked at: the pod is meant."""
    import httpx

    if not any(each.running for each in pod.containers):
        return ServerHealth(pod, problem="it does not run")
    limits = httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    try:
        with (
            access.to_pod(pod.namespace, pod.name, pod.ip, group.port) as (host, port),
            httpx.Client(timeout=limits, verify=False, trust_env=False) as client,
        ):
            base = origin(host, port, tls=group.tls)
            writes, reads, spared = (client.get(f"{base}{path}") for path in (WRITES, READS, SPARED))
    except httpx.TimeoutException:
        return ServerHealth(pod, problem="no answer in time")
    except (httpx.HTTPError, OSError, ApiError) as error:
        return ServerHealth(pod, problem=" ".join(str(error).split())[:200] or type(error).__name__)
    if WRITE_QUORUM not in writes.headers and STATE not in writes.headers:
        return ServerHealth(pod, problem=f"it answers {WRITES} with {writes.status_code}, and is no MinIO of today")
    return ServerHealth(
        pod,
        writes=writes.status_code == OK,
        reads=reads.status_code == OK,
        spared=spared.status_code == OK,
        write_quorum=_number(writes, WRITE_QUORUM),
        read_quorum=_number(reads, READ_QUORUM),
        healing=max(_number(each, HEALING) for each in (writes, reads, spared)),
        state=writes.headers.get(STATE, ""),
    )


def _number(answer: object, header: str) -> int:
    value = str(answer.headers.get(header, ""))  # type: ignore[attr-defined]
    return int(value) if value.isdigit() else 0
