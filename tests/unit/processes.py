"""What the probes would observe of the recorded lab's Synapse processes, and at their doors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from postflight.deployment.federation import Federation, covering, federation_of, meant_to_send
from postflight.deployment.listeners import PUBLIC, port_of, public_doors, resources_of
from postflight.deployment.media import holds_media, is_media_worker
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.writers import addresses_of, writers_of
from postflight.probes import http
from postflight.probes.closed_doors import ClosedDoors, Knock
from postflight.probes.federation import Arrival, FederationCanary, Owed
from postflight.probes.identity import WorkerIdentity
from postflight.probes.inside import InsideConnection, InsideView
from postflight.probes.known_settings import KnownSettings
from postflight.probes.logs import ProcessLog
from postflight.probes.media_doors import PATHS, MediaAnswer, MediaDoor
from postflight.probes.persisters import PersistedRows, Written
from postflight.probes.server_doors import FrontAnswer, ProcessAnswer, ServerDoors
from tests.unit.recorded import Json

#: When the run began whose logs are looked at.
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def logs(model: Deployment) -> tuple[ProcessLog, ...]:
    """Every process logs nothing that matters."""
    return tuple(ProcessLog(each, BEGAN) for each in model.synapse)


def inside(model: Deployment, problem: str = "", role: str = "master") -> InsideView:
    """From main's pod, to its database and to Redis; from a worker's, to the others' replication listeners."""
    main = next(each for each in model.synapse if each.is_main)
    use = next(each for each in model.database_uses if each.client == main.id)
    address = model.redis_endpoints[0].endpoint
    pod = main.pod.name if main.pod else ""
    return InsideView(
        (
            InsideConnection(main, pod, use.login.host, 5432, () if problem else ("connected",), problem),
            InsideConnection(main, pod, address.host, address.port, () if problem else (role,) * 6, problem),
            *listeners(model),
        ),
        {},
    )


#: As signed with the lab's own signing key (lab/deployment/base/secrets.yaml).
KEYS = {"ed25519:a_lab": "2+6KCd3TzDu39jAJ0vpVblIuFcpBXheC/lIhTUJGs64"}


def worker_identities(model: Deployment) -> tuple[WorkerIdentity, ...]:
    """Every process with a federation listener is heard, and all are given the same key."""
    origin = "Secret synapse-secrets/signing.key, as /secrets/signing.key"
    return tuple(
        WorkerIdentity(each, KEYS, tuple(KEYS), 200, origin, KEYS)
        if port_of(each, "federation")
        else WorkerIdentity(each, origin=origin, configured=KEYS, listens=False)
        for each in model.synapse
    )


@cache
def synapse_settings() -> Json:
    """What ``postflight/outpost/synapse_settings.py`` printed in the lab's image."""
    found: Json = json.loads((Path(__file__).parent / "data" / "synapse_settings.json").read_text())
    return found


def known_settings(model: Deployment) -> dict[str, KnownSettings]:
    said = synapse_settings()
    settings, within = frozenset(said["settings"]), {name: frozenset(keys) for name, keys in said["within"].items()}
    images = {
        status.image: each.name for each in model.synapse if each.pod and (status := each.pod.container(each.container))
    }
    return {image: KnownSettings(image, pod, said["version"], settings, within) for image, pod in images.items()}


def listeners(model: Deployment, asker: str = "synapse-generic-worker") -> tuple[InsideConnection, ...]:
    """From a worker's pod, to every address of its instance_map."""
    one = next((each for each in model.synapse if each.workload_name == asker), None)
    pod = one.pod.name if one and one.pod else ""
    found = addresses_of((one.config if one else None) or {})
    return tuple(InsideConnection(one, pod, at.host, at.port, ("connected",), "") for at in found.values() if one)


def persisted(model: Deployment, *instances: str, ago: float = 20) -> PersistedRows:
    """As many rows of each of these instances (else each event persister) as the next, the last some seconds ago."""
    writers = writers_of(model)
    main = next(each for each in writers.processes if each.is_main)
    now = datetime(2027, 1, 1, tzinfo=UTC)
    names = instances or writers.persisters(main)
    return PersistedRows(tuple(Written(name, 100, now - timedelta(seconds=ago)) for name in names), now, 900)


CANARIES = tuple(f"postflight-canary.matrix.svc:{port}" for port in range(18448, 18456))


def canary(model: Deployment, federation: Federation | None = None) -> FederationCanary:
    """Every canary got everything from each process that holds itself to be the sender to it."""
    federation = federation or federation_of(model)
    names = covering(federation.lists, CANARIES)
    owed: list[Owed] = []
    arrivals: list[Arrival] = []
    for name in names:
        mine = [
            Arrival(f"1-{each.instance}", each.pod.ip if each.pod else "", each) for each in federation.senders_of(name)
        ]
        arrivals += mine
        owed += [
            Owed(name, kind, f"{kind} {number}", tuple(mine))
            for number, kind in enumerate(("event", "event", "to-device message"))
        ]
    return FederationCanary(names, tuple(owed), tuple(arrivals), {})


def media(model: Deployment) -> tuple[MediaDoor, ...]:
    """Each process that is reached answers as Synapse would by its configuration."""
    config, download, admin = PATHS
    found: list[MediaDoor] = []
    for process in model.synapse:
        served = resources_of(process)
        if PUBLIC & served and process.config is not None:
            files = is_media_worker(process) or process.is_main
            said = {config: (401, "M_MISSING_TOKEN"), download: (404, "M_NOT_FOUND"), admin: (401, "M_MISSING_TOKEN")}
            known = {config} | ({download, admin} if files else set()) if holds_media(process) else set()
            answers = (MediaAnswer(path, *(said[path] if path in known else (404, "M_UNRECOGNIZED"))) for path in PATHS)
            found.append(MediaDoor(process, tuple(answers)))
    return tuple(found)


def shut(model: Deployment) -> tuple[ClosedDoors, ...]:
    """Whoever knocks is refused; the nonce is there for who knows the secret."""

    def knock(status: int, text: str) -> Knock:
        return Knock("through haproxy-1", http.Said("haproxy-1", status, text))

    main = next(each for each in model.synapse if each.is_main)
    off, no_token = knock(403, '{"errcode": "M_FORBIDDEN"}'), knock(401, '{"errcode": "M_MISSING_TOKEN"}')
    return (ClosedDoors(main, off, no_token, knock(200, '{"nonce": "n"}')),)


def without_federation(model: Deployment) -> Deployment:
    """The model where nobody is let in and nobody sends."""

    def off(process: SynapseProcess) -> SynapseProcess:
        config = dict(process.config or {})
        config.pop("federation_sender_instances", None)
        return replace(process, config=config | {"federation_domain_whitelist": [], "send_federation": False})

    kept = (each for each in model.synapse if not meant_to_send(each))
    return replace(model, synapse=tuple(map(off, kept)))


def refusing(model: Deployment) -> tuple[ServerDoors, ...]:
    """Every process that users reach refuses a server, and so does what comes back by the proxy."""
    denied = http.Said("pod", 403, '{"errcode": "M_FORBIDDEN", "error": "Federation denied with None."}')
    unknown = http.Said("pod", 404, '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}')
    mine = [(each, port) for each in model.synapse if each.side is Side.MAIN for port, _ in public_doors(each)]
    asked = tuple(
        ProcessAnswer(each, port, denied if "federation" in resources_of(each) else unknown) for each, port in mine
    )
    fronts = tuple(
        FrontAnswer("through haproxy-1, port 8448", denied, proxy, "matrix_federation", "generic_workers")
        for proxy in model.proxies
    )
    main = next(each for each in model.synapse if each.is_main)
    return (ServerDoors(main, asked, fronts),)
