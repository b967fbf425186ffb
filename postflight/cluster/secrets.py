"""Secrets by ``get`` of the names that workloads refer to, never by list."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from postflight.cluster import sensitive
from postflight.cluster.api import Api, ApiError
from postflight.cluster.changes import last_change
from postflight.cluster.kinds import SECRET
from postflight.cluster.threads import in_threads
from postflight.limits import Limit
from postflight.secrets import Secret

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SecretObject:
    """A Secret as the API server holds it now. ``changed`` is when its data was last written, by
    managedFields; None where they do not tell."""

    namespace: str
    name: str
    data: Mapping[str, Secret]
    changed: datetime | None


@dataclass(frozen=True, slots=True)
class SecretStore:
    """``unseen`` says why a Secret could not be read; what is in neither mapping does not exist."""

    found: Mapping[Name, SecretObject]
    unseen: Mapping[Name, str]

    def get(self, namespace: str, name: str) -> SecretObject | None:
        return self.found.get((namespace, name))

    def value(self, namespace: str, name: str, key: str) -> Secret | None:
        held = self.get(namespace, name)
        return held.data.get(key) if held else None


def read_secrets(api: Api, names: Sequence[Name], register: Callable[[str, str], None]) -> SecretStore:
    """Read them side by side; every value is told to ``register`` before anyone sees it."""

    def reader(name: Name) -> Callable[[], SecretObject]:
        return lambda: _read(api, name, register)

    found: dict[Name, SecretObject] = {}
    unseen: dict[Name, str] = {}
    for name, outcome in zip(names, in_threads([reader(n) for n in names], Limit.REQUEST * 2), strict=True):
        try:
            found[name] = outcome.result()
        except ApiError as error:
            if error.status != 404:
                unseen[name] = str(error)
        except TimeoutError:
            unseen[name] = f"Secret {name[0]}/{name[1]} was not read within its time limit"
    return SecretStore(found, unseen)


def _read(api: Api, name: Name, register: Callable[[str, str], None]) -> SecretObject:
    raw = api.get(SECRET.path(*name))
    data: dict[str, Secret] = {}
    for key, encoded in (raw.get("data") or {}).items():
        text = base64.b64decode(encoded).decode("utf-8", "replace")
        for value, said in sensitive.of_secret(name[1], key, text):
            if said or len(value) >= sensitive.SHORTEST:
                register(value, said)
        data[key] = Secret(text)
    return SecretObject(*name, data, last_change(raw))
