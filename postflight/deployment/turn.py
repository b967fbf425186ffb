"""TURN servers, and what Synapse tells clients of them.

Source: synapse/config/voip.py, 1.119 and 1.163; RFC 7065 (the addresses).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.files import Files
from postflight.cluster.kinds import ENDPOINT_SLICE, POD, SERVICE
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import coturn
from postflight.deployment.address_echo import echoes_of
from postflight.deployment.listeners import resources_of
from postflight.deployment.parts import Pod, Side, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.pods import number
from postflight.deployment.rendering import Spec, Unreadable
from postflight.deployment.services import SERVICE_LABEL, resolve
from postflight.deployment.turn_parts import PORT, TLS_PORT, URI, SharedSecret, TurnServer, TurnSetup, TurnUri, TurnUse
from postflight.secrets import Secret


def secret_of(
    spec: Spec, container: Mapping[str, Any], process: SynapseProcess, secrets: SecretStore
) -> tuple[SharedSecret | None, str]:
    """The shared secret of a Synapse process, and why it is not known."""
    config, later = process.config or {}, process.next_config or process.config or {}
    path = str(config.get("turn_shared_secret_path") or "")
    if given := config.get("turn_shared_secret"):
        return _shared(str(given), str(later.get("turn_shared_secret") or ""), spec, secrets), ""
    if not path:
        return None, ""
    try:
        text = (spec.file(container, path) or "").strip()
    except Unreadable as error:
        return None, str(error)
    if not text:
        return None, f"{path} is not to be had from the pod's spec"
    return _shared(text, text, spec, secrets), ""


def read_turn(
    found: Sequence[Place],
    files: Files,
    secrets: SecretStore,
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    held: Mapping[str, tuple[SharedSecret | None, str]],
    everywhere: Sequence[Place],
) -> TurnSetup:
    """``held`` are the shared secrets of the processes by their ids; ``everywhere`` are all containers: an address that
    clients are told may lead to a TURN server that nothing else tells."""
    uses = tuple(_uses(snapshot, pods, processes, held))
    groups: dict[str, list[Place]] = {}
    for each in found:
        groups.setdefault(each.workload.id, []).append(each)
    told = {pod.id for use in uses for uri in use.uris for pod, _ in uri.endpoint.pods}
    known = {each.workload.id for each in found}
    unlike: dict[str, list[Place]] = {}
    for each in everywhere:
        if each.first and each.pod and each.pod.id in told and each.workload.id not in known:
            unlike.setdefault(each.workload.id, []).append(each)
    servers = [_server(group, files, secrets, snapshot) for group in groups.values()]
    servers += [_foreign(group, snapshot, uses) for group in unlike.values()]
    return TurnSetup(tuple(servers), uses)


def edges(setup: TurnSetup) -> Iterator[tuple[str, str]]:
    """A TURN server is there as long as its pods are. Nothing in the model leans on it: clients do."""
    for server in setup.servers:
        yield server.id, server.workload


def uri_of(text: str, snapshot: Snapshot, pods: Mapping[str, Pod], namespace: str) -> TurnUri | None:
    """None for what is no address of a TURN server (``stun:``). Where it names no transport, clients take UDP, and TCP
    with TLS (RFC 7065, 3.2, as browsers have it)."""
    match = URI.fullmatch(text.strip())
    if match is None:
        return None
    tls = match["scheme"] == "turns"
    host, port = match["host"].strip("[]"), int(match["port"] or (TLS_PORT if tls else PORT))
    transport = match["transport"] or ("tcp" if tls else "udp")
    return TurnUri(text.strip(), host, port, transport, tls, resolve(snapshot, pods, host, port, namespace))


@dataclass(frozen=True, slots=True)
class Difference:
    """How a server's shared secret is not Synapse's, and what makes both equal."""

    cause: str
    remedy: str


def difference(server: TurnServer, uses: Iterable[TurnUse]) -> Difference | None:
    """None where a secret of both is the same, or one side's is not known."""
    ours = [use.secret for use in uses if use.secret]
    if not ours or not server.secrets or {each.value for each in ours} & {each.value for each in server.secrets}:
        return None
    mine, theirs = ours[0], server.secrets[0]
    if mine.stale or theirs.stale or mine.origin == theirs.origin:
        late, origin = ("Synapse", mine.origin) if mine.stale else (server.name, theirs.origin)
        return Difference(f"{origin} was changed, and {late} still has the value before", f"restart {late}")
    one, other = theirs.origin.removeprefix("Secret "), mine.origin.removeprefix("Secret ")
    return Difference(
        f"{mine.origin} differs from {theirs.origin}", f"make {one} equal to {other}, then restart {server.name}"
    )


def _uses(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    held: Mapping[str, tuple[SharedSecret | None, str]],
) -> Iterator[TurnUse]:
    """Of each process that clients may come to."""
    for process in processes:
        config = process.config
        if config is None or process.side is not Side.MAIN or "client" not in resources_of(process):
            continue
        listed = config.get("turn_uris")
        texts = tuple(map(str, listed)) if isinstance(listed, list) else ()
        uris = [uri for each in texts if (uri := uri_of(each, snapshot, pods, process.namespace))]
        secret, hidden = held.get(process.id, (None, ""))
        fixed = bool(config.get("turn_username") and config.get("turn_password"))
        yield TurnUse(process.id, texts, tuple(uris), secret, fixed, hidden)


def _server(group: Sequence[Place], files: Files, secrets: SecretStore, snapshot: Snapshot) -> TurnServer:
    """As its first running pod has it: all its pods take the same secrets."""
    place = next((each for each in group if each.running_pod), group[0])
    options, problem = coturn.options_of(place, files)
    later = coturn.secrets_later(place)
    taken = tuple(
        _shared(value, value if value in later else next(iter(later), ""), place.spec, secrets)
        for value in options.get(coturn.SECRET, ())
    )
    pods = tuple(each.pod for each in group if each.pod)
    external = tuple(
        each for one in group if one.pod for each in coturn.options_of(one, files)[0].get("external-ip", ())
    )
    addresses, names = _addresses(snapshot, pods)
    return TurnServer(
        id=f"turn/{place.workload.namespace}/{place.workload.name}",
        namespace=place.workload.namespace,
        name=place.workload.name,
        workload=place.workload.id,
        pods=pods,
        port=number(next(iter(options.get("listening-port", ())[-1:]), ""), PORT),
        secrets=taken,
        external=tuple(dict.fromkeys(external)),
        denied=options.get("denied-peer-ip", ()),
        allowed=options.get("allowed-peer-ip", ()),
        addresses=addresses,
        names=names,
        echoes=tuple(dict.fromkeys(each for one in group for each in echoes_of(one.spec))),
        problem=problem,
    )


def _foreign(group: Sequence[Place], snapshot: Snapshot, uses: Iterable[TurnUse]) -> TurnServer:
    """One that is no coturn: clients are told its address, and nothing is known of its configuration."""
    place, pods = group[0], tuple(each.pod for each in group if each.pod)
    ids = {pod.id for pod in pods}
    ports = [
        port for use in uses for uri in use.uris if not uri.tls for pod, port in uri.endpoint.pods if pod.id in ids
    ]
    addresses, names = _addresses(snapshot, pods)
    return TurnServer(
        id=f"turn/{place.workload.namespace}/{place.workload.name}",
        namespace=place.workload.namespace,
        name=place.workload.name,
        workload=place.workload.id,
        pods=pods,
        port=next(iter(ports), PORT),
        addresses=addresses,
        names=names,
        echoes=tuple(dict.fromkeys(each for one in group for each in echoes_of(one.spec))),
        problem="it does not run coturn",
    )


def _shared(value: str, later: str, spec: Spec, secrets: SecretStore) -> SharedSecret:
    """``later`` is what a restart would take: what the spec leads to today tells its origin."""
    variable = spec.origin_of(later or value)
    held = secrets.found.get(variable.secret) if variable and variable.secret else None
    origin = variable.origin if variable else "its configuration"
    return SharedSecret(Secret(value), origin, held.changed if held else None, stale=bool(later) and later != value)


def _addresses(snapshot: Snapshot, pods: Sequence[Pod]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses of pods, of their nodes, and of the Services that lead to them; and names of load balancers."""
    found: list[str] = []
    for pod in pods:
        status = (snapshot.get(POD, pod.namespace, pod.name) or {}).get("status") or {}
        found += [pod.ip, status.get("hostIP") or ""]
        found += [each.get("ip") or "" for key in ("podIPs", "hostIPs") for each in status.get(key) or ()]
    names: list[str] = []
    for service in _services(snapshot, pods):
        spec, status = service["spec"], service.get("status") or {}
        found += [*(spec.get("clusterIPs") or [spec.get("clusterIP") or ""]), *(spec.get("externalIPs") or ())]
        for each in (status.get("loadBalancer") or {}).get("ingress") or ():
            found.append(each.get("ip") or "")
            names.append(each.get("hostname") or "")
    return tuple(dict.fromkeys(each for each in found if each not in ("", "None"))), tuple(filter(None, names))


def _services(snapshot: Snapshot, pods: Sequence[Pod]) -> Iterator[Mapping[str, Any]]:
    wanted = {(pod.namespace, pod.name) for pod in pods}
    named: dict[tuple[str, str], None] = {}
    for piece in snapshot.all(ENDPOINT_SLICE):
        meta = piece["metadata"]
        service = (meta.get("labels") or {}).get(SERVICE_LABEL)
        refs = [each.get("targetRef") or {} for each in piece.get("endpoints") or ()]
        if service and any((meta["namespace"], ref.get("name")) in wanted for ref in refs):
            named[(meta["namespace"], service)] = None
    yield from filter(None, (snapshot.get(SERVICE, *each) for each in named))
