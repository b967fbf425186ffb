"""What the probes would observe of the recorded lab, and what a check says of it: for the tests of the checks."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from checks import test_leftovers
from checks.calls import test_matrixrtc
from checks.clients import test_closed_doors
from checks.database import test_connections, test_login, test_names, test_replication
from checks.federation import test_exactly_once
from checks.li import test_identity, test_main_database_rights
from checks.li import test_replication as test_li
from checks.media import test_workers
from checks.platform import test_operators, test_references, test_workloads
from checks.redis import test_endpoint, test_memory
from checks.redis import test_replication as test_redis
from checks.routing import test_public
from checks.workers import (
    test_background,
    test_configuration,
    test_event_persisters,
    test_rendered_config,
    test_signing_key,
    test_stream_writers,
)
from postflight.check import meta_of
from postflight.deployment.federation import Federation, covering, federation_of
from postflight.deployment.listeners import PUBLIC, port_of, resources_of
from postflight.deployment.media import holds_media, is_media_worker
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Login, PostgresCluster
from postflight.deployment.writers import addresses_of, writers_of
from postflight.probes import http
from postflight.probes.background import BackgroundUpdates
from postflight.probes.closed_doors import ClosedDoors, Knock
from postflight.probes.databases import DatabaseInstance, DatabaseLogins, LoginOutcome, LoginTry, Pool
from postflight.probes.federation import Arrival, FederationCanary, Owed
from postflight.probes.federation_counters import Sent
from postflight.probes.identity import WorkerIdentity
from postflight.probes.inside import InsideConnection, InsideView
from postflight.probes.known_settings import KnownSettings
from postflight.probes.li import Said
from postflight.probes.li_import import Imported
from postflight.probes.media_doors import PATHS, MediaAnswer, MediaDoor
from postflight.probes.metrics import Count
from postflight.probes.persister_rooms import PersistedEvents
from postflight.probes.persisters import PersistedRows, Written
from postflight.probes.probe import NotTried, Refusal
from postflight.probes.redis import BackendRole, WriteProof
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer
from postflight.probes.rendering import InitTroubles
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit import calling, fronting, recorded
from tests.unit.li_world import ARRIVED, RIGHTS, identities_of, replication
from tests.unit.recorded import Json, item

MODULES = (
    test_leftovers,
    test_matrixrtc,
    test_closed_doors,
    test_connections,
    test_login,
    test_names,
    test_replication,
    test_exactly_once,
    test_identity,
    test_main_database_rights,
    test_li,
    test_workers,
    test_operators,
    test_references,
    test_workloads,
    test_endpoint,
    test_memory,
    test_redis,
    test_public,
    test_background,
    test_configuration,
    test_rendered_config,
    test_signing_key,
    test_event_persisters,
    test_stream_writers,
)
CHECKS: Mapping[str, Callable[..., None]] = {
    meta.id: each for module in MODULES for each in vars(module).values() if (meta := meta_of(each))
}
MIB = 2**20
NOT_ALLOWED = NotTried("no right: create pods/exec in namespace matrix", Refusal.RIGHT)
READ_ONLY = NotTried("needs --safety canary", Refusal.SAFETY)
FACTS = {
    "max_connections": 300,
    "reserved": 3,
    "sessions": 30,
    "databases": {"matrix": "synapse", "key_vault": "key_vault"},
}


# What the probes would observe of a model -----------------------------------------------------------


def logins(
    model: Deployment, outcome: Callable[[Login], tuple[LoginOutcome, str]] | None = None, **facts: Any
) -> DatabaseLogins:
    """Every login tried; ``outcome`` says what each comes to."""
    tries: dict[Login, LoginTry] = {}
    for use in model.database_uses:
        for login in filter(None, (use.login, use.next_login)):
            what, message = outcome(login) if outcome else (LoginOutcome.ACCEPTED, "")
            seen = {**FACTS, **facts} if what is LoginOutcome.ACCEPTED else {}
            tries[login] = LoginTry(login, what, message, f"{login.host}:{login.port}", seen)
    clusters = {(each.host, each.port): cluster for cluster in model.postgres for each in cluster.endpoints}
    return DatabaseLogins(tries, clusters)


def pools(model: Deployment, size: int = 5, *, reported: bool = True, problem: str = "") -> tuple[Pool, ...]:
    return tuple(Pool(each, size, reported, problem) for each in model.synapse)


def instances(model: Deployment) -> dict[str, tuple[DatabaseInstance, ...]]:
    return {each.id: instances_of(each) for each in model.postgres if each.operator}


def instances_of(cluster: PostgresCluster) -> tuple[DatabaseInstance, ...]:
    common = {"timeline": 1, "wal_bytes": 64 * MIB, "wal_ceiling": 1024 * MIB, "subscriptions": []}
    replicas = [each.name for each in cluster.pods if each != cluster.primary]
    primary = common | {
        "in_recovery": False,
        "receiver": None,
        "received_timeline": None,
        "slots": [slot(f"_cnpg_{name.replace('-', '_')}") for name in replicas],
        "senders": [{"name": name, "state": "streaming", "behind": 0} for name in replicas],
    }
    replica = common | {
        "in_recovery": True,
        "receiver": "streaming",
        "received_timeline": 1,
        "slots": [],
        "senders": [],
    }
    return tuple(DatabaseInstance(pod, primary if pod == cluster.primary else replica) for pod in cluster.pods)


def slot(name: str, *, active: bool = True) -> Json:
    return {"name": name, "type": "physical", "active": active, "wal_status": "reserved", "behind": 3 * MIB}


def nodes(model: Deployment) -> dict[str, RedisObservation]:
    found: dict[str, RedisObservation] = {}
    for group in model.redis:
        master, *others = group.nodes
        counted = {f"slave{n}": {"ip": each.pod.ip, "state": "online"} for n, each in enumerate(others)}
        memory = {"used_memory": 8 * MIB, "maxmemory": 96 * MIB, "maxmemory_policy": "allkeys-lru", "evicted_keys": 0}
        names = {each.server_name: len(each.users) for each in model.redis_endpoints}
        leads = {"master_replid": "a", "run_id": master.id}
        answers = [RedisAnswer(master, "master", memory | counted | leads, names)]
        link = {"master_link_status": "up", "master_replid": "a", "master_host": master.pod.ip, "master_port": 6379}
        answers += [
            RedisAnswer(each, "slave", memory | link | {"run_id": each.id}, dict.fromkeys(names, 0)) for each in others
        ]
        state = {"ip": master.pod.ip, "runid": master.id, "port": 6379, "num-slaves": len(others)}
        state["num-other-sentinels"] = len(group.sentinels) - 1
        watching = tuple(SentinelAnswer(each, state) for each in group.sentinels)
        found[group.id] = RedisObservation(group, tuple(answers), watching)
    return found


def backends(model: Deployment) -> dict[str, tuple[BackendRole, ...]]:
    return {
        each.id: tuple(BackendRole(pod.name, ("master",) * 4, ("run",) * 4) for pod, _ in each.endpoint.pods)
        for each in model.redis_endpoints
    }


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


def observed(lab: recorded.Recording | None = None, files: Any = None) -> dict[str, Any]:
    """Everything that a check may ask for, as of a lab where every probe finds what it should."""
    lab = lab or recorded.healthy()
    model = recorded.model() if lab is recorded.healthy() and files is None else lab.deployment(files=files)
    return {
        "snapshot": lab.snapshot,
        "secrets": lab.secrets,
        "deployment": calling.with_calls(model),
        "background_updates": tuple(BackgroundUpdates(each) for each in model.synapse if each.is_main),
        "known_updates": {},
        "calls_discovery": calling.discovery(model),
        "calls_chain": calling.chain(model),
        "closed_doors": shut(model),
        "public_front": fronting.door(model),
        "client_addresses": fronting.addresses(model),
        "redactor": Redactor(),
        "settings": Settings(),
        "database_logins": logins(model),
        "database_pools": pools(model),
        "database_instances": instances(model),
        "li_replication": replication(),
        "li_main_rights": RIGHTS,
        "li_arrival": ARRIVED,
        "li_import": Imported(Said({}), Said({})),
        "identities": identities_of(model),
        "media_doors": media(model),
        "worker_identities": worker_identities(model),
        "init_troubles": InitTroubles({pod.id: () for each in model.synapse if (pod := each.pod)}, {}),
        "known_settings": known_settings(model),
        "redis_nodes": nodes(model),
        "redis_backends": backends(model),
        "redis_write": {each.id: WriteProof(each.nodes[0], len(each.nodes) - 1) for each in model.redis if each.nodes},
        "inside_connections": inside(model),
        "probe_pod_connections": InsideView((), {}),
        "federation_canary": canary(model),
        "federation_counters": {each.id: Sent(0) for each in model.synapse},
        "persisted_rows": persisted(model),
        "persisted_counters": {each.id: Count(0) for each in model.synapse},
        "persisted_events": PersistedEvents(),
        "last_words": {},
        "leftovers": (),
    }


def ask(id: str, lab: recorded.Recording | None = None, **others: Any) -> Judge:
    """What a check says of a lab, with some of the observations replaced."""
    pen, given = Judge(), observed(lab) | others
    function = CHECKS[id]
    function(**{name: given[name] for name in inspect.signature(function).parameters if name != "judge"}, judge=pen)
    return pen


def only(pen: Judge, status: Status = Status.FAILED) -> Failure:
    """The one thing that a check has to say."""
    assert [(each.status, each.headline) for each in pen.failures] == [(status, pen.failures[0].headline)]
    return pen.failures[0]


MODEL = recorded.model()
CLUSTER = MODEL.postgres[0]
GROUP = MODEL.redis[0]
ADDRESS = MODEL.redis_endpoints[0]


def not_ready(raw: Json, name: str, *, state: Json | None = None, restarts: int = 0, last: int | None = None) -> None:
    """A pod of the lab whose first container is in another state."""
    pod = item(raw, "Pod", name)
    for each in pod["status"]["conditions"]:
        if each["type"] == "Ready":
            each["status"] = "False"
    status = pod["status"]["containerStatuses"][0]
    status |= {"ready": False, "restartCount": restarts, "state": state or {"running": {}}}
    if last is not None:
        status["lastState"] = {"terminated": {"exitCode": last}}


def primary_says(**facts: Any) -> dict[str, tuple[DatabaseInstance, ...]]:
    """The lab's instances, the primary with other facts."""
    primary, replica = instances_of(CLUSTER)
    return {CLUSTER.id: (replace(primary, facts={**primary.facts, **facts}), replica)}
