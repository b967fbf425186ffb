"""The check of LI's front door, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.credential import NONE, Credential
from postflight.deployment.front import Controller
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Import, SynapseProcess
from postflight.probes.canary_user import Hindered
from postflight.probes.http import Said
from postflight.probes.li_front import Asked, Bearer, LiFront, Part, TokenTried
from postflight.probes.public_http import Answer
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import li_world, paging
from tests.unit.li_world import NAME
from tests.unit.observations import READ_ONLY, ask, only
from tests.unit.paging import HTML, LI_HOST, MISSING, REFUSED, UNKNOWN, VERSIONS, WAY
from tests.unit.worlds import Json, service

CHECK = "li.front_door"
OF = paging.world()
MODEL = li_world.model(OF)
FRONT = paging.li_front(OF, MODEL)
LI = next(each for each in MODEL.synapse if each.workload_name == "second")
DOWN = Answer(502, text="<html>bad gateway")


UNRECOGNIZED = '{"errcode": "M_UNRECOGNIZED"}'
FED = replace(MODEL, li=replace(MODEL.li, imports=(Import("nightly", timedelta(days=1)),)) if MODEL.li else None)
MAS: Json = {"matrix_authentication_service": {"enabled": True, "endpoint": "https://mas.lab.test/"}}
MSC3861: Json = {"experimental_features": {"msc3861": {"enabled": True, "issuer": "https://mas.lab.test"}}}


def delegating(mains: Json, own: Json) -> Deployment:
    """Where each side's Synapse has more in its configuration."""

    def given(each: SynapseProcess) -> SynapseProcess:
        more = own if each.workload_name == "second" else mains
        return replace(each, config={**(each.config or {}), **more})

    li = MODEL.li
    assert li
    changed = replace(li, processes=tuple(map(given, li.processes)), mains=tuple(map(given, li.mains)))
    return replace(MODEL, synapse=tuple(map(given, MODEL.synapse)), li=changed)


def judged(front: LiFront = FRONT, tokens: Any = None, of: Any = OF, model: Deployment = MODEL) -> Judge:
    tried = paging.tried(model) if tokens is None else tokens
    return ask(CHECK, deployment=model, snapshot=of, li_front_door=front, li_main_token=tried)


def answered(part: Part, *, without: Answer | None = None, shown: Answer | None = None) -> LiFront:
    """With other answers of one part."""

    def change(each: Asked) -> Asked:
        return replace(each, without=without or each.without, shown=shown or each.shown)

    return replace(FRONT, asked=tuple(change(each) if each.target.part is part else each for each in FRONT.asked))


def test_a_door_as_it_should_be_says_what_was_asked() -> None:
    pen = judged()
    assert pen.failures == []
    assert f"https://{LI_HOST}/_matrix/client/versions {WAY}" in pen.seen
    assert LI.id in pen.seen


UNRECOGNIZED_ANSWER = Answer(404, text=UNRECOGNIZED)


class TestWhoeverComes:
    def test_is_answered_by_synapse(self) -> None:
        found = only(judged(answered(Part.SYNAPSE, without=VERSIONS), of=paging.world(asks=False)))
        assert found.headline == f"LI's Synapse answers whoever comes to {LI_HOST}, by Ingress synapse-li"
        assert found.cause == "Ingress synapse-li asks for nothing: it has none of auth-type, auth-url, auth-tls-secret"
        assert found.observed.startswith(f"GET https://{LI_HOST}/_matrix/client/versions {WAY}: 200")

    def test_is_refused_by_synapse_itself(self) -> None:
        """Then Synapse is what stands at the door."""
        assert "answers whoever comes" in only(judged(answered(Part.SYNAPSE, without=MISSING))).headline

    def test_is_answered_although_the_ingress_says_otherwise(self) -> None:
        found = only(judged(answered(Part.ELEMENT, without=HTML)))
        assert found.headline == f"LI's Element answers whoever comes to {LI_HOST}, by Ingress element-li"
        assert found.cause == "Ingress element-li asks for auth-tls-secret, and the controller does not"

    def test_is_answered_by_the_admin_page(self) -> None:
        assert "LI's admin page answers" in only(judged(answered(Part.ADMIN, without=HTML))).headline

    def test_everywhere_is_said_of_each_ingress(self) -> None:
        front = replace(FRONT, asked=tuple(replace(each, without=HTML) for each in FRONT.asked))
        pen = judged(front)
        assert {each.subject for each in pen.failures} == {
            f"ingress/matrix/{name}" for name in ("synapse-li", "element-li", "admin-li")
        }

    def test_is_answered_by_way_of_mains_name(self) -> None:
        target = next(each.target for each in FRONT.asked if each.target.part is Part.SYNAPSE)
        across = Asked(target, f"{WAY}, by TLS for matrix.lab.test", VERSIONS)
        found = only(judged(replace(FRONT, asked=(*FRONT.asked, across))))
        assert "by TLS for matrix.lab.test: 200" in found.observed

    @pytest.mark.parametrize(
        "refusal",
        [
            Answer(401, server="nginx", text="<html>401 Authorization Required"),
            Answer(403, text="<html>403 Forbidden"),
            Answer(302, location="https://login.lab.test/oauth2/start"),
            Answer(421),
            Answer(problem="[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)"),
        ],
        ids=["401", "403", "a login page", "another name", "no TLS"],
    )
    def test_is_refused_in_other_ways(self, refusal: Answer) -> None:
        front = replace(FRONT, asked=tuple(replace(each, without=refusal) for each in FRONT.asked))
        assert judged(front).failures == []

    @pytest.mark.parametrize("location", ["/admin/", f"https://{LI_HOST}/_matrix/static/", "there", ""])
    def test_is_led_on_to_what_stands_behind(self, location: str) -> None:
        pen = judged(answered(Part.ADMIN, without=Answer(301, location=location)))
        found = only(pen, Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith(f"whether LI's admin page is shut at {LI_HOST}/admin/ was not seen")

    @pytest.mark.parametrize("location", [f"https://{NAME}/login", "/oauth2/start?rd=/admin/"])
    def test_is_led_to_a_login_elsewhere(self, location: str) -> None:
        proxied = paging.world(
            *paging.page("oauth2", "quay.io/oauth2-proxy/oauth2-proxy:v7.6.0"),
            paging.ingress("oauth2", LI_HOST, ("/oauth2", "oauth2")),
        )
        front = answered(Part.ADMIN, without=Answer(302, location=location))
        assert judged(front, of=proxied).failures == []

    def path(self, said: Answer, *, guessed: bool = False, shown: Answer = UNRECOGNIZED_ANSWER) -> LiFront:
        """A path of LI's Synapse that none of the usual questions is beneath."""
        target = next(each.target for each in FRONT.asked if each.target.part is Part.SYNAPSE)
        other = replace(target, path="/_matrix/media", guessed=guessed)
        return replace(FRONT, asked=(*FRONT.asked, Asked(other, WAY, said, shown)))

    @pytest.mark.parametrize("said", [UNRECOGNIZED_ANSWER, Answer(404, text="<html>No Such Resource")])
    def test_is_answered_by_a_path_of_its_own(self, said: Answer) -> None:
        found = only(judged(self.path(said)))
        assert f"GET https://{LI_HOST}/_matrix/media {WAY}: 404" in found.observed

    def test_meets_the_beginning_of_a_pattern(self) -> None:
        pen = judged(self.path(Answer(404, text="<html>nginx"), guessed=True))
        assert only(pen, Status.WARNED).nature is Nature.UNPROVEN
        assert only(judged(self.path(UNRECOGNIZED_ANSWER, guessed=True)))

    def test_is_refused_at_a_path_of_its_own(self) -> None:
        assert judged(self.path(REFUSED, shown=Answer(404, text="<html>No Such Resource"))).failures == []

    def test_gets_no_answer(self) -> None:
        found = only(judged(answered(Part.SYNAPSE, without=DOWN)))
        assert found.nature is Nature.UNAVAILABLE
        assert {LI.id, LI.workload} <= set(found.needs)

    def test_gets_none_in_time(self) -> None:
        assert only(judged(answered(Part.ELEMENT, without=Answer(problem="no answer in time"))), Status.UNKNOWN)


class TestWhoShowsTheCredential:
    @pytest.mark.parametrize("refusal", [REFUSED, Answer(403, text="no"), Answer(problem="alert bad certificate")])
    def test_is_refused_all_the_same(self, refusal: Answer) -> None:
        found = only(judged(answered(Part.ELEMENT, shown=refusal)))
        assert found.headline == f"LI's Element does not answer at {LI_HOST} to who shows the credential either"
        assert found.cause == "what Secret postflight-li holds is not what Ingress element-li asks for"

    def test_finds_something_else_where_synapse_should_be(self) -> None:
        assert "LI's Synapse does not answer" in only(judged(answered(Part.SYNAPSE, shown=HTML))).headline

    def test_meets_a_certificate_that_nobody_trusts(self) -> None:
        said = Answer(problem="[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")
        front = replace(FRONT, asked=tuple(replace(each, shown=said) for each in FRONT.asked), bearers=())
        found = only(judged(front))
        assert found.headline.startswith(f"{LI_HOST} shows a certificate that clients do not trust")

    def test_meets_a_certificate_of_an_authority_that_may_be_known(self) -> None:
        said = Answer(problem="[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")
        asked = tuple(replace(each, shown=said) for each in FRONT.asked)
        found = only(judged(replace(FRONT, asked=asked, bearers=(), unread=("/ca/ca.pem",))), Status.UNKNOWN)
        assert "as what Synapse trusts (/ca/ca.pem) could not be read" in found.headline

    def test_finds_nobody_home(self) -> None:
        found = only(judged(answered(Part.SYNAPSE, shown=DOWN)))
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline == f"LI's Synapse was not answered for at {LI_HOST}: 502"

    @pytest.mark.parametrize(
        ("said", "line"),
        [
            (Answer(401, text="<html>"), "a request with an access token is refused by the proxy"),
            (MISSING, "the proxy takes the access token away"),
        ],
    )
    def test_cannot_be_logged_in(self, said: Answer, line: str) -> None:
        found = only(judged(replace(FRONT, bearers=(Bearer(LI_HOST, WAY, said),))))
        assert found.headline == f"nobody can be logged in at {LI_HOST}: {line}"
        assert "Authorization" in found.cause

    def test_is_let_in_with_any_token(self) -> None:
        said = paging.answer(user_id="@a:b")
        assert (
            "a token that nobody was given"
            in only(judged(replace(FRONT, bearers=(Bearer(LI_HOST, WAY, said),)))).headline
        )

    def test_from_another_host_is_asked_in_advance_and_refused(self) -> None:
        bearer = Bearer(LI_HOST, WAY, UNKNOWN, (("element-li.lab.test", REFUSED),))
        found = only(judged(replace(FRONT, bearers=(bearer,))))
        assert found.headline == (
            f"LI's page at element-li.lab.test cannot ask {LI_HOST}: the proxy refuses what a browser asks in advance"
        )

    def test_from_another_host_is_let_through_in_advance(self) -> None:
        bearer = Bearer(LI_HOST, WAY, UNKNOWN, (("element-li.lab.test", Answer(200, "*")),))
        assert judged(replace(FRONT, bearers=(bearer,))).failures == []

    @pytest.mark.parametrize(
        ("credential", "why"),
        [
            (NONE, "none is given (settings: li.credential)"),
            (Credential(problem="no right: get secrets"), "no right: get secrets"),
        ],
    )
    def test_is_not_there(self, credential: Credential, why: str) -> None:
        asked = tuple(replace(each, shown=None) for each in FRONT.asked)
        found = only(judged(replace(FRONT, credential=credential, asked=asked, bearers=())), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith(why)


class TestAWayBeside:
    def published(self, **spec: Any) -> Json:
        made = service("li-out", 80, target=8008)
        made["spec"] |= {"selector": {"matrix.instance": "li", "app": "hs"}, **spec}
        return made

    @pytest.mark.parametrize("spec", [{"type": "NodePort"}, {"type": "LoadBalancer"}, {"externalIPs": ["192.0.2.1"]}])
    def test_that_leads_to_lis_synapse(self, spec: Json) -> None:
        found = only(judged(of=paging.world(self.published(**spec))))
        assert found.headline.endswith("leads to LI past its front door: second")

    def test_that_leads_to_lis_page(self) -> None:
        made = self.published(type="NodePort", selector={"app": "admin-li"})
        assert "admin-li" in only(judged(of=paging.world(made))).headline

    def test_that_leads_to_main(self) -> None:
        made = self.published(type="NodePort", selector={"app": "element"})
        assert judged(of=paging.world(made)).failures == []


class TestMainsToken:
    def test_is_taken(self) -> None:
        found = only(judged(tokens=paging.tried(MODEL, 200)))
        assert found.headline.startswith("second takes an access token of main's")

    def test_was_not_tried(self) -> None:
        found = only(judged(tokens=READ_ONLY), Status.WARNED)
        assert found.headline == "whether LI takes main's access tokens was not seen: needs --safety canary"

    def test_could_not_be_had(self) -> None:
        found = only(judged(tokens=Hindered("main is down", "pod/matrix/hs")), Status.UNKNOWN)
        assert found.needs == ("pod/matrix/hs",)

    def test_was_not_answered(self) -> None:
        assert only(judged(tokens=(TokenTried(LI, Said("second", problem="refused")),)), Status.UNKNOWN)

    @pytest.mark.parametrize(
        ("status", "text"), [(500, "{}"), (502, "<html>"), (404, UNRECOGNIZED), (401, "{}"), (401, "<html>")]
    )
    def test_any_other_answer_is_no_refusal(self, status: int, text: str) -> None:
        found = only(judged(tokens=(TokenTried(LI, Said("second", status, text)),)), Status.UNKNOWN)
        assert {"li/matrix", LI.id, LI.workload, "postgresql/matrix/pg-li"} <= set(found.needs)

    def test_could_not_have_come_where_li_is_fed_by_import(self) -> None:
        (one,) = paging.tried(FED)
        found = only(judged(tokens=(replace(one, came=False),), model=FED), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("LI is fed by import (CronJob nightly), and main made the token just now")
        assert judged(tokens=(replace(one, came=False, given=True),), model=FED).failures == []

    def test_has_not_come_where_li_does_not_follow(self) -> None:
        (one,) = paging.tried(MODEL)
        found = only(judged(tokens=(replace(one, came=False),)), Status.UNKNOWN)
        assert (found.headline.endswith("LI does not follow main, and has nothing of the token"), found.needs) == (
            True,
            ("li/matrix",),
        )

    @pytest.mark.parametrize("came", [True, None])
    def test_is_refused_once_it_has_come(self, came: bool | None) -> None:
        (one,) = paging.tried(MODEL)
        assert judged(tokens=(replace(one, came=came),)).failures == []

    @pytest.mark.parametrize(
        ("mains", "own", "cause"),
        [
            (MAS, MAS, "LI's Synapse asks https://mas.lab.test whose a token is, as main does"),
            (MSC3861, MAS, "LI's Synapse asks https://mas.lab.test whose a token is, as main does"),
            ({}, MAS, "LI's Synapse asks https://mas.lab.test whose a token is, which knows those of main"),
            (MAS, {}, "the table access_tokens is copied to LI with the others"),
        ],
    )
    def test_is_taken_because_of_one_authentication_service(self, mains: Json, own: Json, cause: str) -> None:
        model = delegating(mains, own)
        assert only(judged(tokens=paging.tried(model, 200), model=model)).cause == cause


class TestWhereItStands:
    def test_nowhere(self) -> None:
        found = only(judged(LiFront((), NONE)), Status.WARNED)
        assert "nothing here says at which address LI is reached" in found.headline

    def test_at_an_address_that_nothing_in_scope_leads_to(self) -> None:
        found = only(judged(LiFront((LI_HOST,), NONE, nowhere=(LI_HOST,))), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert f"no way in from outside was found in scope for {LI_HOST}" in found.headline

    def test_where_nobody_can_ask(self) -> None:
        front = LiFront((LI_HOST,), paging.CREDENTIAL, unasked=(f"{LI_HOST}: no right: list pods",))
        assert only(judged(front), Status.UNKNOWN).headline.endswith("no right: list pods")

    def test_behind_a_controller_that_is_down(self) -> None:
        shut = Controller("ingress-nginx", "controller", {"a": "b"})
        front = LiFront((LI_HOST,), paging.CREDENTIAL, unasked=(f"{LI_HOST}: it is down",), shut=(shut,))
        pen = judged(front)
        assert pen.failures[0].stops == (shut.id,)
        assert pen.failures[1].needs == (shut.id,)
