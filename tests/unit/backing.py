"""Backups of the recorded lab's PostgreSQL, and what the probes would observe of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from postflight.cluster.kinds import BACKUP, SCHEDULED_BACKUP
from postflight.cluster.secrets import SecretObject, SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.backups import plans
from postflight.deployment.model import Deployment
from postflight.probes.backup_buckets import BucketSeen, Listing
from postflight.probes.object_stores import Stored
from postflight.secrets import Secret
from tests.unit import storing

NAMESPACE, CREDENTIALS = "matrix", "postgresql-backup-credentials"
ID, FIRST, LAST = "20260101T020000", "000000010000000000000006", "000000010000000000000008"
ARCHIVE: Mapping[str, Any] = {
    "destinationPath": "s3://postgresql-backups/",
    "endpointURL": f"http://{storing.HOST}:9000",
    "s3Credentials": {
        "accessKeyId": {"name": CREDENTIALS, "key": "access-key"},
        "secretAccessKey": {"name": CREDENTIALS, "key": "secret-key"},
    },
}
FOUND = Stored(200)
BASE = Listing(FOUND, {"backup.info": 1500, "data.tar.gz": 9_000_000})
WALS = Listing(
    FOUND,
    {f"{FIRST[:16]}/{FIRST[:23]}{n}.gz": 20_000 for n in (6, 7, 8, 9)}
    | {f"{FIRST[:16]}/{FIRST[:23]}8.00000028.backup": 300, "00000002.history": 50},
)
ROOT = Listing(FOUND, {f"base/{ID}/backup.info": 1500}, whole=False)


def with_backups(model: Deployment, archive: Mapping[str, Any] | None = ARCHIVE, **spec: Any) -> Deployment:
    """The deployment with a bucket in each Cluster."""
    backup = {"backup": {"barmanObjectStore": archive}} if archive else {}

    def given(raw: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**raw, "spec": {**(raw.get("spec") or {}), **backup, **spec}}

    return replace(model, postgres=tuple(replace(each, raw=given(each.raw)) for each in model.postgres))


def snapshot(world: Snapshot, *names: str, age: timedelta = timedelta(hours=3), **changed: Any) -> Snapshot:
    """With a ScheduledBackup and a completed Backup of each of these Clusters; ``changed`` are fields of the Backup's status,
    or ``schedule`` and ``suspend``."""
    of = {key: changed.pop(key) for key in ("schedule", "suspend") if key in changed}
    when = f"{world.taken - age:%Y-%m-%dT%H:%M:%SZ}"
    backups, schedules = [], []
    for name in names or ("matrix-postgresql", "matrix-postgresql-li"):
        meta = {"name": f"{name}-daily-backup", "namespace": NAMESPACE}
        spec = {"schedule": "0 0 2 * * *", "immediate": True, "cluster": {"name": name}, **of}
        schedules.append({"kind": SCHEDULED_BACKUP.name, "metadata": meta, "spec": spec})
        status = {"phase": "completed", "method": "barmanObjectStore", "backupId": ID, "stoppedAt": when}
        status |= {"beginWal": FIRST, "endWal": LAST, **changed}
        made = {**meta, "name": f"{meta['name']}-1", "creationTimestamp": when}
        backups.append({"kind": BACKUP.name, "metadata": made, "spec": {"cluster": {"name": name}}, "status": status})
    added = {(BACKUP, NAMESPACE): tuple(backups), (SCHEDULED_BACKUP, NAMESPACE): tuple(schedules)}
    return replace(world, objects={**world.objects, **added})


def secrets(store: SecretStore, secret_key: str = storing.SECRET) -> SecretStore:
    held = {"access-key": Secret(storing.ACCESS), "secret-key": Secret(secret_key)}
    name = (NAMESPACE, CREDENTIALS)
    return replace(store, found={**store.found, name: SecretObject(*name, held, None)})


def buckets(
    model: Deployment,
    world: Snapshot,
    held: SecretStore,
    root: Listing = ROOT,
    base: Listing = BASE,
    wals: Listing = WALS,
) -> Mapping[str, BucketSeen]:
    return {each.cluster.id: BucketSeen(each, root, base, wals) for each in plans(model, world, held) if each.archive}
