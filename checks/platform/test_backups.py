from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import BACKUP, SCHEDULED_BACKUP
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.backups import BackupPlan, Schedule, plans, segments
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster
from postflight.probes.backup_buckets import NOTHING, BucketSeen
from postflight.probes.databases import DatabaseInstance
from postflight.probes.object_stores import NO_BUCKET
from postflight.probes.probe import NotTried
from postflight.secrets import Redactor
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: For a round to come to its end, or for one that was missed to be made up for.
GRACE = timedelta(hours=6)
#: After PostgreSQL has failed three times it waits a minute (pgarch.c, 15): so long may an object store have been away.
TRIED_AGAIN, MOMENT = timedelta(minutes=5), 15
ARCHIVING = "ContinuousArchiving"


@check(
    "platform.backups",
    severity=Severity.CRITICAL,
    kinds=(BACKUP, SCHEDULED_BACKUP),
    remedy="give the Cluster the bucket's own key pair, a ScheduledBackup that comes as often as it is meant to, and look at"
    " the Backup that failed",
    blind_spots="whether a backup can be restored: only a restore tells; what plugins and volume snapshots keep, beside what"
    " their Backup objects say; other databases than CloudNativePG's; the files of media",
)
def test_every_postgresql_has_a_recent_backup_and_archives_the_log_that_belongs_to_it(
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    backup_buckets: Mapping[str, BucketSeen] | NotTried,
    database_instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried,
    redactor: Redactor,
    judge: Judge,
) -> None:
    """Nobody misses a backup until the day it is needed. A schedule that runs and fails, a key pair that the bucket no
    longer takes, write-ahead log that was never stored: each of them leaves nothing to restore, and nothing else shows it."""
    for cluster in deployment.postgres:
        if not cluster.operator:
            _not_operated(cluster, judge)
    for plan in plans(deployment, snapshot, secrets):
        cluster = plan.cluster
        if not (plan.archive or plan.elsewhere or plan.backups or plan.schedules):
            judge.warn(
                cluster.id,
                f"nothing backs PostgreSQL {cluster.name} up: its Cluster names no place for backups",
                expected="spec.backup, or a plugin that archives, and a ScheduledBackup",
                remedy=f"give Cluster {cluster.name} a bucket (spec.backup.barmanObjectStore) and a ScheduledBackup",
            )
            continue
        judge.saw(cluster.id)
        archiver = _archiver(cluster, database_instances)
        refused = _bucket(plan, backup_buckets, str((archiver or {}).get("open") or ""), redactor, judge)
        if not refused:
            _archiving(plan, database_instances, archiver, snapshot.taken, judge)
        _schedules(plan, judge)
        _backups(plan, snapshot.taken, refused, judge)
    if not deployment.postgres:
        judge.absent("nothing here uses PostgreSQL")


def _not_operated(cluster: PostgresCluster, judge: Judge) -> None:
    if cluster.missing:
        line = f"there is no PostgreSQL {cluster.name}, and so nothing of it that could be backed up"
        judge.unavailable(cluster.id, line, observed=cluster.missing, needs=(cluster.id,))
        return
    judge.unproven(
        cluster.id,
        f"whether PostgreSQL {cluster.name} is backed up was not seen: it is not CloudNativePG's",
        remedy="out_of_reach in the settings says who answers for it",
    )


def _archiver(
    cluster: PostgresCluster, instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried
) -> Mapping[str, Any] | None:
    """What the primary counts of its archive (pg_stat_archiver); None where it did not say."""
    asked = () if isinstance(instances, NotTried) else instances.get(cluster.id, ())
    facts = next((each.facts for each in asked if each.facts and not each.facts["in_recovery"]), None)
    return None if facts is None else facts.get("archiver") or {}


def _bucket(
    plan: BackupPlan,
    seen: Mapping[str, BucketSeen] | NotTried,
    unclosed: str,
    redactor: Redactor,
    judge: Judge,
) -> bool:
    """What the bucket has; tells whether it refuses the key pair, or is not there. ``unclosed`` is the file of the
    write-ahead log that the primary writes into, which is archived when it is full or old."""
    cluster, store = plan.cluster, plan.archive
    if store is None:
        if plan.elsewhere:
            line = f"what is kept of PostgreSQL {cluster.name} was not seen: it goes to {plan.elsewhere}"
            judge.unproven(cluster.id, line)
        return False
    if isinstance(seen, NotTried):
        judge.unproven(cluster.id, f"what bucket {store.bucket} has of {cluster.name} was not seen: {seen.reason}")
        return False
    found = seen[cluster.id]
    said = found.root.said
    if said.refuses:
        what = "there is no such bucket" if said.code == NO_BUCKET else "it refuses the key pair that the Cluster names"
        judge.wrong(
            cluster.id,
            f"PostgreSQL {cluster.name} cannot be backed up to bucket {store.bucket} at {store.where}: {what} ({said.code})",
            observed=f"a list of {store.bucket}/{plan.folder}: {said}; {_said_of(plan)}",
            expected="the key pair lists, reads and writes the bucket",
            cause=_cause(plan, said.code, redactor),
            remedy=f"put the bucket's own key pair into what Cluster {cluster.name} names, then annotate the Cluster: its"
            " instances read the Secret when the Cluster changes",
        )
        return True
    if said.unasked or said.status in (403, 405):
        line = f"what bucket {store.bucket} has of {cluster.name} was not seen: {said}"
        judge.unproven(cluster.id, line, remedy="storage.hosts in the settings names object stores that may be asked")
    elif not found.root.seen:
        line = f"bucket {store.bucket} at {store.where}, where {cluster.name} is backed up, does not answer: {said}"
        judge.unavailable(cluster.id, line, needs=(*store.workloads, *(pod.id for pod, _ in store.endpoint.pods)))
    else:
        _content(plan, found, unclosed, judge)
    return False


def _cause(plan: BackupPlan, code: str, redactor: Redactor) -> str:
    store = plan.archive
    if store is None or code == NO_BUCKET:
        return ""
    root, keys = store.root, store.keys
    if root and root.secret and keys.secret and root.access == keys.access and root.secret != keys.secret:
        tokens = f"{redactor.token(keys.secret)} is not {redactor.token(root.secret)}"
        return f"{keys.origin} differs from {root.origin} ({tokens})"
    return f"the key pair is of {keys.origin}"


def _content(plan: BackupPlan, found: BucketSeen, unclosed: str, judge: Judge) -> None:
    cluster, store, newest = plan.cluster, plan.archive, plan.newest
    if store is None or newest is None or not newest.id:
        return
    where = f"{store.bucket}/{plan.folder}"
    for listing in (found.base, found.needed):
        if listing is not NOTHING and not listing.seen:
            judge.unknown(
                cluster.id, f"what is under {where} was not seen whole: {listing.said}", needs=store.workloads
            )
            return
    names = {key.partition(".")[0] for key, size in found.base.sizes.items() if size}
    if not {"backup", "data"} <= names:
        judge.wrong(
            cluster.id,
            f"the newest backup of PostgreSQL {cluster.name}, {newest.name}, is not in its bucket",
            observed=f"under {where}base/{newest.id}/: {', '.join(found.base.sizes) or 'nothing'}",
            expected="backup.info and data.tar",
            remedy="look at what removes objects (a lifecycle rule of the bucket's); take a backup",
        )
        return
    wanted = segments(newest.begin_wal, newest.end_wal, plan.segment)
    if unclosed:
        wanted = tuple(each for each in wanted if each < unclosed)
    held = found.needed.wals()
    # A list that was cut off says nothing of what comes after its end.
    lost = [each for each in wanted if each not in held and (found.needed.whole or each < max(held, default=""))]
    if lost:
        judge.wrong(
            cluster.id,
            f"the newest backup of PostgreSQL {cluster.name}, {newest.name}, cannot be restored: {lost[0]} of its"
            " write-ahead log is not in the bucket",
            observed=f"{len(lost)} of {len(wanted)} files from {newest.begin_wal} to {newest.end_wal} are not under {where}wals/",
            expected="all of them: without, no restore comes to a consistent state",
            remedy="look at what removes objects; take a backup",
        )


def _archiving(
    plan: BackupPlan,
    instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried,
    archiver: Mapping[str, Any] | None,
    now: datetime,
    judge: Judge,
) -> None:
    """By the primary's own count where it was asked, else by the condition that the operator keeps."""
    cluster, facts = plan.cluster, archiver or {}
    condition = plan.conditions.get(ARCHIVING) or {}
    if isinstance(instances, NotTried):
        line = f"what the primary of {cluster.name} says of its archive was not seen: {instances.reason}"
        judge.unproven(cluster.id, line)
    elif archiver is None:
        line = f"whether {cluster.name} archives its write-ahead log was not seen: its primary did not say"
        judge.unknown(cluster.id, line, needs=(cluster.id, *(pod.id for pod in cluster.pods)))
    archived, failed = _time(facts.get("archived_at")), _time(facts.get("failed_at"))
    if failed and (archived is None or archived < failed):
        observed = f"{facts.get('failed')} tries failed, the last, of {facts.get('last_failed')}, at {failed:%Y-%m-%d %H:%M:%SZ};"
        observed += f" last archived: {facts.get('last_archived') or 'nothing'}"
        line = f"PostgreSQL {cluster.name} cannot archive its write-ahead log"
        said = str(condition.get("message") or "") if condition.get("status") == "False" else ""
        seen = _time(facts.get("now")) or now
        short = seen - archived < 3 * TRIED_AGAIN if archived else int(facts.get("failed") or 0) <= MOMENT
        # The bucket takes the key pair now: it may have been away for a moment.
        if plan.archive and short and seen - failed < TRIED_AGAIN:
            judge.warn(cluster.id, f"{line}, as of its last try a moment ago", observed=observed, cause=said)
        else:
            judge.wrong(
                cluster.id,
                line + (f" since {archived:%Y-%m-%d %H:%M:%SZ}" if archived else ", and never has"),
                observed=observed,
                expected="each file of the write-ahead log is archived",
                cause=said,
                remedy=f"read the log of {cluster.primary.name if cluster.primary else 'its primary'} (wal-archive)",
            )
    elif not facts and condition.get("status") == "False":
        judge.wrong(
            cluster.id,
            f"PostgreSQL {cluster.name} cannot archive its write-ahead log: {condition.get('message') or ARCHIVING + ' is False'}",
            observed=f"condition {ARCHIVING} of Cluster {cluster.name} is False",
        )


def _schedules(plan: BackupPlan, judge: Judge) -> None:
    cluster = plan.cluster
    running = [each for each in plan.schedules if not each.suspended]
    if not running:
        names = ", ".join(each.name for each in plan.schedules)
        why = f"{names} is suspended" if names else "no ScheduledBackup names its Cluster"
        judge.warn(
            cluster.id,
            f"nothing takes a backup of PostgreSQL {cluster.name} by itself: {why}",
            expected="a ScheduledBackup that runs",
        )
    for each in running:
        judge.saw(f"scheduledbackup/{cluster.namespace}/{each.name}")
        _when(plan, each, judge)


def _when(plan: BackupPlan, each: Schedule, judge: Judge) -> None:
    subject = f"scheduledbackup/{plan.cluster.namespace}/{each.name}"
    # Of five fields platform.objects says that they are not what they look like.
    if each.fields == 5 and not each.is_named:
        return
    if each.every is None:
        judge.wrong(
            subject,
            f"ScheduledBackup {each.name} never runs: no time is {each.text!r}",
            expected="six fields, seconds first: 0 0 2 * * * is each day at 02:00",
        )
    elif each.seconds and len(each.seconds) > 1:
        judge.wrong(
            subject,
            f"ScheduledBackup {each.name} begins anew {len(each.seconds)} times within a minute: its first field, of"
            f" {each.text!r}, is the second",
            expected="one second: 0 0 2 * * * is each day at 02:00",
            remedy="put 0 into the first field",
        )


def _backups(plan: BackupPlan, now: datetime, refused: bool, judge: Judge) -> None:
    cluster, newest = plan.cluster, plan.newest
    last = plan.backups[-1] if plan.backups else None
    if newest is None:
        why = (
            f"; the last, {last.name}, is {last.phase or 'not begun'}{f': {last.error}' if last.error else ''}"
            if last
            else ""
        )
        if plan.running:
            judge.warn(cluster.id, f"PostgreSQL {cluster.name} has no backup yet: its first is being taken{why}")
        # Without the bucket there can be none.
        elif not refused:
            judge.wrong(
                cluster.id,
                f"PostgreSQL {cluster.name} has no backup: none was ever completed{why}",
                expected="a Backup that is completed",
                remedy=f"kubectl -n {cluster.namespace} describe backup {last.name}" if last else "take a first backup",
            )
        return
    age = now - newest.when
    # By five fields a schedule comes more often than whoever wrote it meant: no promise to hold anyone to.
    meant = [each for each in plan.schedules if not each.suspended and (each.fields != 5 or each.is_named)]
    every = min((each.every for each in meant if each.every), default=None)
    if every and age > every + GRACE and not plan.running and not refused:
        judge.wrong(
            cluster.id,
            f"the newest backup of PostgreSQL {cluster.name} is {_days(age)} old, and one is due every {_days(every)}",
            observed=f"{newest.name}, of {newest.when:%Y-%m-%d %H:%M:%SZ}; {_said_of(plan)}",
            expected=f"one that is at most {_days(every)} old",
            cause=f"Backup {last.name} is {last.phase}: {last.error}" if last and last is not newest else "",
        )
    elif last is not None and last.phase == "failed" and not refused:
        line = f"the last backup of PostgreSQL {cluster.name}, {last.name}, failed: {last.error or 'nobody says why'}"
        judge.warn(cluster.id, line, observed=f"the one before, {newest.name}, is {_days(age)} old")


def _said_of(plan: BackupPlan) -> str:
    """What the operator says of archiving, and of the last backup."""
    condition = plan.conditions.get(ARCHIVING) or {}
    newest = plan.newest
    archiving = f"{ARCHIVING} is {condition.get('status', 'not told')}"
    return f"{archiving}; the newest backup is {newest.name}" if newest else f"{archiving}; there is no backup"


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(str(value)) if value else None


def _days(span: timedelta) -> str:
    hours = round(span.total_seconds() / 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
