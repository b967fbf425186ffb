"""What a user gets from Synapse to come to a TURN server with, and what somebody else might try.

Source: synapse/rest/client/voip.py, 1.119 and 1.163: a user name that begins with the second at which it expires, and as
its password an HMAC of it by the secret that the TURN server has too (draft-uberti-behave-turn-rest-00).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as randomness
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.turn_parts import TurnUse
from postflight.limits import Limit
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.doors import front_door, main_of
from postflight.probes.http import Said, ask
from postflight.probes.probe import Safety, probe
from postflight.secrets import Redactor, Secret

PATH = "/_matrix/client/v3/voip/turnServer"
#: So long ago other credentials expired: no clock is that far off.
LONG_AGO = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password for a TURN server."""

    username: str
    password: Secret

    @property
    def until(self) -> int | None:
        """The second since the epoch at which it expires; None where it does not."""
        seconds, sign, _ = self.username.partition(":")
        return int(seconds) if sign and seconds.isdigit() else None

    @property
    def pair(self) -> list[str]:
        return [self.username, self.password.reveal()]


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """What Synapse answers the probe user. ``mine`` is None where it gives nothing, ``uris`` are the addresses that it
    tells; ``other`` is signed by a secret that nobody has, ``expired`` by the right one a day ago, None where that is
    not known. ``hindered`` says why nobody could ask."""

    home: SynapseProcess
    said: Said
    mine: Login | None = None
    uris: tuple[str, ...] = ()
    ttl: int = 0
    other: Login | None = None
    expired: Login | None = None
    hindered: Hindered | None = None

    @property
    def unknown_secret(self) -> bool:
        """Whether they expire, and nobody knows by which secret they are signed."""
        return self.mine is not None and self.expired is None and self.mine.until is not None


@probe(limit=Limit.CALLS, reaches=True, safety=Safety.CANARY)
def turn_credentials(
    deployment: Deployment, access: Access, canary_user: ProbeUser | Hindered, redactor: Redactor
) -> tuple[TurnCredentials, ...]:
    """Ask at the front door, as the probe user, for TURN servers; nothing where nothing refers to one."""
    main = main_of(deployment)
    if main is None or not deployment.turn.referred:
        return ()
    door, silent = front_door(deployment, main), Said(main.workload_name)
    if isinstance(canary_user, Hindered):
        return (TurnCredentials(main, silent, hindered=canary_user),)
    if door is None:
        hindered = Hindered("no client listener of it is known", main.id)
        return (TurnCredentials(main, silent, hindered=hindered),)
    said = ask(access, door, "GET", PATH, token=canary_user.token)
    told = said.json if said.status == 200 else {}
    listed = told.get("uris")
    uris = tuple(map(str, listed)) if isinstance(listed, list) else ()
    name, password = str(told.get("username") or ""), Secret(str(told.get("password") or ""))
    if not (name and password):
        return (TurnCredentials(main, said, uris=uris),)
    redactor.register(password, "the probe user's password for TURN")
    mine, ttl = Login(name, password), told.get("ttl")
    other = Login(name, Secret(base64.b64encode(randomness.token_bytes(20)).decode()))
    expired = expired_of(mine, deployment.turn.uses)
    if expired:
        redactor.register(expired.password, "a password for TURN that has expired")
    return (TurnCredentials(main, said, mine, uris, ttl if isinstance(ttl, int) else 0, other, expired),)


def expired_of(mine: Login, uses: Iterable[TurnUse]) -> Login | None:
    """Credentials that expired a day ago, by the secret that signed these; None where that is none
    of those that are known, or these do not expire."""
    for use in uses if mine.until is not None else ():
        if use.secret and signed(use.secret.value, mine.username) == mine.password:
            user = mine.username.partition(":")[2]
            name = f"{int(time.time() - LONG_AGO.total_seconds())}:{user}"
            return Login(name, signed(use.secret.value, name))
    return None


def signed(secret: Secret, username: str) -> Secret:
    """The password that a user name has by a shared secret."""
    mac = hmac.new(secret.reveal().encode(), username.encode(), hashlib.sha1).digest()
    return Secret(base64.b64encode(mac).decode())
