"""What NetworkPolicies say, and which connections are made for all that: from the pods that stand here, and from a pod
that stands in no policy's favour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import ENDPOINT_SLICE, NAMESPACE, POD, POLICY
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, PURPOSE, NoProbePod, start_probe_pod
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import flows
from postflight.deployment.flows import Class, Prize
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.policies import Rules, Stand, made_by, stand_of
from postflight.limits import Limit
from postflight.probes import tries
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, Safety, probe
from postflight.probes.tries import Tried
from postflight.settings import Settings
from postflight.traces import MANAGED_BY, NAME, Traces

FOREIGN = "foreign"
#: Where the name service and the API server are, in every cluster.
SYSTEM, DEFAULT, API_SERVICE = "kube-system", "default", "kubernetes"
#: As CoreDNS is labelled by kubeadm and its like.
NAME_SERVERS = {"k8s-app": "kube-dns"}


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """The policies, with the labels of all namespaces (``unlabelled`` says why these are not known). ``name_servers`` are
    the pods of the name service, ``api_servers`` the addresses and ports of the API server; none where nobody may be asked
    for them."""

    rules: Rules
    name_servers: tuple[Stand, ...] = ()
    api_servers: tuple[tuple[Stand, int], ...] = ()
    unlabelled: str = ""


@dataclass(frozen=True, slots=True)
class PodWays:
    """What was tried from pods other than Synapse's. ``unseen`` says why a class was not asked, by workload: mostly that
    its image has no Python."""

    tried: tuple[Tried, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignWays:
    """What a foreign pod met at each prize. ``stand`` is where it stood; ``problem`` says why there was none."""

    tried: tuple[tuple[Prize, Tried], ...] = ()
    stand: Stand | None = None
    problem: str = ""


@probe(limit=Limit.KUBERNETES)
def network_rules(snapshot: Snapshot, api: Api) -> NetworkRules:
    """Read the labels of the namespaces, and where the name service and the API server are."""
    why = ""
    labels: dict[str, Mapping[str, str]] = {}
    try:
        labels = {raw["metadata"]["name"]: raw["metadata"].get("labels") or {} for raw in api.list_all(NAMESPACE, "")}
    except ApiError as error:
        why = str(error)
    rules = Rules(tuple(snapshot.all(POLICY)), labels)
    return NetworkRules(rules, tuple(_name_servers(snapshot, api)), tuple(_api_servers(api)), why)


def _name_servers(snapshot: Snapshot, api: Api) -> Iterator[Stand]:
    selector = ",".join(f"{key}={value}" for key, value in NAME_SERVERS.items())
    try:
        yield from map(stand_of, api.list_all(POD, SYSTEM, labelSelector=selector))
    except ApiError:
        # No right to look there: their templates say enough.
        for raw in snapshot.controllers:
            stand = made_by(raw)
            if stand.namespace == SYSTEM and NAME_SERVERS.items() <= stand.labels.items():
                yield stand


def _api_servers(api: Api) -> Iterator[tuple[Stand, int]]:
    try:
        slices = list(api.list_all(ENDPOINT_SLICE, DEFAULT))
    except ApiError:
        return
    for each in slices:
        if (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != API_SERVICE:
            continue
        for endpoint in each.get("endpoints") or ():
            for port in each.get("ports") or ():
                yield Stand("the API server", addresses=tuple(endpoint.get("addresses") or ())), int(port["port"])


@probe(limit=Limit.INSIDE, rights=(EXEC,))
def pod_ways(deployment: Deployment, snapshot: Snapshot, settings: Settings, api: Api) -> PodWays:
    """From one pod of each class beside Synapse's, try what it connects to, and what it is not to reach."""
    classes, asks = _asks(deployment, snapshot, settings)
    pods = {id: pod for id in asks if (pod := _running(deployment, classes[id]))}

    def asker(id: str, pod: Pod) -> Callable[[], tuple[Tried, ...]]:
        def work() -> tuple[Tried, ...]:
            container = next(each.name for each in pod.containers if each.running)
            said = ask_outpost(api, pod.namespace, pod.name, container, "connect", asks[id], limit=Limit.EXEC)
            return tries.tried(id, pod.name, asks[id], said)

        return work

    found: list[Tried] = []
    unseen: dict[str, str] = {}
    outcomes = in_threads([asker(*each) for each in pods.items()], Limit.INSIDE - 1)
    for id, outcome in zip(pods, outcomes, strict=True):
        try:
            found += outcome.result()
        except (ApiError, TimeoutError) as error:
            unseen[id] = str(error) or "no answer within the time limit"
    return PodWays(tuple(found), unseen)


def _asks(
    deployment: Deployment, snapshot: Snapshot, settings: Settings
) -> tuple[Mapping[str, Class], Mapping[str, list[dict[str, Any]]]]:
    """Every class beside Synapse's, by workload, and what each is to try: one exec holds it all."""
    synapse = {each.workload for each in deployment.synapse}
    here = {each.id for each in deployment.workloads} - synapse
    classes: dict[str, Class] = {}
    found: dict[str, dict[tuple[str, int], None]] = {}
    for flow in flows.needed(deployment, snapshot, settings.names.ingress):
        if flow.source.id in here:
            classes[flow.source.id] = flow.source
            ways = found.setdefault(flow.source.id, {})
            ways[(flow.host, flow.port)] = None
            if flow.by_name:
                ways[(tries.NAME_SERVICE, tries.NAME_PORT)] = None
    for each in flows.without_api(deployment, snapshot):
        if each.id in here:
            classes[each.id] = each
            found.setdefault(each.id, {})[(tries.API_SERVER, tries.API_PORT)] = None
    return classes, {id: [tries.ask(host, port) for host, port in ways] for id, ways in found.items()}


def _running(deployment: Deployment, source: Class) -> Pod | None:
    """A pod of a class that can be asked, ready if there is one; on the host's network it would be the node that is asked."""
    stands = (each for each in source.stands if each.governed)
    pods = [deployment.pods.get(f"pod/{each.namespace}/{each.name}") for each in stands]
    running = [pod for pod in pods if pod and not pod.deleting and any(each.running for each in pod.containers)]
    return min(running, key=lambda pod: not pod.ready, default=None)


@probe(limit=Limit.PROBE_POD, rights=(MAKE_JOBS, REMOVE_JOBS, EXEC), safety=Safety.CANARY)
def foreign_ways(
    deployment: Deployment, snapshot: Snapshot, settings: Settings, api: Api, traces: Traces, turn: Turn
) -> ForeignWays:
    """From a probe pod that no policy speaks for, try PostgreSQL, Redis, replication and key vaults by their addresses."""
    wanted = flows.prizes(deployment, snapshot)
    main = next((each for each in deployment.synapse if each.pod), None)
    like = snapshot.get(POD, main.namespace, main.pod.name) if main and main.pod else None
    if not wanted or like is None:
        return ForeignWays(problem="" if wanted else "nothing to try", stand=None)
    asks = [tries.ask(each.address, each.port) for each in wanted]
    try:
        pod = start_probe_pod(api, traces, like, settings, FOREIGN, limit=Limit.PROBE_POD - Limit.INSIDE)
        said = ask_outpost(api, pod.namespace, pod.name, CONTAINER, "connect", asks, limit=Limit.INSIDE - 1)
    except NoProbePod as error:
        return ForeignWays(problem=str(error))
    except ApiError as error:
        return ForeignWays(problem=f"the probe pod could not ask: {error}")
    stand = Stand(pod.name, pod.namespace, stranger(pod.namespace).labels)
    return ForeignWays(tuple(zip(wanted, tries.tried(FOREIGN, pod.name, asks, said), strict=True)), stand)


def stranger(namespace: str) -> Stand:
    """As a foreign pod stands in a namespace: with the labels of a probe pod and no others."""
    return Stand("a foreign pod", namespace, {MANAGED_BY: NAME, PURPOSE: FOREIGN})
