"""The probes of the front door: what is seen of certificates, redirects, bodies and addresses, at a real HTTPS server."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import INGRESS
from postflight.deployment.front import Authority
from postflight.probes import public, public_address, public_places
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.identity import PATH as KEYS
from postflight.probes.identity import VERSION
from postflight.probes.public import CLIENT, SERVER, UPLOAD, UPLOADED, VERSIONS, PublicFront, Seen
from postflight.probes.public_address import PATHS, ClientAddresses
from postflight.probes.public_http import CORS
from postflight.probes.public_places import Place, Places
from postflight.probes.public_tls import EXPIRED, Trust, look
from postflight.secrets import Secret
from postflight.settings import PublicSettings, Settings
from postflight.traces import Traces
from tests.unit import recorded
from tests.unit.fronting import HOST
from tests.unit.loopback import api_to, closed_port, talking
from tests.unit.observations import MODEL
from tests.unit.test_ingresses import ingress, to
from tests.unit.tls_world import Heard, Issuer, Reply, serving

ISSUER = Issuer()
MAIN = next(each for each in MODEL.synapse if each.is_main)
ACCESS = Access(api_to(closed_port()), Way.DIRECT)
OPEN = {"Access-Control-Allow-Origin": "*"}


def trust(*issuers: Issuer) -> Trust:
    return Trust.of([Authority("the settings", each.pem) for each in issuers])


def place(port: int, *hosts: str) -> Place:
    return Place("at 127.0.0.1", "127.0.0.1", port, hosts or (HOST,))


def reply(status: int = 200, headers: Mapping[str, str] = OPEN, **body: Any) -> Reply:
    return status, headers, json.dumps(body).encode()


def synapse(heard: Heard) -> Reply:
    """What Synapse says behind proxies that do nothing wrong."""
    answers = {
        CLIENT: reply(**{"m.homeserver": {"base_url": f"https://{HOST}"}}),
        SERVER: reply(headers={}, **{"m.server": f"{HOST}:443"}),
        VERSIONS: reply(versions=["v1.11"]),
        UPLOAD: reply(401, errcode="M_MISSING_TOKEN"),
        KEYS: reply(headers={}, server_name=HOST, verify_keys={"ed25519:a": {"key": "nonsense"}}),
        VERSION: reply(headers={}, server={"version": "1"}),
    }
    return answers.get(heard.path, reply(404, errcode="M_UNRECOGNIZED"))


class TestACertificate:
    def shown(self, tmp_path: Path, *names: str, known: tuple[Issuer, ...] = (ISSUER,), **dates: Any) -> Any:
        with serving(ISSUER.write(tmp_path, *names, **dates), synapse) as (port, _):
            return look(ACCESS, place(port), HOST, trust(*known))

    def test_of_an_authority_that_the_settings_name(self, tmp_path: Path) -> None:
        seen = self.shown(tmp_path, HOST)
        assert (seen.good, seen.authority, seen.names) == (True, "the settings", (HOST,))
        assert seen.ends - seen.begins == timedelta(days=90)

    def test_of_an_authority_that_nobody_knows(self, tmp_path: Path) -> None:
        seen = self.shown(tmp_path, HOST, known=())
        assert "unable to get local issuer" in seen.refusal or "unable to verify" in seen.refusal
        assert not seen.good
        assert seen.issuer == "CN=an authority of the tests"

    def test_of_another_authority_than_the_one_that_is_known(self, tmp_path: Path) -> None:
        assert self.shown(tmp_path, HOST, known=(Issuer(),)).refusal

    def test_for_another_name_is_trusted_and_wrong(self, tmp_path: Path) -> None:
        seen = self.shown(tmp_path, "else.lab.test")
        assert (seen.refusal, seen.good) == ("", False)

    def test_that_has_expired(self, tmp_path: Path) -> None:
        seen = self.shown(tmp_path, HOST, begins=datetime.now(UTC) - timedelta(days=9), lasts=timedelta(days=2))
        assert seen.code == EXPIRED
        assert seen.ends < seen.seen

    def test_without_any_name(self, tmp_path: Path) -> None:
        assert self.shown(tmp_path).names == ()

    def test_where_nothing_listens(self) -> None:
        assert "refused" in look(ACCESS, place(closed_port()), HOST, trust()).problem

    def test_where_no_tls_is_spoken(self) -> None:
        with talking(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
            assert look(ACCESS, place(port), HOST, trust()).problem

    def test_an_authority_that_is_none(self) -> None:
        with pytest.raises(ssl.SSLError, match="certificate"):
            Trust.of([Authority("the settings", "nonsense")])


class TestTheFrontDoor:
    def seen(self, tmp_path: Path, answer: Any = synapse, takes: int = 2**30, hosts: tuple[str, ...] = (HOST,)) -> Any:
        names = replace(public.front.names_of(MAIN), server=hosts[-1])
        with serving(ISSUER.write(tmp_path, *hosts), answer, takes) as (port, heard):
            at = place(port, *hosts)
            found = public._ask(ACCESS, at, names, trust(ISSUER), recorded.healthy().snapshot, True)
        return found, heard

    def test_as_it_should_be(self, tmp_path: Path) -> None:
        found, heard = self.seen(tmp_path)
        assert found.client.last.readable
        assert found.versions.json == {"versions": ["v1.11"]}
        assert (found.upload.status, found.upload.json["errcode"]) == (401, "M_MISSING_TOKEN")
        assert [each.body for each in heard if each.path == UPLOAD] == [UPLOADED]
        assert {each.host for each in heard} == {HOST}
        assert {each.authorization for each in heard} == {""}

    def test_a_body_that_is_refused_before_it_was_sent(self, tmp_path: Path) -> None:
        found, _ = self.seen(tmp_path, takes=2**20)
        assert (found.upload.status, found.upload.server) == (413, "nginx")
        assert found.versions.status == 200

    def test_redirects_are_followed_to_names_of_the_deployment_only(self, tmp_path: Path) -> None:
        def moved(heard: Heard) -> Reply:
            if heard.path == CLIENT and heard.host == "lab.test":
                return reply(301, {"Location": f"https://{HOST}{CLIENT}", **OPEN})
            if heard.path == CLIENT:
                return reply(302, {"Location": "https://www.example.org/", **OPEN})
            return synapse(heard)

        found, heard = self.seen(tmp_path, moved, hosts=(HOST, "lab.test"))
        assert [(url, each.status, each.cors) for url, each in found.client.hops] == [
            (f"https://lab.test{CLIENT}", 301, "*"),
            (f"https://{HOST}{CLIENT}", 302, "*"),
        ]
        assert found.client.beyond == "https://www.example.org/"
        assert not [each for each in heard if "example.org" in each.host]

    def test_a_circle_of_redirects_ends(self, tmp_path: Path) -> None:
        found, _ = self.seen(tmp_path, lambda heard: reply(302, {"Location": CLIENT}))
        assert len(found.client.hops) == public.MOST_HOPS

    def test_a_header_is_missed(self, tmp_path: Path) -> None:
        found, _ = self.seen(tmp_path, lambda heard: (200, {}, b"{}"))
        assert not found.client.last.readable
        assert CORS not in found.client.last.text

    def test_what_other_servers_meet(self, tmp_path: Path) -> None:
        """The server here is at another port than the one that it names: an address is asked at that."""
        found, _ = self.seen(tmp_path)
        assert (found.federation.host, found.federation.port) == (HOST, 443)

    @pytest.mark.parametrize(
        ("told", "where"),
        [
            (reply(**{"m.server": "fed.lab.test"}), ("fed.lab.test", 8448)),
            (reply(**{"m.server": "fed.lab.test:444"}), ("fed.lab.test", 444)),
            (reply(404), (HOST, 8448)),
            (reply(**{"m.server": ["no"]}), (HOST, 8448)),
        ],
    )
    def test_where_other_servers_are_led(self, tmp_path: Path, told: Reply, where: tuple[str, int]) -> None:
        found, _ = self.seen(tmp_path, lambda heard: told if heard.path == SERVER else synapse(heard))
        assert (found.federation.host, found.federation.port) == where

    def test_nobody_is_led_anywhere_by_a_file_that_is_not_answered(self, tmp_path: Path) -> None:
        found, _ = self.seen(tmp_path, lambda heard: reply(503) if heard.path == SERVER else synapse(heard))
        assert found.server.silent
        assert found.federation is None

    def test_a_port_in_the_name_leads_there(self) -> None:
        names = replace(public.front.names_of(MAIN), explicit=8449)
        assert public.delegated(names, None) == (HOST, 8449)


class TestThePlaces:
    CONTROLLERS = ("ingress-nginx", "ingress-nginx-controller")

    def look(
        self, monkeypatch: pytest.MonkeyPatch, *pods: Any, settings: Settings | None = None, ask: Any = ()
    ) -> Places:
        lab = recorded.healthy()
        claims = ingress(HOST, to("haproxy-client", port={"number": 8008}), name="clients")
        claims["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
        space, name = self.CONTROLLERS
        controller = {
            "kind": "Deployment",
            "metadata": {"namespace": space, "name": name},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/component": "controller"}},
                "template": {"spec": {"containers": [{"image": "ingress-nginx/controller:v1"}]}},
            },
        }
        snapshot = replace(
            lab.snapshot,
            objects={**lab.snapshot.objects, (INGRESS, "matrix"): (claims,)},
            controllers=(*lab.snapshot.controllers, controller),
        )
        api = api_to(closed_port())
        monkeypatch.setattr(api, "list_all", lambda kind, namespace, **query: [*pods] if kind.name == "Pod" else [])
        monkeypatch.setattr(public_places, "_resolve", lambda hosts: [ask if each == HOST else () for each in hosts])
        monkeypatch.setattr(public_places.front, "is_reserved", lambda host: not ask)
        settings = settings or Settings()
        seen = public_places.ingress_controllers(snapshot, settings, api)
        return public_places.places(MODEL, snapshot, api, Access(api, Way.TUNNEL), settings, seen, MAIN)

    def pod(self, *, ready: bool = True) -> Any:
        return {
            "metadata": {"name": "ingress-1", "namespace": "ingress-nginx"},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "ports": [{"name": "http", "containerPort": 80}, {"name": "https", "containerPort": 8443}],
                    }
                ]
            },
            "status": {"podIP": "10.1.1.1", "conditions": [{"type": "Ready", "status": str(ready)}]},
        }

    def test_the_controllers_pods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(monkeypatch, self.pod())
        assert [(each.way, each.port, each.hosts) for each in found.found] == [
            ("by tunnel to ingress-1", 8443, (HOST,))
        ]
        assert {"10.1.1.1", *(pod.ip for pod in MODEL.proxies[0].pods)} == {pod.ip for pod in found.fronts}
        assert (found.shut, found.unasked) == ((), ())

    def test_a_controller_that_is_not_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(monkeypatch, self.pod(ready=False))
        assert [each.name for each in found.shut] == ["ingress-nginx-controller"]
        assert found.unasked == (f"{HOST}: ingress-nginx-controller has no pod that is ready",)

    def test_an_address_that_the_cluster_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(monkeypatch, self.pod(), ask=("203.0.113.7",))
        assert [(each.way, each.port) for each in found.found][1:] == [
            (f"at 203.0.113.7, as {HOST} resolves here", 443)
        ]

    def test_an_address_that_it_does_not_know_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(monkeypatch, self.pod(), ask=("198.51.100.9",))
        assert len(found.found) == 1
        assert found.unasked[0].startswith(f"198.51.100.9, to which {HOST} leads: nothing in the cluster knows")

    def test_unless_the_settings_let_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(public=PublicSettings(ask=True))
        found = self.look(monkeypatch, self.pod(), ask=("198.51.100.9",), settings=settings)
        assert [each.address for each in found.found] == ["10.1.1.1", "198.51.100.9"]

    def test_no_right_to_see_the_controllers_pods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from postflight.cluster.api import ApiError

        def refused(*_: Any) -> Any:
            raise ApiError(403, "no right: pods is forbidden")

        monkeypatch.setattr(public_places, "_is_of", refused)
        found = self.look(monkeypatch, self.pod())
        assert found.unasked[0] == "ingress-nginx-controller in namespace ingress-nginx: no right: pods is forbidden"

    def test_names_that_are_none_of_the_internets_are_not_looked_up(self) -> None:
        assert public_places.front.is_reserved(HOST)
        assert not public_places.front.is_reserved("matrix.example.org")


class TestTheClientsAddress:
    def look(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        rows: list[Any],
        user: Any = None,
        names: tuple[str, ...] = (HOST,),
    ) -> tuple[ClientAddresses, list[Heard]]:
        class Homeserver:
            def request(self, method: str, path: str, **given: Any) -> Any:
                assert path == f"{public_address.WHOIS}/%40postflight%3Amatrix.lab.test"
                return {"devices": {"": {"sessions": [{"connections": rows}]}}}

        @contextmanager
        def matrix(*_: Any) -> Any:
            yield Homeserver()

        monkeypatch.setattr(public_address, "matrix", matrix)
        monkeypatch.setattr(public_address.Limit, "NOTED", 0.3)
        api = api_to(closed_port())
        user = user or ProbeUser(f"@postflight:{HOST}", Secret("a token of the probe user"), MAIN)
        with serving(ISSUER.write(tmp_path, *names), lambda heard: reply()) as (port, heard):
            shown = look(ACCESS, place(port), HOST, trust(ISSUER))
            seen = Seen(place(port), {HOST: shown}, versions=public.Answer(200))
            at = Places((seen.place,))
            door = PublicFront(MAIN, public.front.names_of(MAIN), at, trust(ISSUER), (seen,), federates=True)
            (told,) = public_address.client_addresses((door,), user, api, ACCESS, Traces("run1"))
        return told, list(heard)

    def test_is_asked_with_a_mark_of_this_run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        rows = [
            {"ip": "10.0.0.7", "user_agent": "postflight/run1", "last_seen": 5},
            {"ip": "10.0.0.8", "user_agent": "postflight/run0", "last_seen": 5},
            {"ip": "127.0.0.1", "user_agent": "python", "last_seen": time.time() * 1000},
        ]
        told, heard = self.look(monkeypatch, tmp_path, rows)
        assert told.addresses == ("10.0.0.7", "127.0.0.1")
        assert [each.path for each in heard] == list(PATHS)
        assert {each.agent for each in heard} == {"postflight/run1"}
        assert {each.authorization for each in heard} == {"Bearer a token of the probe user"}

    def test_no_token_goes_over_a_certificate_that_is_not_right(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        told, heard = self.look(monkeypatch, tmp_path, [], names=("else.lab.test",))
        assert (told.asked, heard) == ((), [])

    def test_needs_the_probe_user(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        told, heard = self.look(monkeypatch, tmp_path, [], user=Hindered("no", MAIN.id))
        assert told.user == Hindered("no", MAIN.id)
        assert heard == []
