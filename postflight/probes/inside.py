"""Connections from where the processes stand: by name, through Services and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, NoProbePod, start_probe_pod
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess, name_of
from postflight.deployment.writers import addresses_of
from postflight.limits import Limit
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, NotTried, Safety, Unseen, probe
from postflight.settings import Settings
from postflight.traces import Traces
from postflight.words import several

CONNECTIONS = 6
#: What a connection met that was not asked for a role.
CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class InsideConnection:
    """What several connections to one address met, the roles of Redis or ``connected``: from a
    process's own pod, or from a probe pod in its stead."""

    process: SynapseProcess
    pod: str
    host: str
    port: int
    seen: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class InsideView:
    """``unseen`` says why a process's pod could not be asked, by process id."""

    connections: tuple[InsideConnection, ...]
    unseen: Mapping[str, str]


def unseen_ways(own: InsideView | NotTried, instead: InsideView | NotTried) -> str:
    """From where the way by name was not seen and why, "" where every pod that runs was asked or a
    probe pod in their stead."""
    if isinstance(own, NotTried):
        return own.reason
    if isinstance(instead, InsideView) and instead.connections:
        return ""
    missed = {**own.unseen, **(instead.unseen if isinstance(instead, InsideView) else {})}
    if missed:
        return f"from {several(map(name_of, missed))}: {next(iter(missed.values()))}"
    if not own.connections and isinstance(instead, NotTried):
        return f"no Synapse process could be asked, and a probe pod in their stead {instead.reason}"
    return ""


@probe(limit=Limit.INSIDE, rights=(EXEC,))
def inside_connections(deployment: Deployment, api: Api) -> InsideView:
    """From one running pod of each Synapse workload, connect to its database, Redis and instance_map by name."""
    chosen: dict[str, SynapseProcess] = {}
    for process in deployment.synapse:
        status = process.pod.container(process.container) if process.pod else None
        if status and status.running and process.config:
            chosen.setdefault(process.workload, process)

    def asker(process: SynapseProcess) -> Callable[[], list[InsideConnection]]:
        assert process.pod is not None
        pod = process.pod.name
        return lambda: _ask(api, process, pod, process.container, _asks(deployment, process), Limit.INSIDE - 2)

    found: list[InsideConnection] = []
    unseen: dict[str, str] = {}
    outcomes = in_threads([asker(each) for each in chosen.values()], Limit.INSIDE - 1)
    for process, outcome in zip(chosen.values(), outcomes, strict=True):
        try:
            found += outcome.result()
        except (ApiError, TimeoutError) as error:
            # One that is not ready may end while it is asked: that is said of its workload.
            if process.pod and process.pod.ready:
                unseen[process.id] = str(error) or "no answer within the time limit"
    return InsideView(tuple(found), unseen)


@probe(limit=Limit.PROBE_POD, rights=(MAKE_JOBS, REMOVE_JOBS, EXEC), safety=Safety.CANARY)
def probe_pod_connections(
    deployment: Deployment,
    snapshot: Snapshot,
    inside_connections: InsideView,
    settings: Settings,
    api: Api,
    traces: Traces,
    turn: Turn,
) -> InsideView:
    """Where no Synapse process can be asked, connect in their stead from a probe pod."""
    mains = [each for each in deployment.synapse if each.is_main and each.pod and each.config]
    if inside_connections.connections or not mains:
        return InsideView((), {})
    main = mains[0]
    like = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
    if like is None:
        return InsideView((), {main.id: "no Synapse pod to model a probe pod on"})
    try:
        pod = start_probe_pod(api, traces, like, settings, "connections", limit=Limit.PROBE_POD / 2)
    except NoProbePod as error:
        raise Unseen(str(error)) from error
    return InsideView(tuple(_ask(api, main, pod.name, CONTAINER, _asks(deployment, main), Limit.INSIDE)), {})


def _asks(deployment: Deployment, process: SynapseProcess) -> list[dict[str, object]]:
    """What a process connects to: its database and every other process's replication listener once, Redis several
    times."""
    asked: list[dict[str, object]] = []
    for use in deployment.database_uses:
        if use.client == process.id:
            where = {"host": use.login.host, "port": use.login.port}
            asked.append({**where, "times": 1, "redis": False, "password": ""})
    for address in deployment.redis_endpoints:
        if process.id in address.users:
            password = address.password.reveal() if address.password else ""
            where = {"host": address.endpoint.host, "port": address.endpoint.port}
            asked.append({**where, "times": CONNECTIONS, "redis": not address.tls, "password": password})
    for instance, listener in addresses_of(process.config or {}).items():
        if instance != process.instance:
            where = {"host": listener.host, "port": listener.port}
            asked.append({**where, "times": 1, "redis": False, "password": ""})
    return asked


def _ask(
    api: Api, process: SynapseProcess, pod: str, container: str, asks: list[dict[str, object]], limit: float
) -> list[InsideConnection]:
    answers = ask_outpost(api, process.namespace, pod, container, "connect", asks, limit=limit)
    return [
        InsideConnection(process, pod, str(ask["host"]), int(str(ask["port"])), tuple(said["seen"]), said["problem"])
        for ask, said in zip(asks, answers, strict=True)
    ]
