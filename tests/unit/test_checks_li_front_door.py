"""The check of LI's front door, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.credential import NONE, Credential
from postflight.deployment.front import Controller
from postflight.probes.canary_user import Hindered
from postflight.probes.http import Said
from postflight.probes.li_front import Asked, Bearer, LiFront, Part, TokenTried
from postflight.probes.public_http import Answer
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import li_world, paging
from tests.unit.observations import READ_ONLY, ask, only
from tests.unit.paging import HTML, LI_HOST, MISSING, REFUSED, UNKNOWN, VERSIONS, WAY
from tests.unit.worlds import Json, service

CHECK = "li.front_door"
OF = paging.world()
MODEL = li_world.model(OF)
FRONT = paging.li_front(OF, MODEL)
LI = next(each for each in MODEL.synapse if each.workload_name == "second")
DOWN = Answer(502, text="<html>bad gateway")


def judged(front: LiFront = FRONT, tokens: Any = None, of: Any = OF) -> Judge:
    tried = paging.tried(MODEL) if tokens is None else tokens
    return ask(CHECK, deployment=MODEL, snapshot=of, li_front_door=front, li_main_token=tried)


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

    def test_any_other_answer_is_a_refusal(self) -> None:
        assert judged(tokens=(TokenTried(LI, Said("second", 500, "{}")),)).failures == []


class TestWhereItStands:
    def test_nowhere(self) -> None:
        found = only(judged(LiFront((), NONE)), Status.WARNED)
        assert "nothing here says at which address LI is reached" in found.headline

    def test_where_nobody_can_ask(self) -> None:
        front = LiFront((LI_HOST,), paging.CREDENTIAL, unasked=(f"{LI_HOST}: no right: list pods",))
        assert only(judged(front), Status.UNKNOWN).headline.endswith("no right: list pods")

    def test_behind_a_controller_that_is_down(self) -> None:
        shut = Controller("ingress-nginx", "controller", {"a": "b"})
        front = LiFront((LI_HOST,), paging.CREDENTIAL, unasked=(f"{LI_HOST}: it is down",), shut=(shut,))
        pen = judged(front)
        assert pen.failures[0].stops == (shut.id,)
        assert pen.failures[1].needs == (shut.id,)
