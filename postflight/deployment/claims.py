"""Which workloads some check looks at by what they are, beyond that their pods are ready."""

from __future__ import annotations

from collections.abc import Iterator

from postflight.cluster.api import Object
from postflight.cluster.kinds import CRON_JOB, JOB
from postflight.cluster.references import template_of
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import pages
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Workload, workload_id
from postflight.settings import PageNames
from postflight.traces import MANAGED_BY, NAME

NO_NAMES = PageNames()


def claimed(
    deployment: Deployment, snapshot: Snapshot, secrets: SecretStore, names: PageNames = NO_NAMES
) -> frozenset[str]:
    """The ids of the workloads, CronJobs among them, that a part of the model is."""
    by_pod = {pod.id: each.id for each in deployment.workloads for pod in each.pods}
    pods = {pod for group in _pods_of_parts(deployment) for pod in group}
    return frozenset(
        (
            *_workloads_of_parts(deployment),
            *(by_pod[each] for each in pods if each in by_pod),
            *(each.workload for each in pages.find(deployment, snapshot, secrets, names)),
            # clients.element_config asks for the page that Element opens for a call.
            *(each.id for each in deployment.workloads if any(map(pages.CALL_PAGE.search, each.images.values()))),
        )
    )


def lasting(deployment: Deployment, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """Id, kind and name of everything that goes on running, or comes again by a schedule. What a Job does is done with
    its end, which ``platform.workloads`` judges; what the verifier makes goes with the run."""
    own = {
        workload_id(raw["metadata"]["namespace"], raw["kind"], raw["metadata"]["name"])
        for objects in snapshot.objects.values()
        for raw in objects
        if (raw["metadata"].get("labels") or {}).get(MANAGED_BY) == NAME
    }
    for each in deployment.workloads:
        if each.kind != JOB.name and each.id not in own and (each.desired or each.pods):
            yield each.id, each.kind, each.name
    for raw in snapshot.all(CRON_JOB):
        meta = raw["metadata"]
        id = workload_id(meta["namespace"], CRON_JOB.name, meta["name"])
        if id not in own and not raw["spec"].get("suspend"):
            yield id, CRON_JOB.name, meta["name"]


def images_of(deployment: Deployment, snapshot: Snapshot, id: str) -> tuple[str, ...]:
    """The images of a workload or CronJob, for who wonders what it is."""
    found: Workload | None = next((each for each in deployment.workloads if each.id == id), None)
    if found:
        return tuple(dict.fromkeys(found.images.values()))
    raw: Object | None = next(
        (
            each
            for each in snapshot.all(CRON_JOB)
            if workload_id(each["metadata"]["namespace"], CRON_JOB.name, each["metadata"]["name"]) == id
        ),
        None,
    )
    containers = template_of(raw).get("containers") or () if raw else ()
    return tuple(dict.fromkeys(str(each.get("image") or "") for each in containers))


def _workloads_of_parts(deployment: Deployment) -> Iterator[str]:
    yield from (each.workload for each in deployment.synapse)
    yield from (each.workload for each in deployment.database_uses)
    yield from (each.workload for each in deployment.redis)
    yield from (each.workload for each in deployment.calls.sfus)
    yield from (each.workload for each in deployment.calls.jwt_services)
    yield from (each.workload for each in deployment.turn.servers)
    yield from (each.workload for each in deployment.antivirus.scanners)
    yield from (each.workload for each in deployment.antivirus.clamds)
    for store in deployment.stores:
        yield from store.workloads
    for servers in deployment.store_servers:
        yield from servers.workloads
    for vault in deployment.vaults:
        yield from vault.workloads
    if deployment.li:
        yield from (workload_id(deployment.li.namespace, CRON_JOB.name, each.name) for each in deployment.li.imports)


def _pods_of_parts(deployment: Deployment) -> Iterator[tuple[str, ...]]:
    """Those of parts that know their pods and not their workload."""
    for cluster in deployment.postgres:
        yield tuple(pod.id for pod in cluster.pods)
    for group in deployment.redis:
        yield tuple(node.id for node in (*group.nodes, *group.sentinels))
    for proxy in deployment.proxies:
        yield tuple(pod.id for pod in proxy.pods)
