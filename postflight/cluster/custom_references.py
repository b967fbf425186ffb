"""Which keys of Secrets and ConfigMaps the objects of operators' kinds name.

Sources: CloudNativePG 1.27, api/v1 (initdb.secret and passwordSecret are of type basic-auth); MinIO operator 7,
Tenant (configuration is a Secret with ``config.env``, users are Secrets of the console's); every other one is a
SecretKeySelector or ConfigMapKeySelector of Kubernetes, in whatever field it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import CONFIG_MAP, LISTED, SECRET, Kind
from postflight.cluster.snapshot import Snapshot

Path = tuple[str, ...]
LOGIN = ("username", "password")
#: Secrets that are named as a whole, and the keys that are read of them; ``*`` is any one field or item.
WHOLE: Mapping[str, Mapping[Path, tuple[str, ...]]] = {
    "Cluster": {
        ("bootstrap", "*", "secret"): LOGIN,
        ("superuserSecret",): LOGIN,
        ("managed", "roles", "*", "passwordSecret"): LOGIN,
    },
    "Tenant": {
        ("configuration",): ("config.env",),
        ("users", "*"): ("CONSOLE_ACCESS_KEY", "CONSOLE_SECRET_KEY"),
    },
}
SELECTOR = frozenset({"name", "key", "optional"})


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key of a Secret or ConfigMap that an object needs; ``where`` is the field that names it."""

    kind: Kind
    namespace: str
    name: str
    key: str
    owner_kind: str
    owner: str
    where: str


def custom_references(snapshot: Snapshot) -> tuple[NamedKey, ...]:
    """All of them, of the objects in scope that stay."""
    return tuple(
        found
        for kind in LISTED
        if kind.custom
        for each in snapshot.all(kind)
        if not each["metadata"].get("deletionTimestamp")
        for found in _of(kind, each)
    )


def _of(owner: Kind, each: Object) -> Iterator[NamedKey]:
    meta = each["metadata"]
    whole = WHOLE.get(owner.name, {})
    for path, value in _objects(each.get("spec") or {}, ()):
        name, key = value.get("name"), value.get("key")
        keys = next((keys for pattern, keys in whole.items() if _fits(pattern, path)), ())
        if isinstance(key, str) and key and value.keys() <= SELECTOR:
            keys = () if value.get("optional") else (key,)
        if isinstance(name, str) and name:
            kind = CONFIG_MAP if any("configmap" in each.lower() for each in path[-3:]) else SECRET
            where = ".".join(("spec", *path))
            yield from (NamedKey(kind, meta["namespace"], name, key, owner.name, meta["name"], where) for key in keys)


def _objects(value: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every object within, with the fields that lead to it; an item of a list is called by its place."""
    if isinstance(value, Mapping):
        yield path, value
    for field, within in _within(value):
        yield from _objects(within, (*path, field))


def _within(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from ((str(place), each) for place, each in enumerate(value))


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(word in ("*", field) for word, field in zip(pattern, path, strict=True))
