"""A small file of our own: uploaded through one process, looked for in its bucket, fetched back through the others.

Source: synapse/media/media_storage.py, 1.163: a file is served from the process's own store first, and from the bucket
only where it is not there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from postflight.cluster.access import Access
from postflight.cluster.api import Api
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.storage import own_store
from postflight.deployment.store_parts import ObjectStore
from postflight.limits import Limit
from postflight.probes import own_uploads
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.object_stores import StoreAnswer, Stored, sending
from postflight.probes.own_files import Bucket, media_listener, remove_copy, serves_media
from postflight.probes.probe import EXEC, Safety, probe
from postflight.settings import Settings
from postflight.traces import Traces

DOWNLOAD = "/_matrix/client/v1/media/download/{server}/{media}?timeout_ms=1000"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one process gave for the file. ``proves``: it cannot have had it by itself, so that it is the bucket's."""

    process: SynapseProcess
    same: bool
    proves: bool
    problem: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """The file's way. ``refused`` is what the upload was answered with, "" where it was taken, ``status`` its number;
    ``found`` is the object as the bucket gave it last and ``same`` whether byte for byte; ``kept`` says why the
    uploader's own copy is still there; ``left`` what the bucket said when the object was to be removed."""

    store: ObjectStore
    uploader: SynapseProcess
    key: str = ""
    refused: str = ""
    status: int = 200
    found: Stored = field(default_factory=Stored)
    same: bool = False
    kept: str = ""
    fetched: tuple[Fetched, ...] = ()
    left: str = ""


@dataclass(slots=True)
class _Way:
    """What a probe of one homeserver works with. ``unswept`` are the names of killed runs' files that could not be
    removed."""

    access: Access
    api: Api
    bucket: Bucket
    user: ProbeUser
    unswept: list[str] = field(default_factory=list)

    @property
    def store(self) -> ObjectStore:
        return self.bucket.store


# Without exec the upload's own copy would stay where it was taken.
@probe(limit=Limit.STORAGE, rights=(EXEC,), safety=Safety.CANARY, reaches=True)
def stored_media(
    deployment: Deployment,
    access: Access,
    api: Api,
    snapshot: Snapshot,
    object_stores: tuple[StoreAnswer, ...],
    canary_user: ProbeUser | Hindered,
    settings: Settings,
    traces: Traces,
) -> StoredMedia | Hindered:
    """Upload a small file through one media process, find it in the bucket, fetch it through all others, and remove it."""
    if isinstance(canary_user, Hindered):
        return canary_user
    user = canary_user
    mine = [each for each in deployment.synapse if each.serves_with(user.home) and serves_media(each) and each.is_up]
    senders = [each.id for each in sending(deployment) if each.serves_with(user.home)]
    answers = {user: each for each in object_stores for user in each.store.users}
    uploader = next((each for each in mine if each.id in senders and each.id in answers), None)
    if uploader is None:
        where = next((each for each in senders if each in answers), user.home.id)
        return Hindered("no process that sends media to an object store is up", where)
    answer = answers[uploader.id]
    if not answer.said.status:
        return Hindered(f"{answer.store.where} {_silence(answer.said)}", answer.store.id)
    if answer.said.refuses and not answer.store.synchronous:
        # The upload would be taken, and a row for it would stay.
        return StoredMedia(answer.store, uploader, found=answer.said)
    way = _Way(access, api, Bucket(access, settings, answer.store), user)
    try:
        names = own_uploads.remembered(access, user)
        if answer.said.refuses:
            way.unswept.extend(names)
        else:
            _sweep(way, mine, names)
        seen = _upload(way, uploader, traces, names[-1:])
        if seen.refused:
            return seen
        if seen.found.status != 200:
            # One that is still on its way to the bucket is read from there.
            return seen if answer.store.local else replace(seen, kept=_remove_own(way, uploader, seen.key))
        kept = _remove_own(way, uploader, seen.key)
        others = [each for each in mine if each.id != uploader.id or not kept]
        apart = {each.id: _apart(snapshot, uploader, each) or not kept for each in others}
        seen = replace(seen, kept=kept, fetched=_fetch(way, others, apart, seen))
        traces.settle(_what(way.store, seen.key))
        if _what(way.store, seen.key) not in [what for what, _ in traces.removals]:
            own_uploads.remember(access, user, way.unswept)
    except MatrixError as error:
        return Hindered(str(error), user.home.id)
    return replace(seen, left="; ".join(way.bucket.left))


def _silence(said: Stored) -> str:
    return f"could not be asked: {said.problem}" if said.unasked else f"does not answer: {said.problem}"


def _what(store: ObjectStore, key: str) -> str:
    return f"object {key} in bucket {store.bucket}"


def _sweep(way: _Way, processes: Sequence[SynapseProcess], names: Sequence[str]) -> None:
    """Remove what killed runs left of their files."""
    works = [partial(_remove_own, way, process, way.store.key_of(name)) for name in names for process in processes]
    in_threads(works, Limit.EXEC)
    for name in names:
        try:
            way.bucket.remove(way.store.key_of(name))
        except OSError:
            way.unswept.append(name)
    way.bucket.left.clear()


def _upload(way: _Way, process: SynapseProcess, traces: Traces, again: Sequence[str]) -> StoredMedia:
    """The file is another each time, so that nothing kept from before can stand for it. ``again`` is the name of an
    upload that may have been refused."""
    seen = StoredMedia(way.store, process)
    content = f"postflight {secrets.token_hex(16)}\n".encode()

    def before(media: str) -> None:
        key = way.store.key_of(media)
        traces.will_make(_what(way.store, key), lambda: way.bucket.remove(key))

    try:
        with matrix(way.access, process, media_listener(process)) as door:
            media = own_uploads.upload(way.access, way.user, door, content, (again, way.unswept), before)
    except MatrixError as error:
        return replace(seen, refused=str(error), status=error.status)
    key = way.store.key_of(media)
    found = way.bucket.arrival(key)
    return replace(seen, key=key, found=found, same=found.body == content)


def _remove_own(way: _Way, process: SynapseProcess, key: str) -> str:
    """Take a process's own copy away: what it serves then is the bucket's. Returns why it is still there."""
    return remove_copy(way.api, process, key.removeprefix(way.store.prefix))


def _fetch(
    way: _Way, processes: list[SynapseProcess], apart: dict[str, bool], seen: StoredMedia
) -> tuple[Fetched, ...]:
    media = seen.key.removeprefix(way.store.prefix).removeprefix("local_content/").replace("/", "")
    path = DOWNLOAD.format(server=way.user.home.server_name, media=media)

    def fetcher(process: SynapseProcess) -> Callable[[], bytes]:
        def fetch() -> bytes:
            with matrix(way.access, process, media_listener(process)) as door:
                return door.fetch(path, token=way.user.token)

        return fetch

    outcomes = in_threads([fetcher(each) for each in processes], Limit.HTTP + 1)
    found: list[Fetched] = []
    for process, outcome in zip(processes, outcomes, strict=True):
        try:
            same = outcome.result() == seen.found.body
            found.append(Fetched(process, same, apart[process.id]))
        except MatrixError as error:
            found.append(Fetched(process, False, apart[process.id], str(error), error.status))
        except TimeoutError:
            found.append(Fetched(process, False, apart[process.id], f"{process.name} does not answer in time", 0))
    return tuple(found)


def _apart(snapshot: Snapshot, one: SynapseProcess, other: SynapseProcess) -> bool:
    mine, theirs = own_store(snapshot, one), own_store(snapshot, other)
    return bool(mine and theirs and mine != theirs)
