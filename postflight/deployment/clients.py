"""Clients of PostgreSQL other than Synapse: by their environment, and by the files they are given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from postflight.cluster.files import ENVIRONMENT, Files, Wanted
from postflight.cluster.kinds import CRON_JOB
from postflight.cluster.secrets import SecretStore
from postflight.deployment import synapse
from postflight.deployment.databases import OPERATOR_LABEL, origin_of
from postflight.deployment.logins import logins_in, logins_of, unclear_of
from postflight.deployment.parts import DatabaseUse, Login
from postflight.deployment.places import Place
from postflight.deployment.rendering import Unreadable, Variable


def find(places: Iterable[Place]) -> tuple[Place, ...]:
    """Containers other than Synapse's that name a login to PostgreSQL, by spec, or may name one in a
    Secret that could not be read."""
    return tuple(each for each in places if _is_client(each))


def _is_client(place: Place) -> bool:
    pod = place.pod
    if pod is None and not place.workload.desired and place.workload.kind != CRON_JOB.name:
        return False
    if pod and (OPERATOR_LABEL in pod.labels or pod.phase in ("Succeeded", "Failed")):
        return False
    if synapse.is_synapse(place.container):
        return False
    environment = place.spec.environment(place.container)
    hidden = any(each.unreadable for each in environment.values())
    values = _values(place, environment)
    return hidden or any(True for _ in (*logins_of(values), *unclear_of(values))) or bool(_in_files(place))


def wanted_files(clients: Sequence[Place]) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (ENVIRONMENT, *_in_files(each)))
        for each in clients
        if (pod := each.running_pod)
    )


def _values(place: Place, environment: Mapping[str, Variable]) -> dict[str, str]:
    return _with_files(place, {name: each.value for name, each in environment.items() if not each.unreadable})


def _with_files(place: Place, values: dict[str, str]) -> dict[str, str]:
    """With NAME where NAME_FILE says which mounted file holds it."""
    for name, path in list(values.items()):
        bare = name.removesuffix("_FILE")
        if bare != name and not values.get(bare):
            with suppress(Unreadable):
                values[bare] = (place.spec.file(place.container, path) or "").strip()
    return values


def _in_files(place: Place) -> dict[str, tuple[str, str]]:
    """Origin and text of each mounted file that holds the URL of a login, by path."""
    files = place.spec.mounted(place.container)
    return {path: (origin, text) for path, origin, text in files if any(True for _ in logins_in(text))}


@dataclass(frozen=True, slots=True)
class _Said:
    """A login as it is in effect, as a restart would take it, and where it comes from."""

    login: Login
    later: Login | None
    origin: str
    changed: datetime | None
    derived: bool


def uses_of(client: Place, files: Files, secrets: SecretStore) -> Iterator[DatabaseUse]:
    """The logins of a container: as frozen in its environment and as its files are, and as its spec
    says today. One that runs only when the pod starts again has no other than that."""
    by_spec = client.spec.environment(client.container)
    pod, lasting = client.pod, client.lasts
    told: set[Login] = set()
    for said in (*_by_environment(client, by_spec, files, secrets), *_by_files(client, files)):
        if said.login in told:
            continue
        told.add(said.login)
        yield DatabaseUse(
            client=pod.id if pod else client.workload.id,
            workload=client.workload.id,
            pod=pod.name if pod else client.workload.name,
            login=said.login,
            next_login=said.later,
            origin=said.origin,
            origin_changed=said.changed,
            started=pod.started if pod else None,
            derived=said.derived and lasting,
            database_origin=_names_database(by_spec, said.login.database),
        )


def _by_environment(
    client: Place, by_spec: Mapping[str, Variable], files: Files, secrets: SecretStore
) -> Iterator[_Said]:
    today = dict(logins_of(_values(client, by_spec)))
    frozen = _frozen(client, files)
    effective = dict(logins_of(frozen)) if frozen is not None else {}
    # A process of its own under another first process (a shared PID namespace) has no such environment.
    for variable, login in (today | effective).items():
        origin, changed = origin_of(by_spec.get(variable) or by_spec.get(f"{variable}_FILE"), secrets)
        yield _Said(login, today.get(variable), origin, changed, variable not in effective)


def _by_files(client: Place, files: Files) -> Iterator[_Said]:
    read = _read(client, files)
    for path, (origin, text) in _in_files(client).items():
        today = list(logins_in(text))
        body = read.get(path)
        effective = today if body is None else list(logins_in(body.decode("utf-8", "replace")))
        for index, login in enumerate(effective):
            later = today[index] if index < len(today) else None
            yield _Said(login, later, origin, None, body is None)


def unclear_in(client: Place, files: Files) -> Iterator[str]:
    """What a container says of a login that could not be tried, each in one line."""
    by_spec = client.spec.environment(client.container)
    known = not any(each.unreadable for each in by_spec.values())
    yield from unclear_of((_values(client, by_spec) if known else {}) | (_frozen(client, files) or {}))


def _frozen(client: Place, files: Files) -> dict[str, str] | None:
    body = _read(client, files).get(ENVIRONMENT)
    return _with_files(client, parse_environment(body)) if body else None


def _read(client: Place, files: Files) -> Mapping[str, bytes]:
    return (files.of(client.pod.namespace, client.pod.name, client.name) if client.pod else None) or {}


def parse_environment(body: bytes) -> dict[str, str]:
    """``/proc/PID/environ``: NAME=value, each ended by a NUL."""
    pairs = (each.partition("=") for each in body.decode("utf-8", "replace").split("\0") if "=" in each)
    return {name: value for name, _, value in pairs}


def _names_database(by_spec: Mapping[str, Variable], database: str) -> str:
    for name, variable in by_spec.items():
        if variable.value == database and variable.origin and re.search(r"(NAME|DATABASE|DB)$", name):
            return variable.origin
    return "its configuration"
