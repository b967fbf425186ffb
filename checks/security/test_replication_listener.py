from collections.abc import Mapping, Sequence
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses
from postflight.deployment.flows import replicating
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess, names_of
from postflight.deployment.routes import leads_to, outward, selects, target_of
from postflight.probes.network import ForeignWays
from postflight.probes.probe import NotTried
from postflight.probes.replication_listeners import ReplicationDoor
from postflight.probes.tries import Met
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

SECRETS = ("worker_replication_secret", "worker_replication_secret_path")


@check(
    "security.replication_listener",
    severity=Severity.CRITICAL,
    finding="3.2",
    kinds=(INGRESS, SERVICE),
    remedy="set worker_replication_secret in the configuration that all processes share, keep the listener off every Service"
    " but the headless ones that instance_map names, and let only Synapse's pods reach it",
    blind_spots="who reads along on the way: replication is plain text, which is accepted where it stays on one node or the"
    " settings accept it (network.plaintext_replication), and warned of else; listeners with TLS or on unix sockets;"
    " routes other than Ingresses and HAProxy; strangers in other namespaces, of whom security.network_policy judges by"
    " evaluation",
)
def test_replication_is_for_synapse_alone(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    replication_listeners: tuple[ReplicationDoor, ...],
    foreign_ways: ForeignWays | NotTried,
    judge: Judge,
) -> None:
    """Who reaches a replication listener and is not asked for the secret writes events, logs users in and reads what every
    worker reads. Upstream has no other lock on it."""
    listening = replicating(deployment)
    if not listening:
        if deployment.unread:
            judge.unknown("replication", f"which of {names_of(deployment.unread)} listens for replication is not known")
        else:
            judge.absent("no Synapse process has a replication listener that another could connect to")
        return
    _unlocked([door for door in replication_listeners if door.own and door.said.status and not door.refused], judge)
    for door in replication_listeners:
        _own(door, judge) if door.own else _elsewhere(door, judge)
    # One that is down serves nobody, and is told of elsewhere.
    if not any(door.own for door in replication_listeners):
        for process in listening:
            judge.unavailable(process.id, f"{process.name} does not run: its replication listener answers nobody")
    _published(deployment, snapshot, listening, judge)
    _led(deployment, snapshot, listening, judge)
    _reached(listening, foreign_ways, judge)
    _in_plain_text(listening, settings, judge)


def _unlocked(doors: Sequence[ReplicationDoor], judge: Judge) -> None:
    """One secret is for all: what lacks it is one thing."""
    processes = [door.process for door in doors if door.process]
    if not processes:
        return
    unset = all(_secret(each) is False for each in processes)
    judge.wrong(
        processes[0].id,
        f"the replication listener of {names_of(processes)} serves without the secret",
        observed="; ".join(f"{door.way}, asked without Authorization: {door.said.short}" for door in doors[:4]),
        expected="500 M_UNKNOWN: nobody without the secret is served",
        cause="worker_replication_secret is not set in the configuration in effect"
        if unset
        else "the process runs without worker_replication_secret, whatever its configuration says now",
        remedy="set worker_replication_secret in the configuration that all processes share, and restart them together",
    )


def _own(door: ReplicationDoor, judge: Judge) -> None:
    process = door.process
    assert process is not None
    if not door.said.status:
        judge.unavailable(process.id, f"{door.way} does not answer: {door.said.problem}")
    elif door.refused and _secret(process) is False:
        judge.unknown(
            process.id,
            f"{door.way} answers {door.said.short}, though its configuration has no worker_replication_secret",
        )
    elif door.refused:
        judge.saw(process.id)


def _secret(process: SynapseProcess) -> bool | None:
    return None if process.config is None else any(process.config.get(each) for each in SECRETS)


def _elsewhere(door: ReplicationDoor, judge: Judge) -> None:
    subject = door.process.id if door.process else next((each.id for each in door.pods), door.way)
    if door.replicates:
        judge.wrong(
            subject,
            f"replication is served at {door.way}, where users come in",
            observed=f"/_synapse/replication/... was answered with {door.said.short}, which is a replication listener's word",
            expected="404: the path is nowhere but on the replication listeners",
            cause="a route leads the path to a replication listener, or the listener for clients has the resource replication",
            remedy="take the path out of the route, and replication out of every listener that others reach",
        )
    elif not door.said.status:
        judge.unavailable(
            subject,
            f"whether replication is served at {door.way} was not seen: {door.said.problem}",
            needs=(subject, *(each.id for each in door.pods)),
        )
    else:
        judge.saw(subject)


def _published(deployment: Deployment, snapshot: Snapshot, listening: tuple[SynapseProcess, ...], judge: Judge) -> None:
    """A Service that has pods at addresses outside, on that port."""
    for service, how in outward(snapshot):
        led = [
            each
            for each in listening
            if (port := _port(each)) and each.pod and leads_to(snapshot, service, each.pod, port)
        ]
        if led:
            name = service["metadata"]["name"]
            judge.wrong(
                f"service/{service['metadata']['namespace']}/{name}",
                f"Service {name} ({how}) leads from outside the cluster to the replication listener of {names_of(led)}",
                observed=f"ports {_ports(service)}, selector {service['spec'].get('selector')}",
                expected="replication has no address outside of the cluster",
                cause=f"Service {name} is of a type that has an address outside, and names the port of replication",
                remedy=f"take the port out of Service {name}, or make it a headless Service",
            )


def _ports(service: Mapping[str, Any]) -> str:
    listed = service["spec"].get("ports") or ()
    return ", ".join(
        f"{each['port']} (node port {each['nodePort']})" if "nodePort" in each else f"{each['port']}" for each in listed
    )


def _port(process: SynapseProcess) -> int | None:
    return port_of(process, "replication")


def _led(deployment: Deployment, snapshot: Snapshot, listening: tuple[SynapseProcess, ...], judge: Judge) -> None:
    """An Ingress whose backend is that port."""
    for path in addresses.led(deployment, snapshot):
        service = snapshot.get(SERVICE, path.ingress["metadata"]["namespace"], path.service)
        for backend in _backends(path.ingress, path.service) if service else ():
            led = [
                each
                for each in listening
                if each.pod
                and service
                and selects(service, each.pod)
                and target_of(snapshot, service, backend, each.pod) == _port(each)
            ]
            if led:
                judge.wrong(
                    path.id,
                    f"Ingress {path.name} leads {path.host or 'every host'} to the replication listener of {names_of(led)}",
                    observed=f"its backend is port {backend.get('number') or backend.get('name')} of Service {path.service}",
                    expected="no route to replication",
                    remedy=f"take the path out of Ingress {path.name}",
                )


def _backends(ingress: Mapping[str, Any], service: str) -> list[Mapping[str, Any]]:
    found = [
        (each.get("backend") or {}).get("service") or {}
        for rule in ingress["spec"].get("rules") or ()
        for each in (rule.get("http") or {}).get("paths") or ()
    ]
    return [each["port"] for each in found if each.get("name") == service and each.get("port")]


def _reached(listening: tuple[SynapseProcess, ...], foreign: ForeignWays | NotTried, judge: Judge) -> None:
    """By a pod that is none of the deployment's."""
    ids = {each.id: each for each in listening}
    if isinstance(foreign, NotTried):
        judge.unproven(
            "foreign pods", f"whether a foreign pod reaches the replication listeners was not seen: {foreign.reason}"
        )
        return
    if foreign.problem and not foreign.tried:
        judge.unknown(
            "foreign pods", f"whether a foreign pod reaches the replication listeners is not known: {foreign.problem}"
        )
        return
    tries = [(prize, each) for prize, each in foreign.tried if prize.part in ids]
    open_ = [ids[prize.part] for prize, each in tries if each.met is Met.OPEN]
    if open_:
        judge.wrong(
            open_[0].id,
            f"a foreign pod reaches the replication listener of {names_of(open_)}",
            observed=f"{next(t.pod for _, t in tries)} connected to {', '.join(f'{p.address}:{p.port}' for p, t in tries if t.met is Met.OPEN)}",
            expected="only Synapse's own pods reach it",
            cause="no NetworkPolicy keeps other pods away from it, or none is enforced (security.network_policy says which)",
            remedy="a NetworkPolicy that selects Synapse's pods and lets in, on that port, Synapse's pods alone",
        )


def _in_plain_text(listening: tuple[SynapseProcess, ...], settings: Settings, judge: Judge) -> None:
    """Accepted on one node, where it crosses no wire."""
    nodes = sorted({each.pod.node for each in listening if each.pod and each.pod.node})
    accepted = settings.network.plaintext_replication
    if accepted or (accepted is None and len(nodes) < 2):
        return
    where = f"between {len(nodes)} nodes" if len(nodes) > 1 else "within one node"
    judge.warn(
        "replication",
        f"replication goes in plain text {where}: who reads along has the secret, and with it every process",
        observed=f"listeners without TLS on {', '.join(nodes)}",
        expected="a network that nobody else reads, or instance_map.*.tls with a proxy that ends it",
        cause="the settings do not accept it" if accepted is False else "nobody has said that this is accepted",
        remedy="network.plaintext_replication: true in the settings accepts it, where the cluster's network is encrypted or"
        " trusted",
    )
