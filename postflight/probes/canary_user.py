"""The one fixed user by whom a canary run acts, and its one room.

Not an admin. Its password is derived from the registration secret, so that it is the same in every run and
stored nowhere. The room is kept from run to run: Synapse limits the rooms that a user makes (1.163: 0.016 a
second, ten at once), and one room that stays is less than one that every run leaves.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.matrix import FORBIDDEN, Matrix, MatrixError, matrix
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces

LOCALPART = "postflight"
DEVICE = "POSTFLIGHT"
ALIAS = "postflight-probe-room"
REMEMBERED = "im.postflight.room"
ROOM_VERSION = "10"
REGISTER = "/_synapse/admin/v1/register"
CLIENT = "/_matrix/client/v3"


@dataclass(frozen=True, slots=True)
class Hindered:
    """Why a canary could not do its work, and the id of the part that this is owed to."""

    problem: str
    where: str


@dataclass(frozen=True, slots=True)
class ProbeUser:
    """Logged in for this run. ``home`` is the process that it logged in at, ``since`` when that began (monotonic)."""

    user_id: str
    token: Secret
    home: SynapseProcess
    since: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class ProbeRoom:
    """An unlisted room that anyone may join who knows its id; the probe user is its only lasting member. ``others`` are
    rooms of its own that events of ours fall to other event persisters in."""

    room_id: str
    user: ProbeUser
    others: tuple[str, ...] = ()


@probe(limit=Limit.CANARY_USER, safety=Safety.CANARY, reaches=True)
def canary_user(
    deployment: Deployment, access: Access, traces: Traces, redactor: Redactor, turn: Turn
) -> ProbeUser | Hindered:
    """Log the probe user in at main; register it by the shared secret where it does not exist."""
    main = main_of(deployment)
    if main is None or main.config is None:
        return Hindered("no main process of Synapse is known with its configuration", main.id if main else "")
    secret = str(main.config.get("registration_shared_secret") or "")
    if not secret:
        problem = f"the probe user cannot be had: no registration_shared_secret of {main.workload_name} is known"
        return Hindered(problem, main.id)
    password = base64.urlsafe_b64encode(_hmac(secret, f"{LOCALPART}:{main.server_name}", "sha256")).decode().rstrip("=")
    redactor.register(password, "the probe user's password")
    since = time.monotonic()
    try:
        with matrix(access, main) as homeserver:
            answer = _log_in(homeserver, password)
            if answer is None:
                _register(homeserver, secret, password)
                answer = _log_in(homeserver, password)
    except MatrixError as error:
        return Hindered(str(error), main.id)
    if answer is None:
        return Hindered(f"{main.workload_name} does not let the probe user in that was just registered", main.id)
    token = Secret(str(answer["access_token"]))
    redactor.register(token, "the probe user's token")
    user = ProbeUser(str(answer["user_id"]), token, main, since)
    traces.will_make(f"a session of {user.user_id}", lambda: _log_out(access, user))
    return user


@probe(limit=Limit.CANARY_USER, safety=Safety.CANARY, reaches=True)
def canary_room(access: Access, canary_user: ProbeUser | Hindered) -> ProbeRoom | Hindered:
    """The probe user's room of the runs before, else a new one."""
    if isinstance(canary_user, Hindered):
        return canary_user
    user = canary_user
    asked = {
        "preset": "public_chat",
        "visibility": "private",
        "room_version": ROOM_VERSION,
        "name": LOCALPART,
        # By it the room is found again where the answer, or the run, was lost before anyone wrote down its id.
        "room_alias_name": ALIAS,
    }
    try:
        with matrix(access, user.home) as homeserver:
            if remembered := _remembered(homeserver, user):
                return remembered
            room = _by_alias(homeserver, user)
            if not room:
                made = homeserver.request("POST", f"{CLIENT}/createRoom", asked, token=user.token, limit=Limit.ROOM)
                room = str(made["room_id"])
            found = ProbeRoom(room, user)
            remember(homeserver, found)
            return found
    except MatrixError as error:
        return Hindered(str(error), user.home.id)


def send(homeserver: Matrix, room: ProbeRoom, nonce: str, limit: float = Limit.ROOM) -> str:
    """One message that ends with ``nonce``; returns its event id. Raises MatrixError."""
    where = f"{CLIENT}/rooms/{quote(room.room_id)}/send/m.room.message/{nonce}"
    body = {"msgtype": "m.text", "body": f"{LOCALPART} {nonce}"}
    return str(homeserver.request("PUT", where, body, token=room.user.token, limit=limit)["event_id"])


def remember(homeserver: Matrix, room: ProbeRoom) -> None:
    """For the runs to come. Raises MatrixError."""
    kept = {"room_id": room.room_id, "others": room.others}
    homeserver.request("PUT", _memory(room.user), kept, token=room.user.token)


def _memory(user: ProbeUser) -> str:
    return f"{CLIENT}/user/{quote(user.user_id)}/account_data/{REMEMBERED}"


def _remembered(homeserver: Matrix, user: ProbeUser) -> ProbeRoom | None:
    """The rooms of the runs before, as far as the probe user is still in them."""
    try:
        said = homeserver.request("GET", _memory(user), token=user.token)
    except MatrixError as error:
        if error.status == 404:
            return None
        raise
    joined = _joined(homeserver, user)
    room, others = str(said.get("room_id") or ""), said.get("others")
    kept = tuple(str(each) for each in others if each in joined) if isinstance(others, list) else ()
    return ProbeRoom(room, user, kept) if room in joined else None


def _by_alias(homeserver: Matrix, user: ProbeUser) -> str:
    """Its room, by the alias; "" where there is none, or one of somebody else's."""
    alias = quote(f"#{ALIAS}:{user.home.server_name}")
    try:
        room = str(homeserver.request("GET", f"{CLIENT}/directory/room/{alias}", token=user.token)["room_id"])
    except MatrixError as error:
        if error.status == 404:
            return ""
        raise
    return room if room in _joined(homeserver, user) else ""


def _joined(homeserver: Matrix, user: ProbeUser) -> list[str]:
    rooms: list[str] = homeserver.request("GET", f"{CLIENT}/joined_rooms", token=user.token)["joined_rooms"]
    return rooms


def _log_in(homeserver: Matrix, password: str) -> dict[str, object] | None:
    """None where there is no such user yet."""
    asked = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": LOCALPART},
        "password": password,
        "device_id": DEVICE,
        "initial_device_display_name": LOCALPART,
    }
    try:
        return homeserver.request("POST", f"{CLIENT}/login", asked, limit=Limit.CANARY_USER - 2)
    except MatrixError as error:
        if error.status == FORBIDDEN:
            return None
        raise


def _register(homeserver: Matrix, secret: str, password: str) -> None:
    """Without a session: a login has one with a device of a known name, which the next replaces."""
    nonce = str(homeserver.request("GET", REGISTER)["nonce"])
    said = "\0".join((nonce, LOCALPART, password, "notadmin"))
    asked = {
        "nonce": nonce,
        "username": LOCALPART,
        "password": password,
        "admin": False,
        "inhibit_login": True,
        "mac": _hmac(secret, said, "sha1").hex(),
    }
    try:
        homeserver.request("POST", REGISTER, asked)
    except MatrixError as error:
        if error.errcode == "M_USER_IN_USE":
            line = f"@{LOCALPART} exists with another password: was registration_shared_secret changed?"
            raise MatrixError(line, error.status, error.errcode) from error
        raise


def _hmac(key: str, text: str, kind: str) -> bytes:
    return hmac.new(key.encode(), text.encode(), getattr(hashlib, kind)).digest()


def _log_out(access: Access, user: ProbeUser) -> None:
    with matrix(access, user.home) as homeserver:
        homeserver.request("POST", f"{CLIENT}/logout", {}, token=user.token)
