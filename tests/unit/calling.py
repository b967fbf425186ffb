"""Calls as generated parts, and what the probes would observe of them where all is well."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from postflight.deployment.call_parts import Calls, JwtService, KeyPair, Sfu
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.pods import read_pod
from postflight.probes.calls import CallsDiscovery, UserInfo
from postflight.probes.calls_chain import CallsChain, Entry, Issue
from postflight.probes.calls_media import CallsMedia, Heard, Tried
from postflight.probes.canary_user import ProbeUser
from postflight.probes.http import Said
from postflight.probes.livekit import sign
from postflight.probes.livekit_signals import IceCandidate
from postflight.probes.sfu_candidates import Advertised
from postflight.secrets import Secret
from tests.unit.recorded import Json
from tests.unit.worlds import container, pod

URL = "https://matrix.lab.test/livekit/jwt"
USER = "@postflight:matrix.lab.test"
SECRET = Secret("a secret of LiveKit, thirty-two long")
PAIR = KeyPair("APIkey", SECRET, "Secret livekit-secrets/API_SECRET")


#: The lab's node, where LiveKit sends clients, and its pod.
NODE, POD = "10.10.0.2", "10.244.0.77"
UDP, TCP = IceCandidate("udp", NODE, 30882, "host", 2), IceCandidate("tcp", NODE, 30881, "host", 1)
BESIDE = (IceCandidate("udp", POD, 30882, "host"), IceCandidate("tcp", POD, 30881, "host"))


def ready(name: str, ip: str = "") -> Pod:
    return read_pod(pod(name, container(), ip=ip))


SFU = Sfu(
    "sfu/matrix/livekit",
    "matrix",
    "livekit",
    "deployment/matrix/livekit",
    (ready("livekit-1", POD),),
    7880,
    (PAIR,),
    None,
    node_ip=NODE,
    node_ip_from="--node-ip",
    udp=(30882, 30882),
    tcp=30881,
)
SERVICE = JwtService(
    "jwt-service/matrix/lk-jwt-service",
    "matrix",
    "lk-jwt-service",
    "deployment/matrix/lk-jwt-service",
    (ready("lk-jwt-service-1"),),
    8080,
    "wss://matrix.lab.test/livekit/sfu",
    PAIR,
)
CALLS = Calls((SFU,), (SERVICE,), {"extra_well_known_client_content of synapse-main": (URL,)})


def with_calls(model: Deployment, **fields: Any) -> Deployment:
    return replace(model, calls=replace(CALLS, **fields))


def said(status: int, text: str = "{}", name: str = "pod", problem: str = "") -> Said:
    return Said(name, status, text, problem)


def errcode(status: int, code: str, words: str = "") -> Said:
    return said(status, f'{{"errcode": "{code}", "error": "{words}"}}')


def foci(*urls: str) -> str:
    listed = ", ".join(f'{{"type": "livekit", "livekit_service_url": "{url}"}}' for url in urls)
    return f"[{listed}]"


def userinfo(model: Deployment, answer: Said, worker: Said | None = None) -> tuple[UserInfo, ...]:
    """Through the proxy, then main and a worker by themselves."""
    proxy = model.proxies[0]
    main = next(each for each in model.synapse if each.is_main)
    through = tuple(UserInfo(each.name, answer, proxy, "synapse_main") for each in proxy.pods)
    return (*through, UserInfo(main.workload_name, answer), UserInfo("synapse-generic-worker", worker or said(500)))


def discovery(model: Deployment, **fields: Any) -> tuple[CallsDiscovery, ...]:
    main = next(each for each in model.synapse if each.is_main)
    seen = CallsDiscovery(
        main,
        said(200, f'{{"org.matrix.msc4143.rtc_foci": {foci(URL)}}}'),
        said(200, '{"unstable_features": {"org.matrix.msc4140": true}}'),
        userinfo(model, errcode(401, "M_UNKNOWN_TOKEN")),
    )
    return (replace(seen, **fields),)


def token(secret: Secret = SECRET, **claims: Any) -> str:
    good: Json = {
        "iss": PAIR.key,
        "sub": "somebody",
        "exp": int(time.time()) + 3600,
        "video": {"room": "one", "roomJoin": True},
    }
    return sign(good | claims, secret).reveal()


def issue(**fields: Any) -> Issue:
    given = said(200, f'{{"url": "{SERVICE.sfu_url}", "jwt": "{token()}"}}')
    found = Issue(SERVICE, f"{URL}, through haproxy-1", URL, "jwt_service", given, errcode(401, "M_UNAUTHORIZED"))
    return replace(found, **{"other": fields.get("said", given)} | fields)


def chain(model: Deployment, **fields: Any) -> tuple[CallsChain, ...]:
    main = next(each for each in model.synapse if each.is_main)
    walked = CallsChain(
        ProbeUser(USER, Secret("token"), main),
        main,
        said(200, f'{{"rtc_transports": {foci(URL)}}}'),
        said(200, '{"access_token": "openid"}'),
        userinfo(model, said(200, f'{{"sub": "{USER}"}}')),
        (issue(),),
        (Entry(SFU, said(200, "success"), said(401)),),
    )
    return (replace(walked, **fields),)


def heard(told: tuple[str, ...] = ("", ""), beside: tuple[str, ...] = ("", ""), **fields: Any) -> Heard:
    """One participant; why the addresses that it was told, UDP and TCP, do not answer, and those beside them."""
    tried = tuple(map(Tried, (UDP, TCP), told))
    return replace(Heard(tried, tuple(map(Tried, BESIDE, beside)), UDP, whole=True), **fields)


def media(*participants: Heard, **fields: Any) -> tuple[CallsMedia, ...]:
    """Two who hear each other."""
    met = CallsMedia(SFU, SERVICE.sfu_url, "through haproxy-1", participants or (heard(), heard()), room_left=False)
    return (replace(met, **fields),)


def advertised(*candidates: IceCandidate, **fields: Any) -> tuple[Advertised, ...]:
    return (replace(Advertised(SFU, SFU.pods[0], candidates or (UDP, TCP)), **fields),)
