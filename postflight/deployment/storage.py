"""Object stores that media go to, by the configuration in effect in each Synapse process.

Source: synapse/config/repository.py, 1.119 and 1.163 (a process that holds no media repository reads none of it, and
``store_local`` is false where it is not set); s3_storage_provider.py, 1.7.0 (keys, prefix, what boto3 is given).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from postflight.cluster.kinds import POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.media import holds_media
from postflight.deployment.parts import Endpoint, Pod, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.rendering import Spec
from postflight.deployment.services import resolve
from postflight.deployment.store_parts import Keys, ObjectStore
from postflight.secrets import Secret

Config = Mapping[str, Any]
PROVIDERS = "media_storage_providers"
MODULE = "s3_storage_provider"
PACKAGE = "synapse-s3-storage-provider"
#: What boto3 signs for where nothing names a region, and what MinIO takes.
REGION = "us-east-1"
AWS = "https://s3.amazonaws.com"
IMAGE = re.compile(r"(^|/)minio([:@]|$)")
#: The key pair that a MinIO server starts with: variables for name and password, newer ones first.
ROOT = (("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"))


def provider_of(config: Config | None) -> Config | None:
    """The entry of a configuration that sends media to an object store; None where it has none."""
    listed = (config or {}).get(PROVIDERS)
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and str(each.get("module") or "").rpartition(".")[0] == MODULE:
            return each
    return None


def keys_of(spec: Spec, container: Mapping[str, Any], config: Config | None) -> Keys:
    """The key pair of a process: from its configuration, else from the variables that boto3 reads."""
    provider = provider_of(config)
    if provider is None:
        return Keys()
    given = provider.get("config") or {}
    if given.get("access_key_id") and given.get("secret_access_key"):
        secret, token = Secret(str(given["secret_access_key"])), given.get("session_token")
        origin = _origin(spec, secret)
        return Keys(str(given["access_key_id"]), secret, Secret(str(token)) if token else None, origin)
    variables = spec.environment(container)
    access, held = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
    if access and held and access.value and held.value:
        token = variables.get("AWS_SESSION_TOKEN")
        return Keys(access.value, Secret(held.value), Secret(token.value) if token else None, held.origin)
    return Keys(hidden="its key pair stands neither in its configuration nor in its environment")


def is_minio(container: Mapping[str, Any]) -> bool:
    """Whether a container is a MinIO server, by its command or its image."""
    words = words_of(container)
    program = any(word.rpartition("/")[2] == "minio" for word in words) and "server" in words
    return program or IMAGE.search(container.get("image") or "") is not None


def root_keys(place: Place) -> Keys | None:
    """The key pair that a MinIO server is started with; None for any other container."""
    if not is_minio(place.container):
        return None
    variables = place.spec.environment(place.container)
    for user, password in ROOT:
        if (name := variables.get(user)) and (held := variables.get(password)) and name.value and held.value:
            return Keys(name.value, Secret(held.value), None, held.origin)
    return None


def find_stores(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    keys: Mapping[str, Keys],
    places: Sequence[Place],
) -> tuple[ObjectStore, ...]:
    """The buckets that processes with a media repository have in effect; ``keys`` are theirs by process id."""
    grouped: dict[Any, list[SynapseProcess]] = {}
    for process in processes:
        provider = provider_of(process.config)
        if provider is not None and holds_media(process):
            given = provider.get("config") or {}
            url = str(given.get("endpoint_url") or AWS)
            names = (str(given.get("bucket") or ""), str(given.get("prefix") or ""))
            ways = (str(given.get("region_name") or REGION), keys.get(process.id) or Keys())
            switches = (bool(provider.get("store_local")), bool(provider.get("store_synchronous")))
            key = (process.namespace, process.side, url, names, ways, switches)
            grouped.setdefault(key, []).append(process)
    found: list[ObjectStore] = []
    for (namespace, side, url, (bucket, prefix), (region, pair), (local, synchronous)), users in grouped.items():
        host, port, tls = _address(url)
        endpoint = resolve(snapshot, pods, host, port, namespace)
        behind = [each for each in places if each.pod and each.pod.id in {pod.id for pod, _ in endpoint.pods}]
        behind = behind or [each for each in places if _named(snapshot, each, endpoint)]
        found.append(
            ObjectStore(
                id=f"bucket/{endpoint.namespace or 'outside'}/{bucket}",
                side=side,
                endpoint=endpoint,
                tls=tls,
                bucket=bucket,
                prefix=prefix,
                region=region,
                keys=pair,
                local=local,
                synchronous=synchronous,
                users=tuple(each.id for each in users),
                workloads=tuple(dict.fromkeys(each.workload.id for each in behind)),
                root=next(filter(None, map(root_keys, behind)), None),
            )
        )
    return tuple(found)


def edges(stores: Iterable[ObjectStore]) -> Iterator[tuple[str, str]]:
    """A bucket is there as long as its server is. Nothing but media leans on it."""
    for store in stores:
        yield from ((store.id, each) for each in store.workloads)
        yield from ((store.id, pod.id) for pod, _ in store.endpoint.pods)


def own_store(snapshot: Snapshot, process: SynapseProcess) -> str:
    """Which volume a process keeps its files on, in words that are equal for those that share it; "" where nobody
    can tell whether another has it too (a driver's or a node's own folder)."""
    pod = process.pod
    raw = snapshot.get(POD, pod.namespace, pod.name) if pod else None
    if pod is None or raw is None:
        return ""
    path = str((process.config or {}).get("media_store_path") or "media_store")
    mine: Config = next((each for each in raw["spec"].get("containers") or () if each["name"] == process.container), {})
    over = [
        each for each in mine.get("volumeMounts") or () if f"{path}/".startswith(f"{each['mountPath'].rstrip('/')}/")
    ]
    if not over:
        return pod.id
    name = max(over, key=lambda each: len(each["mountPath"]))["name"]
    volume: Config = next((each for each in raw["spec"].get("volumes") or () if each["name"] == name), {})
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        return f"claim {pod.namespace}/{claim}"
    return pod.id if "emptyDir" in volume or "ephemeral" in volume else ""


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port and whether by TLS; no host where it is no address."""
    try:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return parts.hostname or "", parts.port or (443 if tls else 80), tls
    except ValueError:
        return "", 0, False


def _origin(spec: Spec, secret: Secret) -> str:
    held = spec.origin_of(secret.reveal())
    return held.origin if held else "its configuration"


def _named(snapshot: Snapshot, place: Place, endpoint: Endpoint) -> bool:
    """Whether a Service that leads nowhere means a container's workload: by the labels of its pods."""
    service = snapshot.get(SERVICE, endpoint.namespace, endpoint.service) if endpoint.service else None
    wanted = (service["spec"].get("selector") or {}) if service else {}
    labels = place.pod.labels if place.pod else {}
    return bool(wanted) and place.workload.namespace == endpoint.namespace and wanted.items() <= labels.items()
