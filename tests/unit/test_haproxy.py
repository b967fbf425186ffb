"""HAProxy's configuration: where a request for a path goes, and when that cannot be told."""

from __future__ import annotations

import pytest

from postflight.deployment.haproxy import Bind, Frontend, frontends, servers
from tests.unit import recorded


def frontend(*lines: str) -> Frontend:
    text = "\n".join(("defaults", "  mode http", "frontend one", *(f"  {line}" for line in lines)))
    return frontends(text)[0]


def led(condition: str, path: str = "/a/b") -> str | None:
    """Where a path goes by one rule with this condition; "rest" where the rule does not hold."""
    return frontend(
        "acl a path_beg /a", "acl z path_beg /z", f"use_backend hit {condition}", "default_backend rest"
    ).backend(path)


@pytest.mark.parametrize(
    ("condition", "goes"),
    [
        ("if a", "hit"),
        ("if z", "rest"),
        ("if !z", "hit"),
        ("if a z", "rest"),
        ("if a !z", "hit"),
        ("if z or a", "hit"),
        ("if z || a", "hit"),
        ("unless a", "rest"),
        ("unless z", "hit"),
        ("if { path_beg /a }", "hit"),
        ("if !{ path_beg /a }", "rest"),
        ("if { path /a/b }", "hit"),
        ("if { path /a }", "rest"),
        ("if { path_end b }", "hit"),
        ("if { path_sub /b }", "hit"),
        ("if { path_reg ^/(a|z)/ }", "hit"),
        ("if { path -m beg /a }", "hit"),
        ("if { path_beg -i /A }", "hit"),
        ("if { path_beg /x /a }", "hit"),
        ("", "hit"),
    ],
)
def test_a_rule_leads_a_path(condition: str, goes: str) -> None:
    assert led(condition) == goes


@pytest.mark.parametrize(
    "condition",
    [
        "if { hdr(host) -i matrix.test }",
        "if unheard_of",
        "if a { src 10.0.0.0/8 }",
        "if { path_beg -f /etc/list }",
        "if { path_reg ( }",
    ],
)
def test_what_is_not_understood_is_not_told(condition: str) -> None:
    assert led(condition) is None


def test_what_is_not_understood_matters_only_where_it_decides() -> None:
    assert led("if z { src 10.0.0.0/8 }") == "rest"
    assert led("if a or { src 10.0.0.0/8 }") == "hit"


def test_a_backend_that_is_computed_is_not_told() -> None:
    assert frontend("use_backend %[path,lower] if TRUE", "default_backend rest").backend("/") is None


def test_tests_of_one_name_are_joined_by_or_and_comments_are_left_out() -> None:
    found = frontend(
        "acl a path_beg /x # not this one", "acl a path_beg /y", "# use_backend no", "use_backend hit if a"
    )
    assert (found.backend("/y"), found.backend("/x"), found.backend("/not")) == ("hit", "hit", "")


def test_binds_with_and_without_tls() -> None:
    found = frontend("bind :8008", "bind *:443 ssl crt /etc/a.pem", "bind 10.0.0.1:80,10.0.0.2:81", "bind /run/socket")
    assert found.binds == (Bind(8008, False), Bind(443, True), Bind(80, False), Bind(81, False))


def test_only_what_speaks_http_is_a_frontend() -> None:
    text = (
        "defaults\n mode http\nfrontend a\n bind :1\nlisten b\n mode tcp\n bind :2\nlisten c\n bind :3\n server s h:4\n"
    )
    assert [each.name for each in frontends(text)] == ["a", "c"]
    assert frontends(text)[1].backend("/") == "c"
    assert [each.name for each in frontends("frontend a\n bind :1\n")] == []


def test_servers_by_name_and_by_srv_record() -> None:
    text = "backend a\n server s h.test:80 check\nbackend b\n server-template s 4 _http._tcp.h.test\n option x\n"
    assert servers(text) == {"a": (("h.test", 80),), "b": (("h.test", 0),)}


class TestTheReference:
    proxy = recorded.model().proxies[0]

    def test_its_frontends_are_told_apart(self) -> None:
        assert self.proxy.federation
        assert self.proxy.client
        assert (self.proxy.federation.name, self.proxy.client.name) == ("matrix_federation", "matrix_client")

    @pytest.mark.parametrize(
        ("path", "backend"),
        [
            ("/_matrix/federation/v1/openid/userinfo", "synapse_main"),
            ("/_matrix/federation/v1/version", "generic_workers"),
            ("/_matrix/federation/v1/send/1", "inbound_federation"),
        ],
    )
    def test_it_leads_other_servers(self, path: str, backend: str) -> None:
        assert self.proxy.federation
        assert self.proxy.federation.backend(path) == backend

    def test_its_backends_lead_to_pods(self) -> None:
        (main,) = self.proxy.backends["synapse_main"]
        assert [pod.name for pod, _ in main.pods] == ["synapse-main-0"]
        assert len(self.proxy.backends["generic_workers"][0].pods) == 2
