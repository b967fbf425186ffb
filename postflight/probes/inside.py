"""Connections from where the processes stand: by name, through Services and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, NoProbePod, start_probe_pod
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, name_of
from postflight.deployment.writers import addresses_of
from postflight.limits import Limit
from postflight.probes import tries
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, NotTried, Safety, Unseen, probe
from postflight.probes.tries import Tried
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
    """``unseen`` says why a process's pod could not be asked, by process id. ``tried`` is what else was tried on the way:
    whether the pods reach what they need beside these, and what they are not to reach."""

    connections: tuple[InsideConnection, ...]
    unseen: Mapping[str, str]
    tried: tuple[Tried, ...] = ()


_Heard = tuple[list[InsideConnection], tuple[Tried, ...]]


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
def inside_connections(deployment: Deployment, settings: Settings, api: Api) -> InsideView:
    """From one running pod of each Synapse workload, connect to its database, Redis and instance_map by name, and try
    its other ways."""
    chosen: dict[str, SynapseProcess] = {}
    for process in deployment.synapse:
        status = process.pod.container(process.container) if process.pod else None
        if status and status.running and process.config:
            chosen.setdefault(process.workload, process)

    def asker(process: SynapseProcess) -> Callable[[], _Heard]:
        assert process.pod is not None
        pod, asks, more = process.pod.name, _asks(deployment, process), _tries(deployment, process, settings)
        return lambda: _ask(api, process, pod, process.container, asks, Limit.INSIDE - 2, more)

    found: list[InsideConnection] = []
    ways: list[Tried] = []
    unseen: dict[str, str] = {}
    outcomes = in_threads([asker(each) for each in chosen.values()], Limit.INSIDE - 1)
    for process, outcome in zip(chosen.values(), outcomes, strict=True):
        try:
            connections, further = outcome.result()
        except (ApiError, TimeoutError) as error:
            # One that is not ready may end while it is asked: that is said of its workload.
            if process.pod and process.pod.ready:
                unseen[process.id] = str(error) or "no answer within the time limit"
        else:
            found += connections
            ways += further
    return InsideView(tuple(found), unseen, tuple(ways))


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
    return InsideView(tuple(_ask(api, main, pod.name, CONTAINER, _asks(deployment, main), Limit.INSIDE)[0]), {})


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


def _tries(deployment: Deployment, process: SynapseProcess, settings: Settings) -> list[dict[str, Any]]:
    """What it needs beside those: its object store, the key vault, the name service. And what it is not to reach: the API
    server, and, from LI, what the settings name outside."""
    where = [(each.endpoint.host, each.endpoint.port) for each in deployment.stores if process.id in each.users]
    for vault in deployment.vaults:
        if any(process.id in key.users for key in vault.keys):
            where.append((vault.endpoint.host, vault.endpoint.port))
    where += [(tries.NAME_SERVICE, tries.NAME_PORT), (tries.API_SERVER, tries.API_PORT)]
    if process.side is Side.LI and settings.network.beyond:
        where.append(settings.network.beyond)
    return [tries.ask(host, port) for host, port in dict.fromkeys(where)]


def _ask(
    api: Api,
    process: SynapseProcess,
    pod: str,
    container: str,
    asks: list[dict[str, object]],
    limit: float,
    more: Sequence[dict[str, Any]] = (),
) -> _Heard:
    answers = ask_outpost(api, process.namespace, pod, container, "connect", [*asks, *more], limit=limit)
    own, further = answers[: len(asks)], answers[len(asks) :]
    found = [
        InsideConnection(process, pod, str(ask["host"]), int(str(ask["port"])), tuple(said["seen"]), said["problem"])
        for ask, said in zip(asks, own, strict=True)
    ]
    return found, tries.tried(process.workload, pod, more, further)
