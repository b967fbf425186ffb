"""The check of calls, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.calls_chain import Entry
from postflight.secrets import Secret
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import worlds
from tests.unit.calling import (
    CALLS,
    PAIR,
    SERVICE,
    SFU,
    URL,
    chain,
    discovery,
    errcode,
    foci,
    issue,
    ready,
    said,
    token,
    userinfo,
    with_calls,
)
from tests.unit.observations import MODEL, READ_ONLY, ask, only

CHECK = "calls.matrixrtc"
LISTED = said(200, f'{{"rtc_transports": {foci(URL)}}}')
NOTHING = said(200, '{"m.homeserver": {}}')
LOOKUP_FAILED = errcode(500, "M_LOOKUP_FAILED", "Failed to look up user info from homeserver")
NO_ROOM = errcode(500, "M_UNKNOWN", "Unable to create room on SFU")


def calls(walked: Any = None, seen: Any = None, of: Any = None, **fields: Any) -> Judge:
    """What the check says of calls with these parts replaced."""
    model = with_calls(MODEL, **fields)
    given = {"calls_chain": walked or chain(MODEL), "calls_discovery": seen or discovery(MODEL)}
    return ask(CHECK, deployment=model, **given, **({"snapshot": of} if of else {}))


def test_without_anything_that_refers_to_calls_it_is_absent() -> None:
    pen = calls(sfus=(), jwt_services=(), announced={})
    assert pen.absence.startswith("nothing refers to calls")
    assert pen.failures == []


class TestDiscovery:
    def test_no_client_is_told(self) -> None:
        pen = calls(chain(MODEL, transports=errcode(404, "M_UNRECOGNIZED")), discovery(MODEL, well_known=NOTHING))
        found = only(pen)
        assert found.headline.startswith("no client is told of calls, though livekit, lk-jwt-service stands here")
        assert "rtc/transports: 404 M_UNRECOGNIZED" in found.observed

    def test_only_newer_clients_are_told(self) -> None:
        found = only(calls(seen=discovery(MODEL, well_known=NOTHING)), Status.WARNED)
        assert found.headline.startswith("older clients are not told of calls")

    def test_only_older_clients_are_told(self) -> None:
        found = only(calls(chain(MODEL, transports=errcode(404, "M_UNRECOGNIZED"))), Status.WARNED)
        assert found.headline.startswith("newer clients are not told of calls")

    def test_two_answers(self) -> None:
        other = said(200, f'{{"rtc_transports": {foci("https://other.test/jwt")}}}')
        found = only(calls(chain(MODEL, transports=other)), Status.WARNED)
        assert found.headline == f"older clients are sent to {URL}, newer ones to https://other.test/jwt"

    def test_no_delayed_events(self) -> None:
        found = only(calls(seen=discovery(MODEL, versions=said(200))), Status.WARNED)
        assert found.headline.endswith("synapse-main allows no delayed events")

    def test_main_is_silent(self) -> None:
        found = only(calls(seen=discovery(MODEL, well_known=said(503, "no server"))))
        assert (found.nature, found.headline) == (Nature.UNAVAILABLE, "synapse-main tells clients nothing: 503")
        assert MODEL.proxies[0].id in found.needs


class TestUserinfo:
    def astray(self, answer: Any) -> Any:
        """The proxy leads the question to a worker."""
        right = chain(MODEL)[0].userinfo
        return tuple(replace(each, said=answer, backend="generic_workers") if each.proxy else each for each in right)

    def test_is_led_to_a_worker(self) -> None:
        asked = self.astray(errcode(500, "M_UNKNOWN"))
        refused = issue(said=errcode(401, "M_UNAUTHORIZED"))
        found = only(calls(chain(MODEL, userinfo=asked, issues=(refused,), entries=())))
        assert found.headline == (
            "haproxy leads OpenID userinfo to backend generic_workers (synapse-generic-worker), which answers 500 M_UNKNOWN"
        )
        assert "asked directly: synapse-main 200, synapse-generic-worker 500" in found.observed
        assert SERVICE.id in found.stops

    def test_is_seen_astray_without_a_login_too(self) -> None:
        seen = discovery(MODEL, userinfo=self.astray(errcode(500, "M_UNKNOWN")))
        own = userinfo(MODEL, errcode(401, "M_UNKNOWN_TOKEN"))
        seen = discovery(MODEL, userinfo=(*(e for e in seen[0].userinfo if e.proxy), *(e for e in own if not e.proxy)))
        pen = calls(READ_ONLY, seen)
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]

    def test_main_itself_does_not_know(self) -> None:
        pen = calls(chain(MODEL, userinfo=userinfo(MODEL, errcode(500, "M_UNKNOWN")), issues=(), entries=()))
        assert pen.failures[0].headline.startswith("synapse-main does not say whose an OpenID token is: 500")
        assert pen.failures[0].nature is Nature.UNAVAILABLE


class TestKeys:
    OTHER = replace(PAIR, secret=Secret("another secret, just as long as it"), origin="Secret jwt/SECRET")

    def test_another_secret(self) -> None:
        service = replace(SERVICE, pair=self.OTHER)
        failed = chain(MODEL, issues=(issue(service=service, said=NO_ROOM),), entries=())
        found = only(calls(failed, jwt_services=(service,)))
        assert found.headline == (
            "lk-jwt-service signs with the secret that livekit does not have:"
            " Secret jwt/SECRET differs from Secret livekit-secrets/API_SECRET"
        )

    def test_another_key(self) -> None:
        service = replace(SERVICE, pair=replace(self.OTHER, key="APIother"))
        failed = chain(MODEL, issues=(issue(service=service, said=NO_ROOM),), entries=())
        assert (
            "signs with an API key that livekit does not have" in only(calls(failed, jwt_services=(service,))).headline
        )

    def test_a_value_that_was_changed_after_the_start(self) -> None:
        service = replace(SERVICE, pair=replace(PAIR, secret=self.OTHER.secret, stale=True))
        failed = chain(MODEL, issues=(issue(service=service, said=NO_ROOM),), entries=())
        found = only(calls(failed, jwt_services=(service,)))
        assert (
            found.cause
            == "Secret livekit-secrets/API_SECRET was changed, and lk-jwt-service still has the value before"
        )
        assert found.remedy == "restart lk-jwt-service"

    def test_they_are_held_against_each_other_without_a_login(self) -> None:
        pen = calls(READ_ONLY, jwt_services=(replace(SERVICE, pair=self.OTHER),))
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]

    def test_no_secret_is_said(self) -> None:
        pen = calls(READ_ONLY, jwt_services=(replace(SERVICE, pair=self.OTHER),))
        assert not any(
            self.OTHER.secret.reveal() in str(each) or PAIR.secret.reveal() in str(each) for each in pen.failures
        )


class TestTheJwtService:
    def one(self, **fields: Any) -> Judge:
        asked = issue(**fields)
        entries = chain(MODEL)[0].entries if asked.token else ()
        return calls(chain(MODEL, issues=(asked,), entries=entries))

    def test_is_silent(self) -> None:
        found = only(self.one(said=said(0, "", problem="refused")))
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, (SERVICE.id,))

    def test_is_not_where_it_is_announced(self) -> None:
        found = only(self.one(said=errcode(404, "M_UNRECOGNIZED"), backend="synapse_main"))
        assert found.headline == f"no JWT service answers at {URL}, which leads to backend synapse_main"

    @pytest.mark.parametrize("answer", [said(405), said(501), said(200, "<html>"), said(200)])
    def test_is_something_else(self, answer: Any) -> None:
        found = only(self.one(said=answer, backend=None, ingress="Ingress front leads to Service www"))
        assert found.headline == f"no JWT service answers at {URL}: Ingress front leads to Service www"

    def test_is_reached_by_a_way_that_was_not_wholly_seen(self) -> None:
        found = only(self.one(limit="whether an Ingress leads it elsewhere: no right"), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith(f"of the way from {URL} to lk-jwt-service it was not seen whether an Ingress")

    def test_takes_no_token_that_main_takes(self) -> None:
        found = only(self.one(said=errcode(401, "M_UNAUTHORIZED")))
        assert found.headline.startswith("lk-jwt-service takes no OpenID token of matrix.lab.test")

    def test_opens_no_room(self) -> None:
        found = only(self.one(said=NO_ROOM))
        assert "LiveKit at wss://matrix.lab.test/livekit/sfu" in found.headline
        assert found.nature is Nature.WRONG

    def test_opens_no_room_on_a_livekit_that_is_down(self) -> None:
        down = replace(SFU, pods=(replace(ready("livekit-1"), ready=False),))
        found = only(calls(chain(MODEL, issues=(issue(said=NO_ROOM),), entries=()), sfus=(down,)))
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (SFU.id,))

    def test_gives_a_token_to_anyone(self) -> None:
        assert only(self.one(refused=said(200))).headline.startswith("lk-jwt-service gives a token to anyone")

    @pytest.mark.parametrize("refused", [said(0, "", problem="no answer in time"), said(502), NO_ROOM])
    def test_is_not_seen_to_refuse(self, refused: Any) -> None:
        found = only(self.one(refused=refused), Status.UNKNOWN)
        assert found.headline == (
            "whether lk-jwt-service refuses an OpenID token that nobody gave was not seen: " + refused.short
        )

    def test_of_old_refuses_with_500(self) -> None:
        """As upstream's /sfu/get does when userinfo says no."""
        pen = self.one(refused=LOOKUP_FAILED)
        assert pen.failures == []

    def test_of_old_takes_no_token_that_main_takes(self) -> None:
        found = only(self.one(said=LOOKUP_FAILED, refused=LOOKUP_FAILED))
        assert found.headline.startswith("lk-jwt-service takes no OpenID token of matrix.lab.test")

    def test_is_missing(self) -> None:
        found = only(calls(chain(MODEL, issues=(), entries=()), jwt_services=()))
        assert found.headline == "livekit stands here and nobody gives tokens for it: there is no JWT service"

    def test_is_in_a_namespace_that_is_not_looked_at(self) -> None:
        spec = {"type": "ExternalName", "externalName": "jwt.calls.svc.cluster.local"}
        one = {
            "path": "/livekit/jwt",
            "pathType": "Prefix",
            "backend": {"service": {"name": "jwt", "port": {"number": 80}}},
        }
        rules = [{"host": "matrix.lab.test", "http": {"paths": [one]}}]
        of = worlds.snapshot(
            worlds.thing(worlds.KINDS["Service"], "jwt", spec=spec),
            worlds.thing(worlds.KINDS["Ingress"], "calls", spec={"rules": rules}),
        )
        found = only(calls(chain(MODEL, issues=(), entries=()), jwt_services=(), of=of), Status.UNKNOWN)
        assert "leads to namespace calls" in found.headline

    def test_is_elsewhere(self) -> None:
        found = only(calls(chain(MODEL, issues=(), entries=()), jwt_services=(), sfus=()), Status.UNKNOWN)
        assert URL in found.headline

    @pytest.mark.parametrize(
        ("claims", "why"),
        [
            ({"video": {"roomJoin": True}}, "it opens no room, or any"),
            ({"video": {"room": "one", "roomJoin": True, "roomCreate": True}}, "more than to join: roomCreate"),
            ({"sub": ""}, "it names no participant"),
            ({"iss": "APIother"}, "its API key is none of LiveKit's"),
            ({"exp": 1}, "it has expired"),
            ({"exp": None}, "it never expires"),
        ],
    )
    def test_gives_a_token_that_says_something_else(self, claims: Any, why: str) -> None:
        given = said(200, f'{{"jwt": "{token(**claims)}"}}')
        found = only(self.one(said=given))
        assert why in found.headline


class TestLiveKit:
    def one(self, **fields: Any) -> Judge:
        entry = replace(Entry(SFU, said(200, "success"), said(401)), **fields)
        return calls(chain(MODEL, entries=(entry,)))

    def test_lets_anyone_in(self) -> None:
        assert only(self.one(forged=said(200))).headline.startswith("livekit lets anyone in")

    def test_refuses_the_token(self) -> None:
        assert only(self.one(accepted=said(401))).headline.startswith("livekit does not let in who has a token")

    def test_is_silent(self) -> None:
        found = only(self.one(accepted=said(0, "", problem="no answer in time")))
        assert found.nature is Nature.UNAVAILABLE

    def test_has_nodes_that_share_nothing(self) -> None:
        two = replace(SFU, pods=(ready("livekit-1"), ready("livekit-2")))
        found = only(self.one(accepted=said(404), sfu=two))
        assert found.cause == "livekit has 2 nodes and no Redis that they share their rooms through"


class TestLiveKitIsNotToBeSeen:
    def test_it_is_elsewhere(self) -> None:
        found = only(calls(chain(MODEL, entries=()), sfus=()), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline == (
            "whether LiveKit lets in who has a token of lk-jwt-service, and nobody else, was not seen:"
            " wss://matrix.lab.test/livekit/sfu is no LiveKit of what stands here"
        )
        assert "--namespace matrix," in found.remedy

    def test_it_is_elsewhere_and_the_token_says_where(self) -> None:
        given = said(200, f'{{"url": "wss://sfu.test", "jwt": "{token()}"}}')
        found = only(calls(chain(MODEL, issues=(issue(said=given),), entries=()), sfus=()), Status.WARNED)
        assert "wss://sfu.test is no LiveKit" in found.headline

    def test_none_of_its_pods_is_ready(self) -> None:
        down = replace(SFU, pods=(replace(ready("livekit-1"), ready=False),))
        found = only(calls(chain(MODEL, entries=()), sfus=(down,)))
        assert (found.subject, found.nature) == (SFU.id, Nature.UNAVAILABLE)
        assert found.headline == "livekit has no pod that is ready"


def test_what_main_refuses_is_wrong_and_what_it_cannot_do_is_silence() -> None:
    for status, nature in ((403, Nature.WRONG), (500, Nature.UNAVAILABLE), (0, Nature.UNAVAILABLE)):
        found = calls(chain(MODEL, openid=said(status), userinfo=(), issues=(), entries=())).failures[-1]
        assert found.headline.startswith("synapse-main gives no OpenID token")
        assert found.nature is nature


def test_where_nothing_may_be_made_it_is_only_warned() -> None:
    found = only(calls(READ_ONLY), Status.WARNED)
    assert found.headline == "whether a token is given and let in was not seen: needs --safety canary"


def test_the_parts_are_those_of_the_model() -> None:
    assert CALLS.referred
    assert with_calls(MODEL).calls == CALLS
