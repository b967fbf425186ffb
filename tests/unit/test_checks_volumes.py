"""The check of volumes that hold data, and which volumes those are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.volumes import data_volumes
from postflight.probes.looks import Disk, Look, Looks
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded, storing
from tests.unit.observations import MODEL, ask, observed, only
from tests.unit.recorded import Json, item

CHECK = "platform.volumes"
GIB = 2**30
SNAPSHOT = recorded.healthy().snapshot
REDIS = "pod/matrix/redis-0"
DATA = "/data"


def full(pod: str = REDIS, path: str = DATA, *, lab: Any = None, **disk: Any) -> Judge:
    """With one pod's volume of 10 GiB, as its claim has it, filled otherwise."""
    given: dict[str, Any] = {
        "size": 10 * GIB,
        "used": 2 * GIB,
        "available": 8 * GIB,
        "inodes": 1000,
        "inodes_free": 500,
    }
    seen: Looks = observed(lab)["pod_looks"]
    look = seen.seen[pod]
    shown = {**look.disks, path: Disk(path, "/dev/own", **given | disk)}
    looks = replace(seen, seen={**seen.seen, pod: replace(look, disks=shown)})
    return ask(CHECK, lab, pod_looks=looks)


def aged(days: int) -> recorded.Recording:
    """The lab with the volume of redis-0 made some days ago."""

    def change(raw: Json) -> None:
        claim = item(raw, "PersistentVolumeClaim", "data-redis-0")
        claim["metadata"]["creationTimestamp"] = f"2026-11-{24 - days:02}T20:00:00Z"

    return recorded.changed(change)


class TestWhich:
    def test_those_of_the_lab(self) -> None:
        found = {each.words: each for each in data_volumes(storing.with_storage(MODEL), SNAPSHOT)}
        assert {"PostgreSQL matrix-postgresql-1", "PostgreSQL matrix-postgresql-2", "Redis redis-0"} <= set(found)
        redis = found["Redis redis-0"]
        assert (redis.claim, redis.phase, redis.capacity) == ("data-redis-0", "Bound", 10 * GIB)
        assert redis.paths == {"redis": DATA}
        # What Synapse keeps in an emptyDir is no media store.
        assert not [words for words in found if words.startswith("media of")]

    def test_media_on_a_volume_that_lasts(self) -> None:
        def lasting(raw: Json) -> None:
            volumes = item(raw, "Pod", "synapse-media-repository-0")["spec"]["volumes"]
            data = next(each for each in volumes if each["name"] == "data")
            del data["emptyDir"]
            data["persistentVolumeClaim"] = {"claimName": "media"}

        lab = recorded.changed(lasting)
        (found,) = [e for e in data_volumes(lab.deployment(), lab.snapshot) if e.words.startswith("media of")]
        assert (found.claim, found.phase) == ("media", "missing")

    def test_data_in_a_memory_of_limited_size(self) -> None:
        def limited(raw: Json) -> None:
            spec = item(raw, "Pod", "redis-0")["spec"]
            spec["volumes"].append({"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}})
            next(m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == DATA)["name"] = "small"

        lab = recorded.changed(limited)
        (found,) = [each for each in data_volumes(lab.deployment(), lab.snapshot) if each.pod.name == "redis-0"]
        assert (found.capacity, found.claim, found.is_alone(32 * 2**20)) == (32 * 2**20, "", True)

    def test_wal_on_a_volume_of_its_own(self) -> None:
        def walled(raw: Json) -> None:
            spec = item(raw, "Pod", "matrix-postgresql-1")["spec"]
            spec["volumes"].append({"name": "pg-wal", "persistentVolumeClaim": {"claimName": "wal"}})
            spec["containers"][0]["volumeMounts"].append({"name": "pg-wal", "mountPath": "/var/lib/postgresql/wal"})

        lab = recorded.changed(walled)
        words = {each.words for each in data_volumes(lab.deployment(), lab.snapshot)}
        assert {"PostgreSQL matrix-postgresql-1", "PostgreSQL matrix-postgresql-1 WAL"} <= words


class TestRoom:
    def test_nearly_full(self) -> None:
        found = only(full(used=int(9.5 * GIB), available=GIB // 2))
        assert found.headline == "Redis redis-0: its volume is nearly full: 512 MiB left (5%)"
        assert found.observed == "9.5 GiB of 10.0 GiB used at /data in redis-0, 50% of inodes free"

    def test_getting_full(self) -> None:
        found = only(full(used=int(8.5 * GIB), available=int(1.5 * GIB)), Status.WARNED)
        assert found.headline == "Redis redis-0: its volume gets full: 1.5 GiB left (15%)"

    @pytest.mark.parametrize(("left", "status"), [(20, Status.FAILED), (80, Status.WARNED)])
    def test_without_inodes(self, left: int, status: Status) -> None:
        assert "inode" in only(full(inodes_free=left), status).headline

    def test_a_filesystem_that_counts_no_inodes(self) -> None:
        assert full(inodes=None, inodes_free=None).failures == []

    def test_a_large_one_has_room_at_a_small_share(self) -> None:
        def large(raw: Json) -> None:
            item(raw, "PersistentVolumeClaim", "data-redis-0")["status"]["capacity"]["storage"] = "10Ti"

        left = full(lab=recorded.changed(large), size=10240 * GIB, used=10000 * GIB, available=240 * GIB)
        assert left.failures == []

    @pytest.mark.parametrize(("left", "count"), [(30, 0), (15, 0), (4, 1)])
    def test_a_shared_filesystem_is_only_told_of_when_it_is_full(self, left: int, count: int) -> None:
        pen = full(size=100 * GIB, used=(100 - left) * GIB, available=left * GIB)
        assert [each.headline.partition(" is nearly full")[0] for each in pen.failures] == [
            "Redis redis-0: the filesystem of node node1 that its volume is on"
        ] * count


class TestGrowth:
    def test_what_is_left_lasts_some_days(self) -> None:
        found = only(full(lab=aged(10), used=6 * GIB, available=4 * GIB), Status.WARNED)
        assert found.headline == (
            "Redis redis-0: its volume is full in 6 days, if it grows on as it did since it was made"
        )

    @pytest.mark.parametrize(("days", "used"), [(10, 1), (1, 6)])
    def test_slow_or_young(self, days: int, used: int) -> None:
        assert full(lab=aged(days), used=used * GIB, available=(10 - used) * GIB).failures == []


class TestUnseen:
    def test_a_claim_that_is_not_bound(self) -> None:
        def pending(raw: Json) -> None:
            item(raw, "PersistentVolumeClaim", "data-redis-0")["status"] = {"phase": "Pending"}

        found = only(ask(CHECK, recorded.changed(pending)))
        assert found.headline == "Redis redis-0: volume claim data-redis-0 is Pending, not bound to a volume"
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (REDIS,))

    @pytest.mark.parametrize(
        ("looks", "why"),
        [
            (lambda seen: Looks(seen, {}), "df did not answer for it"),
            (lambda seen: Looks({k: v for k, v in seen.items() if k != REDIS}, {REDIS: "no shell"}), "no shell"),
            (lambda seen: Looks({k: v for k, v in seen.items() if k != REDIS}, {}), "it does not run"),
        ],
    )
    def test_a_pod_that_shows_nothing(self, looks: Any, why: str) -> None:
        seen = {**observed()["pod_looks"].seen, REDIS: Look(REDIS, "redis")}
        found = only(ask(CHECK, pod_looks=looks(seen)), Status.UNKNOWN)
        assert found.headline == f"Redis redis-0: how full its volume is was not seen: {why}"


def test_without_any_volume_it_is_absent() -> None:
    bare = replace(MODEL, postgres=(), redis=(), stores=())
    assert ask(CHECK, deployment=bare).absence
