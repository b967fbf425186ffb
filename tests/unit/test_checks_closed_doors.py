"""The check of the doors that must be shut, given each kind of fault alone, and its probe at doors that answer as told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import INGRESS
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side
from postflight.probes import closed_doors as probes
from postflight.probes.closed_doors import AVAILABLE, NONCE, REGISTER, USERS, ClosedDoors, Knock
from postflight.probes.http import Door, Said
from postflight.probes.probe import Safety
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.calling import errcode, said
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL, ask, only
from tests.unit.processes import shut
from tests.unit.test_ingresses import ingress, to

CHECK = "clients.closed_doors"
MAIN = next(each for each in MODEL.synapse if each.is_main)
FREE_NAME = said(200, '{"available": true}')
OPEN = (("m.login.dummy",), ("m.login.email.identity",))


def judged(model: Deployment = MODEL, **fields: Any) -> Judge:
    (seen,) = shut(model)
    return ask(CHECK, deployment=model, closed_doors=(replace(seen, **fields),))


def through(answer: Said, **fields: Any) -> Knock:
    pods = MODEL.proxies[0].pods[:1]
    return Knock("through haproxy-1", answer, pods, **fields)


def configured(**values: Any) -> Deployment:
    processes = [replace(each, config={**(each.config or {}), **values}) for each in MODEL.synapse]
    return replace(MODEL, synapse=tuple(processes))


class TestRegistration:
    def asking(self, *flows: tuple[str, ...], **fields: Any) -> Judge:
        given = {"available": through(FREE_NAME), "register": through(said(401)), "flows": flows, **fields}
        return judged(**given)

    def test_that_asks_for_nothing(self) -> None:
        main = replace(MAIN, config={**(MAIN.config or {}), "enable_registration": True})
        found = only(self.asking(*OPEN, main=main))
        assert found.headline == (
            "anybody may make an account at synapse-main: registration is on and asks for no proof"
        )
        assert found.observed.endswith("2 ways, one of them m.login.dummy")
        assert found.cause == "enable_registration: true"

    def test_terms_are_no_proof(self) -> None:
        assert only(self.asking(("m.login.terms", "m.login.dummy")))

    @pytest.mark.parametrize("step", ["m.login.registration_token", "m.login.recaptcha", "m.login.email.identity"])
    def test_that_asks_for_a_proof_is_right(self, step: str) -> None:
        assert self.asking((step, "m.login.dummy")).failures == []

    def test_that_was_not_asked(self) -> None:
        found = only(judged(available=through(FREE_NAME)), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_that_does_not_say_what_it_asks(self) -> None:
        limited = through(errcode(429, "M_LIMIT_EXCEEDED"))
        found = only(judged(available=through(FREE_NAME), register=limited), Status.UNKNOWN)
        assert found.headline.startswith("registration is on, and what it asks of a newcomer was not seen: 429")

    @pytest.mark.parametrize("answer", [errcode(404, "M_UNRECOGNIZED"), said(403, "<html>")])
    def test_that_is_not_there_or_refused_by_the_proxy_is_off(self, answer: Said) -> None:
        assert judged(available=through(answer)).failures == []

    @pytest.mark.parametrize("answer", [said(200, "<html>"), said(302), said(0, problem="no answer in time")])
    def test_that_is_not_understood(self, answer: Said) -> None:
        found = only(judged(available=through(answer)), Status.UNKNOWN)
        assert found.headline.startswith("whether anybody may register was not seen: ")

    def test_whose_server_is_down(self) -> None:
        found = only(judged(available=through(said(503))))
        assert found.nature is Nature.UNAVAILABLE
        assert {MAIN.id, MODEL.proxies[0].pods[0].id} <= set(found.needs)


class TestTheAdminApi:
    def test_that_asks_for_no_token(self) -> None:
        found = only(judged(users=through(said(200, '{"users": []}'))))
        assert found.headline == "anybody may list the users of synapse-main: the admin API asks for no token"

    def test_that_the_proxy_refuses(self) -> None:
        assert judged(users=through(said(403)), nonce=through(said(403), ingress="front")).failures == []

    def test_that_does_not_answer(self) -> None:
        assert only(judged(users=through(said(0, problem="timed out"))), Status.UNKNOWN)

    def test_that_an_ingress_leads_to(self) -> None:
        nonce = through(said(200, '{"nonce": "n"}'), ingress="front")
        found = only(judged(nonce=nonce), Status.WARNED)
        assert found.headline.endswith("makes admins from outside: Ingress front leads to the admin API")

    def test_that_is_led_in_from_outside(self) -> None:
        found = only(judged(users=through(errcode(401, "M_MISSING_TOKEN"), ingress="front")), Status.WARNED)
        assert found.headline == (
            "the admin API is led in from outside by Ingress front: only a token stands before it"
        )

    @pytest.mark.parametrize(
        "users",
        [
            through(errcode(401, "M_MISSING_TOKEN")),
            through(errcode(401, "M_MISSING_TOKEN"), ingress="front", guard="whitelist-source-range"),
            through(errcode(404, "M_UNRECOGNIZED"), ingress="front"),
            through(errcode(403, "M_FORBIDDEN"), ingress="front"),
            through(said(401, "<html>"), ingress="front"),
        ],
    )
    def test_that_is_reached_from_inside_only_or_refused_on_the_way(self, users: Knock) -> None:
        assert judged(users=users).failures == []


class TestGuests:
    def test_that_are_let_in(self) -> None:
        found = only(judged(configured(allow_guest_access=True)))
        assert found.headline.startswith("guests come in without an account: allow_guest_access is on for synapse-")
        assert "synapse-event-persister" not in found.headline

    def test_at_a_process_whose_configuration_is_not_known(self) -> None:
        blind = [replace(each, config=None, config_problem="no") if each == MAIN else each for each in MODEL.synapse]
        found = only(judged(replace(MODEL, synapse=tuple(blind))), Status.UNKNOWN)
        assert found.headline == "whether synapse-main lets guests in is not known: no"

    def test_of_li_are_lis_own_affair(self) -> None:
        """No user reaches LI, and li.front_door sees to that."""
        of_li = replace(MAIN, side=Side.LI, config={**(MAIN.config or {}), "allow_guest_access": True})
        assert judged(replace(MODEL, synapse=(*MODEL.synapse, of_li))).failures == []


class TestTheProbe:
    ANSWERS: Mapping[str, Said] = {
        AVAILABLE: FREE_NAME,
        REGISTER: said(401, '{"flows": [{"stages": ["m.login.dummy"]}], "session": "secret"}'),
        USERS: errcode(401, "M_MISSING_TOKEN"),
        NONCE: said(200, '{"nonce": "n"}'),
    }

    def look(
        self,
        monkeypatch: pytest.MonkeyPatch,
        model: Deployment = MODEL,
        safety: Safety = Safety.CANARY,
        world: Any = None,
        **other: Said,
    ) -> tuple[ClosedDoors, list[str]]:
        asked: list[str] = []

        def answer(access: Access, door: Door, method: str, path: str, **given: Any) -> Said:
            asked.append(f"{method} {path} at {door.pod.name}")
            return other.get(path, self.ANSWERS[path])

        monkeypatch.setattr(probes, "ask", answer)
        access = Access(api_to(closed_port()), Way.DIRECT)
        (seen,) = probes.closed_doors(model, world or recorded.healthy().snapshot, access, safety)
        return seen, asked

    def test_comes_in_through_the_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, asked = self.look(monkeypatch)
        proxies = {each.name for each in MODEL.proxies[0].pods}
        assert {each.rpartition(" at ")[2] for each in asked} <= proxies
        assert seen.flows == (("m.login.dummy",),)
        assert seen.available.pods
        assert "m.login" not in repr(seen.register)

    def test_asks_nothing_that_opens_a_session_where_registration_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, asked = self.look(monkeypatch, **{AVAILABLE: errcode(403, "M_FORBIDDEN")})
        assert not [each for each in asked if each.startswith("POST")]

    def test_nor_in_a_run_that_makes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, asked = self.look(monkeypatch, safety=Safety.READ_ONLY)
        assert seen.register is None
        assert not [each for each in asked if each.startswith("POST")]

    def test_flows_that_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, _ = self.look(monkeypatch, **{REGISTER: said(401, '{"flows": "none"}')})
        assert seen.register
        assert seen.flows is None

    def test_names_the_ingress_on_the_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = recorded.healthy().snapshot
        front = ingress("matrix.lab.test", to("haproxy-client", port={"number": 8008}))
        world = replace(lab, objects={**lab.objects, (INGRESS, "matrix"): (front,)})
        seen, _ = self.look(monkeypatch, world=world)
        assert (seen.nonce.ingress, seen.users.guard) == ("front", "")

    def test_names_what_the_ingress_asks_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = recorded.healthy().snapshot
        front = ingress("matrix.lab.test", to("haproxy-client", port={"number": 8008}))
        note = {"nginx.ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8"}
        front = {**front, "metadata": {**front["metadata"], "annotations": note}}
        world = replace(lab, objects={**lab.objects, (INGRESS, "matrix"): (front,)})
        seen, _ = self.look(monkeypatch, world=world)
        assert seen.users.guard == "whitelist-source-range"

    def test_where_nobody_stands_in_front_main_itself_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen, asked = self.look(monkeypatch, replace(MODEL, proxies=()))
        assert {each.rpartition(" at ")[2] for each in asked} == {MAIN.pod.name if MAIN.pod else ""}
        assert seen.users.way.startswith("through synapse-main")

    def test_where_there_is_no_door_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mute = replace(MAIN, config={"server_name": "matrix.lab.test"})
        seen, asked = self.look(monkeypatch, replace(MODEL, proxies=(), synapse=(mute,)))
        assert (asked, seen.users.said.problem) == ([], "no client listener of it is known")
