"""The probes of calls, in a deployment whose doors answer as they are told: where they ask, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.probes import calls, calls_chain, livekit
from postflight.probes.calls import CallsDiscovery
from postflight.probes.calls_chain import CallsChain
from postflight.probes.canary_user import ProbeUser
from postflight.probes.http import Door, Said
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces
from tests.unit.calling import URL, USER, errcode, foci, said, token, with_calls
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL

OPENID = "an-openid-token-of-main"
LIVEKIT = token()


@dataclass
class Doors:
    """What each door says; ``asked`` are the requests, as ``POD:PORT HOST METHOD PATH``."""

    foci: tuple[str, ...] = (URL,)
    asked: list[str] = field(default_factory=list)
    nowhere: tuple[str, ...] = ()

    def ask(self, access: Access, door: Door, method: str, path: str, **given: Any) -> Said:
        self.asked.append(f"{door.pod.name}:{door.port} {door.host} {method} {path}")
        if door.pod.name in self.nowhere:
            return said(404)
        if path == calls.WELL_KNOWN:
            return said(200, f'{{"org.matrix.msc4143.rtc_foci": {foci(*self.foci)}}}')
        if path == calls_chain.TRANSPORTS:
            return said(200, f'{{"rtc_transports": {foci(*self.foci)}}}')
        if path.endswith("/openid/request_token"):
            return said(200, f'{{"access_token": "{OPENID}"}}')
        if path == calls.USERINFO:
            return said(200, f'{{"sub": "{USER}"}}')
        if path.endswith(calls_chain.CURRENT):
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
    for module in (calls, calls_chain, livekit):
        monkeypatch.setattr(module, "ask", world.ask)
    return world


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


def main_of(model: Deployment) -> Any:
    return next(each for each in model.synapse if each.is_main)


def walk(model: Deployment, redactor: Redactor | None = None) -> tuple[CallsDiscovery, CallsChain]:
    """Both probes, one after the other."""
    (seen,) = calls.calls_discovery(model, access())
    user = ProbeUser(USER, Secret("a-token-of-the-probe-user"), main_of(model))
    given = (seen,), user, Traces("run"), redactor or Redactor()
    (walked,) = calls_chain.calls_chain(model, access(), *given)
    return seen, walked


def test_every_token_is_known_to_the_redactor(doors: Doors) -> None:
    redactor = Redactor()
    walk(with_calls(MODEL), redactor)
    assert redactor.redact(f"GET /?access_token={OPENID} {LIVEKIT}") == "GET /?access_token=<a> <b>"


def test_the_lab_is_asked_through_its_proxy(doors: Doors) -> None:
    seen, walked = walk(with_calls(MODEL))
    door = f"{MODEL.proxies[0].pods[0].name}:8008 matrix.lab.test"
    assert doors.to(calls.WELL_KNOWN) == [f"{door} GET"]
    assert doors.to(f"/livekit/jwt{calls_chain.CURRENT}") == [f"{door} POST"]
    assert doors.to(calls_chain.CURRENT) == []
    assert (seen.foci, len(walked.issues), len(walked.entries)) == ((URL,), 1, 1)
