"""The check of Element's configuration, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.kinds import INGRESS
from postflight.probes.element_addresses import ElementSeen
from postflight.probes.pages import PageSeen
from postflight.probes.public_http import Answer
from postflight.settings import ElementSettings, Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import li_world, paging
from tests.unit.li_world import NAME
from tests.unit.observations import ask, only
from tests.unit.paging import CALL_HOST, HOST, LI_HOST, WAY
from tests.unit.worlds import Json

CHECK = "clients.element_config"
OF = paging.world()
MODEL = li_world.model(OF)
PAGE = "pod/matrix/element"
DOWN = Answer(502, text="<html>bad gateway")
ALLOWED = Settings(element=ElementSettings(("maps.example.org", "*.example.com")))


def judged(
    said: Json | None = None, settings: Settings | None = None, li_said: Json | None = None, **own: Any
) -> Judge:
    """What main's Element is told, and what it finds (``own``)."""
    found = tuple(
        replace(each, **own) if each.page.name == "element" else each
        for each in paging.element_seen(MODEL, OF, said, li_said)
    )
    return asked(paging.seen(MODEL, OF, said, li_said), found, settings)


def asked(pages: tuple[PageSeen, ...], found: tuple[ElementSeen, ...], settings: Settings | None = None) -> Judge:
    given: Json = {"web_pages": pages, "element_addresses": found, "settings": settings or Settings()}
    return ask(CHECK, deployment=MODEL, snapshot=OF, **given)


def homeserver(**fields: Any) -> Any:
    own = next(each for each in paging.element_seen(MODEL, OF) if each.page.name == "element")
    return (replace(own.homeservers[0], **fields),)


def call(**fields: Any) -> Any:
    own = next(each for each in paging.element_seen(MODEL, OF) if each.page.name == "element")
    return (replace(own.calls[0], **fields),)


def test_an_element_as_it_should_be_says_what_it_finds() -> None:
    pen = judged()
    assert pen.failures == []
    assert {PAGE, "pod/matrix/element-li", f"https://{NAME} {WAY}", f"https://{CALL_HOST} {WAY}"} <= set(pen.seen)


def test_where_there_is_none_it_is_absent() -> None:
    assert asked((), ()).absence == "nothing here serves Element Web, and no route leads to one"


class TestHosts:
    @pytest.mark.parametrize(
        ("more", "host"),
        [
            ({"integrations_ui_url": "https://scalar.vector.im/"}, "scalar.vector.im"),
            ({"jitsi": {"preferred_domain": "meet.element.io"}}, "meet.element.io"),
            ({"bug_report_endpoint_url": "https://element.io/bugreports/submit"}, "element.io"),
            ({"room_directory": {"servers": [NAME, "matrix.org"]}}, "matrix.org"),
            ({"roomDirectory": {"servers": ["matrix.org"]}}, "matrix.org"),
            ({"enable_presence_by_hs_url": {"https://matrix.org": False}}, "matrix.org"),
            ({"map_style_url": "https://api.maptiler.com/maps/streets/style.json?key=x"}, "api.maptiler.com"),
        ],
    )
    def test_that_are_others(self, more: Json, host: str) -> None:
        found = only(judged(paging.config(**more)))
        assert found.headline == f"Element at {HOST} is sent to hosts outside of the deployment: {host}"
        assert found.cause == "ConfigMap element-config/config.json of element"

    def test_that_may_be_its_own(self) -> None:
        said = paging.config(map_style_url=f"https://maps.{NAME}/style.json")
        found = only(judged(said), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith(f"map_style_url: maps.{NAME}")

    def test_that_nothing_tells_of_as_no_ingress_is_seen(self) -> None:
        bare = replace(OF, objects={key: value for key, value in OF.objects.items() if key[0] != INGRESS})
        said = paging.config(
            map_style_url="https://maps.example.net/style.json", bug_report_endpoint_url="https://element.io"
        )
        given: Json = {
            "web_pages": paging.seen(MODEL, OF, said),
            "element_addresses": paging.element_seen(MODEL, OF, said),
        }
        pen = ask(CHECK, deployment=MODEL, snapshot=bare, settings=Settings(), **given)
        lines = [each.headline for each in pen.failures if each.status is Status.FAILED]
        assert [each for each in lines if "outside of the deployment" in each] == [
            f"Element at {HOST} is sent to hosts outside of the deployment: element.io"
        ]
        assert any("maps.example.net" in each.headline for each in pen.failures if each.nature is Nature.UNPROVEN)

    def test_of_the_identity_server(self) -> None:
        said = paging.config()
        said["default_server_config"]["m.identity_server"] = {"base_url": "https://vector.im"}
        found = only(judged(said))
        assert "default_server_config.m.identity_server.base_url: vector.im" in found.observed

    def test_that_element_takes_by_itself(self) -> None:
        said = {key: value for key, value in paging.config().items() if not key.startswith("integrations")}
        found = only(judged({**said, "element_call": {}}, calls=()))
        assert found.headline.endswith("scalar.vector.im, meet.element.io")
        assert "integrations_ui_url (not set): scalar.vector.im" in found.observed
        assert "does not set integrations_ui_url and integrations_rest_url and jitsi.preferred_domain" in found.cause

    def test_that_a_feature_that_is_off_does_not_ask(self) -> None:
        off = {"UIFeature.widgets": False, "UIFeature.voip": False}
        said = {key: value for key, value in paging.config().items() if not key.startswith("integrations")}
        assert judged({**said, "element_call": {}, "setting_defaults": off}, calls=()).failures == []

    def test_that_the_settings_allow(self) -> None:
        more = {
            "map_style_url": "https://maps.example.org/style.json",
            "bug_report_endpoint_url": "https://b.example.com/",
        }
        assert judged(paging.config(**more), ALLOWED).failures == []

    def test_that_a_click_leads_to(self) -> None:
        said = paging.config(
            help_url="https://help.example.net", terms_and_conditions_links=[{"url": "https://x.example.net"}]
        )
        found = only(judged(said), Status.WARNED)
        assert "help_url: help.example.net, terms_and_conditions_links.url: x.example.net" in found.headline

    @pytest.mark.parametrize("said", [f"https://{HOST}/a.png", "/themes/a.png", "img/a.png", f"http://{NAME}:8448/x"])
    def test_that_are_its_own(self, said: str) -> None:
        assert judged(paging.config(branding={"welcome_background_url": said})).failures == []


class TestTheFile:
    @pytest.mark.parametrize("fault", ["/config.json is no JSON: line 3", "/config.json is not served: 404"])
    def test_is_none(self, fault: str) -> None:
        broken = [
            replace(each, shown=tuple(replace(one, fault=fault, config={}) for one in each.shown))
            if each.page.name == "element"
            else each
            for each in paging.seen(MODEL, OF)
        ]
        found = tuple(each for each in paging.element_seen(MODEL, OF) if each.page.name != "element")
        line = only(asked(tuple(broken), found)).headline
        assert line == f"Element at {HOST} has no configuration: {fault}"

    def test_is_another_for_another_host(self) -> None:
        """As upstream has it for several domains: config.HOST.json."""
        pages = paging.seen(MODEL, OF)
        own = next(each for each in pages if each.page.name == "element")
        theirs = paging.shown(
            paging.config(brand="Theirs", map_style_url="https://a.example.net/"), host="b.example.org"
        )
        twice = replace(own, shown=(*own.shown, theirs))
        pen = asked(tuple(twice if each is own else each for each in pages), paging.element_seen(MODEL, OF))
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]
        assert pen.failures[0].headline.endswith("outside of the deployment: a.example.net")
        assert "it has a file of its own there" in pen.failures[1].headline

    def test_is_another_in_another_pod(self) -> None:
        pages = paging.seen(MODEL, OF)
        own = next(each for each in pages if each.page.name == "element")
        twice = replace(own, shown=(*own.shown, paging.shown(paging.config(brand="Old"), way="in element-2")))
        found = only(asked(tuple(twice if each is own else each for each in pages), paging.element_seen(MODEL, OF)))
        assert found.headline.startswith(f"Element at {HOST} has more than one configuration")
        assert found.observed == "brand differ"

    def test_is_shown_by_nobody(self) -> None:
        pages = tuple(
            replace(each, shown=(), problem="element is not ready") if each.page.name == "element" else each
            for each in paging.seen(MODEL, OF)
        )
        found = tuple(each for each in paging.element_seen(MODEL, OF) if each.page.name != "element")
        silent = only(asked(pages, found))
        assert (silent.nature, silent.needs) == (Nature.UNAVAILABLE, (PAGE, PAGE))

    def test_is_behind_a_certificate_that_nobody_trusts(self) -> None:
        outside = (paging.shown({}, way=f"at {HOST}, {WAY}", problem="certificate verify failed: expired"),)
        assert only(judged(outside=outside), Status.WARNED).nature is Nature.UNPROVEN

    def test_is_not_to_be_had_by_its_name(self) -> None:
        outside = (paging.shown({}, way=f"at {HOST}, {WAY}", problem="502 for /"),)
        assert only(judged(outside=outside)).headline == f"Element was not shown at {HOST}, {WAY}: 502 for /"


class TestTheHomeserver:
    def test_is_lis_for_mains(self) -> None:
        found = only(judged(paging.config(f"https://{LI_HOST}"), named=LI_HOST))
        assert found.headline == f"main's Element at {HOST} is sent to LI's homeserver, {LI_HOST}"
        assert found.cause == f"default_server_config in ConfigMap element-config/config.json names {LI_HOST}"

    def test_is_mains_for_lis(self) -> None:
        li_said = paging.li_config(default_server_config=paging.config()["default_server_config"])
        found = tuple(
            replace(each, named=NAME) if each.page.name == "element-li" else each
            for each in paging.element_seen(MODEL, OF, None, li_said)
        )
        line = only(asked(paging.seen(MODEL, OF, None, li_said), found)).headline
        assert line == f"LI's Element at {LI_HOST} is sent to main's homeserver, {NAME}"

    @pytest.mark.parametrize(
        "said",
        [
            {"default_server_config": {}},
            {"default_server_config": {"m.homeserver": {}}},
            {"default_hs_url": f"https://{NAME}"},
            {"default_server_config": {"m.homeserver": {"base_url": "matrix"}}},
        ],
        ids=["not said", "half said", "said twice", "no address"],
    )
    def test_is_not_told(self, said: Json) -> None:
        found = only(judged(paging.config(**said), named="", homeservers=()))
        assert found.headline.startswith(f"Element at {HOST} does not know its homeserver: ")

    @pytest.mark.parametrize(
        "said", [Answer(404, text="<html>"), paging.answer(200, text="<!doctype html>"), paging.answer()]
    )
    def test_is_none(self, said: Answer) -> None:
        found = only(judged(homeservers=homeserver(versions=said)))
        assert found.headline == f"Element at {HOST} is sent to https://{NAME}, where no homeserver answers"

    def test_is_another(self) -> None:
        found = only(judged(homeservers=homeserver(keys=paging.answer(server_name="other.lab.test"))))
        assert found.headline.endswith(f"which is other.lab.test and not {NAME}")

    def test_tells_no_keys_to_clients(self) -> None:
        assert judged(homeservers=homeserver(keys=Answer(404, text="{}"))).failures == []

    def test_is_called_by_another_name(self) -> None:
        said = paging.config()
        said["default_server_config"]["m.homeserver"]["server_name"] = "chat.lab.test"
        assert "calls its homeserver chat.lab.test" in only(judged(said), Status.WARNED).headline

    def test_is_down(self) -> None:
        found = only(judged(homeservers=homeserver(versions=DOWN)))
        assert found.nature is Nature.UNAVAILABLE
        assert "pod/matrix/hs" in found.needs

    def test_is_late(self) -> None:
        assert only(judged(homeservers=homeserver(versions=Answer(problem="no answer in time"))), Status.UNKNOWN)

    def test_was_not_asked(self) -> None:
        found = only(judged(unasked=(f"{NAME}: no ingress controller is known",), homeservers=()), Status.WARNED)
        assert found.nature is Nature.UNPROVEN


class TestTheCallPage:
    SFU = Answer(401, text="no permissions to access the room")

    def test_is_the_sfu(self) -> None:
        url = f"https://{NAME}/livekit/sfu"
        found = only(
            judged(
                paging.config(element_call={"url": url, "use_exclusively": True}),
                calls=call(url=url, host=NAME, page=Answer(404, text="<html>"), sfu=self.SFU),
            )
        )
        assert found.headline == f"Element at {HOST} has the SFU for its call page: element_call.url is {url}"
        assert "names LiveKit" in found.cause

    def test_is_nothing(self) -> None:
        nothing = Answer(404, text="<html>")
        found = only(judged(calls=call(page=nothing, sfu=nothing)))
        assert found.headline == f"Element at {HOST} has no call page: nothing is at https://{CALL_HOST} but 404"

    def test_is_down(self) -> None:
        assert only(judged(calls=call(page=DOWN, sfu=DOWN))).nature is Nature.UNAVAILABLE

    def test_is_no_address(self) -> None:
        said = paging.config(element_call={"url": "call", "use_exclusively": True})
        assert "element_call.url is no address" in only(judged(said, calls=())).headline

    def test_is_outside_and_allowed(self) -> None:
        said = paging.config(element_call={"url": "https://call.example.com", "use_exclusively": True})
        beyond = ("call.example.com is outside of the deployment",)
        found = only(judged(said, ALLOWED, calls=(), unasked=beyond), Status.WARNED)
        assert "was not asked" in found.headline
