"""The probes that join calls: what they ask, whom, and what they make of it; the signalling's texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.probe_pod import NoProbePod, ProbePod
from postflight.probes import calls_media, livekit, sfu_candidates
from postflight.probes.calls_chain import ROOM
from postflight.probes.livekit_signals import Answered, IceCandidate, NoAnswer, Offered, candidate_of, read_answer
from postflight.probes.own import Turn
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.traces import Traces
from tests.unit import recorded
from tests.unit.calling import BESIDE, SFU, TCP, UDP, chain, said, token, with_calls
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL

TOLD = Answered("sfu", "password", "sha-256 AA", client=True, candidates=(UDP, TCP))


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


class World:
    """An SFU that lets in whom it is told to, and a pod that says what it is told to. ``joins`` are those who came, as
    ``POD PATH``; ``closed`` are the rooms that were closed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shut: dict[str, NoAnswer] = {}
        self.joins: list[str] = []
        self.asked: list[Any] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.answer: Any = None
        self.pod: Any = ProbePod("matrix", "participants-1", "Job participants")
        self.open = False
        for module in (calls_media, sfu_candidates):
            patch.setattr(module, "joined", self.joined)
        patch.setattr(calls_media, "start_probe_pod", self.start)
        patch.setattr(calls_media, "ask_outpost", self.meet)
        patch.setattr(livekit, "create_room", lambda *given: self.opened.append(given[-1]))
        patch.setattr(livekit, "delete_room", lambda *given: self.closed.append(given[-1]))
        patch.setattr(livekit, "has_room", lambda *_: self.open)

    @contextmanager
    def joined(self, access: Access, door: Any, path: str, token: Any, offered: Any) -> Iterator[Answered]:
        self.joins.append(f"{door.pod.name} {path}")
        if door.pod.name in self.shut:
            raise self.shut[door.pod.name]
        yield TOLD

    def start(self, *_: Any, **__: Any) -> ProbePod:
        if isinstance(self.pod, Exception):
            raise self.pod
        return self.pod

    def meet(self, *given: Any, **_: Any) -> Any:
        self.asked.append(given[-1])
        if isinstance(self.answer, Exception):
            raise self.answer
        people = given[-1]["participants"]
        empty = {"candidates": ["", "no answer"], "beside": ["", ""], "problem": "", "lacks": False}
        over = self.answer or ["udp", UDP.address, UDP.port]
        return [{**empty, "over": over, "heard": [people[1 - n]["message"]]} for n in range(2)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def meet(traces: Traces | None = None, **fields: Any) -> tuple[calls_media.CallsMedia, ...]:
    found = with_calls(MODEL)
    given = Settings(), access(), api_to(closed_port()), traces or Traces("run")
    return calls_media.calls_media(found, recorded.healthy().snapshot, chain(MODEL, **fields), *given)


PROXY = MODEL.proxies[0].pods[0].name


class TestTheMeeting:
    def test_is_joined_where_clients_are_sent(self, world: World) -> None:
        (met,) = meet()
        assert world.joins == [f"{PROXY} /livekit/sfu"] * 2
        assert (met.whole, met.astray, met.refused, met.unseen) == (True, "", "", "")
        assert met.told == {UDP: "", TCP: "no answer"}
        assert met.dead == ((TCP,),)
        assert met.alive == BESIDE
        assert met.participants[0].over == UDP

    def test_goes_on_at_livekit_itself_where_that_leads_nowhere(self, world: World) -> None:
        world.shut[PROXY] = NoAnswer("404", 404)
        (met,) = meet()
        assert world.joins[-1] == "livekit-1 "
        assert (met.whole, met.astray, met.way) == (True, f"through {PROXY}: 404", "port 7880 of livekit-1")

    def test_is_not_had_where_nobody_is_let_in(self, world: World) -> None:
        world.shut = {PROXY: NoAnswer("404", 404), "livekit-1": NoAnswer("401 (invalid token)", 401)}
        (met,) = meet()
        assert (met.participants, met.refused) == ((), "port 7880 of livekit-1: 401 (invalid token)")

    def test_tells_an_address_beside_from_one_that_was_told(self, world: World) -> None:
        world.answer = ["tcp", BESIDE[1].address, BESIDE[1].port]
        assert meet()[0].participants[0].over == BESIDE[1]

    @pytest.mark.parametrize("what", ["pod", "answer"])
    def test_is_not_seen_without_a_pod_that_answers(self, world: World, what: str) -> None:
        setattr(world, what, NoProbePod("quota") if what == "pod" else ApiError(0, "quota"))
        (met,) = meet()
        assert (met.participants, met.unseen) == ((), "quota")

    def test_is_none_without_two_tokens_or_a_livekit_that_takes_one(self, world: World) -> None:
        one = replace(chain(MODEL)[0].issues[0], other=said(429))
        assert meet(issues=(one,)) == ()
        assert meet(entries=()) == ()
        assert meet(issues=()) == ()
        assert world.joins == []

    @pytest.mark.parametrize("there", [True, False])
    def test_ends_with_its_room_closed(self, world: World, there: bool) -> None:
        world.open = there
        traces = Traces("run")
        traces.will_make(ROOM, lambda: world.closed.append("one"))
        (met,) = meet(traces)
        assert (met.room_left, world.closed, traces.removals) == (there, ["one"], [])

    def test_gives_the_pod_no_token(self, world: World) -> None:
        meet()
        assert token() not in json.dumps(world.asked)


class TestTheCandidates:
    def ask(self, sfu: Any = SFU) -> tuple[sfu_candidates.Advertised, ...]:
        found = with_calls(MODEL, sfus=(sfu,))
        return sfu_candidates.sfu_candidates(found, access(), Traces("run"), Redactor(), Turn(("matrix",)))

    def test_are_told_in_a_room_that_is_closed_again(self, world: World) -> None:
        (found,) = self.ask()
        assert (found.candidates, found.problem) == ((UDP, TCP), "")
        assert world.opened == world.closed == ["postflight-run-0"]

    def test_are_asked_of_each_node(self, world: World) -> None:
        two = replace(SFU, pods=(SFU.pods[0], replace(SFU.pods[0], name="livekit-2", id="pod/matrix/livekit-2")))
        assert {each.pod.name for each in self.ask(two)} == {"livekit-1", "livekit-2"}
        assert sorted(world.closed) == ["postflight-run-0", "postflight-run-1"]

    @pytest.mark.parametrize("status", [0, 403])
    def test_are_not_told_to_who_is_not_let_in(self, world: World, status: int) -> None:
        world.shut["livekit-1"] = NoAnswer("no", status)
        (found,) = self.ask()
        assert (found.candidates, found.problem, found.refused) == ((), "no", bool(status))
        assert world.closed == ["postflight-run-0"]

    def test_are_not_asked_for_without_a_key_or_a_pod(self, world: World) -> None:
        assert self.ask(replace(SFU, keys=())) == ()
        assert self.ask(replace(SFU, pods=())) == ()


ANSWER = """v=0\r
m=application 9 DTLS/SCTP 5000\r
a=ice-ufrag:one\r
a=ice-pwd:two\r
a=fingerprint:sha-256 AA:BB\r
a=setup:{setup}\r
a=candidate:1 1 udp 2130706431 10.10.0.2 30882 typ host\r
a=candidate:1 2 udp 2130706431 10.10.0.2 30882 typ host\r
a=candidate:2 1 tcp 1671430143 10.10.0.2 30881 typ host tcptype passive\r
"""


class TestSignalling:
    @pytest.mark.parametrize(("setup", "client"), [("active", False), ("passive", True)])
    def test_reads_an_answer(self, setup: str, client: bool) -> None:
        found = read_answer(ANSWER.format(setup=setup))
        assert (found.ufrag, found.password, found.fingerprint) == ("one", "two", "sha-256 AA:BB")
        assert found.client is client
        assert found.candidates == (
            IceCandidate("udp", "10.10.0.2", 30882, "host", 2130706431),
            IceCandidate("tcp", "10.10.0.2", 30881, "host", 1671430143),
        )

    def test_says_what_an_answer_lacks(self) -> None:
        with pytest.raises(NoAnswer, match="has no fingerprint"):
            read_answer(ANSWER.replace("fingerprint", "print"))

    @pytest.mark.parametrize(
        "line", ["", "candidate:", "candidate:1 1 udp x 1.2.3.4 port typ host", "end-of-candidates"]
    )
    def test_takes_nothing_else_for_a_candidate(self, line: str) -> None:
        assert candidate_of(line) is None

    def test_offers_the_fingerprint_of_its_own_certificate(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        offered = Offered.new()
        shown = x509.load_pem_x509_certificate(offered.certificate.encode())
        assert f"a=fingerprint:sha-256 {shown.fingerprint(hashes.SHA256()).hex(':').upper()}\r\n" in offered.sdp
        assert f"a=ice-ufrag:{offered.ufrag}\r\n" in offered.sdp
        assert "BEGIN" not in repr(offered.key)
