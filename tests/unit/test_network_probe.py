"""The probes of the network, and single tries of a connection: real sockets and a real API on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.policies import Stand
from postflight.deployment.vault_parts import ApiKey
from postflight.network_settings import NetworkSettings
from postflight.outpost import connections
from postflight.probes import inside, network, replication_listeners, tries
from postflight.probes.replication_listeners import PATH
from postflight.probes.tries import API_PORT, API_SERVER, NAME_PORT, NAME_SERVICE, Met, met
from postflight.settings import Settings, SettingsError, load
from tests.unit import networking, recorded
from tests.unit.loopback import Refused, Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL

LAB = networking.with_policies(recorded.healthy().snapshot)


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """A name server on loopback, at a port that stands for 53."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        real = socket.socket.connect

        def connect(sock: socket.socket, at: Any) -> None:
            real(sock, server.getsockname() if at == ("127.0.0.1", 53) else at)

        file = tmp_path / "resolv.conf"
        file.write_text("search a.b\nnameserver 127.0.0.1\noptions ndots:5\n")
        opened = open
        monkeypatch.setattr(
            connections,
            "open",
            lambda path, *rest: opened(file if path == "/etc/resolv.conf" else path, *rest),
            raising=False,
        )
        monkeypatch.setattr(connections.socket, "socket", _socket_with(connect))
        yield server


def _socket_with(connect: Any) -> type[socket.socket]:
    class Socket(socket.socket):
        def connect(self, at: Any) -> None:
            connect(self, at)

    return Socket


class TestOneTry:
    def say(self, host: str, port: int) -> dict[str, Any]:
        (said,) = connections.connect_all([{**tries.ask(host, port), "once": 0.2}])
        return dict(said)

    def test_an_address_that_answers_and_one_that_refuses_are_both_reached(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert met(self.say("127.0.0.1", server.getsockname()[1])) is Met.OPEN
        assert self.say("127.0.0.1", closed_port())["seen"] == ["refused"]

    def test_one_that_is_silent_is_shut(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            held = [socket.socket() for _ in range(4)]
            for each in held:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            assert met(self.say("127.0.0.1", port)) is Met.SHUT
            for each in held:
                each.close()

    def test_the_environment_says_where_the_api_server_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        assert self.say(API_SERVER, closed_port())["seen"] == ["refused"]
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
        assert met(self.say(API_SERVER, 443)) is Met.UNCLEAR

    def test_a_name_server_that_answers_anything(self, name_server: socket.socket) -> None:
        def answer() -> None:
            data, at = name_server.recvfrom(512)
            assert b"\x0akubernetes\x07default" in data
            name_server.sendto(data[:2] + b"\x81\x83", at)

        threading.Thread(target=answer, daemon=True).start()
        assert self.say(NAME_SERVICE, NAME_PORT)["seen"] == ["connected"]

    def test_a_name_server_that_is_silent(self, name_server: socket.socket) -> None:
        said = self.say(NAME_SERVICE, NAME_PORT)
        assert (met(said), said["problem"]) == (Met.SHUT, "127.0.0.1 timed out")

    @pytest.mark.parametrize(
        ("problem", "found"),
        [
            ("timed out", Met.SHUT),
            ("[Errno 113] No route to host", Met.SHUT),
            ("[Errno 111] Connection refused", Met.OPEN),
            ("[Errno -2] Name or service not known", Met.UNCLEAR),
            ("no answer within the time limit", Met.UNCLEAR),
        ],
    )
    def test_what_a_system_says(self, problem: str, found: Met) -> None:
        assert met({"seen": [], "problem": problem}) is found


class TestRules:
    def serve(self, asked: Request, forbidden: tuple[str, ...] = ()) -> Reply:
        if any(each in asked.path for each in forbidden):
            raise Refused(403, f'cannot list "{asked.path}"')
        items: dict[str, tuple[str, list[Any]]] = {
            "/api/v1/namespaces": ("Namespace", [{"metadata": {"name": "matrix", "labels": {"team": "a"}}}]),
            "/api/v1/namespaces/kube-system/pods": (
                "Pod",
                [
                    {
                        "metadata": {"name": "dns", "namespace": "kube-system"},
                        "spec": {"containers": []},
                        "status": {"podIP": "10.1.0.2"},
                    }
                ],
            ),
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": (
                "EndpointSlice",
                [
                    {
                        "metadata": {"labels": {"kubernetes.io/service-name": "kubernetes"}},
                        "endpoints": [{"addresses": ["10.0.0.9"]}],
                        "ports": [{"port": 6443}],
                    },
                    {"metadata": {}, "endpoints": [{"addresses": ["10.0.0.8"]}], "ports": [{"port": 1}]},
                ],
            ),
        }
        kind, found = items[asked.path]
        return 200, {"kind": f"{kind}List", "items": found}

    def test_what_is_read(self) -> None:
        with answering(self.serve) as (port, _):
            seen = network.network_rules(LAB, api_to(port))
        assert seen.rules.namespaces == {"matrix": {"team": "a"}}
        assert seen.rules.policies == networking.policies()
        assert [each.name for each in seen.name_servers] == ["dns"]
        assert seen.api_servers == ((Stand("the API server", addresses=("10.0.0.9",)), 6443),)
        assert seen.unlabelled == ""

    def test_without_the_rights_for_it(self) -> None:
        with answering(lambda asked: self.serve(asked, ("namespaces",))) as (port, _):
            seen = network.network_rules(LAB, api_to(port))
        assert (seen.rules.namespaces, seen.api_servers) == ({}, ())
        assert "cannot list" in seen.unlabelled
        # The recorded cluster's own Deployment says how its pods are labelled.
        assert [each.labels for each in seen.name_servers] == [{"k8s-app": "kube-dns"}]


def test_each_class_is_asked_once_for_all_that_it_needs() -> None:
    classes, asks = network._asks(MODEL, LAB, Settings())
    names = {classes[id].name for id in asks}
    assert names == {"key-vault", "haproxy", "redis", "matrix-postgresql"}
    vault = next(asks[id] for id in asks if classes[id].name == "key-vault")
    assert [(each["host"], each["port"]) for each in vault] == [
        ("matrix-postgresql-rw.matrix.svc.cluster.local", 5432),
        (NAME_SERVICE, NAME_PORT),
        (API_SERVER, API_PORT),
    ]
    redis = next(asks[id] for id in asks if classes[id].name == "redis")
    assert {each["port"] for each in redis} == {6379, 26379}


def test_a_synapse_process_tries_the_rest_of_its_ways_beside_its_connections() -> None:
    main = next(each for each in MODEL.synapse if each.is_main)
    (vault,) = MODEL.vaults
    model = replace(MODEL, vaults=(replace(vault, keys=(ApiKey(None, users=(main.id,)),)),))
    found = [(each["host"], each["port"]) for each in inside._tries(model, main, Settings())]
    assert ("key-vault.matrix.svc", 8000) in found
    assert found[-2:] == [(NAME_SERVICE, NAME_PORT), (API_SERVER, API_PORT)]
    named = Settings(network=NetworkSettings(outside="192.0.2.1:443"))
    assert ("192.0.2.1", 443) not in [(e["host"], e["port"]) for e in inside._tries(MODEL, main, named)]
    li = replace(main, side=inside.Side.LI)
    assert ("192.0.2.1", 443) in [(e["host"], e["port"]) for e in inside._tries(MODEL, li, named)]


def test_replication_listeners_are_asked_without_the_secret() -> None:
    def answer(asked: Request) -> Reply:
        assert (asked.method, asked.authorization, asked.query) == ("GET", "", replication_listeners.QUERY)
        return (500, {"errcode": "M_UNKNOWN"}) if asked.path == PATH else (404, {"errcode": "M_UNRECOGNIZED"})

    main = next(each for each in MODEL.synapse if each.is_main)
    assert main.pod
    with answering(answer) as (port, seen):
        listeners = [{"port": port, "type": "http", "resources": [{"names": ["replication"]}]}]
        here = replace(
            main, pod=replace(main.pod, ip="127.0.0.1"), config={**(main.config or {}), "listeners": listeners}
        )
        model = replace(MODEL, synapse=(here,), proxies=())
        (door,) = replication_listeners.replication_listeners(model, LAB, Access(api_to(port), Way.DIRECT))
    assert (door.own, door.refused, door.said.status) == (True, True, 500)
    assert len(seen) == 1


class TestSettings:
    def read(self, tmp_path: Path, text: str) -> NetworkSettings:
        file = tmp_path / "settings.yaml"
        file.write_text(text)
        return load(file).network

    def test_all_of_them(self, tmp_path: Path) -> None:
        found = self.read(tmp_path, "network: {isolated: off, outside: 'example.org:443', plaintext_replication: on}")
        assert (found.isolated, found.beyond, found.plaintext_replication) == (False, ("example.org", 443), True)
        assert NetworkSettings(outside="[2001:db8::1]:443").beyond == ("2001:db8::1", 443)
        assert NetworkSettings().beyond is None

    def test_an_address_without_a_port(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="outside must be"):
            self.read(tmp_path, "network: {outside: example.org}")
