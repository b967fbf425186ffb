"""A small deployment with lawful intercept: main with a worker, LI, their databases, the Job between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from postflight.cluster.files import Files
from postflight.cluster.kinds import JOB, POSTGRES_CLUSTER
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.probes.arrival import Arrival
from postflight.probes.databases import LoginOutcome
from postflight.probes.identity import Identity
from postflight.probes.li import Attempt, MainRights, Replication, Role, Said
from postflight.settings import Settings
from tests.unit.worlds import (
    NAMESPACE,
    Json,
    container,
    deployment,
    endpoints,
    pod,
    secrets,
    service,
    snapshot,
    thing,
)

NAME = "matrix.lab.test"
HELD = secrets(
    app={"username": "synapse", "password": "of-main-itself"},
    li_app={"username": "synapse_li", "password": "of-li-itself"},
    sync={
        "MAIN_DB_HOST": "pg-rw",
        "MAIN_DB_NAME": "matrix",
        "MAIN_DB_USER": "reader",
        "MAIN_DB_PASSWORD": "of-the-reader",
        "LI_DB_HOST": "pg-li-rw",
        "LI_DB_NAME": "matrix_li",
        "LI_DB_USER": "synapse_li",
        "LI_DB_PASSWORD": "of-li-itself",
    },
)


def config(database: str, host: str, user: str, password: str, /, **more: Any) -> str:
    args = {"host": host, "dbname": database, "user": user, "password": password}
    listeners = [{"port": 8008, "resources": [{"names": ["client", "federation"]}]}]
    database_of = {"name": "psycopg2", "args": args}
    kept = {"redaction_retention_period": None, "forgotten_room_retention_period": None}
    return yaml.safe_dump({"server_name": NAME, "database": database_of, "listeners": listeners} | kept | more)


MAIN = config("matrix", "pg-rw", "synapse", "of-main-itself", public_baseurl="https://matrix.lab.test/")
LI: Json = {"public_baseurl": "https://matrix-li.lab.test/", "federation_domain_whitelist": []}
LI |= {"send_federation": False}
WORKER = "worker_app: synapse.app.generic_worker\nworker_name: one\n"


def synapse(name: str, labels: Json, *, worker: bool = False) -> Json:
    app = "generic_worker" if worker else "homeserver"
    words = ["python", "-m", f"synapse.app.{app}", "--config-path", "/c/a"]
    return pod(name, container(command=[*words, *(["--config-path", "/c/b"] if worker else [])]), labels=labels)


def database(name: str, secret: str, **spec: Any) -> tuple[Json, ...]:
    bootstrap = {"initdb": {"secret": {"name": secret}, "database": "matrix_li" if "li" in name else "matrix"}}
    cluster = thing(POSTGRES_CLUSTER, name, spec={"instances": 1, "bootstrap": bootstrap, **spec})
    cluster["status"] = {"currentPrimary": f"{name}-1"}
    instance = pod(f"{name}-1", container("postgres"), labels={"cnpg.io/cluster": name})
    return cluster, instance, service(f"{name}-rw", 5432), endpoints(f"{name}-rw", f"{name}-1", port=5432)


EXTERNAL = {
    "name": "pg",
    "connectionParameters": {"host": "pg-rw", "user": "reader", "dbname": "matrix"},
    "password": {"name": "sync", "key": "MAIN_DB_PASSWORD"},
}
SETUP = thing(
    JOB,
    "setup",
    spec={"template": {"spec": {"containers": [container(envFrom=[{"secretRef": {"name": "sync"}}])]}}},
)


def world(
    *more: Json, labels: bool = True, subscribes: bool = True, workers: bool = True, job: bool = True
) -> Snapshot:
    """``labels``: LI's pods are told by theirs; ``subscribes``: LI's Cluster names main's as external."""
    return snapshot(
        synapse("hs", {"app": "hs"}),
        *((synapse("hs-worker", {"app": "hs"}, worker=True),) if workers else ()),
        synapse("second", {"app": "hs", **({"matrix.instance": "li"} if labels else {})}),
        *database("pg", "app"),
        *database("pg-li", "li-app", **({"externalClusters": [EXTERNAL]} if subscribes else {})),
        *((SETUP,) if job else ()),
        *more,
    )


def read(**li: Any) -> Files:
    """What is read in the pods; ``li`` changes LI's configuration."""
    second = config("matrix_li", "pg-li-rw", "synapse_li", "of-li-itself", **(LI | li))
    found = {
        "hs": {"/c/a": MAIN.encode()},
        "hs-worker": {"/c/a": MAIN.encode(), "/c/b": WORKER.encode()},
        "second": {"/c/a": second.encode()},
    }
    return Files({(NAMESPACE, name, "main"): content for name, content in found.items()}, {})


def model(of: Snapshot | None = None, settings: Settings | None = None, **li: Any) -> Deployment:
    return deployment(of or world(), HELD, read(**li), settings)


#: What the probes observe of an LI that follows as it should.
TABLES = ("events", "event_json", "rooms")
RIGHTS = MainRights((Role("reader", True, replication=True, walsender=True),))
ARRIVED = Arrival("$event", 0.3)


def replication(
    published: tuple[str, ...] = TABLES,
    here: tuple[str, ...] = (*TABLES, "stream_positions"),
    states: dict[str, str] | None = None,
    slot: Json | None = None,
    subscriptions: list[Json] | None = None,
    errors: Json | None = None,
    **subscription: Any,
) -> Replication:
    """``states`` are those of the tables that are followed; all published ones by default."""
    states = dict.fromkeys(published, "r") if states is None else states
    oids = {name: str(number) for number, name in enumerate(here)}
    one = {"name": "feed", "enabled": True, "slot": "feed", "publications": ["pub"], "pid": 7, "silent": 1.5}
    slots = [{"name": "feed", "active": True, "pid": 9, "wal_status": "reserved", "behind": 0} | (slot or {})]
    return Replication(
        Said({"publications": {"pub": [f"public.{each}" for each in published]}, "slots": slots, "senders": []}),
        Said(
            {
                "subscriptions": [one | subscription] if subscriptions is None else subscriptions,
                "relations": {oids[name]: state for name, state in states.items() if name in oids},
                "tables": {oid: f"public.{name}" for name, oid in oids.items()},
                "errors": errors or {"feed": {"apply": 0, "copy": 0}},
            }
        ),
    )


def identities_of(found: Deployment) -> tuple[Identity, ...]:
    return tuple(Identity(each, each.server_name, {"ed25519:a": "a"}) for each in found.synapse if each.is_main)


def rights_of(found: Deployment) -> MainRights:
    """With an UPDATE refused to each login of LI's feed."""
    doors = found.li.sync if found.li else ()
    return replace(RIGHTS, attempts=tuple(Attempt(each, LoginOutcome.ACCEPTED, "public.users", True) for each in doors))
