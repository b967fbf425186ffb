"""The probes of TURN: what they ask Synapse, whom they ask for relays and as whom, and what comes of it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.outposts import zipapp
from postflight.cluster.probe_pod import NoProbePod, ProbePod
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint
from postflight.deployment.turn_parts import TurnSetup
from postflight.outpost import turn as client
from postflight.probes import turn_credentials as credentials_probe
from postflight.probes import turn_relays as relays_probe
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.http import Said
from postflight.probes.own import Turn
from postflight.probes.turn_credentials import Login, TurnCredentials, expired_of, signed
from postflight.probes.turn_relays import ASKED, Meeting, TurnRelays
from postflight.secrets import Redactor, Secret
from postflight.settings import Settings, TurnSettings
from postflight.traces import Traces
from tests.unit import recorded, relaying
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL as LAB
from tests.unit.relaying import ID, NODE, POD, SECRET, SERVICE, URIS

MODEL = relaying.with_turn(LAB)
MAIN = next(each for each in MODEL.synapse if each.is_main)
USER = ProbeUser("@postflight:matrix.lab.test", Secret("a-token-of-the-probe-user"), MAIN)
NAME = f"{int(time.time()) + 3600}:{USER.user_id}"


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


class TestTheCredentials:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The requests; each is answered as Synapse answers them."""
        found: list[str] = []

        def ask(access: Access, door: Any, method: str, path: str, **given: Any) -> Said:
            found.append(f"{method} {path} {given['token'].reveal()}")
            told = {"username": NAME, "password": signed(SECRET, NAME).reveal(), "ttl": 3600, "uris": list(URIS)}
            return Said(door.pod.name, 200, json.dumps(told))

        monkeypatch.setattr(credentials_probe, "ask", ask)
        return found

    def get(self, model: Deployment = MODEL, user: Any = USER, redactor: Redactor | None = None) -> TurnCredentials:
        (found,) = credentials_probe.turn_credentials(model, access(), user, redactor or Redactor())
        return found

    def test_are_asked_for_as_the_probe_user(self, asked: list[str]) -> None:
        found = self.get()
        assert asked == ["GET /_matrix/client/v3/voip/turnServer a-token-of-the-probe-user"]
        assert (found.uris, found.ttl, found.mine) == (URIS, 3600, Login(NAME, signed(SECRET, NAME)))

    def test_are_known_to_the_redactor(self, asked: list[str]) -> None:
        redactor = Redactor()
        found = self.get(redactor=redactor)
        assert found.mine
        assert found.expired
        text = f"{found.mine.password.reveal()} {found.expired.password.reveal()}"
        assert redactor.redact(text) == "<a> <b>"

    def test_others_have_no_right_to_a_relay(self, asked: list[str]) -> None:
        found = self.get()
        assert found.other
        assert found.expired
        assert found.other.username == NAME
        assert len(base64.b64decode(found.other.password.reveal())) == 20
        until, _, user = found.expired.username.partition(":")
        assert (int(until) < time.time() - 80_000, user) == (True, USER.user_id)
        assert found.expired.password == signed(SECRET, found.expired.username)
        assert not found.unknown_secret

    def test_nothing_is_asked_where_nothing_refers_to_turn(self, asked: list[str]) -> None:
        model = replace(MODEL, turn=TurnSetup())
        assert credentials_probe.turn_credentials(model, access(), USER, Redactor()) == ()
        assert asked == []

    def test_without_the_probe_user_it_says_why(self, asked: list[str]) -> None:
        hindered = Hindered("main is down", MAIN.id)
        found = self.get(user=hindered)
        assert (found.hindered, found.mine, asked) == (hindered, None, [])

    @pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"username": "a"}'])
    def test_an_answer_without_any(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(credentials_probe, "ask", lambda *_, **__: Said("main", 200, text))
        assert self.get().mine is None


class TestThoseThatHaveExpired:
    MINE = Login(NAME, signed(SECRET, NAME))

    def test_by_a_secret_that_nobody_knows(self) -> None:
        uses = relaying.uses(LAB, secret=None)
        assert expired_of(self.MINE, uses) is None
        assert expired_of(Login(NAME, Secret("signed by another")), relaying.uses(LAB)) is None

    @pytest.mark.parametrize("name", ["everybody", "1:a:b", "postflight:x"])
    def test_of_a_name_that_does_not_expire(self, name: str) -> None:
        found = expired_of(Login(name, signed(SECRET, name)), relaying.uses(LAB))
        assert (found is None) is (not name.startswith("1:"))


@dataclass
class Outpost:
    """What the probe pod is asked, and answers."""

    given: dict[str, Any] = field(default_factory=dict)
    refuses: Exception | None = None
    problem: Exception | None = None

    def start(self, *given: Any, limit: float) -> ProbePod:
        if self.refuses:
            raise self.refuses
        return ProbePod("matrix", f"postflight-run-{given[-1]}", "Job")

    def ask(self, api: Any, namespace: str, pod: str, container: str, deed: str, given: Any, *, limit: float) -> Any:
        if self.problem:
            raise self.problem
        assert (pod, deed) == ("postflight-run-turn", "relays")
        self.given = given
        return [answer(each) for each in given["asks"]]


def answer(ask: Mapping[str, Any]) -> dict[str, Any]:
    address = SERVICE if ask["host"] == "turn.lab.test" else ask["host"]
    fit = ask["only"] is None or address in ask["only"]
    said = {"addresses": [address], "address": address if fit else ""}
    got = {"relayed": [[NODE, 50000], [NODE, 50001]], "passed": [True, True], "other": 401, "expired": 401}
    return {**client.nothing(), **said, **(got if fit else {})}


@pytest.fixture
def outpost(monkeypatch: pytest.MonkeyPatch) -> Outpost:
    world = Outpost()
    monkeypatch.setattr(relays_probe, "start_probe_pod", world.start)
    monkeypatch.setattr(relays_probe, "ask_outpost", world.ask)
    return world


def relays(model: Deployment = MODEL, settings: Settings | None = None, **fields: Any) -> TurnRelays:
    world, given = recorded.healthy().snapshot, relaying.credentials(model, **fields)
    api = api_to(closed_port())
    return relays_probe.turn_relays(model, world, settings or Settings(), api, Traces("run"), Turn(("matrix",)), given)


def ways(asks: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(each["host"], each["port"], each["transport"]) for each in asks]


class TestFromTheProbePod:
    def test_each_pod_and_each_address_is_asked(self, outpost: Outpost) -> None:
        found = relays()
        assert ways(outpost.given["asks"]) == [
            (NODE, 3478, "udp"),
            (NODE, 3478, "tcp"),
            ("turn.lab.test", 3478, "udp"),
            ("turn.lab.test", 3478, "tcp"),
        ]
        assert [each.server.id if each.server else "" for each in found.met] == [ID] * 4
        assert all(each.granted and each.relayed == (NODE, NODE) for each in found.met)

    def test_as_the_user_and_as_others(self, outpost: Outpost) -> None:
        relays(expired=None)
        assert outpost.given["mine"] == relaying.MINE.pair
        assert outpost.given["other"][1] == "what nobody has signed"
        assert outpost.given["expired"] is None

    def test_a_name_is_asked_only_where_it_means_somebody_here(self, outpost: Outpost) -> None:
        model = relaying.with_turn(LAB, addresses=(NODE,))
        found = relays(model)
        assert [each["only"] for each in outpost.given["asks"]] == [None, None, [NODE], [NODE]]
        assert [(each.address, each.server) for each in found.met if each.uri] == [("", None), ("", None)]

    def test_or_the_settings_name_it(self, outpost: Outpost) -> None:
        model = replace(MODEL, turn=replace(MODEL.turn, servers=()))
        found = relays(model, Settings(turn=TurnSettings(hosts=("turn.lab.test",))))
        assert [each["only"] for each in outpost.given["asks"]] == [None, None]
        assert {each.server.id for each in found.met if each.server} == {"turn/outside/turn.lab.test"}

    def test_or_it_is_a_load_balancers(self, outpost: Outpost) -> None:
        found = relays(relaying.with_turn(LAB, addresses=(), names=("turn.lab.test",)))
        assert [each.server.id if each.server else "" for each in found.met if each.uri] == [ID, ID]

    def test_an_address_that_leads_to_its_pods_is_its_own(self) -> None:
        behind = Endpoint("relays", 3478, "matrix", "relays", ((POD, 3478),))
        found = relays_probe._whose({"address": ""}, relaying.uri(endpoint=behind), MODEL.turn.servers)
        assert found
        assert found.id == ID

    def test_dtls_is_not_tried(self, outpost: Outpost) -> None:
        texts = (
            "turns:turn.lab.test:5349?transport=udp",
            "turns:turn.lab.test:5349?transport=tcp",
            "stun:turn.lab.test",
        )
        found = relays(uris=texts)
        assert found.untried == texts[:1]
        assert [each["tls"] for each in outpost.given["asks"]] == [True]

    @pytest.mark.parametrize(
        ("text", "asked", "announced"),
        [
            ("turn:turn.lab.test?transport=udp", ["udp"], [True]),
            ("turn:turn.lab.test?transport=tcp", ["tcp"], [True]),
            ("turn:turn.lab.test", ["udp", "tcp"], [True, False]),
            ("turns:turn.lab.test", [], []),
        ],
    )
    def test_its_pods_are_asked_as_clients_are_told_to_come(
        self, outpost: Outpost, text: str, asked: list[str], announced: list[bool]
    ) -> None:
        mine = [each for each in relays(uris=(text,)).met if each.pod]
        assert ([each.transport for each in mine], [each.announced for each in mine]) == (asked, announced)

    def test_a_server_that_no_address_leads_to_is_not_asked(self, outpost: Outpost) -> None:
        other = replace(
            MODEL.turn.servers[0], id="turn/matrix/other", addresses=("10.10.0.7",), names=("other.lab.test",)
        )
        model = replace(MODEL, turn=replace(MODEL.turn, servers=(*MODEL.turn.servers, other)))
        found = relays(model, uris=(f"turn:{NODE}?transport=udp",))
        assert [each.server and each.server.id for each in found.met if each.pod] == [ID]
        ambiguous = [each for each in relays(model).met if each.pod]
        assert (len(ambiguous), {each.announced for each in ambiguous}) == (4, {False})

    def test_no_probe_pod_is_made_for_dtls_alone(self, outpost: Outpost) -> None:
        texts = ("turns:turn.lab.test?transport=udp",)
        assert (relays(uris=texts), outpost.given) == (TurnRelays(untried=texts), {})

    def test_of_many_pods_some_are_asked_and_none_that_is_not_ready(self, outpost: Outpost) -> None:
        pods = [replace(POD, id=f"pod/matrix/{n}", ready=n > 0) for n in range(ASKED + 5)]
        relays(relaying.with_turn(LAB, pods=tuple(pods)))
        groups = [each["group"] for each in outpost.given["asks"] if each["group"] != "told"]
        assert sorted(set(groups)) == sorted(each.id for each in pods[1 : ASKED + 1])

    def test_nobody_is_asked_without_credentials(self, outpost: Outpost) -> None:
        assert relays(mine=None) == TurnRelays()
        assert outpost.given == {}

    def test_no_probe_pod(self, outpost: Outpost) -> None:
        outpost.refuses = NoProbePod("the cluster refuses a probe pod: quota")
        assert relays().problem == "the cluster refuses a probe pod: quota"

    def test_one_that_does_not_do_it(self, outpost: Outpost) -> None:
        outpost.problem = ApiError(0, "python3 in it did not answer")
        assert relays().problem == "the probe pod could not ask: python3 in it did not answer"

    def test_no_synapse_pod_to_model_it_on(self, outpost: Outpost) -> None:
        home = replace(MAIN, pod=None)
        assert relays(home=home).problem == "no Synapse pod to model a probe pod on"


class TestThroughATunnel:
    @pytest.fixture
    def seen(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """What the client is given; it gets its relays."""
        found: list[dict[str, Any]] = []

        def examine(ask: dict[str, Any], logins: dict[str, Any]) -> dict[str, Any]:
            found.append({**ask, **logins})
            return answer(ask)

        monkeypatch.setattr(client, "examine", examine)
        return found

    def tunnels(self, **fields: Any) -> tuple[Meeting, ...]:
        return relays_probe.turn_tunnels(
            MODEL, recorded.healthy().snapshot, access(), relaying.credentials(LAB, **fields)
        )

    def test_tcp_alone_is_asked(self, seen: list[dict[str, Any]]) -> None:
        (met,) = self.tunnels()
        assert (met.transport, met.granted, met.way) == ("tcp", True, f"{POD.name} over TCP")
        assert [(each["host"], each["port"], each["transport"]) for each in seen] == [(NODE, 3478, "tcp")]
        assert seen[0]["mine"] == relaying.MINE.pair

    def test_nobody_without_credentials(self, seen: list[dict[str, Any]]) -> None:
        assert self.tunnels(mine=None) == ()
        assert seen == []

    def test_a_way_that_fails_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client sees no more than that it was closed: the tunnel knows why."""

        class Broken:
            @contextmanager
            def to_pod(self, *_: Any) -> Iterator[tuple[str, int]]:
                try:
                    yield "127.0.0.1", closed_port()
                except OSError as error:
                    raise ConnectionRefusedError(f"nothing listens on port 3478 of {POD.name}") from error

        broken: Any = Broken()
        (met,) = relays_probe.turn_tunnels(MODEL, recorded.healthy().snapshot, broken, relaying.credentials(LAB))
        assert (met.problem, met.silent) == (f"nothing listens on port 3478 of {POD.name}", True)


def test_the_outpost_does_it_in_its_archive(tmp_path: Path) -> None:
    app = tmp_path / "outpost.pyz"
    app.write_bytes(zipapp())
    ask = {"group": "a", "host": "127.0.0.1", "port": closed_port(), "transport": "tcp", "tls": False, "only": None}
    text = json.dumps(["relays", {"asks": [ask], "mine": ["a", "b"], "other": None, "expired": None}]) + "\n"
    command = [sys.executable, "-I", "-S", str(app)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=True)
    (seen,) = json.loads(done.stdout)
    assert (seen["address"], seen["problem"]) == ("127.0.0.1", "Connection refused")
