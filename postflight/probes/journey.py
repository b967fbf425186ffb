"""A user's way through the front door: log in, write and read, plain and end-to-end encrypted, log out.

A second session of the probe user takes it, and writes with the first one in a room that is kept from run to run. Each
request is a step of its own; what follows from one that failed is not taken. Where the probe user's token was given there
is but that session: it writes and reads plain messages, and what makes a session, a device or its keys is left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.canary_user import CLIENT, UNKNOWN_TOKEN, Hindered, ProbeRoom, ProbeUser, log_out, login_of
from postflight.probes.doors import client_host, public_host
from postflight.probes.journey_steps import AGAIN, Step, Stopped, Trail, has
from postflight.probes.journey_talk import Talk
from postflight.probes.leads import Outside, lead
from postflight.probes.olm import Device
from postflight.probes.persister_rooms import apart
from postflight.probes.probe import Safety, probe
from postflight.probes.visitor import Visitor
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces

DEVICE = "POSTFLIGHT-2"
WELL_KNOWN = "/.well-known/matrix/client"
VERSIONS = "/_matrix/client/versions"
NOT_FOUND = "M_NOT_FOUND"
#: What a given token is spared.
WITHOUT = ("login", "encrypted messages", "logout")


@dataclass(frozen=True, slots=True)
class Journey:
    """The steps that were taken, by name in the order of their answers. ``told`` is the address that clients are told;
    ``outside`` says why that is not where the steps were taken. ``seconds`` is how long all of it took; ``untaken`` are the
    steps that a given token leaves out."""

    main: SynapseProcess
    steps: tuple[Step, ...]
    told: str = ""
    outside: str = ""
    seconds: float = 0.0
    untaken: tuple[str, ...] = ()


@probe(limit=Limit.JOURNEY, safety=Safety.CANARY, reaches=True)
def client_journey(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    traces: Traces,
    redactor: Redactor,
    canary_room: ProbeRoom | Hindered,
) -> Journey | Hindered:
    """As a second session of the probe user, log in by the front door, write and read, and log out."""
    if isinstance(canary_room, Hindered):
        return canary_room
    began = time.monotonic()
    user, room = canary_room.user, apart(canary_room).room_id
    with ExitStack() as open_ways:
        deadline = began + Limit.JOURNEY - 3
        host = client_host(user.home)
        door = Visitor(deployment, snapshot, access, user.home, host, deadline, open_ways)
        trail = Trail(door)
        told, outside = "", ""
        with suppress(Stopped):
            told, outside = _find(trail)
            trail.take("versions", "GET", VERSIONS, look=has("versions"))
            token = user.token
            if not user.by_token:
                token = _arrive(trail, user)
                redactor.register(token, "the token of the probe user's second session")
                traces.will_make(f"a second session of {user.user_id}", lambda: log_out(access, user.home, token))
            trail.token = token
            talk = Talk(trail, Device.of(user.user_id, DEVICE), user.token, room, own=not user.by_token)
            talk.write_and_read()
            if not user.by_token:
                _leave(trail, user)
    untaken = WITHOUT if user.by_token else ()
    return Journey(user.home, tuple(trail.steps), told, outside, time.monotonic() - began, untaken)


def _find(trail: Trail) -> tuple[str, str]:
    """Where clients are told to go, and why that was not followed. Raises Stopped where nobody answers them."""
    door = trail.door
    public = public_host(door.main)
    led = lead(door.deployment, door.snapshot, door.main, door.host, WELL_KNOWN)
    if isinstance(led, Outside):
        door.host = public
        return "", ""
    answer = door.ask("GET", WELL_KNOWN)
    status, server = answer.said.status, answer.said.json.get("m.homeserver")
    told = str(server.get("base_url") or "") if isinstance(server, Mapping) else ""
    missing, silent = status == 200 and not told, not status or status >= 500
    wrong = "it names no address (m.homeserver.base_url)" if missing else ""
    trail.steps.append(Step("discovery", "GET", WELL_KNOWN, answer, not (missing or silent), wrong))
    if silent:
        raise Stopped
    host, base = _parts(told)
    if not host:
        door.host = public
        return told, ""
    followed = lead(door.deployment, door.snapshot, door.main, host, f"{base}{VERSIONS}")
    if isinstance(followed, Outside):
        door.host = public
        return told, followed.why
    door.host, door.base = host, base
    return told, ""


def _parts(url: str) -> tuple[str, str]:
    """Host and path; "" for what is no address."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.path.rstrip("/")
    except ValueError:
        return "", ""


def _arrive(trail: Trail, user: ProbeUser) -> Secret:
    """The token of the second session. Raises Stopped."""
    asked = login_of(user.password.reveal(), DEVICE, user.name)
    look = has("access_token", "user_id")
    said = trail.take("login", "POST", f"{CLIENT}/login", body=asked, look=look, limit=Limit.ROOM)
    return Secret(str(said["access_token"]))


def _leave(trail: Trail, user: ProbeUser) -> None:
    """Log out, and see that the session and its device are gone. Raises Stopped."""
    trail.take("logout", "POST", f"{CLIENT}/logout", body={})
    whoami, device = f"{CLIENT}/account/whoami", f"{CLIENT}/devices/{DEVICE}"
    trail.side_by_side(
        [
            lambda: _gone(trail, "whoami after logout", whoami, trail.token, "the session", (401, UNKNOWN_TOKEN)),
            lambda: _gone(trail, "device after logout", device, user.token, "its device", (404, NOT_FOUND)),
        ]
    )


def _gone(trail: Trail, name: str, route: str, token: Secret, what: str, refusal: tuple[int, str]) -> None:
    """Until it is refused as what is no more; processes learn of it one after the other."""
    until = time.monotonic() + min(Limit.LOGGED_OUT, trail.door.time_left)
    while True:
        answer = trail.door.ask("GET", route, token=token)
        said = answer.said
        if said.status != 200 or time.monotonic() > until:
            break
        time.sleep(AGAIN)
    good = (said.status, said.json.get("errcode")) == refusal
    wrong = f"{what} is still there {Limit.LOGGED_OUT:g} s after it was logged out" if said.status == 200 else ""
    expected = f"{refusal[0]} {refusal[1]}"
    trail.steps.append(Step(name, "GET", route, answer, good, wrong, late=bool(wrong), expected=expected))
