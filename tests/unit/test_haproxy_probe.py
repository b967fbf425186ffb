"""The probe of HAProxy: what it says of its servers and of who resolves their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.streams import Answer
from postflight.deployment.haproxy_servers import StatsPage, resolvers, socket_path, stats_page
from postflight.deployment.request_classes import CLASSES
from postflight.probes import haproxy
from postflight.probes.haproxy import HaproxyView, Nameserver, haproxy_views, nameservers_of
from postflight.probes.haproxy import servers_of as states_of
from postflight.probes.http import Said
from tests.unit import recorded
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.routing import main_of

WORLD = recorded.healthy().snapshot
MAIN = main_of(MODEL)
PROXY = MODEL.proxies[0]
KIND = {each.name: each for each in CLASSES}
#: As HAProxy 2.6.12 says it, most columns left out.
STAT = """# pxname,svname,status,type,check_status,check_code,last_chk,addr,
a,FRONTEND,OPEN,0,,,,,
a,one,UP,2,L7OK,200,,10.0.0.1:8008,
a,two,MAINT (resolution),2,,,,,
a,BACKEND,UP,1,,,,,
b,one,DOWN,2,L4CON,,,10.0.0.2:8008,

"""
RESOLVERS = """Resolvers section k8s
 nameserver 10.96.0.10:
  sent:        14
  valid:       9
  update:      1
  nx:          3
  timeout:     1
Resolvers section elsewhere
 nameserver dns:
  sent:        4
  valid:       0
 nameserver other:
  sent:        1
  snd_error:   1
  refused:     2

"""


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


class TestHaproxysWords:
    def test_its_servers(self) -> None:
        found = list(states_of(STAT + RESOLVERS))
        assert [(each.backend, each.name, each.status, each.up) for each in found] == [
            ("a", "one", "UP", True),
            ("a", "two", "MAINT (resolution)", False),
            ("b", "one", "DOWN", False),
        ]
        assert (found[0].address, found[2].check) == ("10.0.0.1:8008", "L4CON")

    def test_its_name_servers(self) -> None:
        assert list(nameservers_of(STAT + RESOLVERS)) == [
            Nameserver("k8s", "10.96.0.10", 14, 10, 3),
            Nameserver("elsewhere", "dns", 4, 0, 0),
            Nameserver("elsewhere", "other", 2, 0, 2),
        ]

    def test_its_configuration(self) -> None:
        text = (
            "global\n stats socket /run/a.sock mode 600\nresolvers k\n parse-resolv-conf\n nameserver n 10.0.0.1:53\n"
            "frontend s\n bind :8404 ssl crt x\n stats enable\n stats uri /s\n stats auth a:b\n"
        )
        assert socket_path(text) == "/run/a.sock"
        assert stats_page(text) == StatsPage(8404, True, "/s", True)
        assert resolvers(text) == {"k": ("10.0.0.1:53", "parse-resolv-conf")}
        assert socket_path("global\n stats socket ipv4@127.0.0.1:9 level user\n") == ""
        assert stats_page("frontend s\n bind :1\n") is None


class TestHaproxysView:
    def look(
        self,
        monkeypatch: pytest.MonkeyPatch,
        answer: Answer | ApiError,
        page: Said | None = None,
        config: str = "global\n stats socket /run/a.sock\nfrontend s\n bind :8404\n stats enable\n",
    ) -> tuple[HaproxyView, ...]:
        def run(*_: object, **__: object) -> Answer:
            if isinstance(answer, ApiError):
                raise answer
            return answer

        monkeypatch.setattr(haproxy, "run_in_pod", run)
        monkeypatch.setattr(haproxy, "ask", lambda *_: page or Said("x", 404))
        model = replace(MODEL, proxies=(replace(PROXY, config=config, backends={}),))
        return haproxy_views(model, WORLD, access(), api_to(closed_port()))

    def test_by_its_socket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(monkeypatch, Answer((STAT + RESOLVERS).encode(), b"", 0))
        assert [(len(each.servers), len(each.nameservers or ())) for each in found] == [(3, 3), (3, 3)]

    @pytest.mark.parametrize("answer", [Answer(b"", b"sh: nc: not found", 127), ApiError(403, "no right: exec")])
    def test_by_its_page_where_the_socket_is_out_of_reach(
        self, monkeypatch: pytest.MonkeyPatch, answer: Answer | ApiError
    ) -> None:
        first, _ = self.look(monkeypatch, answer, Said("x", 200, STAT))
        assert (len(first.servers), first.nameservers, first.problem) == (3, None, "")
        assert "not found" in first.blind or "no right" in first.blind

    @pytest.mark.parametrize(
        ("config", "problem", "mute"),
        [
            ("global\n", "its configuration has no run-time socket, and it has no statistics page", True),
            ("listen s\n bind :1\n stats auth a:b\n", "and its statistics page asks for a password", False),
            ("listen s\n bind :1\n stats enable\n", "its statistics page /haproxy?stats on port 1: 404", False),
        ],
    )
    def test_not_at_all(self, monkeypatch: pytest.MonkeyPatch, config: str, problem: str, mute: bool) -> None:
        first, _ = self.look(monkeypatch, ApiError(0, "x"), config=config)
        assert problem in first.problem
        assert (first.mute, first.servers) == (mute, ())

    def test_twice_where_it_lags_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looks: list[Mapping[str, object]] = []
        monkeypatch.setattr("time.sleep", lambda _: None)

        def view(*_: object) -> HaproxyView:
            looks.append({})
            return HaproxyView(PROXY, PROXY.pods[0])

        monkeypatch.setattr(haproxy, "_view", view)
        haproxy_views(MODEL, WORLD, access(), api_to(closed_port()))
        assert len(looks) == 2 * len(PROXY.pods)
