"""The buckets that PostgreSQL archives to, listed with the key pair that its Cluster names.

Sources: Amazon S3 API, ListObjectsV2; Barman 3.16, ``barman/cloud.py`` and ``barman/clients/cloud_walarchive.py``: a base
backup is ``base/<id>/`` with backup.info and data.tar, a file of the write-ahead log ``wals/<its first 16 letters>/<name>``,
each with an ending where it is compressed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from postflight.cluster.access import Access
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.backups import BackupPlan, plans, segments
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes.object_stores import Stored, ask
from postflight.probes.probe import probe
from postflight.settings import Settings

#: Names of the write-ahead log's files: of a segment, of a history, of where a backup began.
WAL = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
LATE = Stored(problem="no answer in time")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a bucket has under one prefix, at most 1000 keys: the size of each, by its name without the prefix. ``said`` is
    its answer, ``whole``: there are no more."""

    said: Stored
    sizes: Mapping[str, int]
    whole: bool = True

    @property
    def seen(self) -> bool:
        return self.said.status == 200

    def wals(self) -> frozenset[str]:
        """The names of the files of the write-ahead log, without what a compression puts behind them."""
        found = (WAL.match(key.rpartition("/")[2]) for key in self.sizes)
        return frozenset(each[0] for each in found if each)


NOTHING = Listing(Stored(unasked=True, problem="there is nothing to ask for"), {})


@dataclass(frozen=True, slots=True)
class BucketSeen:
    """What the bucket has of one PostgreSQL: of its newest completed Backup (``base``), of the write-ahead log that belongs
    to that (``needed``), and of all (``root``), which is asked for at any rate."""

    plan: BackupPlan
    root: Listing = NOTHING
    base: Listing = NOTHING
    needed: Listing = NOTHING


@probe(limit=Limit.INSIDE, reaches=True)
def backup_buckets(
    deployment: Deployment, snapshot: Snapshot, secrets: SecretStore, settings: Settings, access: Access
) -> Mapping[str, BucketSeen]:
    """List what each PostgreSQL's bucket has of its newest backup and the write-ahead log that belongs to it. By cluster id."""
    archived = [each for each in plans(deployment, snapshot, secrets) if each.archive]

    def asker(plan: BackupPlan) -> Callable[[], BucketSeen]:
        return lambda: look(plan, lambda prefix, after: _listed(access, settings, plan, prefix, after))

    outcomes = in_threads([asker(each) for each in archived], Limit.INSIDE - 1)
    return {
        plan.cluster.id: BucketSeen(plan, Listing(LATE, {})) if outcome.exception() else outcome.result()
        for plan, outcome in zip(archived, outcomes, strict=True)
    }


def look(plan: BackupPlan, listed: Callable[[str, str], Listing]) -> BucketSeen:
    """``listed`` gives what lies under a prefix of the PostgreSQL's own folder, after a key."""
    root = listed("", "")
    newest = plan.newest
    if not root.seen or newest is None or not newest.id:
        return BucketSeen(plan, root)
    base = listed(f"base/{newest.id}/", "")
    wanted = segments(newest.begin_wal, newest.end_wal, plan.segment)
    if not wanted:
        return BucketSeen(plan, root, base)
    return BucketSeen(plan, root, base, listed("wals/", f"{wanted[0][:16]}/{wanted[0]}"))


def _listed(access: Access, settings: Settings, plan: BackupPlan, prefix: str, after: str) -> Listing:
    if plan.archive is None:
        return NOTHING
    under = f"{plan.folder}{prefix}"
    query = {"list-type": "2", "prefix": under, "max-keys": "1000" if prefix else "10"}
    if after:
        # What begins a name sorts before it: so that the first that is asked for is in.
        query["start-after"] = f"{under}{after[:-1]}"
    said = ask(access, settings, plan.archive, "GET", "", query=query)
    return parsed(said, under)


def parsed(said: Stored, under: str) -> Listing:
    """Of an answer of ListObjectsV2; what is no such answer counts as none."""
    if said.status != 200:
        return Listing(said, {})
    try:
        root = ElementTree.fromstring(said.body)
    except ElementTree.ParseError:
        return Listing(Stored(problem="it does not answer with a list of objects"), {})
    found = {key.removeprefix(under): size for key, size in _objects(root)}
    return Listing(said, found, whole=(_text(root, "IsTruncated") or "false") == "false")


def _objects(root: ElementTree.Element) -> Iterator[tuple[str, int]]:
    for each in root.iter():
        if each.tag.rpartition("}")[2] == "Contents":
            yield _text(each, "Key"), int(_text(each, "Size") or 0)


def _text(element: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in element if child.tag.rpartition("}")[2] == name), "")
