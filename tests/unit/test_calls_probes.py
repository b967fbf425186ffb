"""The probes of calls, in a deployment whose doors answer as they are told: where they ask, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.calls import FOCI
from postflight.deployment.model import Deployment
from postflight.probes import calls, calls_chain, leads, livekit
from postflight.probes.calls import CallsDiscovery
from postflight.probes.calls_chain import CallsChain
from postflight.probes.canary_user import ProbeUser
from postflight.probes.http import Door, Said
from postflight.probes.jwt_ways import CURRENT, LEGACY
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.calling import SERVICE, SFU, URL, USER, errcode, foci, ready, said, token, with_calls
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL, ask
from tests.unit.test_ingresses import ingress, to
from tests.unit.worlds import KINDS, Json, endpoints, service

OPENID = "an-openid-token-of-main"
LIVEKIT = token()


@dataclass
class Doors:
    """What each door says; ``asked`` are the requests, as ``POD:PORT HOST METHOD PATH``, and ``knows`` the beginnings
    of the paths that a pod knows, where it is not everything."""

    foci: tuple[str, ...] = (URL,)
    asked: list[str] = field(default_factory=list)
    knows: dict[str, str] = field(default_factory=dict)
    moved: bool = False

    def ask(self, access: Access, door: Door, method: str, path: str, **given: Any) -> Said:
        self.asked.append(f"{door.pod.name}:{door.port} {door.host} {method} {path}")
        if not path.startswith(self.knows.get(door.pod.name, "")):
            return errcode(404, "M_UNRECOGNIZED")
        if path == calls.WELL_KNOWN:
            if self.moved:
                return said(301)
            return said(200, f'{{"org.matrix.msc4143.rtc_foci": {foci(*self.foci)}}}')
        if path == calls.VERSIONS:
            return said(200, '{"unstable_features": {"org.matrix.msc4140": true}}')
        if path == calls_chain.TRANSPORTS:
            return said(200, f'{{"rtc_transports": {foci(*self.foci)}}}')
        if path.endswith("/openid/request_token"):
            return said(200, f'{{"access_token": "{OPENID}"}}')
        if path == calls.USERINFO:
            return said(200, f'{{"sub": "{USER}"}}')
        if path.endswith((CURRENT, LEGACY)):
            if given["body"]["openid_token"]["access_token"] != OPENID:
                return errcode(401, "M_UNAUTHORIZED")
            return said(200, f'{{"jwt": "{LIVEKIT}"}}')
        if path == "/rtc/validate":
            return said(200 if given["query"]["access_token"] == LIVEKIT else 401)
        return said(200)

    def to(self, path: str) -> list[str]:
        """Where a path was asked."""
        return list(dict.fromkeys(each.rpartition(" ")[0] for each in self.asked if each.endswith(f" {path}")))


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    world = Doors()
    for module in (calls, calls_chain, leads, livekit):
        monkeypatch.setattr(module, "ask", world.ask)
    return world


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


def main_of(model: Deployment) -> Any:
    return next(each for each in model.synapse if each.is_main)


def walk(
    model: Deployment, redactor: Redactor | None = None, world: Snapshot | None = None
) -> tuple[CallsDiscovery, CallsChain]:
    """Both probes, one after the other."""
    world = world or recorded.healthy().snapshot
    (seen,) = calls.calls_discovery(model, world, access())
    user = ProbeUser(USER, Secret("a-token-of-the-probe-user"), main_of(model))
    given = (seen,), user, Traces("run"), redactor or Redactor()
    (walked,) = calls_chain.calls_chain(model, world, access(), *given)
    return seen, walked


def test_every_token_is_known_to_the_redactor(doors: Doors) -> None:
    redactor = Redactor()
    walk(with_calls(MODEL), redactor)
    assert redactor.redact(f"GET /?access_token={OPENID} {LIVEKIT}") == "GET /?access_token=<a> <b>"


def test_the_lab_is_asked_through_its_proxy(doors: Doors) -> None:
    seen, walked = walk(with_calls(MODEL))
    door = f"{MODEL.proxies[0].pods[0].name}:8008 matrix.lab.test"
    assert doors.to(calls.WELL_KNOWN) == [f"{door} GET"]
    assert doors.to(f"/livekit/jwt{CURRENT}") == [f"{door} POST"]
    assert doors.to(CURRENT) == []
    assert (seen.foci, len(walked.issues), len(walked.entries)) == ((URL,), 1, 1)


PROXY = MODEL.proxies[0].pods[0].name
JWT = SERVICE.pods[0].name
ROOT = "https://matrix.lab.test"


def cluster(*more: Json) -> Snapshot:
    """The recorded lab's, with a Service before the JWT service, a web server, and what is given."""
    lab = recorded.healthy().snapshot
    own = service("lk-jwt-service", 80, target=8080), endpoints("lk-jwt-service", JWT, port=8080)
    web = service("www", 80), endpoints("www", "www-1", port=80)
    objects = dict(lab.objects)
    for each in (*own, *web, *more):
        key = KINDS[each["kind"]], "matrix"
        objects[key] = (*objects.get(key, ()), each)
    return replace(lab, objects=objects)


def model(**config: Any) -> Deployment:
    """The lab's, with calls, and with these keys in main's configuration."""
    synapse = tuple(
        replace(each, config={**(each.config or {}), **config}, server_name=config.get("server_name", each.server_name))
        for each in MODEL.synapse
    )
    pods = {**MODEL.pods, **{each.id: each for each in (*SERVICE.pods, *SFU.pods, ready("www-1"))}}
    return with_calls(replace(MODEL, synapse=synapse, pods=pods))


def judged(found: Deployment, world: Snapshot) -> list[tuple[Status, Nature, str]]:
    """What the check says of it all."""
    seen, walked = walk(found, None, world)
    pen = ask("calls.matrixrtc", deployment=found, calls_discovery=(seen,), calls_chain=(walked,))
    return [(each.status, each.nature, each.headline) for each in pen.failures]


HAPROXY = to("haproxy-client", port={"number": 8008})
DIRECT = to("lk-jwt-service", "/livekit/jwt")
TAKEN_OFF = {"nginx.ingress.kubernetes.io/rewrite-target": "/$2"}
REWRITTEN = ingress("matrix.lab.test", to("lk-jwt-service", "/livekit/jwt(/|$)(.*)"), name="jwt", annotations=TAKEN_OFF)


class TestTheAnnouncedAddress:
    def test_of_the_lab_is_plainly_passed(self, doors: Doors) -> None:
        assert judged(model(), cluster()) == []

    def test_is_led_by_an_ingress_to_the_service_itself(self, doors: Doors) -> None:
        """HAProxy has the same host and knows no JWT service."""
        doors.knows = {PROXY: "/_matrix", JWT: CURRENT}
        assert judged(model(), cluster(REWRITTEN, ingress("matrix.lab.test", HAPROXY))) == [
            # The well-known file is asked at HAProxy too, which knows none of it here.
            (
                Status.WARNED,
                Nature.WRONG,
                f"older clients are not told of calls: {ROOT}{calls.WELL_KNOWN} has no {FOCI}",
            )
        ]
        assert doors.to(CURRENT) == [f"{JWT}:8080 matrix.lab.test POST"]

    def test_is_led_by_an_ingress_to_the_proxy(self, doors: Doors) -> None:
        assert judged(model(), cluster(ingress("matrix.lab.test", HAPROXY))) == []
        assert doors.to(f"/livekit/jwt{CURRENT}") == [f"{PROXY}:8008 matrix.lab.test POST"]

    def test_is_led_by_an_ingress_that_may_leave_the_path_as_it_is(self, doors: Doors) -> None:
        ((status, nature, line),) = judged(model(), cluster(ingress("matrix.lab.test", DIRECT, HAPROXY)))
        assert (status, nature) == (Status.WARNED, Nature.UNPROVEN)
        assert "it was not seen that /livekit/jwt is taken off the path" in line

    def test_is_led_by_an_ingress_to_something_else(self, doors: Doors) -> None:
        doors.knows = {"www-1": "/index"}
        front = ingress("matrix.lab.test", to("www", "/livekit"), HAPROXY)
        assert judged(model(), cluster(front)) == [
            (Status.FAILED, Nature.WRONG, f"no JWT service answers at {URL}: Ingress front leads to Service www")
        ]

    def test_is_led_to_a_service_that_there_is_not(self, doors: Doors) -> None:
        front = ingress("matrix.lab.test", to("jwt", "/livekit/jwt"), HAPROXY)
        assert judged(model(), cluster(front)) == [
            (
                Status.FAILED,
                Nature.UNAVAILABLE,
                "lk-jwt-service does not answer: Ingress front leads to Service jwt: no Service jwt in namespace matrix",
            )
        ]

    def test_that_is_misspelt_was_not_tried(self, doors: Doors) -> None:
        doors.foci = ("https://matirx.lab.test/livekit/jwt",)
        line = f"the announced address {doors.foci[0]} was not tried: nothing in the cluster says where it leads"
        assert judged(model(), cluster()) == [(Status.WARNED, Nature.UNPROVEN, line)]
        assert doors.to(CURRENT) == [f"{JWT}:8080  POST"]

    def test_of_two_one_is_misspelt(self, doors: Doors) -> None:
        doors.foci = (URL, "https://matirx.lab.test/livekit/jwt")
        ((status, nature, line),) = judged(model(), cluster())
        assert (status, nature) == (Status.WARNED, Nature.UNPROVEN)
        assert doors.foci[1] in line

    def test_whose_two_requests_lead_to_different_places(self, doors: Doors) -> None:
        """Older charts know /sfu/get only, and LiveKit has the rest."""
        doors.foci, doors.knows = ("https://rtc.lab.test",), {SFU.pods[0].name: "/rtc", JWT: LEGACY}
        sfu = service("sfu", 7880), endpoints("sfu", SFU.pods[0].name, port=7880)
        front = ingress("rtc.lab.test", to("lk-jwt-service", LEGACY, "Exact"), to("sfu", port={"number": 7880}))
        assert judged(model(), cluster(*sfu, front)) == []
        assert doors.to(LEGACY) == [f"{JWT}:8080 rtc.lab.test POST"]

    def test_where_ingresses_may_not_be_listed(self, doors: Doors) -> None:
        blind = replace(cluster(), unseen={(INGRESS, "matrix"): "no right: list ingresses"})
        ((status, nature, line),) = judged(model(), blind)
        assert (status, nature) == (Status.WARNED, Nature.UNPROVEN)
        assert line.endswith("it was not seen whether an Ingress leads it elsewhere: no right: list ingresses")

    def test_where_the_proxy_is_not_ready(self, doors: Doors) -> None:
        found = model()
        proxy = found.proxies[0]
        down = replace(proxy, pods=tuple(replace(each, ready=False) for each in proxy.pods))
        lines = [line for _, _, line in judged(replace(found, proxies=(down,)), cluster())]
        assert f"the announced address {URL} was not tried: {proxy.name} has no pod that is ready" in lines


class TestTheWellKnownFile:
    """Clients look for it at the server name, whatever public_baseurl says."""

    def test_of_another_host_is_outside(self, doors: Doors) -> None:
        found = model(server_name="lab.test")
        line = (
            f"what older clients are told of calls was not seen: they look at https://lab.test{calls.WELL_KNOWN},"
            " and nothing in the cluster says where it leads"
        )
        assert judged(found, cluster()) == [(Status.WARNED, Nature.UNPROVEN, line)]
        assert doors.to(calls.WELL_KNOWN) == [f"{PROXY}:8008 lab.test GET"]

    def test_of_another_host_is_not_missed_where_main_has_none(self, doors: Doors) -> None:
        doors.foci = ()
        found = judged(model(server_name="lab.test"), cluster())
        assert {status for status, _, _ in found} == {Status.WARNED}
        assert found[1][2].startswith("newer clients are not told of calls")

    def test_of_another_host_is_followed_by_its_ingress(self, doors: Doors) -> None:
        front = ingress("lab.test", to("www"))
        assert judged(model(server_name="lab.test"), cluster(front)) == []
        assert doors.to(calls.WELL_KNOWN) == ["www-1:80 lab.test GET"]

    def test_is_missing_behind_its_ingress(self, doors: Doors) -> None:
        doors.foci = ()
        ((status, _, line),) = judged(model(server_name="lab.test"), cluster(ingress("lab.test", to("www"))))
        assert status is Status.FAILED
        assert f"Service www behind https://lab.test{calls.WELL_KNOWN} announces no {FOCI}" in line

    def test_is_led_to_a_service_that_there_is_not(self, doors: Doors) -> None:
        ((_, nature, line),) = judged(model(server_name="lab.test"), cluster(ingress("lab.test", to("none"))))
        assert nature is Nature.UNAVAILABLE
        assert line.endswith("Ingress front leads to Service none: no Service none in namespace matrix")

    def test_is_led_on_by_a_redirect(self, doors: Doors) -> None:
        doors.moved = True
        ((_, nature, line),) = judged(model(), cluster())
        assert nature is Nature.UNPROVEN
        assert line.endswith("and are sent on from there (301)")

    def test_has_no_path_in_the_ingress_of_its_host(self, doors: Doors) -> None:
        front = ingress("matrix.lab.test", to("haproxy-client", "/_matrix", port={"number": 8008}), REST)
        ((_, nature, line),) = judged(model(), cluster(front))
        assert nature is Nature.UNPROVEN
        assert line.endswith("and no Ingress for that host has a path for it")


REST = to("haproxy-client", "/livekit", port={"number": 8008})
