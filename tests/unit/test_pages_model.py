"""Which workloads serve pages, for whom, and what a configuration of Element's says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postflight.deployment import addresses, element_config, pages
from postflight.deployment.element_config import Homeserver, allows, homeserver, named, read
from postflight.deployment.pages import PageKind
from postflight.deployment.parts import Side
from postflight.settings import PageNames
from tests.unit import li_world, paging
from tests.unit.paging import HOST, LI_HOST, config
from tests.unit.worlds import NO_SECRETS, Json, container, pod

OF = paging.world()
MODEL = li_world.model(OF)


def test_pages_are_found_by_their_images_with_their_addresses_and_sides() -> None:
    assert {(each.name, each.kind, each.side, each.address, each.port) for each in paging.found(MODEL, OF)} == {
        ("element", PageKind.ELEMENT, Side.MAIN, HOST, 8080),
        ("element-li", PageKind.ELEMENT, Side.LI, LI_HOST, 8080),
        ("admin-li", PageKind.ADMIN, Side.LI, LI_HOST, 8080),
    }
    assert paging.by_name(MODEL, OF)["element"].origin == "ConfigMap element-config/config.json"


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("ghcr.io/element-hq/element-web:v1.12", PageKind.ELEMENT),
        ("registry.test/element-web-li@sha256:0", PageKind.ELEMENT),
        ("etkecc/synapse-admin", PageKind.ADMIN),
    ],
)
def test_images_of_other_homes(image: str, kind: PageKind) -> None:
    of = li_world.world(pod("p", container(image=image)))
    assert [each.kind for each in pages.find(li_world.model(of), of, NO_SECRETS)] == [kind]


def test_of_an_unknown_image_the_mounted_file_tells() -> None:
    of = li_world.world(*paging.page("web", "registry.test/chat:1", config()))
    assert [each.name for each in paging.found(li_world.model(of), of)] == ["web"]


@pytest.mark.parametrize(
    ("image", "said"),
    [("element-hq/element-call:v1", config()), ("registry.test/calls:1", {**config(), "livekit": {}})],
    ids=["by its image", "by its file"],
)
def test_the_call_page_is_none_of_them(image: str, said: Json) -> None:
    of = li_world.world(*paging.page("calls", image, said))
    assert paging.found(li_world.model(of), of) == ()


def test_else_the_settings_tell() -> None:
    of = li_world.world(pod("a", container()), pod("b", container()))
    found = pages.find(li_world.model(of), of, NO_SECRETS, PageNames(("a",), ("b",)))
    assert [(each.name, each.kind, each.port) for each in found] == [
        ("a", PageKind.ELEMENT, 80),
        ("b", PageKind.ADMIN, 80),
    ]


@pytest.mark.parametrize("labels", [{}, {"matrix.instance": "main"}], ids=["told by nothing", "labelled main"])
def test_without_a_label_of_lis_the_host_tells(labels: dict[str, str]) -> None:
    of = li_world.world(
        *paging.page("web", said=config(), **labels),
        paging.synapse_service("li-clients", **{"matrix.instance": "li", "app": "hs"}),
        paging.ingress("one", LI_HOST, ("/", "web")),
    )
    (found,) = paging.found(li_world.model(of), of)
    assert found.side is (Side.MAIN if labels else Side.LI)


@pytest.mark.parametrize(("base", "side"), [(f"https://{LI_HOST}", Side.LI), ("https://matrix.lab.test", Side.MAIN)])
def test_without_any_address_the_homeserver_that_it_names_tells(base: str, side: Side) -> None:
    of = li_world.world(*paging.page("web", said=config(base)))
    assert [each.side for each in paging.found(li_world.model(of), of)] == [side]


class TestWhoseAHostIs:
    def test_by_configuration_and_ingress(self) -> None:
        paths = addresses.led(MODEL, OF)
        assert addresses.hosts(MODEL.li, paths) == {"matrix.lab.test": Side.MAIN, LI_HOST: Side.LI}

    def test_all_hosts_of_the_deployment(self) -> None:
        own = addresses.own_hosts(MODEL, addresses.led(MODEL, OF))
        assert own == {"matrix.lab.test", LI_HOST, HOST, paging.CALL_HOST}

    @pytest.mark.parametrize(
        ("path", "prefix"), [("/", ""), ("/chat/", "/chat"), ("/chat(/|$)(.*)", "/chat"), ("/a/b", "/a/b")]
    )
    def test_what_a_path_begins_with(self, path: str, prefix: str) -> None:
        of = li_world.world(paging.ingress("one", HOST, (path, "web")))
        assert [each.prefix for each in addresses.led(MODEL, of)] == [prefix]

    def test_of_what_is_no_address(self) -> None:
        assert addresses.host_of("https://[half") == ""


class TestReading:
    @pytest.mark.parametrize(
        ("text", "problem"), [("", "no JSON: "), ("{,}", "no JSON: "), ("[]", "JSON, but a list and no object")]
    )
    def test_what_is_no_object(self, text: str, problem: str) -> None:
        assert read(text)[0] == {}
        assert read(text)[1].startswith(problem)

    def test_an_object(self) -> None:
        assert read('{"brand": "x"}') == ({"brand": "x"}, "")

    @pytest.mark.parametrize("said", [{"default_hs_url": "https://a"}, {"default_server_name": "a"}, config()])
    def test_what_is_elements(self, said: Json) -> None:
        assert element_config.is_one(json.dumps(said))
        assert not element_config.is_one('{"restrictBaseUrl": "https://a"}')

    def test_the_homeserver(self) -> None:
        assert homeserver(config("https://a.test/")) == Homeserver("https://a.test", "matrix.lab.test")
        assert homeserver({"default_hs_url": "https://a.test"}) == Homeserver("https://a.test")
        assert homeserver({"default_server_name": "a.test"}) == Homeserver(server_name="a.test")
        both = config("https://a.test") | {"default_server_name": "a.test"}
        assert homeserver(both) == Homeserver("https://a.test", "matrix.lab.test")
        assert homeserver({}).problem

    @pytest.mark.parametrize("key", ["element_call", "elementCall"])
    def test_a_key_in_either_spelling(self, key: str) -> None:
        assert element_config.call_url({key: {"url": "https://c.test"}}) == "https://c.test"

    def test_a_default_is_not_taken_where_the_key_is_empty(self) -> None:
        silent: dict[str, Any] = {
            "integrations_ui_url": None,
            "integrationsRestUrl": "",
            "jitsi": {"preferredDomain": ""},
        }
        assert named(silent) == ()

    def test_the_look(self) -> None:
        assert element_config.look({}, "Element").shown == "Element"
        assert element_config.look({"brand": "LI"}, "Element").shown == "LI"
        assert element_config.look({"setting_defaults": {"theme": "custom-x"}}, "").theme == "custom-x"

    def test_hosts_below_one(self) -> None:
        assert allows({"*.a.test"}, "b.a.test")
        assert not allows({"*.a.test"}, "a.test")
        assert not allows({"*.a.test"}, "ba.test")
