"""LiveKit's tokens, and what it is asked with them.

Source: livekit-server 1.13, pkg/service/auth.go, rtcservice.go, roomservice.go; protocol, auth/grants.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
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


def validate(access: Access, door: Door, token: Secret) -> Said:
    """Would LiveKit let the bearer of a token in?."""
    return ask(access, door, "GET", "/rtc/validate", query={"access_token": token.reveal()})


def delete_room(access: Access, door: Door, pair: KeyPair, room: str) -> None:
    """Close a room; one that is not there is closed. Raises OSError when LiveKit does not do it."""
    now = int(time.time())
    claims = {"iss": pair.key, "nbf": now - BRIEFLY, "exp": now + BRIEFLY, "video": {"roomCreate": True}}
    token = sign(claims, pair.secret)
    said = ask(access, door, "POST", "/twirp/livekit.RoomService/DeleteRoom", token=token, body={"room": room})
    if said.status not in (200, 404):
        raise OSError(f"LiveKit in {said.pod} says {said.short}")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
