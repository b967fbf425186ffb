"""The probe user: one fixed user of the homeserver, no administrator, signed in for one run.

Its password is derived from the registration secret, so that nothing has to be kept. Source:
synapse/rest/admin/users.py (shared-secret registration), 1.119 and 1.163.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from postflight.cluster.access import Access
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.synapse import port_of
from postflight.limits import Limit
from postflight.secrets import Secret
from postflight.traces import Traces

NAME = "postflight"
DEVICE = "POSTFLIGHT"
ROOM = "postflight.canary"
CLIENT = "/_matrix/client/v3"


class Refused(Exception):
    """The homeserver would not; the message is one line."""


@dataclass(frozen=True, slots=True)
class ProbeUser:
    """``base`` is the URL of main's client listener, as seen from here."""

    user_id: str
    token: Secret
    base: str


def sign_in(access: Access, main: SynapseProcess, traces: Traces) -> ProbeUser:
    """Register the probe user, or log it in; it is logged out when the run ends. Raises :class:`Refused`."""
    config = main.config or {}
    secret, port = config.get("registration_shared_secret"), port_of(config, "client")
    if main.pod is None or port is None:
        raise Refused(f"{main.workload_name} has no client listener that runs")
    if not secret:
        raise Refused(f"{main.workload_name} has no registration_shared_secret, so no probe user can be made")
    way = ExitStack()
    traces.will_make(f"way to {main.pod.name}", way.close)
    host, local = way.enter_context(access.to_pod(main.pod.namespace, main.pod.name, main.pod.ip, port))
    base = f"http://{host}:{local}"
    signed: list[ProbeUser] = []

    def log_out() -> None:
        for each in signed:
            call(each, "POST", f"{CLIENT}/logout", {})

    traces.will_make(f"login of @{NAME}", log_out)
    password = hmac.new(str(secret).encode(), b"postflight probe user", hashlib.sha256).hexdigest()
    answer = _register(base, str(secret), password) or _log_in(base, password)
    user = ProbeUser(str(answer["user_id"]), Secret(str(answer["access_token"])), base)
    signed.append(user)
    return user


def canary_room(user: ProbeUser) -> str:
    """The probe user's one private room, made by the first run. Raises :class:`Refused`.

    One for all runs: a homeserver lets a user make ten rooms and then one a minute
    (synapse/config/ratelimiting.py, rc_room_creation, 1.163), and keeps each for ever.
    """
    remembered = f"{CLIENT}/user/{quote(user.user_id)}/account_data/{ROOM}"
    status, answer = _ask(user.base, "GET", remembered, token=user.token.reveal())
    room = str(answer.get("room_id", "")) if status == 200 else ""
    if room and room in call(user, "GET", f"{CLIENT}/joined_rooms")["joined_rooms"]:
        return room
    room = str(call(user, "POST", f"{CLIENT}/createRoom", {"preset": "private_chat", "name": NAME})["room_id"])
    call(user, "PUT", remembered, {"room_id": room})
    return room


def send(user: ProbeUser, room: str, nonce: str) -> str:
    """One message that says ``nonce``; returns its event id. Raises :class:`Refused`."""
    path = f"{CLIENT}/rooms/{quote(room)}/send/m.room.message/{nonce}"
    return str(call(user, "PUT", path, {"msgtype": "m.notice", "body": nonce})["event_id"])


def call(user: ProbeUser, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """A request of the probe user's. Raises :class:`Refused`."""
    status, answer = _ask(user.base, method, path, body, user.token.reveal())
    if status != 200:
        raise _refused(path, status, answer)
    return answer


def _register(base: str, secret: str, password: str) -> Mapping[str, Any] | None:
    """None when the user is there already."""
    path = "/_synapse/admin/v1/register"
    status, answer = _ask(base, "GET", path)
    if status != 200:
        raise _refused(path, status, answer)
    nonce = str(answer["nonce"])
    said = "\0".join((nonce, NAME, password, "notadmin")).encode()
    mac = hmac.new(secret.encode(), said, hashlib.sha1).hexdigest()
    wanted = {"nonce": nonce, "username": NAME, "password": password, "admin": False, "mac": mac}
    status, answer = _ask(base, "POST", path, wanted)
    if status == 400 and answer.get("errcode") == "M_USER_IN_USE":
        return None
    if status != 200:
        raise _refused(path, status, answer)
    return answer


def _log_in(base: str, password: str) -> Mapping[str, Any]:
    path = f"{CLIENT}/login"
    identifier = {"type": "m.id.user", "user": NAME}
    wanted = {"type": "m.login.password", "identifier": identifier, "password": password, "device_id": DEVICE}
    status, answer = _ask(base, "POST", path, wanted)
    if status != 200:
        raise _refused(path, status, answer)
    return answer


def _refused(path: str, status: int, answer: Mapping[str, Any]) -> Refused:
    return Refused(f"{path} was answered with {status} {answer.get('errcode', '')} {answer.get('error', '')}".rstrip())


def _ask(
    base: str, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = ""
) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON. A rate limit is waited for, as long as it says and no longer than a canary may take."""
    deadline = time.monotonic() + Limit.CANARY / 2
    while True:
        status, answer = _ask_once(base, method, path, body, token)
        wait = float(answer.get("retry_after_ms", 1000)) / 1000
        if status != 429 or time.monotonic() + wait > deadline:
            return status, answer
        time.sleep(wait)


def _ask_once(
    base: str, method: str, path: str, body: Mapping[str, Any] | None, token: str
) -> tuple[int, Mapping[str, Any]]:
    place = urlsplit(base)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=Limit.CANARY / 2)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer = json.loads(response.read() or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"{path} was not answered: {type(error).__name__} {error}".strip()) from error
    finally:
        connection.close()
    return response.status, answer if isinstance(answer, dict) else {}
