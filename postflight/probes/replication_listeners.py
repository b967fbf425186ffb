"""What a replication listener answers without the secret, and whether what it serves is served anywhere else.

The request reads nothing and changes nothing. Seen on 1.119 and 1.163: 500 M_UNKNOWN where a secret is set and none is
shown, 200 where none is set, 404 M_UNRECOGNIZED at a listener for clients. Source: synapse/replication/http/_base.py
(``_check_auth``) and streams.py, 1.163.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.flows import replicating
from postflight.deployment.listeners import port_of, public_doors
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side, SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import main_of, public_host
from postflight.probes.http import Door, Said, ask
from postflight.probes.leads import Lead, lead
from postflight.probes.probe import probe

PATH = "/_synapse/replication/get_repl_stream_updates/events/postflight"
QUERY = {"from_token": "1", "upto_token": "1"}
REFUSED, UNKNOWN = (401, 403), "M_UNKNOWN"


@dataclass(frozen=True, slots=True)
class ReplicationDoor:
    """One port, asked without the secret. ``own``: it is a replication listener, else one where the path must not be.
    ``way`` says in words which it is; ``process`` is whose, None at a proxy's; ``pods`` those that the request passes."""

    way: str
    own: bool
    said: Said
    process: SynapseProcess | None = None
    pods: tuple[Pod, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether it is a replication listener's word that the secret is missing."""
        said = self.said
        return said.status in REFUSED or (said.status == 500 and said.json.get("errcode") == UNKNOWN)

    @property
    def replicates(self) -> bool:
        """Whether a replication listener answered at all: with updates, or that the secret is missing."""
        return (self.said.status == 500 and self.refused) or "updates" in self.said.json


@probe(limit=Limit.INSIDE, reaches=True)
def replication_listeners(deployment: Deployment, snapshot: Snapshot, access: Access) -> tuple[ReplicationDoor, ...]:
    """Ask every replication listener, every port for clients and every proxy for replication, without the secret."""
    doors = [*_own(deployment), *_public(deployment), *_fronts(deployment, snapshot)]

    def asker(door: Door) -> Callable[[], Said]:
        return lambda: ask(access, door, "GET", PATH, query=QUERY)

    outcomes = in_threads([asker(door) for door, _ in doors], Limit.INSIDE - 1)
    late = "no answer within the time limit"
    return tuple(
        ReplicationDoor(
            about.way,
            about.own,
            Said(door.pod.name, problem=late) if isinstance(outcome.exception(), TimeoutError) else outcome.result(),
            about.process,
            about.pods,
        )
        for (door, about), outcome in zip(doors, outcomes, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _About:
    way: str
    own: bool
    process: SynapseProcess | None = None
    pods: tuple[Pod, ...] = ()


def _own(deployment: Deployment) -> Iterator[tuple[Door, _About]]:
    for process in replicating(deployment):
        port = port_of(process, "replication")
        if process.pod and process.is_up and port:
            yield Door(process.pod, port), _About(f"port {port} of {process.name}", True, process, (process.pod,))


def _public(deployment: Deployment) -> Iterator[tuple[Door, _About]]:
    for process in deployment.synapse:
        shared = port_of(process, "replication")
        for port, tls in public_doors(process):
            if process.pod and process.is_up and port != shared:
                about = _About(f"port {port} of {process.name}", False, process, (process.pod,))
                yield Door(process.pod, port, tls), about


def _fronts(deployment: Deployment, snapshot: Snapshot) -> Iterator[tuple[Door, _About]]:
    """The ports of a proxy that speaks for Synapse, and where an Ingress leads the path to."""
    for proxy in deployment.proxies:
        pod = next((each for each in proxy.pods if each.ready), None)
        for frontend in (proxy.client, proxy.federation) if pod else ():
            for bind in frontend.binds[:1] if frontend else ():
                yield Door(pod, bind.port, bind.tls), _About(f"port {bind.port} of {proxy.name}", False, None, (pod,))  # type: ignore[arg-type]
    main = main_of(deployment)
    found = lead(deployment, snapshot, main, public_host(main), PATH) if main and main.side is Side.MAIN else None
    if main and isinstance(found, Lead) and found.route and found.door:
        yield found.door, _About(f"{public_host(main)}, {found.says}", False, None, (found.door.pod, *found.pods))
