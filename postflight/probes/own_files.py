"""Files of our own in the media stores of Synapse: the object in the bucket, and the copies of the processes.

Source: synapse/media/media_storage.py and filepath.py, 1.163.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.deployment.listeners import port_of
from postflight.deployment.media import holds_media
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.store_parts import ObjectStore
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.object_stores import NO_KEY, Stored, ask
from postflight.settings import Settings

GONE = (200, 204, 404)
DENIED = 403
#: A copy, which its process would serve before it asks the bucket.
REMOVE = 'rm -f -- "$1" && echo removed'


@dataclass(slots=True)
class Bucket:
    """A bucket, as the key pair opens it that Synapse has. ``left`` is what removals were answered with that are not
    allowed."""

    access: Access
    settings: Settings
    store: ObjectStore
    left: list[str] = field(default_factory=list)

    def ask(self, method: str, key: str, version: str = "") -> Stored:
        return ask(self.access, self.settings, self.store, method, key, version=version)

    def remove(self, key: str) -> None:
        """Where versions are kept the one that is ours, so that no mark of it stays. Raises OSError where the store
        does not do it; one that may not be removed is told in ``left``."""
        found = self.ask("GET", key)
        if found.code == NO_KEY:
            return
        said = self.ask("DELETE", key, found.version)
        if said.status == DENIED:
            self.left.append(str(said))
        elif said.status not in GONE:
            raise OSError(str(said))

    def arrival(self, key: str) -> Stored:
        """The object, waited for: where ``store_synchronous`` is off it comes after the upload's answer."""
        last = Stored()

        def look() -> None:
            nonlocal last
            last = self.ask("GET", key)
            if last.status != 200:
                raise NotYet(str(last))

        waits = self.store.local and not self.store.synchronous
        with suppress(TimedOut):
            wait_for(look, limit=Limit.STORING if waits else 1.0)
        return last


def remove_copy(api: Api, process: SynapseProcess, path: str) -> str:
    """Take a process's own copy of a file away, as upstream's s3_media_upload does; ``path`` is the file's within its
    media store. Returns why it is still there."""
    config = process.config or {}
    if config.get("enable_local_media_storage") is False:
        return ""
    folder = str(config.get("media_store_path") or "")
    if not folder.startswith("/"):
        return "its media_store_path is no absolute path"
    command = ("sh", "-c", REMOVE, "sh", f"{folder.rstrip('/')}/{path}")
    try:
        answer = run_in_pod(api, process.namespace, process.name, process.container, command)
    except ApiError as error:
        return str(error)
    return "" if answer.code == 0 else answer.complaint


def serves_media(process: SynapseProcess) -> bool:
    """Whether files can be sent to a process and fetched from it."""
    return holds_media(process) and port_of(process, media_listener(process)) is not None


def media_listener(process: SynapseProcess) -> str:
    """Main serves media by its client listener too (synapse/app/homeserver.py, 1.163), a worker only by one that is for
    them (generic_worker.py)."""
    return "client" if process.is_main and not port_of(process, "media") else "media"
