"""From a snapshot, Secrets and files to the whole model, in two steps: what to read, then the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from postflight.cluster.files import Files, Wanted
from postflight.cluster.kinds import POD
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import (
    calls,
    clients,
    coturn,
    databases,
    li,
    placeholders,
    proxies,
    redis,
    scanning,
    storage,
    store_servers,
    synapse,
    turn,
    vault,
)
from postflight.deployment.call_parts import Calls, Proxy
from postflight.deployment.model import Deployment
from postflight.deployment.parts import (
    DatabaseUse,
    LawfulIntercept,
    PostgresCluster,
    RedisEndpoint,
    RedisGroup,
    Side,
    SynapseProcess,
    Unclear,
    Workload,
)
from postflight.deployment.places import Place, passing, places
from postflight.deployment.pods import read_pod, read_workloads
from postflight.deployment.rendering import Spec
from postflight.deployment.store_parts import Keys
from postflight.deployment.turn_parts import SharedSecret
from postflight.settings import Settings


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands there by its specs alone, and which files would tell the rest."""

    snapshot: Snapshot
    secrets: SecretStore
    workloads: tuple[Workload, ...]
    places: tuple[Place, ...]
    synapse: tuple[synapse.Found, ...]
    clients: tuple[Place, ...]
    redis: tuple[redis.Found, ...]
    proxies: tuple[proxies.Found, ...]
    calls: calls.Found
    turn: tuple[Place, ...]
    antivirus: scanning.Found

    def wanted_files(self) -> tuple[Wanted, ...]:
        return (
            *synapse.wanted_files(self.synapse),
            *clients.wanted_files(self.clients),
            *redis.wanted_files(self.redis),
            *proxies.wanted_files(self.proxies),
            *calls.wanted_files(self.calls),
            *coturn.wanted_files(self.turn),
            *scanning.wanted_files(self.antivirus),
        )


def survey(snapshot: Snapshot, secrets: SecretStore, settings: Settings) -> Survey:
    pods = {pod.id: pod for pod in map(read_pod, snapshot.all(POD))}
    workloads = read_workloads(snapshot, pods)
    everywhere = places(snapshot, secrets, workloads)
    return Survey(
        snapshot,
        secrets,
        workloads,
        everywhere,
        synapse.find(everywhere, settings.names.synapse.workloads),
        clients.find((*everywhere, *passing(snapshot, secrets, everywhere))),
        redis.find(everywhere, settings.names.redis.workloads),
        proxies.find(everywhere, settings.names.proxy.workloads),
        calls.find(everywhere, settings.names.calls),
        coturn.find(everywhere, settings.names.calls.turn_workloads),
        scanning.find(everywhere, settings.names.antivirus),
    )


def build(surveyed: Survey, files: Files, settings: Settings) -> Deployment:
    """The model. Pure: the same inputs give the same model."""
    snapshot, secrets = surveyed.snapshot, surveyed.secrets
    pods = {pod.id: pod for workload in surveyed.workloads for pod in workload.pods}
    read: list[SynapseProcess] = []
    uses: list[DatabaseUse] = []
    passwords: dict[str, redis.Password] = {}
    keys: dict[str, Keys] = {}
    shared: dict[str, tuple[SharedSecret | None, str]] = {}
    specs: dict[str, Spec] = {}
    for found in surveyed.synapse:
        process = synapse.read_process(found, files)
        read.append(process)
        specs[process.id] = found.spec
        passwords[process.id] = redis.password_of(found.spec, found.container, process.config)
        keys[process.id] = storage.keys_of(found.spec, found.container, process.config)
        shared[process.id] = turn.secret_of(found.spec, found.container, process, secrets)
        uses += databases.uses_of_synapse(found, process, secrets)
    unclear: dict[tuple[str, str, str], Unclear] = {}
    for client in sorted(surveyed.clients, key=lambda each: not each.lasts):
        tried = {login for use in uses if use.workload == client.workload.id for login in (use.login, use.next_login)}
        found_uses = clients.uses_of(client, files, secrets)
        # What an init container logs in with is mostly what the containers after it do.
        uses += [use for use in found_uses if client.lasts or use.login not in tried]
        for why in clients.unclear_in(client, files):
            part = client.pod.id if client.pod else client.workload.id
            unclear.setdefault((client.workload.id, client.name, why), Unclear(part, client.name, why))
    uses += databases.uses_of_operator(snapshot, secrets, settings.names.postgres.app_secret)
    namespaces = {use.client: use.client.split("/")[1] for use in uses}
    postgres = databases.find_clusters(snapshot, pods, uses, namespaces)
    finder = li.Finder(snapshot, secrets, pods, postgres)
    processes = li.tell_apart(finder, read, uses, settings.names.synapse.li)
    intercept = li.find(finder, processes, uses)
    groups = redis.find_groups(surveyed.redis, files, settings.names.redis)
    endpoints = redis.find_endpoints(snapshot, pods, processes, groups, passwords)
    doors = proxies.read_proxies(surveyed.proxies, files, snapshot, pods)
    stores = storage.find_stores(snapshot, pods, processes, keys, surveyed.places)
    servers = store_servers.find_servers(snapshot, surveyed.places, stores)
    vaults = vault.find_vaults(snapshot, pods, processes, specs, surveyed.places, settings)
    calling = calls.read_calls(surveyed.calls, files, secrets, processes, doors)
    relaying = turn.read_turn(surveyed.turn, files, secrets, snapshot, pods, processes, shared, surveyed.places)
    antivirus = scanning.read_antivirus(surveyed.antivirus, files, snapshot, processes, doors)
    return Deployment(
        namespaces=snapshot.namespaces,
        workloads=surveyed.workloads,
        pods=pods,
        synapse=processes,
        database_uses=tuple(uses),
        postgres=postgres,
        redis=groups,
        redis_endpoints=endpoints,
        depends=_depends(
            (
                *_edges(surveyed.workloads, processes, uses, postgres, groups, endpoints),
                *_edges_of_li(intercept),
                *_call_edges(calling, doors, processes, endpoints),
                *storage.edges(stores),
                *store_servers.edges(servers),
                *turn.edges(relaying),
                *scanning.edges(antivirus),
                *vault.edges(vaults),
            )
        ),
        unclear=tuple(unclear.values()),
        notes=tuple(sorted(set(files.unseen.values()) | set(secrets.unseen.values()))),
        li=intercept,
        proxies=doors,
        calls=calling,
        federates=settings.federation,
        stores=stores,
        turn=relaying,
        antivirus=antivirus,
        vaults=vaults,
        placeholders=placeholders.find(surveyed.places, secrets, files),
        store_servers=servers,
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
            if main.is_main and not process.is_main and process.serves_with(main):
                yield process.id, main.id


def _edges_of_li(li: LawfulIntercept | None) -> Iterator[tuple[str, str]]:
    """LI's data lean on both databases; its processes are beneath nothing but themselves."""
    for cluster in (li.cluster, li.main_cluster) if li else ():
        if li and cluster:
            yield li.id, cluster.id


def _call_edges(
    calling: Calls,
    doors: Sequence[Proxy],
    processes: Sequence[SynapseProcess],
    endpoints: Sequence[RedisEndpoint],
) -> Iterator[tuple[str, str]]:
    """A JWT service asks main who a user is, through the proxy, and opens the room on LiveKit."""
    mains = [each for each in processes if each.is_main and each.side is Side.MAIN]
    for service in calling.jwt_services:
        yield service.id, service.workload
        yield from ((service.id, each.id) for each in mains if each.namespace == service.namespace)
        yield from ((service.id, each.id) for each in doors if each.namespace == service.namespace)
        yield from ((service.id, each.id) for each in calling.sfus if each.namespace == service.namespace)
    for door in doors:
        yield from ((door.id, pod.id) for pod in door.pods)
    for sfu in calling.sfus:
        yield sfu.id, sfu.workload
        if sfu.redis:
            host = sfu.redis[0].partition(".")[0]
            yield from ((sfu.id, each.id) for each in endpoints if host == each.endpoint.host.partition(".")[0])
