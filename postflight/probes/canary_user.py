"""The one fixed user by whom a canary run acts, and its rooms.

Not an admin. Its password is derived from the registration secret, so that it is the same in every run and
stored nowhere. Where nobody is registered so (registration is off, or Matrix Authentication Service has the accounts) the
settings give an account: its name and password, or a token, which is used as it is and never logged out. The rooms are kept from run to run: Synapse limits the rooms that a user makes (1.163: 0.016 a
second, ten at once), and a room that stays is less than one that every run leaves. Which they are stands in the user's
account data; a room whose run ended before it was written there is found again by its alias, or by its mark among the
rooms that the user is in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from postflight.account import Account
from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.request_classes import delegates
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.fresh import now
from postflight.probes.matrix import FORBIDDEN, LIMITED, Matrix, MatrixError, matrix
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces

LOCALPART = "postflight"
DEVICE = "POSTFLIGHT"
ALIAS = "postflight-probe-room"
REMEMBERED = "im.postflight.room"
#: In the creation content, which nobody can change, of the rooms that are made for event persisters. That the user made
#: a room does not make it ours: Synapse may have the first user that registers make those of ``auto_join_rooms``, and
#: joins every later one to them (synapse/handlers/register.py, 1.163). Synapse keeps what it does not know of the
#: creation content as it is given (synapse/handlers/room.py).
MARK = "im.postflight.persister"
#: Rooms that one run looks for the mark in at most. Synapse limits no reading (synapse/rest/client/room.py, 1.163).
LOOKS = 8
ROOM_VERSION = "10"
REGISTER = "/_synapse/admin/v1/register"
CLIENT = "/_matrix/client/v3"
UNKNOWN_TOKEN = "M_UNKNOWN_TOKEN"
NO_PASSWORD = Secret("")
#: What helps where no account can be registered (docs/settings.md).
GIVE = "name a token, or a user with its password, in the settings: probe_user"


@dataclass(frozen=True, slots=True)
class Hindered:
    """Why a canary could not do its work, and the id of the part that this is owed to."""

    problem: str
    where: str


@dataclass(frozen=True, slots=True)
class ProbeUser:
    """Logged in for this run, as ``name``. ``home`` is the process that it logged in at, ``since`` when that
    began (monotonic); ``password`` opens a second session. Without one its token was given: no session is made or
    ended, and ``since`` is when it was asked whose it is."""

    user_id: str
    token: Secret
    home: SynapseProcess
    password: Secret = NO_PASSWORD
    name: str = LOCALPART
    since: float = field(default_factory=time.monotonic, compare=False)

    @property
    def by_token(self) -> bool:
        """Whether its session was given, and is somebody else's."""
        return not self.password

    @property
    def alias(self) -> str:
        """Of its first room, without the server's name: each user's own."""
        local = self.user_id.removeprefix("@").partition(":")[0]
        return ALIAS if local == LOCALPART else f"{ALIAS}-{local}"


@dataclass(frozen=True, slots=True)
class ProbeRoom:
    """An unlisted room that anyone may join who knows its id; the probe user is its only lasting member. ``others`` are
    rooms of its own that events of ours fall to other event persisters in."""

    room_id: str
    user: ProbeUser
    others: tuple[str, ...] = ()


@probe(limit=Limit.CANARY_USER, safety=Safety.CANARY, reaches=True)
def canary_user(
    deployment: Deployment, access: Access, traces: Traces, redactor: Redactor, account: Account, turn: Turn
) -> ProbeUser | Hindered:
    """Log the probe user in at main: the account that the settings give, else one registered by the shared secret."""
    main = main_of(deployment)
    if main is None or main.config is None:
        return Hindered("no main process of Synapse is known with its configuration", main.id if main else "")
    since = time.monotonic()
    try:
        with matrix(access, main) as homeserver:
            if account.token:
                found = _by_token(homeserver, main, account.token)
            elif account.user:
                found = _by_password(homeserver, main, account)
            else:
                found = _registered(homeserver, main, redactor)
    except MatrixError as error:
        return Hindered(str(error), main.id)
    if isinstance(found, Hindered):
        return found
    user = replace(found, since=since)
    if not user.by_token:
        redactor.register(user.token, "the probe user's token")
        traces.will_make(f"a session of {user.user_id}", lambda: log_out(access, main, user.token))
    return user


def _by_token(homeserver: Matrix, main: SynapseProcess, token: Secret) -> ProbeUser | Hindered:
    """Whose a given token is. It is its owner's session: nothing is made, and nothing is to be ended. Raises
    MatrixError."""
    try:
        said = homeserver.request("GET", f"{CLIENT}/account/whoami", token=token)
    except MatrixError as error:
        if error.errcode == UNKNOWN_TOKEN:
            problem = f"{main.workload_name} does not know the given token (settings: probe_user): has it ended?"
            return Hindered(problem, main.id)
        raise
    user_id = str(said.get("user_id") or "")
    if not user_id or said.get("is_guest"):
        return Hindered(f"the given token (settings: probe_user) is no user's of {main.workload_name}", main.id)
    return ProbeUser(user_id, token, main, name=user_id)


def _by_password(homeserver: Matrix, main: SynapseProcess, account: Account) -> ProbeUser | Hindered:
    """One try, as a second one would have the same password. Raises MatrixError."""
    if delegates(main):
        line = "Matrix Authentication Service has the logins, and a password opens no session at Synapse"
        return Hindered(f"{line}: name a token in the settings (probe_user: token_file)", main.id)
    answer = _log_in(homeserver, account.password.reveal(), account.user)
    if answer is None:
        line = f"{main.workload_name} does not let the given user {account.user} in (settings: probe_user): 403"
        return Hindered(line, main.id)
    return _logged_in(answer, main, account.password, account.user)


def _registered(homeserver: Matrix, main: SynapseProcess, redactor: Redactor) -> ProbeUser | Hindered:
    """Registered where it does not exist. Raises MatrixError."""
    config = main.config or {}
    secret = str(config.get("registration_shared_secret") or "")
    if delegates(main) or not secret:
        why = "Matrix Authentication Service has the accounts, and no token is given"
        if not delegates(main):
            why = f"no registration_shared_secret of {main.workload_name} is known, and no account is given"
        return Hindered(f"the probe user cannot be had: {why} ({GIVE})", main.id)
    password = base64.urlsafe_b64encode(_hmac(secret, f"{LOCALPART}:{main.server_name}", "sha256")).decode().rstrip("=")
    redactor.register(password, "the probe user's password")
    answer = _log_in(homeserver, password)
    if answer is None:
        _register(homeserver, secret, password)
        answer = _log_in(homeserver, password)
    if answer is None:
        return Hindered(f"{main.workload_name} does not let the probe user in that was just registered", main.id)
    return _logged_in(answer, main, Secret(password))


def _logged_in(
    answer: Mapping[str, object], main: SynapseProcess, password: Secret, name: str = LOCALPART
) -> ProbeUser:
    return ProbeUser(str(answer["user_id"]), Secret(str(answer["access_token"])), main, password, name)


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
        "room_alias_name": user.alias,
    }
    try:
        with matrix(access, user.home) as homeserver:
            kept, joined = _remembered(homeserver, user), _joined(homeserver, user)
            room = kept.room_id if kept.room_id in joined else _by_alias(homeserver, user, joined)
            if not room:
                made = homeserver.request("POST", f"{CLIENT}/createRoom", asked, token=user.token, limit=Limit.ROOM)
                room = str(made["room_id"])
            others = tuple(each for each in kept.others if each in joined)
            lost = _marked(homeserver, user, joined - {room, *others})
            found = ProbeRoom(room, user, (*others, *lost))
            if found != kept:
                remember(homeserver, found)
            return found
    except MatrixError as error:
        return Hindered(str(error), user.home.id)


def send(homeserver: Matrix, room: ProbeRoom, nonce: str, limit: float = Limit.ROOM) -> str:
    """One message that ends with ``nonce``; returns its event id. Raises MatrixError."""
    where = f"{CLIENT}/rooms/{quote(room.room_id)}/send/m.room.message/{nonce}"
    body = {"msgtype": "m.text", "body": f"{LOCALPART} {nonce}"}
    return str(homeserver.request("PUT", where, body, token=room.user.token, limit=limit)["event_id"])


def login_of(password: str, device: str, user: str = LOCALPART) -> dict[str, object]:
    """What the probe user says to log in: a session of a device of that name, which a later one replaces."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "device_id": device,
        "initial_device_display_name": LOCALPART,
    }


def log_out(access: Access, home: SynapseProcess, token: Secret) -> None:
    """End the session of a token; one that has ended already is ended. Where nobody answers, the process may have another
    pod by now. Raises MatrixError."""
    try:
        _log_out(access, home, token)
    except MatrixError as error:
        if error.status:
            raise
        try:
            moved = now(access.api, home)
        except ApiError:
            raise error from None
        if moved == home:
            raise
        _log_out(access, moved, token)


def _log_out(access: Access, home: SynapseProcess, token: Secret) -> None:
    try:
        with matrix(access, home) as homeserver:
            homeserver.request("POST", f"{CLIENT}/logout", {}, token=token)
    except MatrixError as error:
        if error.errcode != UNKNOWN_TOKEN:
            raise


def remember(homeserver: Matrix, room: ProbeRoom) -> None:
    """For the runs to come. Raises MatrixError."""
    kept = {"room_id": room.room_id, "others": room.others}
    homeserver.request("PUT", _memory(room.user), kept, token=room.user.token)


def _memory(user: ProbeUser) -> str:
    return f"{CLIENT}/user/{quote(user.user_id)}/account_data/{REMEMBERED}"


def _remembered(homeserver: Matrix, user: ProbeUser) -> ProbeRoom:
    """The rooms that the runs before wrote down; without an id where they wrote none."""
    try:
        said = homeserver.request("GET", _memory(user), token=user.token)
    except MatrixError as error:
        if error.status == 404:
            return ProbeRoom("", user)
        raise
    others = said.get("others")
    return ProbeRoom(str(said.get("room_id") or ""), user, tuple(map(str, others)) if isinstance(others, list) else ())


def _marked(homeserver: Matrix, user: ProbeUser, rooms: Collection[str]) -> Iterator[str]:
    """Of rooms that the probe user is in, those that a run made for a persister and did not live to write down. A few
    are looked at, and all together no longer than one request may take: the rest is for the runs to come."""
    until = time.monotonic() + Limit.HTTP
    for room in random.sample(sorted(rooms), min(LOOKS, len(rooms))):
        where = f"{CLIENT}/rooms/{quote(room)}/state/m.room.create"
        try:
            content = homeserver.request("GET", where, token=user.token, limit=max(0.1, until - time.monotonic()))
        except MatrixError as error:
            if error.status in (0, LIMITED):
                return
            continue
        if content.get(MARK):
            yield room


def _by_alias(homeserver: Matrix, user: ProbeUser, joined: Collection[str]) -> str:
    """Its room, by the alias; "" where there is none, or one of somebody else's."""
    alias = quote(f"#{user.alias}:{user.home.server_name}")
    try:
        room = str(homeserver.request("GET", f"{CLIENT}/directory/room/{alias}", token=user.token)["room_id"])
    except MatrixError as error:
        if error.status == 404:
            return ""
        raise
    return room if room in joined else ""


def _joined(homeserver: Matrix, user: ProbeUser) -> frozenset[str]:
    rooms: list[str] = homeserver.request("GET", f"{CLIENT}/joined_rooms", token=user.token)["joined_rooms"]
    return frozenset(rooms)


def _log_in(homeserver: Matrix, password: str, user: str = LOCALPART) -> dict[str, object] | None:
    """None where there is no such user yet, or it has another password."""
    asked = login_of(password, DEVICE, user)
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
