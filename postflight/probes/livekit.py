"""LiveKit's tokens, and what it is asked with them.

Source: livekit-server 1.13, pkg/service/auth.go, rtcservice.go, roomservice.go; protocol, auth/grants.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Collection, Mapping
from typing import Any

from postflight.cluster.access import Access
from postflight.deployment.call_parts import KeyPair
from postflight.probes.http import Door, Said, ask
from postflight.secrets import Secret

#: Seconds that a token of ours is good for.
BRIEFLY = 60


def sign(claims: Mapping[str, Any], secret: Secret) -> Secret:
    """A JSON Web Token, HS256."""
    head = {"alg": "HS256", "typ": "JWT"}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    mark = hmac.digest(secret.reveal().encode(), signed.encode(), hashlib.sha256)
    return Secret(f"{signed}.{_encoded(mark)}")


def claims_of(token: Secret) -> Mapping[str, Any]:
    """What a token says, whoever signed it; empty for what is no token."""
    parts = token.reveal().split(".")
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def faults_of(claims: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """What a participant's token should not say, or lacks; ``keys`` are LiveKit's API keys as far as they are known."""
    video = claims.get("video")
    grant = video if isinstance(video, dict) else {}
    more = [name for name in ("roomCreate", "roomList", "roomAdmin", "roomRecord") if grant.get(name)]
    expires = claims.get("exp")
    faults = [
        (not grant.get("room") or not grant.get("roomJoin"), "it opens no room, or any"),
        (bool(more), f"it allows more than to join: {', '.join(more)}"),
        (not claims.get("sub"), "it names no participant"),
        (bool(keys) and claims.get("iss") not in keys, "its API key is none of LiveKit's"),
        (not isinstance(expires, int), "it never expires"),
        (isinstance(expires, int) and expires <= time.time(), "it has expired (do the clocks differ?)"),
    ]
    return [what for holds, what in faults if holds]


def validate(access: Access, door: Door, token: Secret) -> Said:
    """Would LiveKit let the bearer of a token in?."""
    return ask(access, door, "GET", "/rtc/validate", query={"access_token": token.reveal()})


def join_token(pair: KeyPair, room: str, participant: str) -> Secret:
    """One for a participant of ours, as a JWT service would give it."""
    return _token(pair, {"room": room, "roomJoin": True, "canPublish": True, "canSubscribe": True}, participant)


def create_room(access: Access, door: Door, pair: KeyPair, room: str) -> None:
    """Open a room that closes by itself soon. Raises OSError when LiveKit does not do it."""
    wanted = {"name": room, "empty_timeout": BRIEFLY, "departure_timeout": BRIEFLY}
    _room_service(access, door, pair, "CreateRoom", wanted, {"roomCreate": True})


def delete_room(access: Access, door: Door, pair: KeyPair, room: str) -> None:
    """Close a room; one that is not there is closed. Raises OSError when LiveKit does not do it."""
    _room_service(access, door, pair, "DeleteRoom", {"room": room}, {"roomCreate": True}, (200, 404))


def has_room(access: Access, door: Door, pair: KeyPair, room: str) -> bool:
    """Whether a room is open. Raises OSError when LiveKit does not say."""
    said = _room_service(access, door, pair, "ListRooms", {"names": [room]}, {"roomList": True})
    return bool(said.json.get("rooms"))


def _room_service(
    access: Access,
    door: Door,
    pair: KeyPair,
    what: str,
    body: Mapping[str, Any],
    grant: Mapping[str, Any],
    fine: tuple[int, ...] = (200,),
) -> Said:
    token = _token(pair, grant)
    said = ask(access, door, "POST", f"/twirp/livekit.RoomService/{what}", token=token, body=body)
    if said.status not in fine:
        raise OSError(f"LiveKit in {said.pod} says {said.short}")
    return said


def _token(pair: KeyPair, grant: Mapping[str, Any], participant: str = "") -> Secret:
    now = int(time.time())
    claims = {"iss": pair.key, "nbf": now - BRIEFLY, "exp": now + BRIEFLY, "video": dict(grant)}
    return sign(claims | ({"sub": participant} if participant else {}), pair.secret)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
