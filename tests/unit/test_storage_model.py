"""Where media go by the configuration, and who sends them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from postflight.cluster.access import Access, Way
from postflight.deployment.storage import own_store, provider_of
from postflight.deployment.store_parts import ObjectStore, path_of
from postflight.probes import object_stores as stores
from postflight.secrets import Secret
from postflight.settings import Settings, StorageSettings
from tests.unit import storing
from tests.unit.loopback import api_to, closed_port
from tests.unit.worlds import (
    KINDS,
    NO_SECRETS,
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

MEDIA = "synapse.app.media_repository"
ID = "abcdefghijklmnopqrstuvwx"
KEY = "local_content/ab/cd/efghijklmnopqrstuvwx"


def config(**rest: Any) -> str:
    listener = [{"port": 8008, "type": "http", "resources": [{"names": ["media"]}]}]
    common = {"server_name": "hs.test", "worker_app": MEDIA, "worker_name": "m", "worker_listeners": listener}
    return yaml.safe_dump(
        common | {"media_storage_providers": [storing.provider()], "media_store_path": "/data/m"} | rest
    )


def world(*others: Json, text: str = "", volume: Json | None = None, env: Sequence[Json] = ()) -> tuple[Json, ...]:
    """A media worker, and a MinIO behind its Service."""
    mounts = [{"name": "config", "mountPath": "/config"}, {"name": "data", "mountPath": "/data"}]
    command = ["python", "-m", MEDIA, "--config-path", "/config/homeserver.yaml"]
    worker = container("worker", image="x/synapse:1", command=command, volumeMounts=mounts, env=list(env))
    volumes = [{"name": "config", "configMap": {"name": "synapse"}}, {"name": "data", **(volume or {"emptyDir": {}})}]
    keys = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "minio-credentials", "key": key}}}
        for name, key in (("MINIO_ROOT_USER", "access-key"), ("MINIO_ROOT_PASSWORD", "secret-key"))
    ]
    server = container("minio", command=["sh", "-ec", "mkdir -p /data/b; exec minio server /data"], env=keys)
    served = service("minio", 9000)
    served["spec"]["selector"] = {"app": "minio"}
    given: tuple[Json, ...] = (
        thing(KINDS["ConfigMap"], "synapse", data={"homeserver.yaml": text or config()}),
        owned("media", pod("media-0", worker, volumes=volumes)),
        owned("minio", pod("minio-0", server, ip="10.0.0.9", labels={"app": "minio"})),
        stateful("media"),
        stateful("minio"),
        served,
        *others,
    )
    return given


def stateful(name: str) -> Json:
    template: Json = {"metadata": {}, "spec": {"containers": []}}
    return thing(KINDS["StatefulSet"], name, spec={"replicas": 1, "template": template}, status={})


def owned(name: str, made: Json) -> Json:
    made["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": name, "controller": True}]
    return made


HELD = secrets(
    minio_credentials={"access-key": storing.ACCESS, "secret-key": storing.SECRET},
    synapse_secrets={"S3_SECRET_KEY": storing.SECRET},
)
BEHIND = endpoints("minio", "minio-0", port=9000)


def found(*others: Json, **rest: Any) -> ObjectStore:
    model = deployment(snapshot(*world(*others, **rest)), HELD)
    (store,) = model.stores
    return store


class TestTheModel:
    def test_a_bucket_and_who_sends_media_there(self) -> None:
        store = found(BEHIND)
        assert (store.id, store.where) == (storing.ID, f"{storing.HOST}:9000")
        assert (store.users, store.workloads) == (("pod/matrix/media-0",), ("statefulset/matrix/minio",))
        assert (store.local, store.synchronous, store.region, store.prefix) == (True, True, "us-east-1", "")
        assert [each.name for each, _ in store.endpoint.pods] == ["minio-0"]
        assert store.root
        assert store.root.origin == "Secret minio-credentials/secret-key"
        assert store.root.secret == store.keys.secret

    def test_a_service_without_pods_is_still_the_servers(self) -> None:
        store = found()
        assert store.endpoint.problem == "Service minio has no ready pod behind it"
        assert store.workloads == ("statefulset/matrix/minio",)

    def test_it_leans_on_its_server(self) -> None:
        model = deployment(snapshot(*world(BEHIND)), HELD)
        servers = {"statefulset/matrix/minio", "pod/matrix/minio-0", "minio/matrix/minio"}
        assert set(model.depends[storing.ID]) == servers
        assert (Secret(storing.SECRET), "the secret key for bucket synapse-media") in list(model.passwords())

    def test_the_switches_are_off_where_they_are_not_set(self) -> None:
        bare = {"module": "s3_storage_provider.S3StorageProviderBackend", "config": {"bucket": "b"}}
        store = found(text=config(media_storage_providers=[bare]))
        assert (store.local, store.synchronous) == (False, False)
        assert (store.endpoint.external, store.where, store.tls) == (True, "s3.amazonaws.com:443", True)
        assert store.keys.hidden

    def test_the_keys_may_stand_in_the_environment(self) -> None:
        held = {"secretKeyRef": {"name": "synapse-secrets", "key": "S3_SECRET_KEY"}}
        env = [{"name": "AWS_ACCESS_KEY_ID", "value": "a"}, {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": held}]
        given = storing.provider(access_key_id="", secret_access_key="")
        store = found(text=config(media_storage_providers=[given]), env=env)
        assert (store.keys.access, store.keys.origin) == ("a", "Secret synapse-secrets/S3_SECRET_KEY")

    def test_who_holds_no_media_sends_none(self) -> None:
        text = config(worker_app="synapse.app.generic_worker", enable_media_repo=False)
        assert deployment(snapshot(*world(text=text)), HELD).stores == ()

    @pytest.mark.parametrize("listed", [None, "x", [], [None], [{"module": "file_system", "config": {}}], [{}]])
    def test_what_is_no_object_store(self, listed: Any) -> None:
        assert provider_of({"media_storage_providers": listed}) is None

    @pytest.mark.parametrize("url", ["-", "http://[", "minio", "http://minio:port"])
    def test_an_address_that_is_none_breaks_nothing(self, url: str) -> None:
        store = found(text=config(media_storage_providers=[storing.provider(url)]))
        access = Access(api_to(closed_port()), Way.DIRECT)
        settings = Settings(storage=StorageSettings(hosts=("127.0.0.1",)))
        assert stores.ask(access, settings, store, "GET", "a").problem == "endpoint_url names no host"

    @pytest.mark.parametrize(
        ("volume", "said"),
        [
            ({"emptyDir": {}}, "pod/matrix/media-0"),
            ({"persistentVolumeClaim": {"claimName": "media"}}, "claim matrix/media"),
            ({"nfs": {"server": "a", "path": "/"}}, ""),
        ],
    )
    def test_whose_volume_its_files_are_on(self, volume: Json, said: str) -> None:
        there = snapshot(*world(volume=volume))
        assert own_store(there, deployment(there, HELD).synapse[0]) == said

    def test_a_process_without_a_volume_keeps_them_to_itself(self) -> None:
        there = snapshot(*world(text=config(media_store_path="/var/media")))
        assert own_store(there, deployment(there, HELD).synapse[0]) == "pod/matrix/media-0"
        assert own_store(snapshot(), deployment(there, HELD).synapse[0]) == ""

    def test_where_a_file_lies(self) -> None:
        assert path_of(ID) == KEY
        assert storing.store(prefix="media/").key_of(ID) == f"media/{KEY}"

    def test_the_lab_finds_nothing_to_send_to_where_nobody_does(self) -> None:
        assert deployment(snapshot(), NO_SECRETS).stores == ()
