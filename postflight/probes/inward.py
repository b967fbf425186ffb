"""A message's way in from another homeserver: by the door for other servers, to a user who reads it by that for clients.

A canary that is in the probe user's room writes there, and sends it in a transaction as any other server does. Sources: Matrix
server-server API v1.11, ``PUT /_matrix/federation/v1/send/{txnId}``; room version 10 for what allows a message.
"""

from __future__ import annotations

import secrets as randomness
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes.canary import Identity
from postflight.probes.canary_user import CLIENT, LOCALPART, ProbeRoom
from postflight.probes.doors import public_host
from postflight.probes.journey_steps import AGAIN, Step, listed
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.visitor import Answer, Visitor

SEND = "/_matrix/federation/v1/send/"
FEDERATION_EVENT = "/_matrix/federation/v1/event/"
READ = f"{CLIENT}/rooms/{{}}/event/{{}}"
NOT_FOUND = "M_NOT_FOUND"
#: What the steps are called.
SENT, READ_IT = "sending by another homeserver", "reading a message of another homeserver"


@dataclass(frozen=True, slots=True)
class Inward:
    """The steps of the way; none where ``problem`` says why it was not gone."""

    steps: tuple[Step, ...] = ()
    problem: str = ""


def come_in(deployment: Deployment, snapshot: Snapshot, access: Access, room: ProbeRoom, identity: Identity) -> Inward:
    """One message of a canary that has joined the room. Raises nothing: what hinders it is told."""
    main, name = room.user.home, room.user.home.server_name
    try:
        message = _message(access, room, identity)
    except MatrixError as error:
        return Inward(problem=str(error))
    with ExitStack() as open_ways:
        deadline = time.monotonic() + Limit.ARRIVAL
        by_servers, by_clients = (
            Visitor(deployment, snapshot, access, main, public_host(main), deadline, open_ways, server=server)
            for server in (True, False)
        )
        where = f"{SEND}{randomness.token_hex(8)}"
        transaction = {"origin": identity.name, "origin_server_ts": message["origin_server_ts"], "pdus": [message]}
        signed = identity.authorization(name, "PUT", where, transaction)
        answer = by_servers.ask("PUT", where, body=transaction, authorization=signed)
        id, wrong = _taken(answer)
        good = answer.said.status == 200 and not wrong
        steps = [Step(SENT, "PUT", f"{SEND}…", answer, good, wrong)]
        if good:
            steps.append(_read(by_clients, room, id, message["content"]))
        return Inward(tuple(steps))


def _message(access: Access, room: ProbeRoom, identity: Identity) -> dict[str, Any]:
    """Made of what the room is now. Raises MatrixError."""
    main = room.user.home
    with matrix(access, main) as homeserver:
        where = f"{CLIENT}/rooms/{quote(room.room_id)}/state"
        state = homeserver.request("GET", where, token=room.user.token).get("value")
    ids = {(str(each.get("type")), str(each.get("state_key"))): str(each.get("event_id")) for each in listed(state)}
    wanted = (("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", identity.user))
    if missing := next((kind for kind, key in wanted if (kind, key) not in ids), ""):
        raise MatrixError(f"the state of the probe room has no {missing} of {identity.user}")
    own = ids[wanted[-1]]
    with matrix(access, main, "federation") as homeserver:
        told = identity.request(homeserver, main.server_name, "GET", f"{FEDERATION_EVENT}{quote(own)}")
    depth = next((each.get("depth") for each in listed(told.get("pdus"))), None)
    if not isinstance(depth, int):
        raise MatrixError(f"{main.workload_name} does not tell {identity.name} of its own membership")
    body = f"{LOCALPART} {randomness.token_hex(8)}"
    allowed = [ids[each] for each in wanted]
    return identity.message(room.room_id, body, after=own, depth=depth + 1, allowed_by=allowed)


def _taken(answer: Answer) -> tuple[str, str]:
    """The message's id, by the answer to its transaction; and why it was not taken."""
    results = answer.said.json.get("pdus")
    if answer.said.status != 200:
        return "", ""
    if not isinstance(results, Mapping) or len(results) != 1:
        return "", "the answer does not name the message"
    ((id, said),) = results.items()
    refused = said.get("error") if isinstance(said, Mapping) else None
    return str(id), f"the message is refused: {str(refused)[:200]}" if refused else ""


def _read(door: Visitor, room: ProbeRoom, id: str, content: Mapping[str, Any]) -> Step:
    """It is worked on after the answer to its transaction."""
    path = READ.format(quote(room.room_id, safe=""), quote(id, safe=""))
    until = time.monotonic() + min(Limit.SYNC, door.time_left)
    while True:
        answer = door.ask("GET", path, token=room.user.token)
        late = answer.said.json.get("errcode") == NOT_FOUND
        if not late or time.monotonic() > until:
            break
        time.sleep(AGAIN)
    wrong = f"it is not there {Limit.SYNC:g} s after its transaction was taken" if late else ""
    if answer.said.status == 200 and answer.said.json.get("content") != content:
        wrong = "its content is not what was sent"
    return Step(READ_IT, "GET", READ.format("…", "…"), answer, answer.said.status == 200 and not wrong, wrong, late)
