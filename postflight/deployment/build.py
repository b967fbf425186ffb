"""From a snapshot, Secrets and files to the whole model, in two steps: what to read, then the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from postflight.cluster.files import Files, Wanted
from postflight.cluster.kinds import POD
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import databases, redis, synapse
from postflight.deployment.parts import (
    DatabaseUse,
    Deployment,
    PostgresCluster,
    RedisEndpoint,
    RedisGroup,
    SynapseProcess,
    Workload,
)
from postflight.deployment.places import Place, places
from postflight.deployment.pods import read_pod, read_workloads
from postflight.settings import Settings


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands there by its specs alone, and which files would tell the rest."""

    snapshot: Snapshot
    secrets: SecretStore
    workloads: tuple[Workload, ...]
    synapse: tuple[synapse.Found, ...]
    clients: tuple[Place, ...]
    redis: tuple[redis.Found, ...]

    def wanted_files(self) -> tuple[Wanted, ...]:
        return (
            *synapse.wanted_files(self.synapse),
            *databases.wanted_files(self.clients),
            *redis.wanted_files(self.redis),
        )


def survey(snapshot: Snapshot, secrets: SecretStore, settings: Settings) -> Survey:
    pods = {pod.id: pod for pod in map(read_pod, snapshot.all(POD))}
    workloads = read_workloads(snapshot, pods)
    everywhere = places(snapshot, secrets, workloads)
    return Survey(
        snapshot,
        secrets,
        workloads,
        synapse.find(everywhere, settings.names.synapse.workloads),
        databases.find_clients(everywhere),
        redis.find(everywhere, settings.names.redis.workloads),
    )


def build(surveyed: Survey, files: Files, settings: Settings) -> Deployment:
    """The model. Pure: the same inputs give the same model."""
    snapshot, secrets = surveyed.snapshot, surveyed.secrets
    pods = {pod.id: pod for workload in surveyed.workloads for pod in workload.pods}
    processes: list[SynapseProcess] = []
    uses: list[DatabaseUse] = []
    for found in surveyed.synapse:
        process = synapse.read_process(found, files)
        processes.append(process)
        uses += databases.uses_of_synapse(found, process, secrets)
    for client in surveyed.clients:
        uses += databases.uses_of_client(client, files, secrets)
    uses += databases.uses_of_operator(snapshot, secrets, settings.names.postgres.app_secret)
    namespaces = {use.client: use.client.split("/")[1] for use in uses}
    postgres = databases.find_clusters(snapshot, pods, uses, namespaces)
    groups = redis.find_groups(surveyed.redis, files, settings.names.redis)
    endpoints = redis.find_endpoints(snapshot, pods, processes, groups)
    return Deployment(
        namespaces=snapshot.namespaces,
        workloads=surveyed.workloads,
        pods=pods,
        synapse=tuple(processes),
        database_uses=tuple(uses),
        postgres=postgres,
        redis=groups,
        redis_endpoints=endpoints,
        depends=_depends(_edges(surveyed.workloads, processes, uses, postgres, groups, endpoints)),
        notes=tuple(sorted(set(files.unseen.values()) | set(secrets.unseen.values()))),
    )


def _depends(edges: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for part, beneath in edges:
        if part != beneath:
            found.setdefault(part, {})[beneath] = None
    return {part: tuple(beneath) for part, beneath in found.items()}


def _edges(
    workloads: Sequence[Workload],
    processes: Sequence[SynapseProcess],
    uses: Sequence[DatabaseUse],
    postgres: Sequence[PostgresCluster],
    groups: Sequence[RedisGroup],
    endpoints: Sequence[RedisEndpoint],
) -> Iterator[tuple[str, str]]:
    for workload in workloads:
        yield from ((workload.id, pod.id) for pod in workload.pods)
        yield from ((pod.id, f"spec/{workload.id}") for pod in workload.pods)
    for cluster in postgres:
        yield from ((cluster.id, pod.id) for pod in cluster.pods)
        for endpoint in cluster.endpoints:
            yield from (
                (use.client, cluster.id)
                for use in uses
                if (use.login.host, use.login.port) == (endpoint.host, endpoint.port)
            )
    for group in groups:
        yield from ((group.id, node.id) for node in (*group.nodes, *group.sentinels))
    for address in endpoints:
        yield from ((user, address.id) for user in address.users)
        yield from ((address.id, pod.id) for pod, _ in address.endpoint.pods)
        if address.group:
            yield address.id, address.group
    for process in processes:
        for main in processes:
            if main.is_main and not process.is_main and _same_homeserver(process, main):
                yield process.id, main.id


def _same_homeserver(process: SynapseProcess, main: SynapseProcess) -> bool:
    names = {main.server_name, ""}
    return (main.namespace, main.side) == (process.namespace, process.side) and process.server_name in names
