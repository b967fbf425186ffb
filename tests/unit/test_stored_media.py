"""The object stores that a configuration names, and a file's way into one and back, on servers of loopback."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.streams import Answer
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Side, SynapseProcess
from postflight.deployment.store_parts import ObjectStore, path_of
from postflight.probes import object_stores as stores
from postflight.probes import own_files
from postflight.probes import stored_media as probes
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.object_stores import Stored
from postflight.probes.stored_media import StoredMedia
from postflight.secrets import Redactor, Secret
from postflight.settings import Settings, StorageSettings
from postflight.traces import Traces
from tests.unit import storing
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.worlds import (
    snapshot,
)

MEDIA = "synapse.app.media_repository"
SETTINGS = Settings(storage=StorageSettings(hosts=("127.0.0.1",)))
MAIN = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
USER = ProbeUser("@postflight:hs.test", Secret("a-token-of-ours"), replace(MAIN, server_name="hs.test"))
ID = "abcdefghijklmnopqrstuvwx"
KEY = "local_content/ab/cd/efghijklmnopqrstuvwx"


@dataclass
class Bucket:
    """What an object store on loopback holds, and what it refuses with."""

    held: dict[str, bytes] = field(default_factory=dict)
    refusal: Reply | None = None
    removal: int = 204
    asked: list[Request] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        self.asked.append(asked)
        if self.refusal:
            return self.refusal
        name = asked.path.removeprefix("/synapse-media/")
        if asked.method == "DELETE":
            if self.removal == 204:
                self.held.pop(name, None)
            return self.removal, b"" if self.removal == 204 else error("AccessDenied")
        return (200, self.held[name]) if name in self.held else (404, error("NoSuchKey"))


@dataclass
class Files:
    """Media processes on loopback that keep one file, each of its own or the bucket's."""

    bucket: Bucket
    stores: bool = True
    upload: Reply | None = None
    own: dict[str, bytes] = field(default_factory=dict)
    download: Reply | None = None
    uri: str = f"mxc://hs.test/{ID}"
    memory: dict[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    made: int = 0

    def __call__(self, asked: Request) -> Reply:
        assert asked.authorization == "Bearer a-token-of-ours"
        if "/account_data/" in asked.path:
            if asked.method == "PUT":
                self.memory = asked.body
            return (200, self.memory) if self.memory else (404, {"errcode": "M_NOT_FOUND"})
        if asked.path.endswith("/create"):
            self.made += 1
            return 200, {"content_uri": self.uri}
        if "/upload/" in asked.path:
            # Whatever may be left of it is known by then.
            name = asked.path.rpartition("/")[2]
            assert name in self.memory["media_ids"]
            if name in self.used:
                return 409, {"errcode": "M_CANNOT_OVERWRITE_MEDIA"}
            if self.upload:
                return self.upload
            self.own[KEY] = asked.body
            if self.stores:
                self.bucket.held[KEY] = asked.body
            return 200, {}
        if self.download:
            return self.download
        there = self.own.get(KEY) or self.bucket.held.get(KEY)
        return (200, there) if there else (404, {"errcode": "M_NOT_FOUND"})


def error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()


def store_at(port: int, **rest: Any) -> ObjectStore:
    return storing.store(**({"endpoint": Endpoint("127.0.0.1", port, "", "", (), external=True)} | rest))


def media_process(name: str, port: int) -> SynapseProcess:
    assert MAIN.pod
    listener = [{"port": port, "resources": [{"names": ["media", "client"]}]}]
    given = {"worker_listeners": listener, "media_storage_providers": [storing.provider()], "media_store_path": "/m"}
    there = replace(MAIN.pod, id=f"pod/matrix/{name}", name=name, ip="127.0.0.1")
    return replace(MAIN, id=there.id, pod=there, app=MEDIA, workload_name=name, config=given, server_name="hs.test")


ACCESS = Access(api_to(closed_port()), Way.DIRECT)


class TestTheStoreIsAsked:
    def ask(self, answer: Callable[[Request], Reply], **rest: Any) -> Stored:
        with answering(answer) as (port, _):
            return stores.ask(ACCESS, SETTINGS, store_at(port, **rest), "GET", "local_content/a b")

    def test_for_an_object_with_a_signature(self) -> None:
        bucket = Bucket({"local_content/a%20b": b"there"})
        found = self.ask(bucket)
        assert (found.status, found.body, found.refuses) == (200, b"there", False)
        assert bucket.asked[0].authorization.startswith(f"AWS4-HMAC-SHA256 Credential={storing.ACCESS}/")
        assert "there" not in repr(found)

    @pytest.mark.parametrize(
        ("status", "code", "refuses"),
        [
            (404, "NoSuchKey", False),
            (404, "NoSuchBucket", True),
            (403, "SignatureDoesNotMatch", True),
            (403, "AccessDenied", False),
        ],
    )
    def test_and_may_refuse(self, status: int, code: str, refuses: bool) -> None:
        found = self.ask(lambda asked: (status, error(code)))
        assert (str(found), found.refuses) == (f"{status} {code}", refuses)

    def test_not_at_all_where_it_is_outside_and_not_named(self) -> None:
        found = stores.ask(ACCESS, Settings(), store_at(1), "GET", "a")
        assert found.unasked
        assert found.problem == "127.0.0.1 is outside the cluster, and the settings do not name it"

    def test_not_at_all_without_keys(self) -> None:
        none = replace(storing.store().keys, secret=None, hidden="no keys")
        assert stores.ask(ACCESS, SETTINGS, store_at(1, keys=none), "GET", "a") == Stored(
            problem="no keys", unasked=True
        )

    def test_in_vain_where_nothing_stands_behind_it(self) -> None:
        nowhere = storing.store(endpoint=Endpoint("minio", 9000, "matrix", "minio", (), problem="no pod"))
        assert stores.ask(ACCESS, SETTINGS, nowhere, "GET", "a").problem == "no pod"

    def test_in_vain_where_nobody_listens(self) -> None:
        found = stores.ask(ACCESS, SETTINGS, store_at(closed_port()), "GET", "a")
        assert (found.status, found.unasked) == (0, False)
        assert found.problem

    def test_each_once_for_what_nobody_uploads(self) -> None:
        bucket = Bucket()
        with answering(bucket) as (port, _):
            model = replace(MODEL, stores=(store_at(port),))
            (found,) = stores.object_stores(model, ACCESS, SETTINGS)
        assert found.said.code == "NoSuchKey"
        assert [each.method for each in bucket.asked] == ["GET"]


@contextmanager
def standing(one: Files, other: Files, bucket: Bucket, **rest: Any) -> Iterator[tuple[Deployment, Traces]]:
    """Two media processes and their bucket."""
    with answering(one) as (first, _), answering(other) as (second, _), answering(bucket) as (port, _):
        processes = (media_process("media-0", first), media_process("media-1", second))
        named = tuple(each.id for each in processes)
        store = replace(store_at(port, **rest), users=named)
        yield replace(MODEL, synapse=processes, stores=(store,)), Traces("run")


def tried(model: Deployment, traces: Traces, user: Any = None) -> StoredMedia | Hindered:
    # The probe user's data are kept by the first of them.
    user = user or replace(USER, home=model.synapse[0])
    asked = stores.object_stores(model, ACCESS, SETTINGS)
    return probes.stored_media(model, ACCESS, ACCESS.api, snapshot(), asked, user, SETTINGS, traces)


class TestTheFilesWay:
    @pytest.fixture(autouse=True)
    def _in_pods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is run in a pod takes the uploader's own copy away."""
        self.commands: list[Sequence[str]] = []
        self.bucket = Bucket()
        self.one, self.other = Files(self.bucket), Files(self.bucket)
        self.one.memory = {}
        self.answer = Answer(b"removed\n", b"", 0)

        def run(api: Any, namespace: str, pod: str, name: str, command: Sequence[str], **rest: Any) -> Answer:
            self.commands.append(command)
            if self.answer.code == 0:
                self.one.own.clear()
            return self.answer

        monkeypatch.setattr(own_files, "run_in_pod", run)

    def way(self, **rest: Any) -> StoredMedia:
        with standing(self.one, self.other, self.bucket, **rest) as (model, traces):
            seen = tried(model, traces)
            assert isinstance(seen, StoredMedia)
            self.left = [what for what, _ in traces.removals]
            self.troubles = traces.clean_up()
            return seen

    def test_into_the_bucket_and_back_through_all(self) -> None:
        seen = self.way()
        assert (seen.key, seen.same, seen.kept, seen.left) == (KEY, True, "", "")
        assert [(each.process.name, each.same, each.proves) for each in seen.fetched] == [
            ("media-0", True, True),
            ("media-1", True, True),
        ]
        assert self.commands[0][-1] == f"/m/{KEY}"

    def test_nothing_of_it_stays(self) -> None:
        self.way()
        assert (self.bucket.held, self.one.own, self.left) == ({}, {}, [])

    def test_it_is_another_each_time(self) -> None:
        bodies = []
        for _ in range(2):
            bodies.append(self.way().found.body)
        assert len(set(bodies)) == 2
        assert all(re.fullmatch(rb"postflight [0-9a-f]{32}\n", each) for each in bodies)

    def test_it_stays_where_it_was_uploaded(self) -> None:
        self.one.stores = False
        seen = self.way(local=False)
        assert (seen.found.code, seen.fetched) == ("NoSuchKey", ())
        assert (self.one.own, self.troubles) == ({}, [])

    def test_the_provider_refuses_it(self) -> None:
        self.one.upload = (500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})
        seen = self.way()
        assert seen.status == 500
        assert "500 M_UNKNOWN" in seen.refused
        assert self.troubles == []

    def test_a_name_whose_upload_was_refused_is_used_again(self) -> None:
        self.one.upload = (500, {"errcode": "M_UNKNOWN"})
        for _ in range(3):
            self.way()
        assert (self.one.made, self.one.memory) == (1, {"media_ids": [ID]})
        self.one.upload = None
        assert self.way().same
        assert (self.one.made, self.one.memory) == (1, {"media_ids": []})

    def test_what_a_killed_run_left_is_removed(self) -> None:
        old = "zyxwvutsrqponmlkjihgfedc"
        self.one.memory, self.one.used = {"media_ids": ["../etc", old]}, {old}
        self.bucket.held[path_of(old)] = b"postflight"
        assert self.way().same
        assert (self.bucket.held, self.one.memory, self.one.made) == ({}, {"media_ids": []}, 1)
        assert {each[-1] for each in self.commands} == {f"/m/{path_of(old)}", f"/m/{KEY}"}

    def test_what_cannot_be_removed_is_remembered(self) -> None:
        self.bucket.removal = 503
        self.way()
        assert self.one.memory == {"media_ids": [ID]}

    def test_main_does_not_answer(self) -> None:
        with standing(self.one, self.other, self.bucket) as (model, traces):
            seen = tried(model, traces, replace(USER, home=media_process("main", closed_port())))
        assert isinstance(seen, Hindered)
        assert (seen.where, self.one.made) == ("pod/matrix/main", 0)

    def test_an_answer_that_is_none(self) -> None:
        self.one.uri = "mxc://hs.test/../../etc"
        assert "without a content_uri" in self.way().refused

    def test_another_does_not_find_it(self) -> None:
        self.other.download = (404, {"errcode": "M_NOT_FOUND"})
        found = self.way().fetched[1]
        assert (found.same, found.status) == (False, 404)

    def test_another_gives_something_else(self) -> None:
        self.other.download = (200, b"something else")
        found = self.way().fetched[1]
        assert (found.same, found.problem, found.status) == (False, "", 200)

    def test_without_a_right_to_remove_the_copy_only_others_are_asked(self) -> None:
        self.answer = Answer(b"", b"no", 1)
        seen = self.way()
        assert seen.kept == "no"
        assert [(each.process.name, each.proves) for each in seen.fetched] == [("media-1", False)]

    def test_the_object_may_not_be_removed(self) -> None:
        self.bucket.removal = 403
        seen = self.way()
        assert seen.left == "403 AccessDenied"
        assert self.troubles == []

    def test_a_store_that_fails_at_the_removal_is_asked_again_and_told_of(self) -> None:
        self.bucket.removal = 503
        seen = self.way()
        assert seen.left == ""
        assert self.troubles == [f"object {KEY} in bucket synapse-media could not be removed: 503 AccessDenied"]

    def test_nothing_is_uploaded_where_it_would_leave_a_row_for_nothing(self) -> None:
        self.bucket.refusal = (404, error("NoSuchBucket"))
        seen = self.way(synchronous=False)
        assert (seen.key, seen.refused, self.one.own) == ("", "", {})

    def test_without_the_probe_user(self) -> None:
        with standing(self.one, self.other, self.bucket) as (model, traces):
            assert tried(model, traces, Hindered("no", "x")) == Hindered("no", "x")

    def test_nothing_is_uploaded_where_the_store_is_silent(self) -> None:
        with standing(self.one, self.other, self.bucket) as (model, traces):
            silent = replace(model, stores=(replace(store_at(closed_port()), users=model.stores[0].users),))
            seen = tried(silent, traces)
        assert isinstance(seen, Hindered)
        assert seen.where == storing.ID
        assert self.one.own == {}

    def test_nobody_is_up(self) -> None:
        with standing(self.one, self.other, self.bucket) as (model, traces):
            away = replace(model, synapse=tuple(replace(each, pod=None) for each in model.synapse))
            assert isinstance(tried(away, traces), Hindered)


class TestTheModules:
    @pytest.mark.parametrize(
        ("answer", "missing", "problem"),
        [
            (Answer(b"1 1 1 1\n", b"", 0), (), ""),
            (Answer(b"0 1 1 1\n", b"", 0), ("s3_storage_provider",), ""),
            (Answer(b"", b"sh: not found", 127), (), "sh: not found"),
        ],
    )
    def test_are_looked_for(
        self, monkeypatch: pytest.MonkeyPatch, answer: Answer, missing: tuple[str, ...], problem: str
    ) -> None:
        monkeypatch.setattr(stores, "run_in_pod", lambda *given, **rest: answer)
        model = replace(MODEL, synapse=(media_process("media-0", 1),))
        (seen,) = stores.provider_modules(model, ACCESS.api).values()
        assert (seen.missing, seen.problem) == (missing, problem)

    def test_may_not_be_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*given: Any, **rest: Any) -> Answer:
            raise ApiError(403, "no")

        monkeypatch.setattr(stores, "run_in_pod", refuse)
        model = replace(MODEL, synapse=(media_process("media-0", 1),))
        (seen,) = stores.provider_modules(model, ACCESS.api).values()
        assert seen.problem


def test_the_secret_key_is_never_said() -> None:
    store = storing.store()
    redactor = Redactor()
    redactor.register(storing.SECRET)
    assert storing.SECRET not in repr(store)
    assert storing.SECRET not in redactor.redact(f"{store} {storing.SECRET}")
