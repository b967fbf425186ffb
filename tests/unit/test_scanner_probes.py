"""Files on their way through and past a scanner, with everything on loopback; the cryptography is the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from lab.image.mcs_rust.crypto import CryptoHandler, decrypt_attachment
from postflight.cluster.access import Access, Way
from postflight.cluster.streams import Answer
from postflight.deployment.call_parts import Proxy
from postflight.deployment.haproxy import frontends
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side
from postflight.deployment.scan_parts import Antivirus
from postflight.deployment.store_parts import path_of
from postflight.probes import object_stores as stores
from postflight.probes import own_files
from postflight.probes import scanned_media as probes
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.eicar import eicar
from postflight.probes.scanned_media import DOWNLOAD, ScannedMedia
from postflight.probes.scanner_asks import PATH, Meaning
from postflight.secrets import Secret
from postflight.settings import Settings, StorageSettings
from postflight.traces import Traces
from tests.unit import li_world, paging, scanning
from tests.unit.calling import ready
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.test_stored_media import MAIN, Bucket, media_process, store_at
from tests.unit.worlds import snapshot

SETTINGS = Settings(storage=StorageSettings(hosts=("127.0.0.1",)))
ACCESS = Access(api_to(closed_port()), Way.DIRECT)
TOKEN = Secret("a-token-of-ours")
HAPROXY = """\
defaults
  mode http
frontend clients
  bind :8008
  acl scanner path_beg /_matrix/media_proxy/
  acl client path_beg /_matrix/client/
  use_backend content_scanner if scanner
  default_backend media_workers
frontend federation
  bind :8448
  default_backend media_workers
"""


@dataclass
class Synapse:
    """A media process that gives to whomever has a token, by the older paths to anybody where these are ``open``."""

    held: dict[str, bytes] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    upload: dict[bytes, Reply] = field(default_factory=dict)
    open: bool = False
    made: int = 0
    ever: list[bytes] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        name = asked.path.rpartition("/")[2]
        if "/account_data/im.postflight.scanned" in asked.path:
            if asked.method == "PUT":
                self.memory = asked.body
            return (200, self.memory) if self.memory else (404, {"errcode": "M_NOT_FOUND"})
        if asked.path.endswith("/create"):
            self.made += 1
            return 200, {"content_uri": f"mxc://hs.test/{'abcdefghijklmnopqrstuvw'}{self.made}"}
        if "/upload/" in asked.path:
            assert name in self.memory["media_ids"]
            if asked.body in self.upload:
                return self.upload[asked.body]
            self.held[name] = asked.body
            self.ever.append(asked.body)
            return 200, {}
        return self.fetch(asked.path, asked.authorization)

    def fetch(self, path: str, authorization: str) -> Reply:
        *_, before, name = path.split("/")
        name = before if name.endswith(".txt") else name
        allowed = authorization == "Bearer a-token-of-ours" if "/client/v1/" in path else self.open
        if "/download/" in path and allowed and name in self.held:
            return 200, self.held[name]
        return 404, {"errcode": "M_NOT_FOUND"}


@dataclass
class Scanner:
    """As upstream's, with whatever scan command."""

    synapse: Synapse
    handler: CryptoHandler = field(default_factory=lambda: CryptoHandler(bytes(range(32))))
    finds: Any = lambda content: eicar() in content

    def __call__(self, asked: Request) -> Reply:
        what = asked.path.removeprefix(f"{PATH}/")
        if what == "public_key":
            return 200, {"public_key": self.handler.public_key}
        name, content = what, b""
        description = None
        if what.endswith("_encrypted"):
            body = asked.body["encrypted_body"]
            told = self.handler.decrypt_body(body["ciphertext"], body["mac"], body["ephemeral"])
            description = json.loads(told)["file"]
            name = f"x/{description['url'].removeprefix('mxc://')}"
        status, content = self.synapse.fetch(f"{DOWNLOAD}/{name.partition('/')[2]}", asked.authorization)
        if status != 200:
            return 404, {"reason": "M_NOT_FOUND"}
        bad = self.finds(decrypt_attachment(content, description) if description else content)
        if what.startswith("scan"):
            return 200, {"clean": not bad}
        return (403, {"reason": "MCS_MEDIA_NOT_CLEAN"}) if bad else (200, content)


@dataclass
class Door:
    """A proxy: what is the scanner's to the scanner, and downloads to it too unless it leads them past."""

    synapse: Synapse
    scanner: Scanner
    past: tuple[str, ...] = ()

    def __call__(self, asked: Request) -> Reply:
        if asked.path.startswith(PATH):
            return self.scanner(asked)
        if asked.path.startswith(self.past or ("nothing",)):
            return self.synapse(asked)
        *_, kind, server, name = asked.path.removesuffix("/postflight-eicar.txt").split("/")
        return self.scanner(replace(asked, path=f"{PATH}/{kind}/{server}/{name}"))


class TestTheFiles:
    @pytest.fixture(autouse=True)
    def _stage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is run in a pod takes the process's copy away."""
        self.synapse = Synapse()
        self.scanner = Scanner(self.synapse)
        self.door = Door(self.synapse, self.scanner)
        self.bucket: Bucket | None = None
        self.settings = SETTINGS
        self.answer = Answer(b"removed\n", b"", 0)
        self.processes = 1

        def run(api: Any, namespace: str, pod: str, name: str, command: Sequence[str], **rest: Any) -> Answer:
            if self.answer.code == 0:
                self.synapse.held.pop("".join(command[-1].split("/")[-3:]), None)
            return self.answer

        monkeypatch.setattr(own_files, "run_in_pod", run)

    @contextmanager
    def standing(self) -> Iterator[Deployment]:
        with ExitStack() as open_:
            media, scanner, door = (
                open_.enter_context(answering(each))[0] for each in (self.synapse, self.scanner, self.door)
            )
            pods = tuple(replace(each, ip="127.0.0.1") for each in scanning.PODS[:1])
            proxy_pod = replace(ready("haproxy-1"), ip="127.0.0.1")
            text = HAPROXY.replace(":8008", f":{door}").replace(":8448", f":{door}")
            proxy = Proxy("proxy/matrix/haproxy", "matrix", "haproxy", (proxy_pod,), frontends(text), {}, text)
            processes = tuple(media_process(f"media-{number}", media) for number in range(self.processes))
            model = replace(
                MODEL,
                synapse=processes,
                proxies=(proxy,),
                stores=(),
                antivirus=Antivirus((replace(scanning.SCANNER, pods=pods, port=scanner),)),
            )
            if self.bucket:
                port = open_.enter_context(answering(self.bucket))[0]
                model = replace(model, stores=(replace(store_at(port), users=(processes[0].id,)),))
            yield model

    def way(self, **rest: Any) -> ScannedMedia:
        with self.standing() as model:
            traces = Traces("run")
            seen = self.tried(model, traces, **rest)
            assert isinstance(seen, ScannedMedia)
            self.left = [what for what, _ in traces.removals]
            self.troubles = traces.clean_up()
            return seen

    def tried(self, model: Deployment, traces: Traces, user: Any = None) -> ScannedMedia | Hindered:
        there = ProbeUser("@postflight:hs.test", TOKEN, replace(model.synapse[0], server_name="hs.test"))
        answers = stores.object_stores(model, ACCESS, self.settings)
        given = (model, snapshot(), ACCESS, ACCESS.api, answers, user or there, self.settings, traces)
        return probes.scanned_media(*given)

    def test_a_virus_is_refused_and_nothing_else(self) -> None:
        seen = self.way()
        pod, front = seen.ways
        assert (pod.pod and pod.pod.name, front.pod, front.lead and front.lead.backend) == (
            "content-scanner-a",
            None,
            "content_scanner",
        )
        for each in seen.ways:
            assert [(reply.question.name, reply.meaning, reply.right) for reply in each.replies] == [
                ("a clean file", Meaning.PASSED, True),
                ("a clean encrypted file", Meaning.PASSED, True),
                ("encrypted EICAR", Meaning.REFUSED, True),
                ("scan of encrypted EICAR", Meaning.REFUSED, True),
                ("EICAR", Meaning.REFUSED, True),
                ("scan of EICAR", Meaning.REFUSED, True),
            ]
        assert [each.brought for each in seen.past if not each.virus] == [True]
        assert not [str(each) for each in seen.past if each.virus and each.brought]
        assert (seen.refused, seen.spared, seen.left) == ("", "", "")

    def test_nothing_of_it_stays(self) -> None:
        self.way()
        assert (self.synapse.held, self.synapse.memory, self.left, self.synapse.made) == ({}, {"media_ids": []}, [], 2)

    def test_it_may_be_in_a_bucket(self) -> None:
        self.bucket = Bucket()
        self.synapse.held = _both(self.bucket)
        seen = self.way()
        assert all(reply.right for each in seen.ways for reply in each.replies)
        assert (self.bucket.held, self.troubles) == ({}, [])

    def test_it_comes_past_the_scanner(self) -> None:
        self.door.past = ("/_matrix/client/v1/media/", "/_matrix/media/")
        brought = {each.route for each in self.way().past if each.virus and each.brought}
        assert brought == {DOWNLOAD, f"{DOWNLOAD}/…/postflight-eicar.txt"}

    def test_it_comes_past_the_scanner_by_the_older_paths(self) -> None:
        self.door.past, self.synapse.open = ("/_matrix/media/",), True
        brought = [each for each in self.way().past if each.virus and each.brought]
        assert {each.route.partition(" ")[0] for each in brought} == {
            f"/_matrix/media/{version}/download" for version in ("v3", "r0", "v1")
        }
        assert {each.backend for each in brought} == {"media_workers"}
        assert any(" at " in each.route for each in brought)

    def test_by_every_name_that_leads_to_main(self) -> None:
        main = replace(MAIN, server_name="hs.test", config={"public_baseurl": "https://matrix.hs.test"})
        user = ProbeUser("@postflight:hs.test", TOKEN, main)
        work: Any = SimpleNamespace(user=user, deployment=MODEL, snapshot=snapshot(), tries=1)
        assert probes._hosts(work) == ("matrix.hs.test", "hs.test")
        of = paging.world(
            paging.synapse_service("both", app="hs"),
            paging.ingress("alias", "alias.test", ("/_matrix", "both")),
        )
        apart = replace(li_world.model(of), synapse=tuple(e for e in li_world.model(of).synapse if e.side is Side.MAIN))
        work = SimpleNamespace(user=user, deployment=apart, snapshot=of, tries=1)
        found = probes._hosts(work)
        assert {"matrix.hs.test", "hs.test", "alias.test"} <= set(found)
        assert paging.LI_HOST not in found
        work = SimpleNamespace(user=user, deployment=MODEL, snapshot=snapshot(), tries=1)
        lost = probes._lead(replace_proxies(work), PATH, "matrix.hs.test")
        assert (lost.door, lost.limit) == (None, probes.NO_WAY_KNOWN)

    def test_the_command_finds_nothing(self) -> None:
        self.scanner.finds = lambda content: False
        assert {reply.meaning for reply in self.way().ways[0].replies} == {Meaning.PASSED}

    def test_the_command_finds_everything(self) -> None:
        self.scanner.finds = lambda content: True
        assert {reply.meaning for reply in self.way().ways[0].replies} == {Meaning.REFUSED}

    def test_no_virus_is_uploaded_where_that_is_not_wanted(self) -> None:
        self.settings = replace(SETTINGS, eicar=False)
        seen = self.way()
        assert self.synapse.made == 1
        assert all(reply.right and reply.question.clean for each in seen.ways for reply in each.replies)
        assert len(seen.ways[0].replies) == 4

    def test_no_virus_is_uploaded_that_could_not_be_removed(self) -> None:
        self.answer = Answer(b"", b"no", 1)
        seen = self.way()
        assert seen.spared == "a file that is uploaded cannot be removed (no)"
        assert eicar() not in self.synapse.ever
        assert (self.synapse.memory["media_ids"], self.troubles) == (["abcdefghijklmnopqrstuvw1"], [])

    def test_what_a_killed_run_left_is_removed(self) -> None:
        self.synapse.memory = {"media_ids": ["zyxwvutsrqponmlkjihgfedc"]}
        self.synapse.held["zyxwvutsrqponmlkjihgfedc"] = b"postflight"
        self.way()
        assert (self.synapse.held, self.synapse.memory) == ({}, {"media_ids": []})

    def test_no_upload_is_taken(self) -> None:
        self.synapse.upload = _Any((500, {"errcode": "M_UNKNOWN"}))
        seen = self.way()
        assert (seen.status, seen.ways) == (500, ())
        self.way()
        assert self.synapse.made == 1

    def test_no_virus_is_taken(self) -> None:
        self.synapse.upload = {eicar(): (403, {"errcode": "M_FORBIDDEN"})}
        seen = self.way()
        assert "403 M_FORBIDDEN" in seen.spared
        assert len(seen.ways[0].replies) == 4
        # Its name is for the next run.
        assert self.synapse.memory == {"media_ids": ["abcdefghijklmnopqrstuvw2"]}

    def test_of_several_processes_only_one_has_it(self) -> None:
        self.processes = 2
        whole, self.misses = self.synapse.fetch, 0

        def by_chance(path: str, authorization: str) -> Reply:
            self.misses += 1
            return (404, {"errcode": "M_NOT_FOUND"}) if self.misses % 3 else whole(path, authorization)

        self.synapse.fetch = by_chance  # type: ignore[method-assign]
        assert all(reply.right for each in self.way().ways for reply in each.replies)

    def test_the_scanner_does_not_answer(self) -> None:
        with self.standing() as model:
            (scanner,) = model.antivirus.scanners
            silent = replace(model, antivirus=Antivirus((replace(scanner, port=closed_port()),)))
            seen = self.tried(silent, Traces("run"))
        assert isinstance(seen, ScannedMedia)
        assert (seen.ways[0].shown.status, seen.ways[0].replies) == (0, ())
        assert seen.ways[1].replies

    def test_nothing_is_uploaded_for_nothing(self) -> None:
        with self.standing() as model:
            assert isinstance(self.tried(replace(model, antivirus=Antivirus()), Traces("run")), Hindered)
            assert self.tried(model, Traces("run"), Hindered("no", "x")) == Hindered("no", "x")
            away = tuple(replace(each, pod=None) for each in model.synapse)
            user = ProbeUser("@postflight:hs.test", TOKEN, replace(MAIN, server_name="hs.test"))
            assert isinstance(self.tried(replace(model, synapse=away), Traces("run"), user), Hindered)
        assert self.synapse.made == 0

    def test_nor_where_the_object_store_takes_nothing(self) -> None:
        self.bucket = Bucket(refusal=(404, b"<Error><Code>NoSuchBucket</Code></Error>"))
        with self.standing() as model:
            seen = self.tried(model, Traces("run"))
        assert isinstance(seen, Hindered)
        assert (seen.where, self.synapse.made) == (model.stores[0].id, 0)


def replace_proxies(work: Any) -> Any:
    """The same without any proxy."""
    return SimpleNamespace(**{**vars(work), "deployment": replace(work.deployment, proxies=())})


class _Any(dict[bytes, Reply]):
    """One answer for whatever is uploaded."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: bytes) -> Reply:
        return self.reply


def _both(bucket: Bucket) -> dict[str, bytes]:
    """A media process's files, which are in the bucket too."""

    class Both(dict[str, bytes]):
        def __setitem__(self, name: str, content: bytes) -> None:
            super().__setitem__(name, content)
            bucket.held[path_of(name)] = content

    return Both()
