"""MinIO servers, and how many of them there are to be: by their operator's Tenant, else by the addresses they start with.

Source: docs/distributed of MinIO (2026-02), ``{a...b}`` in ``minio server``'s arguments; minio/operator 7.1, labels.go and
names.go (its label, the name of a pool's StatefulSet).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from postflight.cluster.kinds import TENANT
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.parts import Pod
from postflight.deployment.places import Place
from postflight.deployment.storage import is_minio
from postflight.deployment.store_parts import ObjectStore, StoreServers

#: What the operator labels each pod of a tenant with.
TENANT_LABEL = "v1.min.io/tenant"
PORT = 9000
MANY = re.compile(r"\{(\d+)\.\.\.(\d+)\}")
ADDRESS = re.compile(r"^--address[= ]?.*?:(\d+)$")
#: Where a server takes its drives from, if not from its command.
VOLUMES = ("MINIO_VOLUMES", "MINIO_ARGS", "MINIO_ENDPOINTS")


def find_servers(
    snapshot: Snapshot, places: Sequence[Place], stores: Sequence[ObjectStore]
) -> tuple[StoreServers, ...]:
    """The groups of servers in scope, each of one tenant, or of one workload where no operator made it."""
    grouped: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        if is_minio(place.container) and place.lasts:
            grouped.setdefault((place.workload.namespace, _name(place)), []).append(place)
    return tuple(_group(snapshot, key, found, stores) for key, found in grouped.items())


def edges(groups: Iterable[StoreServers]) -> Iterator[tuple[str, str]]:
    """Each bucket leans on its servers, and those on their pods."""
    for group in groups:
        yield from ((bucket, group.id) for bucket in group.buckets)
        yield from ((group.id, each) for each in group.workloads)


def tenant_of(labels: Mapping[str, Any]) -> str:
    """The tenant that an operator made a pod for; "" for any other."""
    return str(labels.get(TENANT_LABEL) or "")


def laid_out(arguments: Sequence[str]) -> tuple[int, int]:
    """How many servers, and drives of each, the arguments of ``minio server`` name; zeros where they name none."""
    hosts: set[str] = set()
    servers = drives = 0
    flag = False
    for word in arguments:
        if word.startswith("-"):
            flag = "=" not in word
        elif flag:
            flag = False
        elif "/" in word:
            parts = urlsplit(word) if "://" in word else None
            host = parts.netloc if parts else ""
            if host not in hosts:
                hosts.add(host)
                servers += _count(host)
            drives += _count(word)
    return servers, drives // servers if servers else 0


def _count(pattern: str) -> int:
    """How many names ``{a...b}`` stands for."""
    found = 1
    for first, last in MANY.findall(pattern):
        found *= int(last) - int(first) + 1
    return found


def _name(place: Place) -> str:
    return tenant_of(place.pod.labels if place.pod else {}) or place.workload.name


def _group(
    snapshot: Snapshot, key: tuple[str, str], places: Sequence[Place], stores: Sequence[ObjectStore]
) -> StoreServers:
    namespace, name = key
    tenant = snapshot.get(TENANT, namespace, name) or {}
    words = _arguments(places[0])
    servers, drives = laid_out(words)
    pools = ((tenant.get("spec") or {}).get("pools") or ()) if tenant else ()
    if pools:
        servers = sum(int(each.get("servers") or 0) for each in pools)
        drives = min(int(each.get("volumesPerServer") or 0) for each in pools)
    workloads = {each.workload.id: each.workload for each in places}
    pods: dict[str, Pod] = {each.pod.id: each.pod for each in places if each.pod}
    return StoreServers(
        id=f"minio/{namespace}/{name}",
        namespace=namespace,
        name=name,
        workloads=tuple(workloads),
        pods=tuple(pods.values()),
        port=next((int(m[1]) for m in map(ADDRESS.match, _joined(words)) if m), PORT),
        tls=any(each.startswith("https://") for each in words),
        servers=servers or sum(each.desired for each in workloads.values()),
        drives=drives,
        tenant=tenant,
        buckets=tuple(dict.fromkeys(each.id for each in stores if set(each.workloads) & workloads.keys())),
    )


def _arguments(place: Place) -> list[str]:
    words = words_of(place.container)
    given = words[words.index("server") + 1 :] if "server" in words else []
    if any("/" in each for each in given):
        return given
    variables = place.spec.environment(place.container)
    held = [variables[name].value for name in VOLUMES if name in variables]
    return [*(word for value in held if value for word in value.split()), *given]


def _joined(words: Sequence[str]) -> Iterator[str]:
    """Each word, and each flag with the word after it."""
    yield from words
    yield from (f"{one} {other}" for one, other in itertools.pairwise(words))
