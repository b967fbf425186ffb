"""The probe user: one fixed account of main's, logged in for a run and logged out after it."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.deployment.listeners import port_of
from postflight.deployment.parts import Deployment, SynapseProcess
from postflight.deployment.pods import number
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.http import Door, Said, ask
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, Unseen, probe
from postflight.secrets import Secret
from postflight.traces import Traces

LOCALPART = "postflight"
LOGIN = "/_matrix/client/v3/login"
REGISTER = "/_synapse/admin/v1/register"


@dataclass(frozen=True, slots=True)
class ProbeUser:
    """Logged in for this run; ``home`` is the process that it logged in at. ``token`` is "" where that gave none."""

    user_id: str
    token: Secret
    home: SynapseProcess


@probe(limit=Limit.CANARY_USER, safety=Safety.CANARY, reaches=True)
def canary_user(deployment: Deployment, access: Access, traces: Traces, turn: Turn) -> ProbeUser:
    """Log the probe user in at main; register it by the shared secret where it does not exist."""
    main = main_of(deployment)
    port = port_of(main, "client") if main else None
    if main is None or main.pod is None or port is None:
        raise Unseen("no main process with a client listener is known")
    shared = str((main.config or {}).get("registration_shared_secret") or "")
    if not shared:
        raise Unseen(f"{main.workload_name} has no registration_shared_secret: the probe user cannot be had")
    door = Door(main.pod, port)
    password = hmac.new(shared.encode(), b"postflight probe user", hashlib.sha256).hexdigest()
    said = _log_in(access, door, password)
    if said.status == 403:
        said = _register(access, door, shared, password)
    token = Secret(str(said.json.get("access_token") or ""))

    def log_out() -> None:
        if (left := ask(access, door, "POST", "/_matrix/client/v3/logout", token=token, body={})).status != 200:
            raise OSError(f"main says {left.short}")

    if token:
        traces.will_make("the probe user's session", log_out)
    return ProbeUser(str(said.json.get("user_id") or ""), token, main)


def _log_in(access: Access, door: Door, password: str) -> Said:
    identifier = {"type": "m.id.user", "user": LOCALPART}
    body = {"type": "m.login.password", "identifier": identifier, "password": password}
    said = ask(access, door, "POST", LOGIN, body=body)
    if said.status == 429:
        time.sleep(min(number(said.json.get("retry_after_ms"), 0) / 1000, Limit.CANARY_USER / 2))
        said = ask(access, door, "POST", LOGIN, body=body)
    return said


def _register(access: Access, door: Door, shared: str, password: str) -> Said:
    nonce = str(ask(access, door, "GET", REGISTER).json.get("nonce") or "")
    words = "\0".join((nonce, LOCALPART, password, "notadmin"))
    mac = hmac.new(shared.encode(), words.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": LOCALPART, "password": password, "admin": False, "mac": mac}
    return ask(access, door, "POST", REGISTER, body=body)
