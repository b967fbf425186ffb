"""Files of the user whose requests go on: told of before they are sent, and all of them gone at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.probes import user_media
from postflight.probes.matrix import MatrixError
from postflight.probes.user_media import MEMORY, MOST, Files
from postflight.settings import Settings
from postflight.traces import Traces
from tests.unit.loopback import Refused, Reply, Request, answering, api_to
from tests.unit.observations import MODEL
from tests.unit.test_user_stream import USER


@dataclass
class Media:
    """Takes files and gives them back; ``memory`` is what it is to remember, ``removed`` whose copies were taken away."""

    files: dict[str, bytes] = field(default_factory=dict)
    memory: list[str] = field(default_factory=list)
    full: bool = False
    removed: list[str] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        name = asked.path.rpartition("/")[2]
        match asked.method:
            case "POST":
                return 200, {"content_uri": f"mxc://matrix.lab.test/file{len(self.files):05d}"}
            case "PUT" if name == MEMORY:
                self.memory = asked.body["media_ids"]
                return 200, {}
            case "PUT":
                if self.full:
                    raise Refused(500, "no room")
                # Before anything is sent under a name it is remembered.
                assert name in self.memory
                self.files[name] = asked.body
                return 200, {}
            case _ if name == MEMORY:
                return 200, {"media_ids": self.memory}
        if name not in self.files:
            raise Refused(404, "not found")
        return 200, self.files[name]


@contextmanager
def taking(monkeypatch: pytest.MonkeyPatch, media: Media) -> Iterator[Files]:
    """The media processes of the lab, all of them at one port of this machine."""
    with answering(media) as (port, _):
        access = Access(api_to(port), Way.DIRECT)

        def here(process: Any) -> Any:
            assert process.pod
            return replace(process, pod=replace(process.pod, ip="127.0.0.1"))

        def gone(api: Any, process: Any, path: str) -> str:
            media.removed.append(f"{process.name} {path}")
            return ""

        monkeypatch.setattr("postflight.probes.matrix.port_of", lambda process, resource: port)
        monkeypatch.setattr(user_media, "remove_copy", gone)
        monkeypatch.setattr(user_media, "now", lambda api, process: here(process))
        monkeypatch.setattr(user_media, "siblings", lambda api, pod: (pod,))
        user = replace(USER, home=here(USER.home))
        found = Files.of(MODEL, access, Settings(), Traces("abc"), user)
        assert found
        yield found


def test_it_is_uploaded_by_a_process_that_is_for_media_and_removed_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media()
    with taking(monkeypatch, media) as files:
        name = files.upload()
        assert [len(media.files), media.memory, files.names] == [1, [name], [name]]
        assert [what for what, _ in files.traces.removals] == [f"file {name} of {USER.user_id}"]
        assert not any(each.is_main for each in files.processes)
        files.remove()
        assert files.traces.removals == []
        assert media.memory == []
        removed = {each.partition(" ")[0] for each in media.removed}
        assert removed == {each.name for each in files.processes}
        assert all(re.search(r" local_content/fi/le/\d+$", each) for each in media.removed)


def test_what_could_not_be_removed_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media()
    with taking(monkeypatch, media) as files:
        name = files.upload()

        def never(of: Files, which: str) -> None:
            raise OSError("not now")

        monkeypatch.setattr(Files, "_remove", never)
        files.remove()
        assert media.memory == [name]


def test_what_a_killed_run_left_is_removed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media(memory=["file99999"])
    with taking(monkeypatch, media) as files:
        files.sweep()
        assert {each.partition(" ")[2] for each in media.removed} == {"local_content/fi/le/99999"}
        assert files.names == []


def test_it_is_fetched_past_the_copy_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media()
    with taking(monkeypatch, media) as files:
        name = files.upload()
        upload, read = files.storing(name)
        caller: Any = None
        assert (upload.name, read.name) == ("upload", "from the store")
        assert read.ask(caller) == ""
        assert len(media.removed) == 1
        assert upload.ask(caller) == ""
        media.files[name] = b"other"
        assert read.ask(caller) == "another file"
        media.full = True
        assert "no room" in str(upload.ask(caller)) or "500" in str(upload.ask(caller))
        # However often it fails, it takes one name of Synapse's.
        assert len(files.names) == len(files.contents) + 1
        media.full = False
        assert upload.ask(caller) == ""
        assert set(files.names) == set(files.contents)
        files.contents |= dict.fromkeys(map(str, range(MOST)), b"")
        assert upload.ask(caller) is None


def test_a_refused_upload_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with taking(monkeypatch, Media(full=True)) as files, pytest.raises(MatrixError):
        files.upload()
