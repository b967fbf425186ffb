"""Which Secrets, ConfigMaps, keys and ServiceAccounts the workloads name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.custom_references import custom_references
from postflight.cluster.kinds import (
    CONFIG_MAP,
    CRON_JOB,
    INGRESS,
    POD,
    POSTGRES_CLUSTER,
    REPLICA_SET,
    SECRET,
    SERVICE_ACCOUNT,
    WORKLOADS,
    Kind,
)
from postflight.cluster.snapshot import Snapshot

#: What these own is made after their template. Whatever a foreign kind makes has its template nowhere else.
TEMPLATED = frozenset(kind.name for kind in (*WORKLOADS, REPLICA_SET))


@dataclass(frozen=True, slots=True)
class Reference:
    """One name in a pod template. ``key`` is "" when the whole object is meant; ``where`` says from
    which field it is named."""

    kind: Kind
    namespace: str
    name: str
    key: str
    optional: bool
    owner_kind: str
    owner: str
    where: str


def template_of(workload: Object) -> Mapping[str, Any]:
    """The pod spec of a workload or a pod."""
    spec: Mapping[str, Any] = workload.get("spec") or {}
    if workload["kind"] == CRON_JOB.name:
        spec = spec["jobTemplate"]["spec"]
    if workload["kind"] != POD.name:
        spec = (spec.get("template") or {}).get("spec") or {}
    return spec


def workloads(snapshot: Snapshot) -> Iterator[Object]:
    """Everything with a pod template, pods included, that was not made after another one's template."""
    # A foreign kind may make its pods by a ReplicaSet (Argo Rollouts): those tell what they name themselves.
    foreign = {
        (each["metadata"]["namespace"], REPLICA_SET.name, each["metadata"]["name"])
        for each in snapshot.all(REPLICA_SET)
        if not any(kind in TEMPLATED for _, kind, _ in _owners(each))
    }
    for kind in (*WORKLOADS, POD):
        for each in snapshot.all(kind):
            if not any(owner[1] in TEMPLATED and owner not in foreign for owner in _owners(each)):
                yield each


def _owners(each: Object) -> Iterator[tuple[str, str, str]]:
    meta = each["metadata"]
    return ((meta["namespace"], owner["kind"], owner["name"]) for owner in meta.get("ownerReferences") or ())


def references(snapshot: Snapshot) -> tuple[Reference, ...]:
    """All references of all workloads in scope, in their order. What is being deleted needs nothing any more: what
    it names may be gone before it is."""
    staying = (each for each in workloads(snapshot) if not each["metadata"].get("deletionTimestamp"))
    return tuple(found for each in staying for found in _of(each))


def secret_names(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Namespace and name of every Secret that a workload or an object of an operator's kind names."""
    named = {(each.namespace, each.name): None for each in references(snapshot) if each.kind is SECRET}
    for cluster in snapshot.all(POSTGRES_CLUSTER):
        for name in (*cluster_secrets(cluster), *bucket_secrets(cluster), server_tls_secret(cluster)):
            named[(cluster["metadata"]["namespace"], name)] = None
    named |= {(each.namespace, each.name): None for each in custom_references(snapshot) if each.kind is SECRET}
    for ingress in snapshot.all(INGRESS):
        for each in (ingress.get("spec") or {}).get("tls") or ():
            if name := each.get("secretName"):
                named[(ingress["metadata"]["namespace"], name)] = None
    return tuple(named)


def server_tls_secret(cluster: Object) -> str:
    """The Secret with the certificate that a Cluster's servers show (CloudNativePG 1.27: NAME-server unless named)."""
    told = ((cluster.get("spec") or {}).get("certificates") or {}).get("serverTLSSecret")
    return told or f"{cluster['metadata']['name']}-server"


def bucket_keys(cluster: Object) -> Mapping[str, tuple[str, str]]:
    """Where a Cluster says that its bucket's key pair is: Secret and key of ``accessKeyId``, ``secretAccessKey`` and, where
    they are told, ``region`` and ``sessionToken``."""
    archive = ((cluster.get("spec") or {}).get("backup") or {}).get("barmanObjectStore") or {}
    given = archive.get("s3Credentials") or {}
    return {
        field: (str(ref["name"]), str(ref["key"]))
        for field in ("accessKeyId", "secretAccessKey", "region", "sessionToken")
        if isinstance(ref := given.get(field), Mapping) and ref.get("name") and ref.get("key")
    }


def bucket_secrets(cluster: Object) -> tuple[str, ...]:
    """The Secrets that hold the key pair of the bucket that a Cluster archives to."""
    return tuple(dict.fromkeys(name for name, _ in bucket_keys(cluster).values()))


def cluster_secrets(cluster: Object) -> tuple[str, ...]:
    """The Secrets that hold the logins of a CloudNativePG Cluster (upstream: NAME-app unless named)."""
    spec = cluster.get("spec") or {}
    initdb = (spec.get("bootstrap") or {}).get("initdb") or {}
    names = [(initdb.get("secret") or {}).get("name") or f"{cluster['metadata']['name']}-app"]
    for role in (spec.get("managed") or {}).get("roles") or ():
        if name := (role.get("passwordSecret") or {}).get("name"):
            names.append(name)
    for server in spec.get("externalClusters") or ():
        if name := (server.get("password") or {}).get("name"):
            names.append(name)
    return tuple(names)


def _of(workload: Object) -> Iterator[Reference]:
    spec = template_of(workload)
    namespace = workload["metadata"]["namespace"]
    owner = workload["metadata"]["name"]

    def make(kind: Kind, source: Mapping[str, Any], where: str, key: str = "", name: str = "") -> Reference:
        optional = bool(source.get("optional"))
        named = name or source.get("name") or source.get("secretName") or ""
        return Reference(kind, namespace, named, key, optional, workload["kind"], owner, where)

    account = spec.get("serviceAccountName") or "default"
    yield make(SERVICE_ACCOUNT, {}, "serviceAccountName", name=account)
    for pull in spec.get("imagePullSecrets") or ():
        yield make(SECRET, {**pull, "optional": True}, "imagePullSecrets")
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        where = f"container {container['name']}"
        for source in container.get("envFrom") or ():
            if ref := source.get("secretRef"):
                yield make(SECRET, ref, f"{where}, envFrom")
            if ref := source.get("configMapRef"):
                yield make(CONFIG_MAP, ref, f"{where}, envFrom")
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            if ref := source.get("secretKeyRef"):
                yield make(SECRET, ref, f"{where}, env {variable['name']}", ref["key"])
            if ref := source.get("configMapKeyRef"):
                yield make(CONFIG_MAP, ref, f"{where}, env {variable['name']}", ref["key"])
    for volume in spec.get("volumes") or ():
        where = f"volume {volume['name']}"
        plain = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in plain:
            for field, kind in (("secret", SECRET), ("configMap", CONFIG_MAP)):
                if ref := source.get(field):
                    items = ref.get("items") or ()
                    yield from (make(kind, ref, where, item["key"]) for item in items)
                    if not items:
                        yield make(kind, ref, where)
