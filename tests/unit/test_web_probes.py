"""The probes of web pages and of LI's front door: what is asked with which credential, at real HTTP servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.credential import NONE, Credential
from postflight.deployment import addresses
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Import, Side
from postflight.limits import Limit
from postflight.probes import element_addresses, li_front, pages, web
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.element_addresses import ElementSeen
from postflight.probes.http import Said
from postflight.probes.li_front import STRANGE, WHOAMI, LiFront, Part, TokenTried
from postflight.probes.pages import PageSeen
from postflight.probes.public_places import Place, Places
from postflight.secrets import Secret
from postflight.settings import PublicSettings, Settings
from tests.unit import li_world, paging
from tests.unit.li_world import ARRIVED, NAME
from tests.unit.loopback import api_to, closed_port
from tests.unit.paging import CALL_HOST, HOST, LI_HOST
from tests.unit.tls_world import Heard, Issuer, Reply, serving
from tests.unit.worlds import NO_SECRETS, Json

ISSUER, OFFICERS = Issuer(), Issuer()
API = api_to(closed_port())
ACCESS = Access(API, Way.DIRECT)
OF = paging.world()
MODEL = li_world.model(OF)
SEEN = paging.seen(MODEL, OF)
WAY = "at 127.0.0.1"
BASIC = Credential(user="officer", password=Secret("open sesame"), origin="the settings")
PAGE = b"<!DOCTYPE html><title>\n Element &amp; more </title>"


def page(status: int = 200, body: bytes = PAGE) -> Reply:
    return status, {}, body


def said(status: int = 200, **body: Any) -> Reply:
    return status, {"Access-Control-Allow-Origin": "*"}, json.dumps(body).encode()


def behind(heard: Heard) -> Reply:
    """What stands behind every door: Synapse, and pages."""
    config = paging.li_config() if heard.host == LI_HOST else paging.config()
    answers = {
        "/": page(),
        "/admin/": page(),
        "/room": page(),
        "/config.json": said(**config),
        "/_matrix/client/versions": said(versions=["v1.11"]),
        "/_matrix/key/v2/server": said(server_name=NAME),
        WHOAMI: said(401, errcode="M_UNKNOWN_TOKEN" if heard.authorization.startswith("Bearer") else "M_MISSING_TOKEN"),
    }
    return answers.get(heard.path, page(404, b"<html>"))


def by_certificate(heard: Heard) -> Reply:
    """As nginx does that wants one for LI's host."""
    if heard.host == LI_HOST and not heard.certificate:
        return page(400, b"<center>No required SSL certificate was sent</center>")
    return behind(heard)


def by_password(heard: Heard) -> Reply:
    """As ingress-nginx does: what was shown goes no further."""
    if heard.authorization != BASIC.basic:
        return page(401, b"<html>401 Authorization Required")
    return behind(replace(heard, authorization=""))


@pytest.fixture
def certificate(tmp_path: Path) -> Credential:
    folder = tmp_path / "client"
    folder.mkdir()
    return Credential(Secret(OFFICERS.write(folder, "officer").read_text()), origin="Secret postflight-li")


@contextmanager
def standing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Callable[[Heard], Reply], *hosts: str
) -> Iterator[tuple[Settings, list[Heard]]]:
    """A server for these names, and settings by which its certificate is trusted."""
    authority = tmp_path / "ca.pem"
    authority.write_text(ISSUER.pem)
    with serving(ISSUER.write(tmp_path, *hosts), answer, clients=OFFICERS.pem) as (port, heard):
        at = Places((Place(WAY, "127.0.0.1", port, hosts),), unasked=(f"{HOST}: nowhere",) if HOST not in hosts else ())
        monkeypatch.setattr(web, "places_of", lambda *_: at)
        found: Any = heard
        yield Settings(public=PublicSettings(ca_file=str(authority))), found


def known(settings: Settings, credential: Credential, seen: tuple[PageSeen, ...] = SEEN) -> web.Web:
    return web.public_web(MODEL, OF, NO_SECRETS, settings, API, ACCESS, (), seen, credential)


def test_a_pod_of_elements_is_asked_by_each_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have a file of its own."""
    page = next(each.page for each in SEEN if each.page.name == "element")
    both = replace(
        page,
        pods=tuple(replace(each, ready=True) for each in page.pods),
        paths=(*page.paths, replace(page.paths[0], host="b.example.org")),
    )

    def ask(access: Any, door: Any, method: str, path: str) -> Said:
        own = path == "/" or path == f"/config.{door.host}.json"
        return Said("", 200 if own else 404, json.dumps({"brand": door.host}))

    monkeypatch.setattr(pages, "ask", ask)
    assert [(each.host, each.config) for each in pages._seen(ACCESS, both).shown] == [
        (host, {"brand": host}) for host in (HOST, "b.example.org")
    ]


class TestLisFrontDoor:
    def look(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        answer: Callable[[Heard], Reply],
        credential: Credential,
        names: tuple[str, ...] = (LI_HOST,),
    ) -> tuple[LiFront, list[Heard]]:
        with standing(monkeypatch, tmp_path, answer, *names) as (settings, heard):
            seen = li_front.li_front_door(MODEL, OF, SEEN, known(settings, credential))
        return seen, heard

    def test_is_asked_as_a_stranger_first_and_then_with_a_certificate(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Credential
    ) -> None:
        seen, heard = self.look(monkeypatch, tmp_path, by_certificate, certificate)
        assert (seen.hosts, seen.unasked) == ((LI_HOST,), ())
        assert {each.without.status for each in seen.asked} == {400}
        *asked, across = seen.asked
        assert (across.target.path, across.way) == (asked[0].target.path, f"{WAY}, by TLS for {NAME}")
        assert {(each.target.part, each.target.path): each.shown and each.shown.status for each in asked} == {
            (Part.SYNAPSE, "/_matrix/client/versions"): 200,
            (Part.SYNAPSE, WHOAMI): 401,
            (Part.SYNAPSE, "/_matrix/key/v2/server"): 200,
            (Part.ELEMENT, "/"): 200,
            (Part.ELEMENT, "/config.json"): 200,
            (Part.ADMIN, "/admin/"): 200,
        }
        (bearer,) = seen.bearers
        assert bearer.said.json["errcode"] == "M_UNKNOWN_TOKEN"
        assert heard[-1].authorization == f"Bearer {STRANGE.reveal()}"
        assert [each.certificate for each in heard] == [False] * 7 + [True] * 7

    def test_a_password_stands_in_the_tokens_place(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        seen, _ = self.look(monkeypatch, tmp_path, by_password, BASIC)
        assert {each.without.status for each in seen.asked} == {401}
        assert {each.shown.status for each in seen.asked if each.shown and each.target.path != WHOAMI} == {200}
        assert (seen.bearers[0].said.status, seen.bearers[0].said.json) == (401, {})

    def test_without_a_credential_it_is_asked_as_a_stranger_only(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        seen, heard = self.look(monkeypatch, tmp_path, by_certificate, NONE)
        assert (seen.bearers, {each.shown for each in seen.asked}) == ((), {None})
        assert len(heard) == 7

    def test_over_a_certificate_that_is_not_right_nothing_is_shown(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Credential
    ) -> None:
        with standing(monkeypatch, tmp_path, by_certificate, "else.lab.test") as (settings, heard):
            port = web.places_of([], MODEL, OF, API, ACCESS, settings, ()).found[0].port
            at = Places((Place(WAY, "127.0.0.1", port, (LI_HOST,)),))
            monkeypatch.setattr(web, "places_of", lambda *_: at)
            seen = li_front.li_front_door(MODEL, OF, SEEN, known(settings, certificate))
        assert not any(each.certificate for each in heard)
        assert {"certificate verify failed" in each.shown.problem for each in seen.asked if each.shown} == {True}

    def test_a_host_that_nobody_leads_to_is_said(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        seen, _ = self.look(monkeypatch, tmp_path, by_certificate, NONE, (HOST,))
        assert seen.unasked == (f"{LI_HOST}: no way there is known",)

    def test_a_page_of_another_host_asks_in_advance_without_any_credential(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Credential
    ) -> None:
        own = paging.by_name(MODEL, OF)["element-li"]
        elsewhere = replace(own, paths=(replace(own.paths[0], host="element-li.lab.test"),))
        seen = tuple(replace(each, page=elsewhere) if each.page == own else each for each in SEEN)
        with standing(monkeypatch, tmp_path, by_certificate, LI_HOST) as (settings, heard):
            front = li_front.li_front_door(MODEL, OF, seen, known(settings, certificate, seen))
        ((origin, answer),) = front.bearers[0].beforehand
        assert (origin, answer.status) == ("element-li.lab.test", 400)
        (advance,) = [each for each in heard if each.method == "OPTIONS"]
        assert (advance.certificate, advance.origin) == (False, "https://element-li.lab.test")


class TestWhatElementFinds:
    def look(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, credential: Credential, *hosts: str, **main: Any
    ) -> tuple[dict[str, ElementSeen], list[Heard]]:
        told = paging.seen(MODEL, OF, paging.config(**main))
        with standing(monkeypatch, tmp_path, by_certificate, *hosts) as (settings, heard):
            found = element_addresses.element_addresses(MODEL, told, known(settings, credential, told))
        return {each.page.name: each for each in found}, heard

    def test_at_all_its_addresses(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: Credential
    ) -> None:
        seen, _ = self.look(monkeypatch, tmp_path, certificate, HOST, LI_HOST, NAME, CALL_HOST)
        main, li = seen["element"], seen["element-li"]
        assert [(each.title, each.file, each.problem) for each in main.outside] == [
            ("Element & more", "/config.json", "")
        ]
        assert [(each.host, each.versions.status, each.keys.status) for each in main.homeservers] == [(NAME, 200, 200)]
        assert [(each.host, each.page.status, each.sfu.status) for each in main.calls] == [(CALL_HOST, 200, 404)]
        assert [each.host for each in li.homeservers] == [LI_HOST]
        assert li.outside[0].config["brand"] == "Lawful Intercept"
        assert (main.unasked, li.unasked) == ((), ())

    def test_what_is_lis_is_not_asked_without_its_credential(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        seen, heard = self.look(monkeypatch, tmp_path, NONE, HOST, LI_HOST, NAME, CALL_HOST)
        assert seen["element-li"].homeservers == ()
        assert seen["element-li"].unasked == (f"{LI_HOST}: it is LI's, and what opens its front door is not given",)
        assert LI_HOST not in {each.host for each in heard}

    def test_what_is_outside_is_never_asked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        hosts = (LI_HOST, NAME, "call.element.io")
        seen, heard = self.look(monkeypatch, tmp_path, NONE, *hosts, element_call={"url": "https://call.element.io"})
        assert seen["element"].calls == ()
        assert "call.element.io is outside of the deployment" in seen["element"].unasked
        assert {each.host for each in heard} == {NAME}


class TestAPage:
    def shown(self) -> pages.Shown:
        known = {"/": (200, "<title>x</title>"), "/config.json": (200, '{"brand": "general"}')}
        return pages.show("here", "a.test", lambda path: known.get(path, (404, "")))

    def test_shows_its_title_and_its_configuration(self) -> None:
        found = self.shown()
        assert (found.title, found.file, found.config["brand"]) == ("x", "/config.json", "general")

    @pytest.mark.parametrize(
        ("own", "brand"), [((200, '{"brand": "own"}'), "own"), ((200, "{}"), "general"), ((200, "<html>"), "general")]
    )
    def test_of_its_host_comes_first_if_it_says_anything(self, own: tuple[int, str], brand: str) -> None:
        known = {"/": (200, ""), "/config.a.test.json": own, "/config.json": (200, '{"brand": "general"}')}
        assert pages.show("here", "a.test", lambda path: known[path]).config["brand"] == brand

    def test_under_a_path_of_its_own(self) -> None:
        known = {"/chat/": (200, "<title>x</title>"), "/chat/config.json": (200, '{"brand": "below"}')}
        found = pages.show("here", "a.test", lambda path: known.get(path, (404, "")), "/chat")
        assert (found.title, found.file, found.look.shown) == ("x", "/chat/config.json", "below")

    def test_without_a_configuration(self) -> None:
        known = {"/": (200, "")}
        found = pages.show("here", "", lambda path: known.get(path, (404, "")))
        assert found.fault == "/config.json is not served: 404"

    def test_that_is_not_there(self) -> None:
        assert pages.show("here", "", lambda path: (0, "refused")).problem == "refused"
        assert pages.show("here", "", lambda path: (503, "")).problem == "503 for /"

    def test_in_its_pods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[str, str, str]] = []

        def ask(access: Access, door: Any, method: str, path: str) -> Said:
            asked.append((door.pod.name, door.host, path))
            return Said(door.pod.name, 200, "<title>Element</title>" if path == "/" else "{}")

        monkeypatch.setattr(pages, "ask", ask)
        found = pages.web_pages(MODEL, OF, NO_SECRETS, Settings(), ACCESS)
        assert {each.page.name: len(each.shown) for each in found} == {"element": 1, "element-li": 1, "admin-li": 0}
        assert ("element", HOST, f"/config.{HOST}.json") in asked
        assert not any(name == "admin-li" for name, _, _ in asked)


class TestMainsToken:
    LI = next(each for each in MODEL.synapse if each.side is Side.LI)
    USER = ProbeUser(f"@postflight:{NAME}", Secret("a token of the probe user"), MODEL.synapse[0], Secret("a password"))

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What LI's Synapse was asked, and when."""
        asked: list[Any] = []

        def ask(access: Access, door: Any, method: str, path: str, *, token: Secret) -> Said:
            asked.append((door.pod.name, door.port, path, token.reveal(), time.monotonic()))
            return Said(door.pod.name, 401, "{}")

        monkeypatch.setattr(li_front, "ask", ask)
        monkeypatch.setattr(Limit, "COPIED", 0.3)
        return asked

    def tried(self, arrival: Arrival = ARRIVED, model: Deployment = MODEL, **user: Any) -> TokenTried:
        found = li_front.li_main_token(model, ACCESS, replace(self.USER, since=time.monotonic(), **user), arrival)
        assert not isinstance(found, Hindered)
        (one,) = found
        return one

    def test_is_shown_to_lis_synapse_in_its_pod(self, asked: list[Any]) -> None:
        found = self.tried()
        assert (found.process.id, found.said.status, found.came, found.given) == (self.LI.id, 401, True, False)
        assert [each[:4] for each in asked] == [("second", 8008, WHOAMI, "a token of the probe user")]

    def test_is_shown_once_and_late_where_nobody_knows_whether_li_follows(self, asked: list[Any]) -> None:
        """What Synapse found of a token it keeps, also that there was none."""
        began = time.monotonic()
        assert self.tried(Arrival(problem="no login to LI's database is known")).came is None
        assert [each[4] - began >= 0.3 for each in asked] == [True]

    def test_is_not_waited_for_where_it_does_not_come(self, asked: list[Any]) -> None:
        assert self.tried(Arrival("$event", waited=12.0)).came is False
        assert li_world.model(OF).li
        fed = replace(
            MODEL, li=replace(MODEL.li, imports=(Import("nightly", timedelta(days=1)),)) if MODEL.li else None
        )
        assert self.tried(Arrival(problem="no login"), fed).came is False

    def test_that_was_given_is_told(self, asked: list[Any]) -> None:
        assert self.tried(password=Secret("")).given

    def test_that_could_not_be_had(self) -> None:
        assert li_front.li_main_token(MODEL, ACCESS, Hindered("no", "x"), ARRIVED) == Hindered("no", "x")

    def test_of_an_li_without_a_listener_for_clients(self) -> None:
        assert self.tried(model=li_world.model(OF, listeners=[])).problem == "it has no listener for clients"


class TestWaysIn:
    """An LI whose address no Ingress here has."""

    def asked(self, monkeypatch: pytest.MonkeyPatch, *more: Json, front: bool = False) -> LiFront:
        of = paging.world(*more) if front else li_world.world(*more)
        model = li_world.model(of)
        at = Places(unasked=(f"{LI_HOST}: no Ingress in scope has that name",))
        monkeypatch.setattr(web, "places_of", lambda *_: at)
        seen = web.public_web(model, of, NO_SECRETS, Settings(), API, ACCESS, (), (), NONE)
        return li_front.li_front_door(model, of, (), seen)

    def test_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.asked(monkeypatch)
        assert (seen.hosts, seen.nowhere, seen.unasked) == ((LI_HOST,), (LI_HOST,), ())

    def test_an_ingress_has_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.asked(monkeypatch, front=True)
        assert seen.nowhere == ()
        assert len(seen.unasked) == 1

    def test_an_ingress_takes_any_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leads = paging.synapse_service("li-clients", **{"matrix.instance": "li", "app": "hs"})
        assert self.asked(monkeypatch, leads, paging.ingress("any", "", ("/", "li-clients"))).nowhere == ()

    def test_a_service_stands_outside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leads = paging.synapse_service("li-clients", **{"matrix.instance": "li", "app": "hs"})
        assert self.asked(monkeypatch, leads).nowhere == (LI_HOST,)
        leads["spec"]["type"] = "LoadBalancer"
        assert self.asked(monkeypatch, leads).nowhere == ()


class TestPathsOfLisSynapse:
    def paths(self, path: str) -> list[tuple[str, bool]]:
        of = paging.world(paging.ingress("more", LI_HOST, (path, "li-clients")))
        model = li_world.model(of)
        led = [each for each in addresses.led(model, of) if each.name == "more"]
        return [(each.path, each.guessed) for each in li_front._targets(model, led, (), (LI_HOST,))]

    def test_without_any_of_the_usual_questions_is_asked_itself(self) -> None:
        assert self.paths("/_matrix/media") == [("/_matrix/media", False)]

    def test_with_a_pattern_is_asked_by_what_it_begins_with(self) -> None:
        assert self.paths("/_matrix/media/(v3|r0)/x") == [("/_matrix/media", True)]

    def test_with_them_is_asked_these(self) -> None:
        assert self.paths("/_synapse") == [("/_synapse/admin/v1/server_version", False)]
