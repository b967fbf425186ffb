"""What `platform.backups` says of Backups, schedules, buckets and what the primary archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import BACKUP, SCHEDULED_BACKUP
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.probes.backup_buckets import Listing
from postflight.probes.object_stores import Stored
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import backing, recorded, storing, worlds
from tests.unit.backing import BASE, WALS
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only
from tests.unit.stores import primary_says
from tests.unit.worlds import deployment

ID = "platform.backups"
LAB = recorded.healthy()
MAIN = MODEL.postgres[0].name
ALONE = backing.with_backups(storing.with_storage(replace(MODEL, postgres=MODEL.postgres[:1])))
SECRETS = backing.secrets(LAB.secrets)


def judged(
    world: Snapshot | None = None,
    archiver: Mapping[str, Any] | None = None,
    held: SecretStore = SECRETS,
    model: Any = ALONE,
    **others: Any,
) -> Judge:
    """Of main's PostgreSQL alone; ``others`` are listings of its bucket, or other observations."""
    world = backing.snapshot(LAB.snapshot, MAIN) if world is None else world
    listings = {key: others.pop(key) for key in ("root", "base", "wals") if key in others}
    given = {
        "deployment": model,
        "snapshot": world,
        "secrets": held,
        "backup_buckets": backing.buckets(model, world, held, **listings),
        "database_instances": primary_says(archiver=archiver),
    }
    return ask(ID, **(given | others))


def says(**fields: Any) -> Mapping[str, Any]:
    """What pg_stat_archiver has; times are minutes ago."""
    now = LAB.snapshot.taken
    found = {
        key: (now - timedelta(minutes=value)).isoformat() if key.endswith("_at") else value
        for key, value in fields.items()
    }
    return {"last_archived": None, "last_failed": None, "failed": 0, "now": now.isoformat(), **found}


class TestBucket:
    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("SignatureDoesNotMatch", "it refuses the key pair that the Cluster names"),
            ("InvalidAccessKeyId", "it refuses the key pair that the Cluster names"),
            ("NoSuchBucket", "there is no such bucket"),
        ],
    )
    def test_it_cannot_be_used(self, code: str, said: str) -> None:
        failing = says(failed_at=1, last_failed=backing.LAST, failed=3)
        found = only(judged(archiver=failing, root=Listing(Stored(403, code), {})))
        assert found.headline == (
            f"PostgreSQL {MAIN} cannot be backed up to bucket postgresql-backups at {storing.HOST}:9000: {said} ({code})"
        )

    def test_two_secrets_differ(self) -> None:
        held = backing.secrets(LAB.secrets, "another-key-than-the-stores")
        found = only(judged(held=held, root=Listing(Stored(403, "SignatureDoesNotMatch"), {})))
        assert found.cause.startswith(
            "Secret postgresql-backup-credentials/secret-key differs from Secret minio-credentials/secret-key ("
        )
        assert "another-key" not in found.cause

    def test_it_does_not_answer(self) -> None:
        found = only(judged(root=Listing(Stored(problem="no answer in time"), {})))
        assert found.nature is Nature.UNAVAILABLE

    @pytest.mark.parametrize("said", [Stored(problem="outside", unasked=True), Stored(403, "AccessDenied")])
    def test_nobody_may_list_it(self, said: Stored) -> None:
        assert only(judged(root=Listing(said, {})), Status.WARNED).nature is Nature.UNPROVEN

    def test_it_was_not_asked(self) -> None:
        assert NOT_ALLOWED.reason in only(judged(backup_buckets=NOT_ALLOWED), Status.WARNED).headline

    @pytest.mark.parametrize("sizes", [{}, {"backup.info": 1500}, {"backup.info": 1500, "data.tar": 0}])
    def test_the_newest_backup_is_gone(self, sizes: dict[str, int]) -> None:
        found = only(judged(base=Listing(Stored(200), sizes)))
        assert found.headline == f"the newest backup of PostgreSQL {MAIN}, {MAIN}-daily-backup-1, is not in its bucket"

    def test_its_write_ahead_log_is_not_whole(self) -> None:
        sizes = {key: size for key, size in WALS.sizes.items() if not key.endswith("07.gz")}
        found = only(judged(wals=Listing(Stored(200), sizes)))
        assert (
            "cannot be restored: 000000010000000000000007 of its write-ahead log is not in the bucket" in found.headline
        )
        assert found.observed.startswith("1 of 3 files")

    @pytest.mark.parametrize(("unclosed", "count"), [(backing.LAST, 0), ("000000010000000000000009", 1)])
    def test_a_file_that_is_still_written_to_cannot_be_there_yet(self, unclosed: str, count: int) -> None:
        sizes = {key: size for key, size in WALS.sizes.items() if key[-5:-3] in ("06", "07", "09")}
        pen = judged(archiver=says(open=unclosed), wals=Listing(Stored(200), sizes))
        assert len(pen.failures) == count

    def test_a_list_that_was_cut_off_says_nothing_of_what_comes_after(self) -> None:
        sizes = {key: size for key, size in WALS.sizes.items() if key.endswith("06.gz")}
        assert judged(wals=Listing(Stored(200), sizes, whole=False)).failures == []

    def test_a_list_that_failed_halfway(self) -> None:
        assert only(judged(base=Listing(Stored(500, "Internal"), {})), Status.UNKNOWN)
        assert BASE.seen


class TestArchiving:
    def test_it_works(self) -> None:
        assert judged(archiver=says(archived_at=2, failed_at=9, failed=3)).failures == []

    def test_nothing_was_ever_archived_and_nothing_failed(self) -> None:
        assert judged(archiver=says()).failures == []

    def test_it_fails_for_long(self) -> None:
        found = only(judged(archiver=says(archived_at=90, failed_at=1, last_failed="0A", failed=70)))
        assert found.headline.startswith(f"PostgreSQL {MAIN} cannot archive its write-ahead log since ")
        assert found.status is Status.FAILED

    def test_a_store_that_was_away_for_a_moment(self) -> None:
        found = only(judged(archiver=says(archived_at=4, failed_at=1, failed=3)), Status.WARNED)
        assert found.headline.endswith("as of its last try a moment ago")

    @pytest.mark.parametrize(("failed", "status"), [(3, Status.WARNED), (60, Status.FAILED)])
    def test_it_never_worked(self, failed: int, status: Status) -> None:
        assert only(judged(archiver=says(failed_at=1, failed=failed)), status)

    def test_by_the_operators_word_where_nobody_may_ask_the_primary(self) -> None:
        failing = {"type": "ContinuousArchiving", "status": "False", "message": "exit status 4"}
        model = _with_conditions(failing)
        pen = judged(model=model, database_instances=NOT_ALLOWED)
        assert _statuses(pen) == [Status.WARNED, Status.FAILED]
        assert pen.failures[1].headline.endswith("cannot archive its write-ahead log: exit status 4")

    def test_the_primary_does_not_answer(self) -> None:
        found = only(judged(database_instances={MODEL.postgres[0].id: ()}), Status.UNKNOWN)
        assert MODEL.postgres[0].id in found.needs


class TestBackups:
    def test_none_was_ever_completed(self) -> None:
        world = backing.snapshot(LAB.snapshot, MAIN, phase="failed", error="exit status 2")
        found = only(judged(world))
        assert found.headline.startswith(f"PostgreSQL {MAIN} has no backup: none was ever completed; the last")
        assert found.headline.endswith("is failed: exit status 2")

    def test_the_first_is_being_taken(self) -> None:
        assert only(judged(backing.snapshot(LAB.snapshot, MAIN, phase="running")), Status.WARNED)

    def test_the_newest_is_too_old(self) -> None:
        found = only(judged(backing.snapshot(LAB.snapshot, MAIN, age=timedelta(days=9))))
        assert found.headline == f"the newest backup of PostgreSQL {MAIN} is 9 days old, and one is due every 24 hours"

    def test_the_one_that_was_missed_is_being_taken(self) -> None:
        old = backing.snapshot(LAB.snapshot, MAIN, age=timedelta(days=9))
        running = backing.snapshot(LAB.snapshot, MAIN, phase="pending", age=timedelta())
        both = (*old.objects[(BACKUP, "matrix")], *running.objects[(BACKUP, "matrix")])
        assert judged(replace(old, objects={**old.objects, (BACKUP, "matrix"): both})).failures == []

    def test_the_last_failed_and_the_one_before_is_recent(self) -> None:
        old = backing.snapshot(LAB.snapshot, MAIN, age=timedelta(hours=9))
        failed = backing.snapshot(LAB.snapshot, MAIN, phase="failed", error="exit status 2", age=timedelta(hours=1))
        both = (*old.objects[(BACKUP, "matrix")], *failed.objects[(BACKUP, "matrix")])
        found = only(judged(replace(old, objects={**old.objects, (BACKUP, "matrix"): both})), Status.WARNED)
        assert found.headline.endswith("failed: exit status 2")


class TestSchedules:
    def of(self, schedule: str, **fields: Any) -> Judge:
        return judged(backing.snapshot(LAB.snapshot, MAIN, schedule=schedule, **fields))

    def test_it_never_comes(self) -> None:
        assert only(self.of("0 0 2 31 2 *")).headline.endswith("never runs: no time is '0 0 2 31 2 *'")

    def test_its_seconds_were_taken_for_minutes(self) -> None:
        found = only(self.of("* 0 2 * * *"))
        assert "begins anew 60 times within a minute" in found.headline

    @pytest.mark.parametrize("schedule", ["0 2 * * *", "@daily", "@every 24h", "0 0 2 * * *"])
    def test_five_fields_are_not_for_this_check(self, schedule: str) -> None:
        assert self.of(schedule).failures == []

    def test_it_is_suspended(self) -> None:
        found = only(self.of("0 0 2 * * *", suspend=True), Status.WARNED)
        assert found.headline.endswith(f"by itself: {MAIN}-daily-backup is suspended")

    def test_there_is_none(self) -> None:
        world = backing.snapshot(LAB.snapshot, MAIN)
        world = replace(world, objects={**world.objects, (SCHEDULED_BACKUP, "matrix"): ()})
        assert only(judged(world), Status.WARNED).headline.endswith("no ScheduledBackup names its Cluster")


class TestPlaces:
    def test_nothing_is_configured(self) -> None:
        found = only(judged(LAB.snapshot, model=replace(MODEL, postgres=MODEL.postgres[:1])), Status.WARNED)
        assert found.headline.startswith(f"nothing backs PostgreSQL {MAIN} up")
        assert found.nature is Nature.WRONG

    def test_a_plugin_keeps_it(self) -> None:
        plugins = [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": True}]
        model = backing.with_backups(replace(MODEL, postgres=MODEL.postgres[:1]), None, plugins=plugins)
        found = only(judged(model=model), Status.WARNED)
        assert found.headline.endswith("it goes to plugin barman-cloud.cloudnative-pg.io")

    def test_another_postgresql(self) -> None:
        other = replace(MODEL.postgres[0], operator="", raw={})
        assert only(judged(model=replace(MODEL, postgres=(other,))), Status.WARNED).nature is Nature.UNPROVEN

    def test_one_that_is_named_and_not_there(self) -> None:
        gone = replace(MODEL.postgres[0], operator="", raw={}, missing="there is no Service", pods=())
        found = only(judged(model=replace(MODEL, postgres=(gone,))))
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (gone.id,))

    def test_no_postgresql(self) -> None:
        assert judged(model=deployment(worlds.snapshot())).absence == "nothing here uses PostgreSQL"


def _with_conditions(*conditions: Mapping[str, Any]) -> Any:
    cluster = ALONE.postgres[0]
    raw = {**cluster.raw, "status": {**cluster.raw["status"], "conditions": list(conditions)}}
    return replace(ALONE, postgres=(replace(cluster, raw=raw),))


def _statuses(pen: Judge) -> list[Status]:
    found: list[Failure] = pen.failures
    return [each.status for each in found]
