"""Small generated clusters: as much of a manifest as a test is about, the rest filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from postflight.cluster.files import Files
from postflight.cluster.kinds import LISTED, POSTGRES_CLUSTER, Kind
from postflight.cluster.secrets import SecretObject, SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.build import build, survey
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.pods import read_pod
from postflight.secrets import Secret
from postflight.settings import Settings

Json = dict[str, Any]
NAMESPACE = "matrix"
KINDS = {kind.name: kind for kind in LISTED}


def thing(kind: Kind, name: str, **rest: Any) -> Json:
    return {"kind": kind.name, "metadata": {"name": name, "namespace": NAMESPACE}, **rest}


def pod(name: str, *containers: Json, ip: str = "", labels: Mapping[str, str] | None = None, **spec: Any) -> Json:
    """A pod that is ready, of containers that run."""
    ready = {"ready": True, "state": {"running": {}}, "restartCount": 0}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels or {})},
        "spec": {"containers": list(containers), "nodeName": "node1", **spec},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": each["name"], **ready} for each in containers],
        },
    }


def container(name: str = "main", **spec: Any) -> Json:
    return {"name": name, "image": "registry.test/thing:1", **spec}


def service(name: str, port: int = 80, *, target: int | None = None, headless: bool = False, ip: str = "") -> Json:
    ports = [{"name": "one", "port": port, "targetPort": target or port}]
    spec = {"ports": ports, "clusterIP": "None" if headless else ip or "10.96.0.9"}
    return {"kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def endpoints(service_name: str, *pods: str, port: int = 80, ready: bool = True) -> Json:
    """What the Service ``service_name`` leads to."""
    labels = {"kubernetes.io/service-name": service_name}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service_name}-x", "namespace": NAMESPACE, "labels": labels},
        "ports": [{"name": "one", "port": port}],
        "endpoints": [{"conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}} for name in pods],
    }


def config_map(name: str, **data: str) -> Json:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {key.replace("__", "."): value for key, value in data.items()},
    }


def snapshot(*objects: Json, served: bool = True) -> Snapshot:
    found: dict[tuple[Kind, str], tuple[Json, ...]] = {(kind, NAMESPACE): () for kind in LISTED}
    for each in objects:
        key = (KINDS[each["kind"]], NAMESPACE)
        found[key] = (*found[key], each)
    custom = frozenset({POSTGRES_CLUSTER}) if served else frozenset()
    return Snapshot((NAMESPACE,), datetime(2026, 1, 1, tzinfo=UTC), found, served=custom)


def pods_of(world: Snapshot) -> dict[str, Pod]:
    return {each.id: each for each in map(read_pod, world.all(KINDS["Pod"]))}


def secrets(unseen: Mapping[str, str] | None = None, **held: Mapping[str, str]) -> SecretStore:
    """``app_login={"password": ...}`` is the Secret app-login."""
    found = {
        (NAMESPACE, name.replace("_", "-")): SecretObject(
            NAMESPACE, name.replace("_", "-"), {key: Secret(value) for key, value in data.items()}, None
        )
        for name, data in held.items()
    }
    return SecretStore(found, {(NAMESPACE, name): why for name, why in (unseen or {}).items()})


def files(pod_name: str = "one", container_name: str = "main", **content: str) -> Files:
    return Files({(NAMESPACE, pod_name, container_name): {k: v.encode() for k, v in content.items()}}, {})


NO_FILES = Files({}, {})
NO_SECRETS = SecretStore({}, {})


def deployment(
    world: Snapshot, held: SecretStore = NO_SECRETS, read: Files = NO_FILES, settings: Settings | None = None
) -> Deployment:
    settings = settings or Settings()
    return build(survey(world, held, settings), read, settings)
