"""How PostgreSQL is backed up, by its objects, and its bucket, by a server of loopback."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.backups import plans, segments
from postflight.probes import backup_buckets as probes
from postflight.probes.object_stores import Stored
from postflight.settings import Settings, StorageSettings
from tests.unit import backing, recorded
from tests.unit.backing import ARCHIVE, FIRST, ID, LAST
from tests.unit.loopback import Reply, Request, answering, api_to
from tests.unit.observations import MODEL

LAB = recorded.healthy()
MAIN = MODEL.postgres[0]
ONE = replace(MODEL, postgres=(MAIN,))
SECRETS = backing.secrets(LAB.secrets)
WORLD = backing.snapshot(LAB.snapshot, MAIN.name)


def listing(*keys: str, more: bool = False) -> bytes:
    found = "".join(f"<Contents><Key>{key}</Key><Size>7</Size></Contents>" for key in keys)
    text = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{found}"
    head = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}{text}</ListBucketResult>".encode()


class TestPlans:
    def test_the_bucket_its_folder_and_its_key_pair(self) -> None:
        path = {**ARCHIVE, "destinationPath": "s3://all/of/it/", "serverName": "old"}
        (plan,) = plans(backing.with_backups(ONE, path), WORLD, SECRETS)
        assert plan.archive
        assert (plan.archive.bucket, plan.folder, plan.archive.where) == (
            "all",
            "of/it/old/",
            "minio.matrix.svc.cluster.local:9000",
        )
        assert plan.archive.keys.origin == "Secret postgresql-backup-credentials/secret-key"

    def test_the_newest_completed_is_the_newest(self) -> None:
        (plan,) = plans(backing.with_backups(ONE), WORLD, SECRETS)
        assert plan.newest
        assert (plan.newest.id, plan.newest.begin_wal, plan.running) == (ID, FIRST, False)
        assert [(each.every, each.fields) for each in plan.schedules] == [(timedelta(days=1), 6)]

    def test_a_key_pair_that_is_not_there(self) -> None:
        (plan,) = plans(backing.with_backups(ONE), WORLD, LAB.secrets)
        assert plan.archive
        assert plan.archive.keys.hidden == "Secret postgresql-backup-credentials/secret-key is not there"
        bare = {key: value for key, value in ARCHIVE.items() if key != "s3Credentials"}
        (plan,) = plans(backing.with_backups(ONE, bare), WORLD, SECRETS)
        assert plan.archive
        assert plan.archive.keys.hidden.endswith("names no key pair for its bucket")

    def test_what_is_no_s3_is_elsewhere(self) -> None:
        (plan,) = plans(backing.with_backups(ONE, {"destinationPath": "gs://bucket/"}), WORLD, SECRETS)
        assert (plan.archive, plan.elsewhere) == (None, "gs://bucket/")
        (plan,) = plans(backing.with_backups(ONE, None, backup={"volumeSnapshot": {"className": "x"}}), WORLD, SECRETS)
        assert plan.elsewhere == "volume snapshots"


@pytest.mark.parametrize(
    ("begin", "end", "size", "found"),
    [
        (FIRST, LAST, 16, [FIRST, f"{FIRST[:23]}7", LAST]),
        (FIRST, FIRST, 16, [FIRST]),
        (
            "0000000100000000000000FF",
            "000000010000000100000000",
            16,
            ["0000000100000000000000FF", "000000010000000100000000"],
        ),
        (
            "00000001000000000000003F",
            "000000010000000100000000",
            64,
            ["00000001000000000000003F", "000000010000000100000000"],
        ),
        (FIRST, f"00000002{LAST[8:]}", 16, [FIRST, f"00000002{LAST[8:]}"]),
        (FIRST, "0000000100000FFF00000000", 16, [FIRST, "0000000100000FFF00000000"]),
        ("", "", 16, []),
    ],
)
def test_the_files_from_one_to_another(begin: str, end: str, size: int, found: list[str]) -> None:
    assert list(segments(begin, end, size)) == found


class TestListing:
    def test_names_without_their_endings(self) -> None:
        said = Stored(
            200, body=listing(f"f/wals/{FIRST[:16]}/{FIRST}.gz", "f/wals/00000002.history.gz", "f/wals/other")
        )
        found = probes.parsed(said, "f/wals/")
        assert found.wals() == {FIRST, "00000002.history"}
        assert found.whole

    def test_no_list_at_all(self) -> None:
        assert probes.parsed(Stored(200, body=b"<html>"), "").said.problem
        assert not probes.parsed(Stored(403, "AccessDenied"), "").seen


class TestBucket:
    def ask(self, answer: Any) -> tuple[probes.BucketSeen, list[Request]]:
        with answering(answer) as (port, asked):
            archive = {**ARCHIVE, "endpointURL": f"http://127.0.0.1:{port}"}
            settings = Settings(storage=StorageSettings(hosts=("127.0.0.1",)))
            access = Access(api_to(port), Way.DIRECT)
            found = probes.backup_buckets(backing.with_backups(ONE, archive), WORLD, SECRETS, settings, access)
        return found[MAIN.id], asked

    def test_the_newest_backup_and_its_log(self) -> None:
        folder = f"{MAIN.name}/"

        def answer(asked: Request) -> Reply:
            prefix = asked.query["prefix"]
            if prefix == folder:
                return 200, listing(f"{folder}base/{ID}/backup.info", more=True)
            if prefix.startswith(f"{folder}base/"):
                return 200, listing(f"{prefix}backup.info", f"{prefix}data.tar.gz")
            return 200, listing(f"{prefix}{FIRST[:16]}/{FIRST}.gz")

        seen, asked = self.ask(answer)
        assert set(seen.base.sizes) == {"backup.info", "data.tar.gz"}
        assert seen.needed.wals() == {FIRST}
        assert not seen.root.whole
        assert [each.path for each in asked] == ["/postgresql-backups/"] * 3
        assert asked[2].query["start-after"] == f"{folder}wals/{FIRST[:16]}/{FIRST[:-1]}"
        assert asked[0].authorization.startswith("AWS4-HMAC-SHA256 Credential=synapse-media-store/")

    def test_it_refuses(self) -> None:
        seen, asked = self.ask(lambda _: (403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"))
        assert seen.root.said.refuses
        assert len(asked) == 1
        assert seen.base is probes.NOTHING

    def test_what_is_outside_is_asked_only_where_the_settings_name_it(self) -> None:
        archive = {**ARCHIVE, "endpointURL": "https://s3.example.org"}
        found = probes.backup_buckets(
            backing.with_backups(ONE, archive), WORLD, SECRETS, Settings(), Access(api_to(1), Way.DIRECT)
        )
        assert found[MAIN.id].root.said.unasked
