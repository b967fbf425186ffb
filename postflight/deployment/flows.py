"""Who talks to whom: the connections that a deployment lives on, and those that nobody is to make, by the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses, front
from postflight.deployment.listeners import port_of, public_ports
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Pod, Side, SynapseProcess, Workload, is_loopback
from postflight.deployment.policies import Stand, made_by, stand_of
from postflight.deployment.services import resolve
from postflight.deployment.synapse import LI_LABELS
from postflight.deployment.writers import addresses_of
from postflight.settings import IngressNames

POSTGRES, STATUS = 5432, 8000
NO_NAMES = IngressNames()
End = tuple[Stand, int]


@dataclass(frozen=True, slots=True)
class Class:
    """Pods that stand alike: those of a workload, or of a controller whose pods are not in the picture. ``id`` is the
    workload's; ``stops`` are the parts that cannot work where these pods are cut off."""

    id: str
    name: str
    stands: tuple[Stand, ...]
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """One address that a class of pods connects to, and the pods behind it. ``what`` says what it is to them, ``part`` is
    what it is of; ``host`` is the name that they use, or a pod's address."""

    source: Class
    host: str
    port: int
    ends: tuple[End, ...]
    what: str
    part: str

    @property
    def by_name(self) -> bool:
        return any(letter.isalpha() for letter in self.host) and ":" not in self.host


@dataclass(frozen=True, slots=True)
class Prize:
    """A port of a pod that no stranger is to reach."""

    end: Stand
    port: int
    what: str
    part: str

    @property
    def address(self) -> str:
        return next(iter(self.end.addresses), "")


@dataclass(slots=True)
class _Draft:
    deployment: Deployment
    snapshot: Snapshot
    stands: Mapping[str, Stand]
    classes: dict[str, Class] = field(default_factory=dict)
    flows: dict[tuple[str, str, int], Flow] = field(default_factory=dict)

    def of(self, workload: str) -> Class | None:
        return self.classes.get(workload)

    def add(self, workload: str, host: str, port: int, ends: Iterable[End], what: str, part: str) -> None:
        source = self.classes.get(workload)
        # A pod on the host's network is outside of policies, and so is what no pod stands behind.
        found = tuple(each for each in ends if each[0].addresses or each[0].namespace)
        if source and found and not is_loopback(host):
            self.flows.setdefault((workload, host, port), Flow(source, host, port, found, what, part))

    def to(self, workload: str, endpoint: Endpoint, what: str, part: str) -> None:
        self.add(workload, endpoint.host, endpoint.port, self.ends(endpoint), what, part)

    def ends(self, endpoint: Endpoint) -> list[End]:
        return [(self.stands[pod.id], port) for pod, port in endpoint.pods if pod.id in self.stands]

    def resolved(self, host: str, port: int, namespace: str) -> Endpoint:
        return resolve(self.snapshot, self.deployment.pods, host, port, namespace)


def stands(snapshot: Snapshot) -> dict[str, Stand]:
    """Where every pod in scope stands, by its id."""
    return {f"pod/{raw['metadata']['namespace']}/{raw['metadata']['name']}": stand_of(raw) for raw in snapshot.all(POD)}


def needed(deployment: Deployment, snapshot: Snapshot, names: IngressNames = NO_NAMES) -> tuple[Flow, ...]:
    """Every flow that something here lives on, within the cluster; each address of each class once."""
    draft = _Draft(deployment, snapshot, stands(snapshot))
    for workload in deployment.workloads:
        draft.classes[workload.id] = _class(deployment, workload, draft.stands)
    _of_synapse(draft)
    _of_stores(draft)
    _of_proxies(draft)
    _of_media(draft)
    _within_redis(draft)
    _within_postgres(draft)
    _of_ingresses(draft, names)
    return tuple(draft.flows.values())


def name_askers(flows: Iterable[Flow]) -> tuple[Class, ...]:
    """The classes that need the name service, each once: those that connect to anything by name."""
    return tuple({each.source.id: each.source for each in flows if each.by_name and _stands_here(each.source)}.values())


def prizes(deployment: Deployment, snapshot: Snapshot) -> tuple[Prize, ...]:
    """What a stranger in the cluster is not to reach: PostgreSQL, Redis and what leads to it, replication, key vaults."""
    where = stands(snapshot)
    found: dict[tuple[str, int], Prize] = {}

    def add(pod: Pod, port: int, what: str, part: str) -> None:
        stand = where.get(pod.id)
        if stand and stand.addresses and pod.ready:
            found.setdefault((pod.id, port), Prize(stand, port, what, part))

    for cluster in deployment.postgres:
        for pod in cluster.pods:
            add(pod, POSTGRES, f"PostgreSQL {cluster.name}", cluster.id)
    for group in deployment.redis:
        for node in (*group.nodes, *group.sentinels):
            add(node.pod, node.port, f"Redis {group.name}", group.id)
    for address in deployment.redis_endpoints:
        for pod, port in address.endpoint.pods:
            add(pod, port, f"the way to Redis at {address.endpoint.host}", address.id)
    for process in deployment.synapse:
        if process.pod and (listening := port_of(process, "replication")):
            add(process.pod, listening, f"the replication listener of {process.workload_name}", process.id)
    for vault in deployment.vaults:
        for pod, port in vault.endpoint.pods:
            add(pod, port, f"key vault {vault.name}", vault.id)
    return tuple(found.values())


def without_api(deployment: Deployment, snapshot: Snapshot) -> tuple[Class, ...]:
    """The classes that have no business with the API server: Synapse's, and key vaults'."""
    where = stands(snapshot)
    ids = {each.workload for each in deployment.synapse}
    ids |= {each for vault in deployment.vaults for each in vault.workloads}
    found = (_class(deployment, each, where) for each in deployment.workloads if each.id in ids)
    return tuple(each for each in found if _stands_here(each))


def of_li(deployment: Deployment, snapshot: Snapshot) -> tuple[Class, ...]:
    """LI's classes: its Synapse, its database, and whatever is labelled as LI's; Jobs that have ended aside."""
    li = deployment.li
    if li is None:
        return ()
    where = stands(snapshot)
    pods = {pod.id for pod in (li.cluster.pods if li.cluster and li.cluster != li.main_cluster else ())}
    ids = {each.workload for each in li.processes}
    for workload in deployment.workloads:
        if any(pod.id in pods or LI_LABELS & pod.labels.items() for pod in workload.pods):
            ids.add(workload.id)
    found = (_class(deployment, each, where) for each in deployment.workloads if each.id in ids)
    return tuple(each for each in found if _stands_here(each))


def senders(deployment: Deployment, snapshot: Snapshot) -> tuple[Class, ...]:
    """The classes of the processes that speak to other homeservers: all of main's."""
    where = stands(snapshot)
    ids = {each.workload for each in deployment.synapse if each.side is Side.MAIN}
    found = (_class(deployment, each, where) for each in deployment.workloads if each.id in ids)
    return tuple(each for each in found if _stands_here(each))


def _stands_here(each: Class) -> bool:
    return any(stand.governed for stand in each.stands)


def _class(deployment: Deployment, workload: Workload, where: Mapping[str, Stand]) -> Class:
    """Without pods that are over: nothing comes from them any more."""
    live = [pod for pod in workload.pods if pod.phase not in ("Succeeded", "Failed") and pod.id in where]
    stops = (workload.id, *(pod.id for pod in live), *(p.id for p in deployment.synapse if p.workload == workload.id))
    return Class(workload.id, workload.name, tuple(where[pod.id] for pod in live), tuple(dict.fromkeys(stops)))


def _owner(deployment: Deployment, pods: Sequence[Pod]) -> str:
    ids = {pod.id for pod in pods}
    return next((each.id for each in deployment.workloads if ids & {pod.id for pod in each.pods}), "")


def _of_synapse(draft: _Draft) -> None:
    deployment = draft.deployment
    workload_of = {each.id: each.workload for each in deployment.synapse}
    known = {(e.host, e.port): (e, cluster) for cluster in deployment.postgres for e in cluster.endpoints}
    for use in deployment.database_uses:
        if found := known.get((use.login.host, use.login.port)):
            draft.to(use.workload, found[0], "its database", found[1].id)
    for address in deployment.redis_endpoints:
        for user in address.users:
            draft.to(workload_of.get(user, ""), address.endpoint, "Redis", address.id)
    for process in deployment.synapse:
        for instance, at in addresses_of(process.config or {}).items():
            if instance != process.instance:
                endpoint = draft.resolved(at.host, at.port, process.namespace)
                draft.to(
                    process.workload, endpoint, f"the replication listener of {instance}", _called(draft, instance)
                )


def _called(draft: _Draft, instance: str) -> str:
    return next((each.id for each in draft.deployment.synapse if each.instance == instance), instance)


def _of_stores(draft: _Draft) -> None:
    workload_of = {each.id: each.workload for each in draft.deployment.synapse}
    for store in draft.deployment.stores:
        for user in store.users:
            draft.to(workload_of.get(user, ""), store.endpoint, "its object store", store.id)
    for vault in draft.deployment.vaults:
        for user in dict.fromkeys(user for key in vault.keys for user in key.users):
            draft.to(workload_of.get(user, ""), vault.endpoint, "the key vault", vault.id)


def _of_proxies(draft: _Draft) -> None:
    for proxy in draft.deployment.proxies:
        source = _owner(draft.deployment, proxy.pods)
        for name, servers in proxy.backends.items():
            for server in servers:
                told = server if server.port else _told_by_srv(draft.deployment, server)
                draft.to(source, told, f"backend {name}", proxy.id)


def _told_by_srv(deployment: Deployment, server: Endpoint) -> Endpoint:
    """A server whose port an SRV record tells: the one on which users ask the processes behind it."""
    ports = {each.id: min(public_ports(each), default=0) for each in deployment.synapse}
    pods = tuple((pod, port) for pod, _ in server.pods if (port := ports.get(pod.id, 0)))
    return replace(server, port=pods[0][1] if pods else 0, pods=pods)


def _of_media(draft: _Draft) -> None:
    antivirus = draft.deployment.antivirus
    for scanner in antivirus.scanners:
        asked = _split(scanner.homeserver)
        if asked:
            draft.to(scanner.workload, draft.resolved(*asked, scanner.namespace), "where it fetches files", scanner.id)
        for clamd in antivirus.clamds:
            ends = [(draft.stands[pod.id], clamd.port) for pod in clamd.pods if pod.id in draft.stands and pod.ready]
            for stand, port in ends if clamd.namespace == scanner.namespace else ():
                draft.add(scanner.workload, next(iter(stand.addresses), ""), port, [(stand, port)], "clamd", clamd.id)
    for sfu in draft.deployment.calls.sfus:
        if sfu.redis:
            draft.to(sfu.workload, draft.resolved(*sfu.redis, sfu.namespace), "Redis", sfu.id)


def _split(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)) if parts.hostname else None
    except ValueError:
        return None


def _within_redis(draft: _Draft) -> None:
    for group in draft.deployment.redis:
        nodes = (*group.nodes, *group.sentinels)
        for source in {_owner(draft.deployment, [each.pod]) for each in nodes}:
            for node in nodes:
                if (stand := draft.stands.get(node.pod.id)) and node.pod.ready and stand.addresses:
                    draft.add(source, stand.addresses[0], node.port, [(stand, node.port)], node.pod.name, group.id)


def _within_postgres(draft: _Draft) -> None:
    """Replicas to their primary, whichever that is tomorrow, and CloudNativePG's controller to each instance manager.

    Source: the networking page of CloudNativePG's documentation, 1.27.
    """
    operators = [each for each in map(made_by, draft.snapshot.controllers) if _is_operator(each)]
    for cluster in draft.deployment.postgres:
        ready = [(pod, draft.stands[pod.id]) for pod in cluster.pods if pod.ready and pod.id in draft.stands]
        for source in {_owner(draft.deployment, [pod]) for pod, _ in ready}:
            for pod, stand in ready if cluster.operator else ():
                draft.add(source, stand.addresses[0], POSTGRES, [(stand, POSTGRES)], pod.name, cluster.id)
        for operator in operators if cluster.operator else ():
            key = f"operator/{operator.namespace}/{operator.name}"
            draft.classes[key] = Class(key, operator.name, (operator,), (cluster.id,))
            for pod, stand in ready:
                draft.add(
                    key, stand.addresses[0], STATUS, [(stand, STATUS)], f"instance manager of {pod.name}", cluster.id
                )


def _is_operator(stand: Stand) -> bool:
    return stand.labels.get("app.kubernetes.io/name") == "cloudnative-pg"


def _of_ingresses(draft: _Draft, names: IngressNames) -> None:
    """From each ingress controller to the pods behind what Ingresses lead to."""
    raws = {(raw["metadata"]["namespace"], raw["metadata"]["name"]): raw for raw in draft.snapshot.controllers}
    for each in front.controllers(draft.snapshot, names, ()):
        raw = raws.get((each.namespace, each.name))
        if raw is None:
            continue
        draft.classes[each.id] = Class(each.id, each.name, (made_by(raw),), (each.id,))
        for host, port, namespace, service in _led(draft):
            endpoint = draft.resolved(host, port, namespace)
            draft.to(each.id, endpoint, f"Service {service}", f"service/{namespace}/{service}")


def _led(draft: _Draft) -> Iterator[tuple[str, int, str, str]]:
    """Host, port, namespace and name of each Service that an Ingress leads to."""
    for path in addresses.led(draft.deployment, draft.snapshot):
        namespace = path.ingress["metadata"]["namespace"]
        for rule in path.ingress["spec"].get("rules") or ():
            for each in (rule.get("http") or {}).get("paths") or ():
                service = (each.get("backend") or {}).get("service") or {}
                port = (service.get("port") or {}).get("number")
                if service.get("name") == path.service and port:
                    yield f"{path.service}.{namespace}.svc", int(port), namespace, path.service


def replicating(deployment: Deployment) -> tuple[SynapseProcess, ...]:
    """The processes that have a replication listener."""
    return tuple(each for each in deployment.synapse if port_of(each, "replication"))
