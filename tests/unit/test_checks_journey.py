"""The check of a user's way, given each kind of fault alone; and its probe, at a homeserver that fails as told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.canary_user import Hindered
from postflight.probes.journey import Journey
from postflight.probes.journey_steps import Step
from postflight.probes.olm import Device, NotWhatWasSent, RoomSession, read_in_room
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import front
from tests.unit.front import DEVICE, PASSWORD, SECOND, STEPS, USER, Homeserver, Json, error, going, gone
from tests.unit.loopback import Reply
from tests.unit.observations import MODEL, ask, only

CHECK = "clients.journey"
MAIN = next(each for each in MODEL.synapse if each.is_main)
PROXY = MODEL.proxies[0]


def said_of(*steps: Step, **fields: Any) -> Judge:
    return ask(CHECK, client_journey=replace(front.journey(MODEL, *steps), **fields))


def told(name: str, status: int, **fields: Any) -> Failure:
    return only(said_of(front.step(MODEL, name, *STEPS[name], status, **fields)))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here takes as long as between pods."""
    monkeypatch.setattr("postflight.probes.journey_talk.POLL", 50)
    for module in ("journey_steps", "journey"):
        monkeypatch.setattr(f"postflight.probes.{module}.AGAIN", 0.02)


class TestTheCheck:
    def test_a_route_that_ends_at_a_process_without_that_listener(self) -> None:
        proxy = replace(PROXY, frontends=tuple(replace(f, rules=(("media_workers", ()),)) for f in PROXY.frontends))
        astray = replace(MODEL, proxies=(proxy,))
        step = front.step(astray, "sending", *STEPS["sending"], 404, errcode="M_UNRECOGNIZED")
        found = only(said_of(step))
        assert found.headline == ("the route for sending ends at synapse-media-repository, which does not serve it")
        assert found.cause == (
            "haproxy leads /_matrix/client/v3/rooms/…/send/m.room.message/… to backend media_workers"
            " (synapse-media-repository)"
        )
        assert (found.subject, found.nature) == (PROXY.id, Nature.WRONG)
        assert "404 M_UNRECOGNIZED" in found.observed

    def test_another_method_of_a_known_path(self) -> None:
        assert told("logout", 405, errcode="M_UNRECOGNIZED").headline.startswith(
            "the route for logout ends at synapse-main"
        )

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_proxy_without_a_server_is_silence(self, status: int) -> None:
        found = told("to-device", status)
        assert found.headline == f"haproxy has no server for to-device: {status}"
        assert found.nature is Nature.UNAVAILABLE
        assert {MAIN.id, PROXY.id, *(pod.id for pod in PROXY.pods)} <= set(found.needs)
        assert {each.id for each in MODEL.synapse if "todevice-writer" in each.id} <= set(found.needs)

    def test_what_takes_no_part_is_not_blamed(self) -> None:
        needs = told("to-device", 503).needs
        assert not [each for each in needs if "federation-sender" in each or "synapse-li" in each]

    def test_a_server_that_fails(self) -> None:
        found = told("to-device", 500, errcode="M_UNKNOWN")
        assert found.headline == "to-device fails at synapse-todevice-writer: 500 M_UNKNOWN"
        assert found.nature is Nature.UNAVAILABLE

    def test_no_answer(self) -> None:
        found = told("login", 0, problem="no answer in time")
        assert found.headline == "login gets no answer by haproxy: no answer in time"
        assert found.nature is Nature.UNAVAILABLE

    def test_what_could_not_be_asked_from_here(self) -> None:
        step = front.step(MODEL, "login", *STEPS["login"], 0, problem="no right: create pods/portforward", unseen=True)
        found = only(said_of(step), Status.UNKNOWN)
        assert found.headline == "login was not seen: no right: create pods/portforward"

    def test_a_rate_limit_is_our_own(self) -> None:
        step = front.step(MODEL, "login", *STEPS["login"], 429, errcode="M_LIMIT_EXCEEDED")
        assert only(said_of(step), Status.UNKNOWN).headline.startswith("login was not seen: the rate is limited")

    def test_a_refusal_and_an_answer_that_is_not_synapses(self) -> None:
        assert told("sending", 403, errcode="M_FORBIDDEN").headline == "sending is refused: 403 M_FORBIDDEN"
        assert told("login", 403).headline == "login does not get to Synapse: 403"
        assert told("login", 404).headline == "login does not get to Synapse: 404"
        assert told("login", 302).headline == "login is sent on elsewhere by haproxy: 302"

    def test_an_answer_that_is_not_what_was_sent_is_wrong(self) -> None:
        found = told("reading messages", 200, good=False, wrong="it is altered")
        assert (found.headline, found.nature) == ("reading messages: it is altered", Nature.WRONG)

    def test_what_does_not_come_is_silence(self) -> None:
        found = told("sync", 200, good=False, wrong="it has not come 8 s after it was sent", late=True)
        assert found.nature is Nature.UNAVAILABLE
        assert "replication" in found.cause

    def test_the_same_trouble_of_several_steps_is_told_once(self) -> None:
        steps = [front.step(MODEL, name, *STEPS[name], 403, errcode="M_FORBIDDEN") for name in ("login", "logout")]
        assert only(said_of(*steps)).headline == "login and logout is refused: 403 M_FORBIDDEN"

    def test_a_way_that_was_not_gone(self) -> None:
        pen = ask(CHECK, client_journey=Hindered("no registration_shared_secret is known", MAIN.id))
        found = only(pen, Status.UNKNOWN)
        assert found.subject == MAIN.id
        assert found.headline.endswith("was not gone: no registration_shared_secret is known")

    def test_an_address_that_leads_outside(self) -> None:
        found = only(said_of(outside="nothing in the cluster says where it leads"), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith("clients are told https://matrix.lab.test/, nothing in the cluster says")

    def test_a_way_past_the_clients(self) -> None:
        step = front.step(MODEL, "login", *STEPS["login"])
        answer = replace(
            step.answer, lead=replace(step.answer.lead, limit="x: no Ingress for that host has a path for it")
        )
        assert only(said_of(replace(step, answer=answer)), Status.WARNED).nature is Nature.UNPROVEN


def failed(journey: Journey) -> dict[str, Step]:
    return {each.name: each for each in journey.steps if not each.good}


def names(journey: Journey) -> list[str]:
    return [each.name for each in journey.steps]


def once(*replies: Reply) -> Callable[[], Reply | None]:
    left = list(replies)
    return lambda: left.pop(0) if left else None


class TestTheWay:
    def test_the_whole_of_it(self) -> None:
        homeserver = Homeserver()
        seen = gone(homeserver)
        assert failed(seen) == {}
        assert set(names(seen)) >= set(STEPS) | {"key upload", "key claim", "reading an encrypted event"}
        assert len(homeserver.events) == 2
        assert len(homeserver.letters) == 1
        assert SECOND not in homeserver.tokens
        assert homeserver.once == {}
        assert (seen.told, seen.outside) == ("https://matrix.lab.test/", "")
        assert ask(CHECK, client_journey=seen).failures == []

    def test_with_a_given_token_it_goes_as_far_as_that_gets_and_says_what_is_left_out(self) -> None:
        homeserver = Homeserver()
        with going(homeserver, password="") as go:
            seen = go()
        assert failed(seen) == {}
        assert {"discovery", "versions", "whoami", "first sync", "sending", "reading messages", "sync"} <= set(
            names(seen)
        )
        assert not {"login", "logout", "key upload", "encrypted sending", "to-device"} & set(names(seen))
        assert (homeserver.tokens, homeserver.keys) == ({front.FIRST: "POSTFLIGHT"}, {}), "it makes and ends no session"
        assert len(homeserver.events) == 1
        found = only(ask(CHECK, client_journey=seen), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline == (
            "login, encrypted messages and logout were not tried: the probe user was given by its token,"
            " which opens no session"
        )

    def test_of_a_given_token_a_fault_is_told_as_ever(self) -> None:
        homeserver = Homeserver(instead={"send m.room.message": lambda: error(403, "M_FORBIDDEN")})
        with going(homeserver, password="") as go:
            seen = go()
        assert list(failed(seen)) == ["sending"]

    def test_nothing_of_it_prints_a_secret(self) -> None:
        text = repr(gone())
        assert SECOND not in text
        assert PASSWORD not in text

    def test_a_route_astray_is_told_alone_and_the_rest_is_gone_all_the_same(self) -> None:
        homeserver = Homeserver(instead={"send m.room.encrypted": lambda: error(404, "M_UNRECOGNIZED")})
        seen = gone(homeserver)
        assert set(failed(seen)) == {"encrypted sending"}
        assert "reading an encrypted event" not in names(seen)
        assert {"reading messages", "logout", "whoami after logout"} <= set(names(seen))
        found = only(ask(CHECK, client_journey=seen))
        assert found.headline.startswith("the route for encrypted sending ends at synapse-generic-worker")

    def test_a_logout_astray_leaves_the_session_to_the_clean_up(self) -> None:
        homeserver = Homeserver(instead={"logout": lambda: error(404, "M_UNRECOGNIZED")})
        seen = gone(homeserver)
        assert list(failed(seen)) == ["logout"]
        assert "whoami after logout" not in names(seen)

    @pytest.mark.parametrize(
        ("route", "step"),
        [
            ("login", "login"),
            ("sync", "first sync"),
            ("upload", "key upload"),
            ("claim", "key claim"),
            ("to_device", "to-device"),
            ("send m.room.message", "sending"),
            ("messages", "reading messages"),
        ],
    )
    def test_what_has_no_server_is_told_once(self, route: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("postflight.probes.visitor.Limit.FOUND", 0.1)
        homeserver = Homeserver(instead={route: lambda: (503, b"<html>none</html>")})
        seen = gone(homeserver)
        assert list(failed(seen)) == [step]
        assert only(ask(CHECK, client_journey=seen)).nature is Nature.UNAVAILABLE

    def test_a_proxy_that_has_not_found_its_servers_yet_is_asked_again(self) -> None:
        assert failed(gone(Homeserver(instead={"sync": once((503, b"<html>none</html>"))}))) == {}

    def test_without_a_login_nothing_else_is_tried(self) -> None:
        homeserver = Homeserver(instead={"login": lambda: error(403, "M_FORBIDDEN")})
        assert names(gone(homeserver)) == ["discovery", "versions", "login"]
        assert homeserver.events == []

    def test_a_rate_limit_is_waited_for(self) -> None:
        limited = once(error(429, "M_LIMIT_EXCEEDED", retry_after_ms=200))
        assert failed(gone(Homeserver(instead={"login": limited}))) == {}

    def test_a_wait_that_is_too_long_is_said(self) -> None:
        limited = lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=60_000)  # noqa: E731
        began = time.monotonic()
        seen = gone(Homeserver(instead={"login": limited}))
        assert time.monotonic() - began < 5
        assert only(ask(CHECK, client_journey=seen), Status.UNKNOWN)

    def test_a_message_that_never_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("postflight.probes.journey_talk.Limit.SYNC", 0.5)

        def lost(kind: str, given: Json) -> Json:
            return {} if kind == "sync" and given["type"] == "m.room.message" else given

        seen = gone(Homeserver(alter=lost))
        assert list(failed(seen)) == ["the message by sync"]
        assert failed(seen)["the message by sync"].late

    def test_a_key_that_never_comes_is_told_and_not_what_it_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("postflight.probes.journey_talk.Limit.SYNC", 0.5)
        seen = gone(Homeserver(alter=lambda kind, given: {} if kind == "letter" else given))
        assert list(failed(seen)) == ["the room's key by sync"]

    @pytest.mark.parametrize(
        ("where", "step"),
        [
            ("event", "reading an event"),
            ("messages", "reading messages"),
            ("sync", "the message by sync"),
            ("letter", "the room's key by sync"),
            ("keys", "key query"),
            ("once", "key claim"),
        ],
    )
    def test_what_is_altered_on_the_way(self, where: str, step: str) -> None:
        def alter(kind: str, given: Json) -> Json:
            if kind != where:
                return given
            return {**given, "content": {**given["content"], "more": 1}} if "content" in given else {**given, "more": 1}

        seen = gone(Homeserver(alter=alter))
        assert step in failed(seen)
        assert not failed(seen)[step].late
        assert {each.nature for each in ask(CHECK, client_journey=seen).failures} == {Nature.WRONG}

    def test_a_message_that_another_process_learns_of_late_is_waited_for(self) -> None:
        left = ["not yet", "not yet"]

        def late(kind: str, given: Json) -> Json:
            return {} if kind == "messages" and left and left.pop() else given

        assert failed(gone(Homeserver(alter=late))) == {}

    def test_a_key_that_a_killed_run_left_is_passed_over(self) -> None:
        assert failed(gone(Homeserver(stale={"signed_curve25519:AAAAAAAAAAA": {"key": "old", "signatures": {}}}))) == {}

    def test_a_session_that_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("postflight.probes.journey.Limit.LOGGED_OUT", 0.3)
        seen = gone(Homeserver(instead={"logout": lambda: (200, {})}))
        assert set(failed(seen)) == {"whoami after logout", "device after logout"}
        pen = ask(CHECK, client_journey=seen)
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}
        heads = {each.headline for each in pen.failures}
        assert "whoami after logout: the session is still there 0.3 s after it was logged out" in heads

    def test_an_end_that_is_learnt_of_late_is_fine(self) -> None:
        late = once((200, {"user_id": USER, "device_id": DEVICE}), (200, {"user_id": USER, "device_id": DEVICE}))
        assert failed(gone(Homeserver(instead={"whoami": late}))) == {}

    def test_clients_that_are_told_nothing_go_by_the_public_name(self) -> None:
        seen = gone(Homeserver(told=""))
        assert failed(seen) == {}
        assert seen.told == ""

    def test_clients_that_are_told_nonsense(self) -> None:
        seen = gone(Homeserver(instead={"well_known": lambda: (200, b"<html>an app</html>")}))
        assert list(failed(seen)) == ["discovery"]
        assert failed(seen)["discovery"].wrong == "it names no address (m.homeserver.base_url)"
        assert "logout" in names(seen)

    def test_an_address_that_leads_nowhere_here(self) -> None:
        seen = gone(Homeserver(told="https://elsewhere.test/"))
        assert failed(seen) == {}
        assert seen.outside == "nothing in the cluster says where it leads"

    def test_a_base_with_a_path(self) -> None:
        seen = gone(Homeserver(told="https://matrix.lab.test/matrix/"))
        assert failed(seen) != {}, "the homeserver on loopback knows no such path"
        assert names(seen)[-1] == "versions"

    def test_a_door_that_is_shut(self) -> None:
        homeserver = Homeserver()
        with going(homeserver) as go:
            pass
        seen = go()
        assert list(failed(seen)) == ["discovery"]
        assert failed(seen)["discovery"].answer.said.status == 0
        assert only(ask(CHECK, client_journey=seen)).nature is Nature.UNAVAILABLE


class TestOlm:
    ALICE, BOB = Device.of("@a:x", "A"), Device.of("@b:x", "B")

    def test_what_one_device_writes_the_other_reads(self) -> None:
        uploaded = self.BOB.upload()
        (key,) = uploaded["one_time_keys"].values()
        session = RoomSession.of("!room", self.ALICE)
        letter = self.ALICE.write(uploaded["device_keys"], key, session.key, "m.room_key")
        sealed = session.write({"body": "hello"}, "m.room.message")
        opened = self.BOB.read(letter)
        assert opened["sender"] == "@a:x"
        assert read_in_room(opened["content"], sealed)["content"] == {"body": "hello"}
        with pytest.raises(NotWhatWasSent, match="cannot be decrypted"):
            read_in_room(opened["content"], {**sealed, "ciphertext": sealed["ciphertext"][:-6] + "AAAAAA"})

    def test_keys_that_somebody_else_signed(self) -> None:
        uploaded = self.BOB.upload()
        (key,) = uploaded["one_time_keys"].values()
        with pytest.raises(NotWhatWasSent, match="signature is not that of B"):
            self.ALICE.write(uploaded["device_keys"], {**key, "key": self.ALICE.identity}, {}, "m.room_key")

    def test_a_letter_for_somebody_else(self) -> None:
        with pytest.raises(NotWhatWasSent, match="cannot be decrypted"):
            self.ALICE.read({"ciphertext": {self.BOB.identity: {"type": 0, "body": "x"}}})
