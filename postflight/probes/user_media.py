"""Files of the user whose requests go on while a part is away: one to download, and more where storage is taken away.

A process serves a file from its own store first, and from the bucket only where it is not there (synapse/media/
media_storage.py, 1.163): so a reader's own copy is taken away before each look.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.store_parts import ObjectStore, path_of
from postflight.limits import Limit
from postflight.probes import own_uploads
from postflight.probes.canary_user import ProbeUser
from postflight.probes.fresh import now, siblings
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.own_files import Bucket, media_listener, remove_copy, serves_media
from postflight.probes.user_doors import Caller
from postflight.probes.user_stream import Kind, answered
from postflight.settings import Settings
from postflight.traces import Traces

MEMORY = "im.postflight.disruption_media"
DOWNLOAD = "/_matrix/client/v1/media/download/{server}/{media}"
#: Seconds between two uploads, and how many there are at most: so many names are remembered.
PACE, MOST = 4.0, 15


@dataclass(slots=True)
class Files:
    """Files of the probe user, all of them removed at the end. ``contents`` are those that were taken, by name."""

    access: Access
    api: Api
    settings: Settings
    traces: Traces
    user: ProbeUser
    processes: Sequence[SynapseProcess]
    store: ObjectStore | None
    contents: dict[str, bytes] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, deployment: Deployment, access: Access, settings: Settings, traces: Traces, user: ProbeUser
    ) -> Files | None:
        """None where no process takes media."""
        mine = [
            each for each in deployment.synapse if each.serves_with(user.home) and serves_media(each) and each.is_up
        ]
        mine.sort(key=lambda each: each.is_main)
        stores = [each for each in deployment.stores if any(process.id in each.users for process in mine)]
        # With workers for it main keeps none (docs/workers.md).
        mine = [each for each in mine if not each.is_main] or mine
        return cls(access, access.api, settings, traces, user, mine, next(iter(stores), None)) if mine else None

    def sweep(self) -> None:
        """Remove what a killed run left of its files. Raises MatrixError."""
        for name in own_uploads.remembered(self.access, self.user, MEMORY):
            with suppress(OSError):
                self._remove(name)
        self.names.clear()

    def upload(self) -> str:
        """One more file; its name. Raises MatrixError. A name whose upload failed is tried again: Synapse has few of them
        waiting for one user (``max_pending_media_uploads``, 5)."""
        content = f"postflight {secrets.token_hex(16)}\n".encode()
        process = self._now(self.processes[0])

        def before(name: str) -> None:
            if name not in self.names:
                self.traces.will_make(f"file {name} of {self.user.user_id}", lambda: self._remove(name))
                self.names.append(name)

        again = [each for each in self.names if each not in self.contents]

        with matrix(self.access, process, media_listener(process)) as door:
            name = own_uploads.upload(self.access, self.user, door, content, (again, list(self.names)), before, MEMORY)
        self.contents[name] = content
        return name

    def kind(self, name: str) -> Kind:
        """The ordinary download of one file, by the front door."""
        path = DOWNLOAD.format(server=quote(self.user.home.server_name), media=name)
        content = self.contents[name].decode()

        def ask(caller: Caller) -> str:
            said = caller.ask("GET", path, token=self.user.token)
            return answered(said) or ("" if said.text == content else "another file")

        return Kind("download", ask)

    def storing(self, name: str) -> tuple[Kind, ...]:
        """Uploads, and downloads of a file that the process which is asked has no copy of."""
        return (
            Kind("upload", lambda caller: self._more(), PACE),
            Kind("from the store", lambda caller: self._read(name)),
        )

    def lost(self) -> Iterator[str]:
        """The files that were taken and are not in the bucket as they were sent."""
        if self.store is None:
            return
        bucket = self._bucket(self.store)
        for name, content in self.contents.items():
            found = bucket.arrival(self.store.key_of(name))
            if found.status != 200 or found.body != content:
                yield f"file {name}, which was taken, is not in bucket {self.store.bucket}: {found}"

    def remove(self) -> None:
        """All of them, now; what cannot be removed is left to the end of the run."""
        for name in list(self.names):
            self.traces.settle(f"file {name} of {self.user.user_id}")
        left = [name for name in self.names if f"file {name} of {self.user.user_id}" in dict(self.traces.removals)]
        with suppress(MatrixError):
            user = replace(self.user, home=now(self.api, self.user.home))
            own_uploads.remember(self.access, user, left, MEMORY)

    def _more(self) -> str | None:
        if len(self.contents) >= MOST:
            return None
        try:
            self.upload()
        except MatrixError as error:
            return str(error)
        return ""

    def _read(self, name: str) -> str:
        process = self._now(self.processes[-1])
        if kept := remove_copy(self.api, process, path_of(name)):
            return f"its copy is still there: {kept}"
        path = DOWNLOAD.format(server=quote(self.user.home.server_name), media=name) + "?timeout_ms=2000"
        try:
            with matrix(self.access, process, media_listener(process)) as door:
                same = door.fetch(path, token=self.user.token, limit=Limit.ANSWER) == self.contents[name]
        except MatrixError as error:
            return str(error)
        return "" if same else "another file"

    def _now(self, process: SynapseProcess) -> SynapseProcess:
        """Raises MatrixError."""
        try:
            found = now(self.api, process)
            if found.is_up or found.pod is None:
                return found
            ready = [each for each in siblings(self.api, found.pod) if each.ready and not each.deleting]
        except ApiError as error:
            raise MatrixError(str(error)) from error
        return replace(process, pod=ready[0]) if ready else found

    def _remove(self, name: str) -> None:
        """Every copy, and the object. Raises OSError."""
        works = []
        for process in self.processes:
            pods = siblings(self.api, process.pod) if process.pod else ()
            # A pod that is not up has no copy, or takes it along.
            works += [
                partial(remove_copy, self.api, replace(process, pod=pod), path_of(name)) for pod in pods if pod.ready
            ]
        in_threads(works, Limit.EXEC)
        if self.store is not None:
            self._bucket(self.store).remove(self.store.key_of(name))

    def _bucket(self, store: ObjectStore) -> Bucket:
        """By the servers that are ready now."""
        pods = {
            pod.id: (pod, port) for one, port in store.endpoint.pods for pod in siblings(self.api, one) if pod.ready
        }
        endpoint = replace(store.endpoint, pods=tuple(pods.values()) or store.endpoint.pods)
        return Bucket(self.access, self.settings, replace(store, endpoint=endpoint))
