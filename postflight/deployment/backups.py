"""How each operated PostgreSQL is backed up, by its Cluster, its ScheduledBackups and its Backups.

Sources: CloudNativePG 1.27, ``api/v1`` (Cluster.spec.backup and spec.plugins, ScheduledBackup, BackupStatus) and its
appendix on barmanObjectStore; Barman 3.16, ``barman/cloud.py`` (where in a bucket what is kept).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from postflight.cluster.kinds import BACKUP, SCHEDULED_BACKUP
from postflight.cluster.references import bucket_keys
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster, Side
from postflight.deployment.schedule import longest_gap_of_backups, seconds_of
from postflight.deployment.services import resolve
from postflight.deployment.storage import AWS, REGION
from postflight.deployment.store_parts import Keys, ObjectStore
from postflight.secrets import Secret

COMPLETED, FAILED, ARCHIVING_FAILS = "completed", "failed", "walArchivingFailing"
#: Phases after which the operator does nothing more.
ENDED = (COMPLETED, FAILED)
#: In MB, unless ``bootstrap.initdb`` says otherwise.
SEGMENT = 16


@dataclass(frozen=True, slots=True)
class Schedule:
    """A ScheduledBackup. ``every`` is the longest time between two rounds, None where its schedule is not understood or
    never comes; ``seconds`` are those of a minute in which it comes; ``fields`` is how many it has."""

    name: str
    text: str
    suspended: bool
    every: timedelta | None
    seconds: frozenset[int] | None
    fields: int

    @property
    def is_named(self) -> bool:
        """Whether it is one of the words, such as @daily."""
        return self.text.strip().startswith("@")


@dataclass(frozen=True, slots=True)
class Backup:
    """A Backup object. ``id`` is the folder that it has in a bucket; the segments of the write-ahead log from ``begin_wal``
    to ``end_wal`` belong to it."""

    name: str
    phase: str
    made: datetime
    method: str
    id: str = ""
    ended: datetime | None = None
    begin_wal: str = ""
    end_wal: str = ""
    error: str = ""

    @property
    def is_done(self) -> bool:
        return self.phase == COMPLETED

    @property
    def when(self) -> datetime:
        return self.ended or self.made


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """How one PostgreSQL is backed up. ``archive`` is the bucket that it archives to by itself, ``folder`` its own folder
    there (with a slash at its end); ``elsewhere`` says in words where to else; both are empty where nothing says. Backups
    are sorted by time, the newest last. ``segment`` is the size of a file of the write-ahead log in MB."""

    cluster: PostgresCluster
    archive: ObjectStore | None = None
    folder: str = ""
    elsewhere: str = ""
    schedules: tuple[Schedule, ...] = ()
    backups: tuple[Backup, ...] = ()
    segment: int = SEGMENT

    @property
    def newest(self) -> Backup | None:
        """The newest that is completed."""
        return next((each for each in reversed(self.backups) if each.is_done), None)

    @property
    def running(self) -> bool:
        return any(each.phase not in (*ENDED, ARCHIVING_FAILS) for each in self.backups)

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """The Cluster's conditions, by type."""
        status = self.cluster.raw.get("status") or {}
        return {str(each.get("type")): each for each in status.get("conditions") or ()}


def plans(deployment: Deployment, snapshot: Snapshot, secrets: SecretStore) -> tuple[BackupPlan, ...]:
    """One of each PostgreSQL that an operator runs here."""
    return tuple(_plan(each, deployment, snapshot, secrets) for each in deployment.postgres if each.operator)


def _plan(cluster: PostgresCluster, deployment: Deployment, snapshot: Snapshot, secrets: SecretStore) -> BackupPlan:
    spec: Mapping[str, Any] = cluster.raw.get("spec") or {}
    given = (spec.get("backup") or {}).get("barmanObjectStore") or {}
    archive, folder = _archive(cluster, given, deployment, snapshot, secrets) if given else (None, "")
    initdb = (spec.get("bootstrap") or {}).get("initdb") or {}
    backups = sorted(_backups(cluster, snapshot), key=lambda each: each.when)
    return BackupPlan(
        cluster,
        archive,
        folder,
        _elsewhere(spec),
        tuple(_schedules(cluster, snapshot)),
        tuple(backups),
        int(initdb.get("walSegmentSize") or SEGMENT),
    )


def _elsewhere(spec: Mapping[str, Any]) -> str:
    for each in spec.get("plugins") or ():
        if each.get("isWALArchiver") and each.get("enabled", True):
            return f"plugin {each.get('name')}"
    backup = spec.get("backup") or {}
    if backup.get("volumeSnapshot"):
        return "volume snapshots"
    given = backup.get("barmanObjectStore") or {}
    if given and not str(given.get("destinationPath") or "").startswith("s3://"):
        return str(given.get("destinationPath") or "")
    return ""


def _archive(
    cluster: PostgresCluster,
    given: Mapping[str, Any],
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
) -> tuple[ObjectStore | None, str]:
    """The bucket, and the Cluster's folder in it; none where it is no S3."""
    path = urlsplit(str(given.get("destinationPath") or ""))
    if path.scheme != "s3":
        return None, ""
    server = str(given.get("serverName") or cluster.name)
    folder = "/".join(filter(None, (path.path.strip("/"), server))) + "/"
    url = urlsplit(str(given.get("endpointURL") or AWS))
    port = url.port or (443 if url.scheme == "https" else 80)
    endpoint = resolve(snapshot, deployment.pods, url.hostname or "", port, cluster.namespace)
    keys, region = _keys(cluster, secrets)
    behind = {pod.id for pod, _ in endpoint.pods}
    workloads = [each.id for each in deployment.workloads if behind & {pod.id for pod in each.pods}]
    known = next((each for each in deployment.stores if each.endpoint.host == endpoint.host), None)
    store = ObjectStore(
        id=f"bucket/{endpoint.namespace or 'outside'}/{path.netloc}",
        side=Side.MAIN,
        endpoint=endpoint,
        tls=url.scheme == "https",
        bucket=path.netloc,
        prefix=folder,
        region=region,
        keys=keys,
        local=False,
        synchronous=False,
        users=(cluster.id,),
        workloads=tuple(workloads) or (known.workloads if known else ()),
        root=known.root if known else None,
    )
    return store, folder


def _keys(cluster: PostgresCluster, secrets: SecretStore) -> tuple[Keys, str]:
    """The key pair that the Cluster names, and the region."""
    named = bucket_keys(cluster.raw)

    def value(field: str) -> Secret | None:
        return secrets.value(cluster.namespace, *named[field]) if field in named else None

    region = value("region")
    where = region.reveal() if region else REGION
    if not {"accessKeyId", "secretAccessKey"} <= named.keys():
        return Keys(hidden=f"Cluster {cluster.name} names no key pair for its bucket"), where
    access, held = value("accessKeyId"), value("secretAccessKey")
    name = "/".join(named["secretAccessKey"])
    if access is None or held is None:
        names = {named[field][0] for field in ("accessKeyId", "secretAccessKey")}
        why = next((why for each in names if (why := secrets.unseen.get((cluster.namespace, each)))), "")
        return Keys(hidden=why or f"Secret {name} is not there"), where
    return Keys(access.reveal(), held, value("sessionToken"), f"Secret {name}"), where


def _schedules(cluster: PostgresCluster, snapshot: Snapshot) -> Iterator[Schedule]:
    for each in snapshot.all(SCHEDULED_BACKUP, cluster.namespace):
        spec = each["spec"]
        if (spec.get("cluster") or {}).get("name") == cluster.name:
            text = str(spec.get("schedule") or "")
            gap, seconds = longest_gap_of_backups(text), seconds_of(text)
            yield Schedule(each["metadata"]["name"], text, bool(spec.get("suspend")), gap, seconds, len(text.split()))


def _backups(cluster: PostgresCluster, snapshot: Snapshot) -> Iterator[Backup]:
    for each in snapshot.all(BACKUP, cluster.namespace):
        if (each["spec"].get("cluster") or {}).get("name") != cluster.name:
            continue
        status, meta = each.get("status") or {}, each["metadata"]
        yield Backup(
            name=meta["name"],
            phase=str(status.get("phase") or ""),
            made=datetime.fromisoformat(meta["creationTimestamp"]),
            method=str(status.get("method") or each["spec"].get("method") or ""),
            id=str(status.get("backupId") or ""),
            ended=_time(status.get("stoppedAt")),
            begin_wal=str(status.get("beginWal") or ""),
            end_wal=str(status.get("endWal") or ""),
            error=str(status.get("error") or status.get("commandError") or ""),
        )


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(str(value)) if value else None


def segments(begin: str, end: str, size: int) -> tuple[str, ...]:
    """The names of the files of the write-ahead log from one to another of the same timeline, both of them in; the two
    alone where they are of two, or far apart. ``size`` is that of a file, in MB."""
    if len(begin) != 24 or len(end) != 24 or begin[:8] != end[:8]:
        return tuple(dict.fromkeys(filter(None, (begin, end))))
    each = 4096 // size

    def number(name: str) -> int:
        return int(name[8:16], 16) * each + int(name[16:], 16)

    first, last = number(begin), number(end)
    if not 0 <= last - first < 1000:
        return begin, end
    return tuple(f"{begin[:8]}{n // each:08X}{n % each:08X}" for n in range(first, last + 1))
