"""An object store for the recorded lab, and what the probes would observe of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from postflight.deployment.media import is_media_worker
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Side, SynapseProcess
from postflight.deployment.storage import PROVIDERS
from postflight.deployment.store_parts import Keys, ObjectStore
from postflight.probes.object_stores import ProviderModules, StoreAnswer, Stored, sending
from postflight.probes.stored_media import Fetched, StoredMedia
from postflight.secrets import Secret

HOST = "minio.matrix.svc.cluster.local"
ID = "bucket/matrix/synapse-media"
ACCESS, SECRET = "synapse-media-store", "a-secret-key-of-the-lab"
MISSING = Stored(404, "NoSuchKey")


def provider(url: str = f"http://{HOST}:9000", **config: Any) -> dict[str, Any]:
    """As homeserver.yaml has it; ``config`` are keys of the provider's own."""
    given = {"bucket": "synapse-media", "endpoint_url": url, "access_key_id": ACCESS, "secret_access_key": SECRET}
    return {
        "module": "s3_storage_provider.S3StorageProviderBackend",
        "store_local": True,
        "store_remote": True,
        "store_synchronous": True,
        "config": given | config,
    }


def store(*users: SynapseProcess, **rest: Any) -> ObjectStore:
    """The lab's bucket."""
    common: dict[str, Any] = {
        "id": ID,
        "side": Side.MAIN,
        "endpoint": Endpoint(HOST, 9000, "matrix", "minio", ()),
        "tls": False,
        "bucket": "synapse-media",
        "prefix": "",
        "region": "us-east-1",
        "keys": Keys(ACCESS, Secret(SECRET), None, "Secret synapse-secrets/S3_SECRET_KEY"),
        "local": True,
        "synchronous": True,
        "root": Keys(ACCESS, Secret(SECRET), None, "Secret minio-credentials/secret-key"),
    }
    return ObjectStore(users=tuple(each.id for each in users), **(common | rest))


def with_storage(model: Deployment, to: Callable[[SynapseProcess], bool] = is_media_worker, **rest: Any) -> Deployment:
    """The deployment with a provider in the configuration of the processes that ``to`` says."""

    def given(each: SynapseProcess) -> SynapseProcess:
        if each.config is None or not to(each) or each.side is Side.LI:
            return each
        return replace(each, config={**each.config, PROVIDERS: [provider()]})

    changed = replace(model, synapse=tuple(map(given, model.synapse)))
    return replace(changed, stores=(store(*sending(changed), **rest),))


def answers(model: Deployment, said: Stored = MISSING) -> tuple[StoreAnswer, ...]:
    return tuple(StoreAnswer(each, said) for each in model.stores)


def modules(model: Deployment, missing: tuple[str, ...] = ()) -> Mapping[str, ProviderModules]:
    return {each.id: ProviderModules(each, missing) for each in sending(model) if each.is_up}


def trip(model: Deployment, **rest: Any) -> StoredMedia:
    """A file that came back byte for byte through all media processes."""
    users = sending(model)
    common: dict[str, Any] = {
        "key": "local_content/ab/cd/efgh",
        "found": Stored(200, body=b"postflight"),
        "same": True,
        "fetched": tuple(Fetched(each, True, True) for each in users),
    }
    return StoredMedia(model.stores[0], users[0], **(common | rest))
