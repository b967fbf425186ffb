"""PgBouncer between the processes and their PostgreSQL: what it leads where, and how many connections it shares.

Source: PgBouncer 1.18, config.md (keys and their defaults; ``*`` stands for every database that has no line of its own).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postflight.cluster.files import Files, Wanted
from postflight.cluster.kinds import SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.logins import PORT, WORD
from postflight.deployment.parts import Endpoint, Login, Pod
from postflight.deployment.places import Place
from postflight.deployment.pods import number
from postflight.deployment.services import resolve

PROGRAM = "pgbouncer"
IMAGE = re.compile(r"(^|/)pgbouncer([:@]|$)")
#: Where images that make it of their variables have it, beside PgBouncer's own place.
PATHS = ("/etc/pgbouncer/pgbouncer.ini", "/opt/bitnami/pgbouncer/conf/pgbouncer.ini")
LISTEN_PORT, MAX_CLIENTS, POOL_SIZE = 6432, 100, 20
SESSION = "session"
ANY = "*"
OUT = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Pool:
    """What PgBouncer keeps for one database, for each role that logs in there. ``limit`` is of all roles together, 0
    for none; ``host`` is "" for a server on its own host; ``user`` is whom it logs in as, "" for the client's own name."""

    host: str
    port: int
    database: str
    size: int
    limit: int
    mode: str
    user: str = ""

    @property
    def most(self) -> int:
        """As many connections as it opens for one role."""
        return min(self.size, self.limit) if self.limit else self.size


@dataclass(frozen=True, slots=True)
class Pooler:
    """One PgBouncer; ``pods`` are as many of it as share the work, ``maximum`` what an autoscaler may make of them.
    ``pools`` are by the name that a client asks for, ``upstream`` where each leads. ``problem`` says why they are not
    known."""

    id: str
    namespace: str
    name: str
    workload: str
    maximum: int
    pods: tuple[Pod, ...]
    services: frozenset[str] = frozenset()
    port: int = LISTEN_PORT
    max_clients: int = MAX_CLIENTS
    pools: Mapping[str, Pool] = field(default_factory=dict)
    upstream: Mapping[tuple[str, int], Endpoint] = field(default_factory=dict)
    problem: str = ""

    def pool(self, database: str) -> Pool | None:
        return self.pools.get(database) or self.pools.get(ANY)

    def serves(self, endpoint: Endpoint) -> bool:
        """Whether an address leads to it, also while none of its pods is ready."""
        named = endpoint.namespace == self.namespace and endpoint.service in self.services
        return named and all(port == self.port for _, port in endpoint.pods)

    def beneath(self, database: str) -> Endpoint | None:
        """Where a database is that a client asks it for."""
        found = self.pool(database)
        return self.upstream.get((found.host, found.port)) if found else None

    def login_beneath(self, login: Login) -> Login | None:
        """The login that it makes for a client, as far as it makes it with the client's own name and password."""
        found = self.pool(login.database)
        if found is None or not found.host or found.user not in ("", login.user):
            return None
        return Login(found.host, found.port, found.database or login.database, login.user, login.password)


def is_pgbouncer(place: Place) -> bool:
    programs = {word.rpartition("/")[2] for word in words_of(place.container)}
    own = not place.container.get("command") and bool(IMAGE.search(place.container.get("image") or ""))
    return PROGRAM in programs or own


def find(places: Iterable[Place]) -> tuple[Place, ...]:
    """The containers that run PgBouncer: by their command, else by their image where that runs its own."""
    return tuple(each for each in places if each.lasts and is_pgbouncer(each))


def wanted_files(found: Sequence[Place]) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, _paths(each)) for each in found if (pod := each.running_pod)
    )


def read_poolers(
    found: Sequence[Place], files: Files, snapshot: Snapshot, pods: Mapping[str, Pod]
) -> tuple[Pooler, ...]:
    """One per workload: its pods share one configuration, that of the first that shows it."""
    members: dict[str, list[Place]] = {}
    for each in found:
        members.setdefault(each.workload.id, []).append(each)
    poolers: list[Pooler] = []
    for group in members.values():
        workload = group[0].workload
        text = next((text for each in group if (text := _config(each, files))), "")
        settings, pools = _read(text)
        upstream = {
            (pool.host, pool.port): resolve(snapshot, pods, pool.host, pool.port, workload.namespace)
            for pool in pools.values()
            if pool.host
        }
        poolers.append(
            Pooler(
                id=f"pooler/{workload.namespace}/{workload.name}",
                namespace=workload.namespace,
                name=workload.name,
                workload=workload.id,
                maximum=max(1, workload.maximum),
                pods=tuple(each.pod for each in group if each.pod),
                services=frozenset(_services(snapshot, workload.namespace, group)),
                port=number(settings.get("listen_port"), LISTEN_PORT),
                max_clients=number(settings.get("max_client_conn"), MAX_CLIENTS),
                pools=pools,
                upstream=upstream,
                problem="" if pools else f"its configuration ({_paths(group[0])[0]}) could not be read",
            )
        )
    return tuple(poolers)


def beneath(poolers: Iterable[Pooler], endpoint: Endpoint, database: str) -> Endpoint:
    """Where the server is that an address leads to in the end."""
    ways = (each.beneath(database) for each in poolers if each.serves(endpoint))
    return next(filter(None, ways), endpoint)


def edges(poolers: Iterable[Pooler]) -> Iterator[tuple[str, str]]:
    for pooler in poolers:
        yield from ((pooler.id, pod.id) for pod in pooler.pods)
        yield pooler.id, pooler.workload


def _services(snapshot: Snapshot, namespace: str, group: Sequence[Place]) -> Iterator[str]:
    labels = [each.pod.labels for each in group if each.pod]
    for raw in snapshot.all(SERVICE, namespace):
        selector: Mapping[str, str] = raw["spec"].get("selector") or {}
        if selector and any(selector.items() <= each.items() for each in labels):
            yield raw["metadata"]["name"]


def _paths(place: Place) -> tuple[str, ...]:
    given = [each for each in words_of(place.container) if each.endswith(".ini")]
    return tuple(given[-1:]) or PATHS


def _config(place: Place, files: Files) -> str:
    read = files.of(place.pod.namespace, place.pod.name, place.name) if place.pod else None
    for path in _paths(place):
        if read and path in read:
            return read[path].decode("utf-8", "replace")
        if text := place.spec.file(place.container, path):
            return text
    return ""


def _read(text: str) -> tuple[Mapping[str, str], Mapping[str, Pool]]:
    """Its settings, and its pools by the name of the database that a client asks for."""
    sections: dict[str, dict[str, str]] = {}
    here: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            here = sections.setdefault(line[1:-1].strip().lower(), {})
        elif line[:1] not in (";", "#", "%") and "=" in line:
            name, _, value = line.partition("=")
            here[name.strip().strip('"')] = value.strip()
    settings = sections.get("pgbouncer", {})
    return settings, {name: _pool(value, settings) for name, value in sections.get("databases", {}).items()}


def _pool(value: str, settings: Mapping[str, str]) -> Pool:
    words = {key: OUT.sub(r"\1", quoted) or plain for key, quoted, plain in WORD.findall(value)}
    size = number(words.get("pool_size") or settings.get("default_pool_size"), POOL_SIZE)
    spare = number(words.get("reserve_pool") or settings.get("reserve_pool_size"), 0)
    limit = number(words.get("max_db_connections") or settings.get("max_db_connections"), 0)
    mode = words.get("pool_mode") or settings.get("pool_mode") or SESSION
    host = words.get("host", "")
    return Pool(
        "" if host.startswith("/") else host,
        number(words.get("port"), PORT),
        words.get("dbname", ""),
        size + spare,
        limit,
        mode,
        words.get("user", ""),
    )
