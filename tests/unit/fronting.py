"""The front door as generated parts, and what the probes would observe of it where all is well."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from postflight.deployment import front
from postflight.deployment.model import Deployment
from postflight.deployment.pods import read_pod
from postflight.probes.public import CLIENT, FederationDoor, PublicFront, Seen, WellKnown
from postflight.probes.public_address import PATHS, ClientAddresses
from postflight.probes.public_http import Answer
from postflight.probes.public_places import Place, Places
from postflight.probes.public_tls import Certificate, Trust
from tests.unit import calling
from tests.unit.worlds import container, pod

HOST = "matrix.lab.test"
CONTROLLER = read_pod(pod("ingress-nginx-controller-1", container("controller"), ip="10.244.0.9"))
PLACE = Place("by tunnel to ingress-nginx-controller-1", CONTROLLER.ip, 8443, (HOST,), CONTROLLER)
NOW = datetime(2027, 1, 1, tzinfo=UTC)
GOOD = Certificate(
    HOST,
    names=(HOST,),
    issuer="CN=authority",
    begins=NOW - timedelta(days=30),
    ends=NOW + timedelta(days=60),
    seen=NOW,
)
#: By tunnel a client stands on the controller pod's own loopback.
CLIENT_ADDRESS = "127.0.0.1"


def said(status: int = 200, *, cors: str = "*", location: str = "", server: str = "", **body: Any) -> Answer:
    return Answer(status, cors, location, server, json.dumps(body))


MISSING_TOKEN = said(401, errcode="M_MISSING_TOKEN")
KEYS = said(server_name=HOST, verify_keys={"ed25519:a": {"key": "k"}})
FEDERATION = FederationDoor(HOST, 443, GOOD, KEYS, ("ed25519:a",), said(server={"version": "1.163"}))
WELL_KNOWN = said(**{"m.homeserver": {"base_url": f"https://{HOST}/"}})
SEEN = Seen(
    PLACE,
    {HOST: GOOD},
    client=WellKnown(((f"https://{HOST}{CLIENT}", WELL_KNOWN),)),
    server=said(cors="", **{"m.server": f"{HOST}:443"}),
    versions=said(versions=["v1.11"]),
    upload=MISSING_TOKEN,
    federation=FEDERATION,
)


@cache
def trust() -> Trust:
    return Trust.of(())


def door(model: Deployment, *seen: Seen, **places: Any) -> tuple[PublicFront, ...]:
    main = next(each for each in model.synapse if each.is_main)
    fronts = (CONTROLLER, *(pod for proxy in model.proxies for pod in proxy.pods))
    found = Places((PLACE,), fronts, **places)
    return (PublicFront(main, front.names_of(main), found, trust(), seen or (SEEN,), federates=True),)


def addresses(model: Deployment, *ips: str, **fields: Any) -> tuple[ClientAddresses, ...]:
    user = calling.chain(model)[0].user
    asked = tuple((PLACE.way, path, said()) for path in PATHS)
    return (replace(ClientAddresses(user, asked, ips or (CLIENT_ADDRESS,)), **fields),)
