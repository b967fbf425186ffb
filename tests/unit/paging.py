"""Web pages beside the small deployment with lawful intercept, and what the probes would observe of them where all is
well: one host for main's Element, and one for all that is LI's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.credential import Credential
from postflight.deployment import pages
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind, WebPage
from postflight.deployment.parts import Side
from postflight.probes.element_addresses import CallSeen, ElementSeen, HomeserverSeen
from postflight.probes.http import Said
from postflight.probes.li_front import SYNAPSE_PATHS, WHOAMI, Asked, Bearer, LiFront, Part, Target, TokenTried
from postflight.probes.pages import PageSeen, Shown
from postflight.probes.public_http import Answer
from postflight.secrets import Secret
from tests.unit import li_world
from tests.unit.li_world import NAME
from tests.unit.worlds import NO_SECRETS, Json, config_map, container, pod, service, thing

HOST, LI_HOST, CALL_HOST = "element.lab.test", "matrix-li.lab.test", "call.lab.test"
WAY = "by tunnel to ingress-nginx-controller-1"
AUTH = "nginx.ingress.kubernetes.io/auth-tls-secret"
IMAGE, ADMIN_IMAGE = "vectorim/element-web:v1.12.3", "awesometechnologies/synapse-admin:0.11.1"


def config(base: str = f"https://{NAME}", /, **more: Any) -> Json:
    """Of Element, with nothing left to its own defaults."""
    homeserver = {"m.homeserver": {"base_url": base, "server_name": NAME}}
    silent = {"integrations_ui_url": "", "integrations_rest_url": ""}
    calls = {"element_call": {"url": f"https://{CALL_HOST}", "use_exclusively": True}}
    return {"default_server_config": homeserver, "brand": "Element", **silent, **calls, **more}


def li_config(**more: Any) -> Json:
    off = {"setting_defaults": {"UIFeature.voip": False}, "element_call": {}}
    return config(f"https://{LI_HOST}", **{"brand": "Lawful Intercept", **off, **more})


def page(name: str, image: str = IMAGE, said: Json | None = None, **labels: str) -> tuple[Json, ...]:
    """A pod with its configuration in a ConfigMap, and its Service."""
    held = container(
        image=image,
        ports=[{"name": "http", "containerPort": 8080}],
        volumeMounts=[{"name": "c", "mountPath": "/app/config.json", "subPath": "config.json"}],
    )
    volume = {"name": "c", "configMap": {"name": f"{name}-config"}}
    leads = service(name, 80, target=8080)
    leads["spec"]["selector"] = {"app": name}
    return (
        pod(name, held, labels={"app": name, **labels}, volumes=[volume]),
        leads,
        config_map(f"{name}-config", config__json=json.dumps(said or {})),
    )


def ingress(name: str, host: str, *paths: tuple[str, str], notes: Json | None = None, **labels: str) -> Json:
    """``paths`` are each a path and the Service that it leads to."""
    listed = [
        {"path": path, "pathType": "Prefix", "backend": {"service": {"name": to, "port": {"number": 80}}}}
        for path, to in paths
    ]
    made = thing(INGRESS, name, spec={"rules": [{"host": host, "http": {"paths": listed}}]})
    made["metadata"] |= {"annotations": notes or {}, "labels": labels}
    return made


def synapse_service(name: str, **selector: str) -> Json:
    made = service(name, 80, target=8008)
    made["spec"]["selector"] = selector
    return made


def world(*more: Json, asks: bool = True, said: Json | None = None, li_said: Json | None = None) -> Snapshot:
    """``asks``: LI's Ingresses ask for a certificate; ``said`` and ``li_said`` are the configurations of Element."""
    notes = {AUTH: "matrix/officers"} if asks else {}
    return li_world.world(
        *page("element", said=said or config()),
        *page("element-li", said=li_said or li_config(), **{"matrix.instance": "li"}),
        *page("admin-li", ADMIN_IMAGE, **{"matrix.instance": "li"}),
        synapse_service("li-clients", **{"matrix.instance": "li", "app": "hs"}),
        ingress("front", NAME, ("/_matrix", "clients")),
        ingress("element", HOST, ("/", "element")),
        ingress("calls", CALL_HOST, ("/", "calls")),
        ingress("synapse-li", LI_HOST, ("/_matrix", "li-clients"), notes=notes),
        ingress("element-li", LI_HOST, ("/", "element-li"), notes=notes),
        ingress("admin-li", LI_HOST, ("/admin", "admin-li"), notes=notes),
        *more,
    )


def found(model: Deployment, of: Snapshot) -> tuple[WebPage, ...]:
    return pages.find(model, of, NO_SECRETS)


def by_name(model: Deployment, of: Snapshot) -> dict[str, WebPage]:
    return {each.name: each for each in found(model, of)}


def shown(said: Json, **fields: Any) -> Shown:
    return replace(Shown("in element-1", "Element", config=said), **fields)


def seen(
    model: Deployment, of: Snapshot, said: Json | None = None, li_said: Json | None = None
) -> tuple[PageSeen, ...]:
    """Every page as its pods show it."""
    told = {Side.MAIN: said or config(), Side.LI: li_said or li_config()}
    return tuple(
        PageSeen(each, (shown(told[each.side], way=f"in {each.name}"),) if each.kind is PageKind.ELEMENT else ())
        for each in found(model, of)
    )


def answer(status: int = 200, text: str = "", **body: Any) -> Answer:
    return Answer(status, "*", text=text or json.dumps(body))


VERSIONS = answer(versions=["v1.11"])
KEYS = answer(server_name=NAME, verify_keys={"ed25519:a": {"key": "k"}})
HTML = answer(text="<!doctype html><title>Element Call</title>")
REFUSED = Answer(400, text="<center>No required SSL certificate was sent</center>")
MISSING = answer(401, errcode="M_MISSING_TOKEN", error="Missing access token")
UNKNOWN = answer(401, errcode="M_UNKNOWN_TOKEN", error="Unknown token")
CREDENTIAL = Credential(Secret("-----BEGIN CERTIFICATE-----"), origin="Secret postflight-li")


def element_seen(
    model: Deployment, of: Snapshot, said: Json | None = None, li_said: Json | None = None
) -> tuple[ElementSeen, ...]:
    """What Element finds at the addresses that it is told."""
    made = []
    for each in seen(model, of, said, li_said):
        if each.page.kind is not PageKind.ELEMENT:
            continue
        host = LI_HOST if each.page.side is Side.LI else NAME
        calls = CallSeen(f"https://{CALL_HOST}", CALL_HOST, WAY, HTML, HTML)
        made.append(
            ElementSeen(
                each.page,
                tuple(replace(one, way=f"at {each.page.address}, {WAY}") for one in each.shown),
                (HomeserverSeen(f"https://{host}", host, WAY, VERSIONS, KEYS),),
                (calls,) if each.page.side is Side.MAIN else (),
                named=host,
            )
        )
    return tuple(made)


def targets(of: Snapshot, model: Deployment) -> tuple[Target, ...]:
    own = by_name(model, of)
    ids = {name: f"ingress/matrix/{name}" for name in ("synapse-li", "element-li", "admin-li")}
    process = next(each for each in model.synapse if each.side is Side.LI)

    def to(name: str, path: str, part: Part) -> Target:
        return Target(LI_HOST, path, part, ids[name], name, (own[name].workload,))

    behind = (process.id, process.workload)
    paths = [each for each in SYNAPSE_PATHS if each.startswith("/_matrix/")]
    return (
        to("element-li", "/", Part.ELEMENT),
        to("element-li", "/config.json", Part.ELEMENT),
        to("admin-li", "/admin/", Part.ADMIN),
        *(Target(LI_HOST, each, Part.SYNAPSE, ids["synapse-li"], "li-clients", behind) for each in paths),
    )


def asked(target: Target) -> Asked:
    """Refused to a stranger, answered to who shows the credential."""
    if target.part is not Part.SYNAPSE:
        return Asked(target, WAY, REFUSED, HTML)
    said = {WHOAMI: MISSING, "/_matrix/key/v2/server": KEYS}.get(target.path, VERSIONS)
    return Asked(target, WAY, REFUSED, said)


def li_front(of: Snapshot, model: Deployment, **fields: Any) -> LiFront:
    own = tuple(each for each in found(model, of) if each.side is Side.LI)
    whole = LiFront(
        (LI_HOST,),
        CREDENTIAL,
        tuple(map(asked, targets(of, model))),
        (Bearer(LI_HOST, WAY, UNKNOWN),),
        pages=own,
    )
    return replace(whole, **fields)


def tried(model: Deployment, status: int = 401) -> tuple[TokenTried, ...]:
    text = json.dumps({"errcode": "M_UNKNOWN_TOKEN"} if status != 200 else {"user_id": f"@postflight:{NAME}"})
    return tuple(TokenTried(each, Said(each.name, status, text)) for each in (model.li.processes if model.li else ()))
