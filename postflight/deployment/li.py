"""Lawful intercept: a second homeserver on a copy of main's data, and what feeds it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from postflight.cluster.api import Object
from postflight.cluster.kinds import CONFIG_MAP, CRON_JOB, JOB, POSTGRES_CLUSTER
from postflight.cluster.references import template_of, workloads
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.databases import cluster_id, owner_of
from postflight.deployment.logins import PORT, logins_of
from postflight.deployment.parts import (
    DatabaseUse,
    Door,
    Import,
    LawfulIntercept,
    Login,
    Pod,
    PostgresCluster,
    Side,
    SynapseProcess,
    workload_id,
)
from postflight.deployment.pods import instant, number
from postflight.deployment.poolers import Pooler, beneath
from postflight.deployment.rendering import Spec
from postflight.deployment.schedule import longest_gap
from postflight.deployment.services import resolve
from postflight.secrets import Secret

#: A variable that speaks of LI's database: LI_DB_PASSWORD, SYNAPSE_LI_DB_URL.
OF_LI = re.compile(r"(^|_)LI_")
DUMP = re.compile(r"\bpg_dump\b|\bpg_restore\b")
#: Where a schedule does not tell.
DAILY = timedelta(days=1)
#: A database: the cluster that holds it, and its name.
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Finder:
    """What is needed to follow a host name to the PostgreSQL behind it."""

    snapshot: Snapshot
    secrets: SecretStore
    pods: Mapping[str, Pod]
    clusters: Sequence[PostgresCluster]
    poolers: Sequence[Pooler] = ()

    def door(self, part: str, name: str, login: Login, origin: str, namespace: str) -> Door:
        endpoint = resolve(self.snapshot, self.pods, login.host, login.port, namespace)
        return Door(part, name, login, endpoint, origin)

    def place(self, door: Door) -> Place:
        server = beneath(self.poolers, door.endpoint, door.login.database)
        return owner_of(server, {each.id: each for each in self.clusters}), door.login.database

    def cluster(self, identity: str) -> PostgresCluster | None:
        return next((each for each in self.clusters if each.id == identity), None)

    def of_use(self, use: DatabaseUse) -> Door:
        name = use.workload.rpartition("/")[2]
        return self.door(use.client, name, use.login, use.origin, use.client.split("/")[1])


def tell_apart(
    finder: Finder, processes: Sequence[SynapseProcess], uses: Sequence[DatabaseUse], named: Collection[str]
) -> tuple[SynapseProcess, ...]:
    """Every process with its side.

    The settings say it, else labels. Without either, LI is the homeserver whose database subscribes to
    another's; else, of two under one server name, the one that has no workers.
    """
    places = _places(finder, processes, uses)
    said = [each for each in processes if each.workload_name in named]
    said = said or [each for each in processes if each.side is Side.LI]
    if said:
        known = {each.id for each in said}
        # An LI that was given main's own database takes nobody along.
        others = {places.get(each.id) for each in processes if each.is_main and each.id not in known}
        databases = {places[each.id] for each in said if each.id in places} - others
    else:
        databases, known = _by_what_they_are(finder, processes, places), set()
    sides = {
        each.id: Side.LI if each.id in known or places.get(each.id) in databases else Side.MAIN for each in processes
    }
    return tuple(replace(each, side=sides[each.id]) for each in processes)


def _places(finder: Finder, processes: Sequence[SynapseProcess], uses: Sequence[DatabaseUse]) -> Mapping[str, Place]:
    """Where each process keeps its data: by its own login, which comes before those of the containers beside it."""
    own = {each.id for each in processes}
    return {use.client: finder.place(finder.of_use(use)) for use in reversed(uses) if use.client in own}


def _by_what_they_are(finder: Finder, processes: Sequence[SynapseProcess], places: Mapping[str, Place]) -> set[Place]:
    mains = {places[each.id]: each for each in processes if each.is_main and each.id in places}
    if len(mains) < 2:
        return set()
    follows = dict(_subscribers(finder))
    fed = {each for each in mains if follows.get(each[0]) in {other[0] for other in mains if other != each}}
    if fed:
        return fed
    crowded = {places[each.id] for each in processes if not each.is_main and each.id in places}
    names = {mains[each].server_name for each in mains if each in crowded}
    return {each for each, main in mains.items() if each not in crowded and main.server_name in names}


def _subscribers(finder: Finder) -> Iterator[tuple[str, str]]:
    """Each Cluster that names another as its external one, and that other."""
    for raw in finder.snapshot.all(POSTGRES_CLUSTER):
        identity = cluster_id(raw["metadata"]["namespace"], raw["metadata"]["name"])
        for door in _external(finder, raw):
            yield identity, finder.place(door)[0]


def _external(finder: Finder, raw: Object) -> Iterator[Door]:
    """The logins by which a Cluster reads the servers that it names as external."""
    namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
    for server in raw["spec"].get("externalClusters") or ():
        given = server.get("connectionParameters") or {}
        ref = server.get("password") or {}
        if not given.get("host") or not given.get("user"):
            continue
        held = finder.secrets.value(namespace, str(ref.get("name")), str(ref.get("key")))
        user = str(given["user"])
        database = str(given.get("dbname") or user)
        login = Login(str(given["host"]), number(given.get("port"), PORT), database, user, held or Secret(""))
        origin = f"Secret {ref.get('name')}/{ref.get('key')}"
        yield finder.door(cluster_id(namespace, name), f"Cluster {name}", login, origin, namespace)


def find(finder: Finder, processes: Sequence[SynapseProcess], uses: Sequence[DatabaseUse]) -> LawfulIntercept | None:
    """LI as it stands here; None when nothing refers to one."""
    own = [each for each in processes if each.side is Side.LI]
    held = tuple(_held(finder))
    targets = [door for variable, door in held if OF_LI.search(variable)]
    if not own and not targets:
        return None
    mains = tuple(each for each in processes if each.is_main and each.side is Side.MAIN)
    doors = [finder.of_use(each) for each in uses]
    at = _first_place(finder, own, doors) or (finder.place(targets[0]) if targets else None)
    main_at = _first_place(finder, mains, doors)
    namespace = own[0].namespace if own else targets[0].part.split("/")[1]
    readers = [door for _, door in held if at != main_at and finder.place(door) == main_at]
    for raw in finder.snapshot.all(POSTGRES_CLUSTER):
        if at and cluster_id(raw["metadata"]["namespace"], raw["metadata"]["name"]) == at[0]:
            readers += [door for door in _external(finder, raw) if finder.place(door) == main_at]
    return LawfulIntercept(
        id=f"li/{namespace}",
        namespace=namespace,
        processes=tuple(own),
        mains=mains,
        cluster=finder.cluster(at[0]) if at else None,
        main_cluster=finder.cluster(main_at[0]) if main_at else None,
        doors=_distinct([*(each for each in doors if finder.place(each) == at), *targets]),
        main_doors=_distinct([*(each for each in doors if finder.place(each) == main_at), *readers]),
        sync=_distinct(readers),
        imports=tuple(_imports(finder, at, main_at)),
    )


def _first_place(finder: Finder, processes: Sequence[SynapseProcess], doors: Sequence[Door]) -> Place | None:
    own = {each.id for each in processes}
    return next((finder.place(each) for each in doors if each.part in own), None)


def _held(finder: Finder) -> Iterator[tuple[str, Door]]:
    """The logins, with the variable of each, of every workload that has one for main and one for LI, by
    its specification: a Job that has ended tells it too."""
    found = sorted(workloads(finder.snapshot), key=lambda each: each["kind"] not in (JOB.name, CRON_JOB.name))
    for raw in found:
        namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
        spec = Spec(finder.snapshot, finder.secrets, namespace, f"{name}-0", "", template_of(raw))
        for container in spec.containers():
            environment = spec.environment(container)
            values = {key: each.value for key, each in environment.items() if not each.unreadable}
            logins = dict(logins_of(values))
            if len(logins) < 2 or not any(OF_LI.search(variable) for variable in logins):
                continue
            part = workload_id(namespace, raw["kind"], name)
            for variable, login in logins.items():
                origin = environment[variable].origin
                yield variable, finder.door(part, f"{raw['kind']} {name}", login, origin, namespace)


def _imports(finder: Finder, at: Place | None, main_at: Place | None) -> Iterator[Import]:
    """CronJobs that bring main's data over to LI: by a dump, as their words or the scripts given to them say, or by
    whatever program has logins for both databases."""
    for raw in finder.snapshot.all(CRON_JOB):
        namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
        spec = Spec(finder.snapshot, finder.secrets, namespace, f"{name}-0", "", template_of(raw))
        texts: list[str] = []
        reached: set[Place] = set()
        of_li = "li" in name.split("-")
        for container in spec.containers():
            values = {key: each.value for key, each in spec.environment(container).items() if not each.unreadable}
            of_li = of_li or any(map(OF_LI.search, values))
            # What a Secret holds is no script, and is not looked through.
            mounted = (text for _, origin, text in spec.mounted(container) if origin.startswith(CONFIG_MAP.name))
            texts += [" ".join(words_of(container)), *mounted]
            workload = workload_id(namespace, CRON_JOB.name, name)
            for variable, login in logins_of(values):
                reached.add(finder.place(finder.door(workload, name, login, variable, namespace)))
        dumps = of_li and any(map(DUMP.search, texts))
        if dumps or (at != main_at and {at, main_at} <= reached):
            every = longest_gap(str(raw["spec"].get("schedule") or ""))
            suspended = bool(raw["spec"].get("suspend"))
            yield Import(name, every or DAILY, suspended, *_rounds(finder.snapshot, namespace, name))


def _rounds(snapshot: Snapshot, namespace: str, name: str) -> tuple[datetime | None, str]:
    """When the newest round of a CronJob that ended well began, and why a newer one did not; Jobs that were made of it by
    hand (``kubectl create job --from``) are its rounds too."""
    jobs = [each for each in snapshot.all(JOB, namespace) if _is_of(each, name)]
    begun = [(when, each) for each in jobs if (when := instant((each.get("status") or {}).get("startTime")))]
    brought, trouble = None, ""
    for when, each in sorted(begun, key=lambda one: one[0]):
        status = each["status"]
        failed = [
            each for each in status.get("conditions") or () if (each["type"], each["status"]) == ("Failed", "True")
        ]
        if status.get("succeeded"):
            brought, trouble = when, ""
        elif failed:
            why = " ".join(filter(None, (failed[0].get("reason"), failed[0].get("message"))))
            trouble = f"Job {each['metadata']['name']} failed: {why}"
    return brought, trouble


def _is_of(job: Object, cron_job: str) -> bool:
    owners = job["metadata"].get("ownerReferences") or ()
    return any((each["kind"], each["name"]) == (CRON_JOB.name, cron_job) for each in owners)


def _distinct(doors: Sequence[Door]) -> tuple[Door, ...]:
    """The first of those with the same login."""
    found: dict[Login, Door] = {}
    for door in doors:
        found.setdefault(door.login, door)
    return tuple(found.values())
