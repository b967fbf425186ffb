"""From where Synapse sees a client come who asks by the public name: it tells each user the addresses of his own.

Source: synapse/storage/databases/main/client_ips.py and synapse/rest/admin/users.py (WhoisRestServlet: a user may ask
for himself), 1.163. It notes an address once in two minutes for each token, in the process that runs the background
tasks, and writes what it has noted every 5 s. A request from an address that is known by then leaves no mark of its own:
what is certain is an address that only something on the way can have.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.limits import Limit
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.probe import Safety, probe
from postflight.probes.public import PublicFront
from postflight.probes.public_http import AGENT, Answer, line
from postflight.traces import Traces

#: Each is answered by other processes where there are workers: a client's own, main's, and the media repository's.
PATHS = (
    "/_matrix/client/v3/account/whoami",
    "/_matrix/client/v3/pushrules/global/",
    "/_matrix/client/v1/media/config",
)
WHOIS = "/_matrix/client/v3/admin/whois"
#: What main is called in ``run_background_tasks_on``.
MASTER = "master"
#: From one look to the next, and between clocks.
PAUSE, SLACK = 0.25, 2.0
#: Seconds in which an address that a token came from is written down once (synapse/storage/databases/main/client_ips.py,
#: LAST_SEEN_GRANULARITY, 1.163).
ONCE = 120.0


@dataclass(frozen=True, slots=True)
class ClientAddresses:
    """``asked`` are the answers by place and path, with the probe user's token; ``addresses`` those from which Synapse
    saw him come since he logged in, for this run's other requests as well. ``older`` are those of a given token from the
    time in which Synapse writes an address down once only: ours may be one of them. ``outside``: the verifier stands
    outside the cluster. ``problem`` says why Synapse did not tell."""

    user: ProbeUser | Hindered
    asked: tuple[tuple[str, str, Answer], ...] = ()
    addresses: tuple[str, ...] = ()
    outside: bool = True
    problem: str = ""
    older: tuple[str, ...] = ()


@probe(limit=Limit.PUBLIC, reaches=True, safety=Safety.CANARY)
def client_addresses(
    public_front: tuple[PublicFront, ...],
    canary_user: ProbeUser | Hindered,
    api: Api,
    access: Access,
    traces: Traces,
) -> tuple[ClientAddresses, ...]:
    """Ask by the public name with a token, then ask Synapse from where that came."""
    if not public_front:
        return ()
    door, user = public_front[0], canary_user
    if isinstance(user, Hindered):
        return (ClientAddresses(user),)
    mark = f"{AGENT}/{traces.run_id}"
    asked = tuple(_asked(access, door, user, mark))
    outside = not api.connection.in_cluster
    if not any(answer.status for _, _, answer in asked):
        return (ClientAddresses(user, asked, outside=outside),)
    began = api.now().timestamp() - (time.monotonic() - user.since) - SLACK
    try:
        rows = _told(access, user, mark)
    except MatrixError as error:
        return (ClientAddresses(user, asked, outside=outside, problem=str(error)),)
    mine = [
        each for each in rows if each.get("user_agent") == mark or float(each.get("last_seen") or 0) / 1000 >= began
    ]
    late = [each for each in rows if float(each.get("last_seen") or 0) / 1000 >= began - ONCE] if user.by_token else ()
    return (ClientAddresses(user, asked, _addresses(mine), outside, older=_addresses(late)),)


def _addresses(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each.get("ip")) for each in rows))


def _asked(access: Access, door: PublicFront, user: ProbeUser, mark: str) -> Iterator[tuple[str, str, Answer]]:
    """Only where the certificate is right: the requests hold a token."""
    names = door.names
    for seen in door.seen:
        shown = seen.certificates.get(names.client)
        if shown is None or not shown.good or seen.versions is None or seen.versions.silent:
            continue
        try:
            with line(access, seen.place, names.client, names.port, door.trust.secure) as asked:
                for path in PATHS:
                    yield seen.place.way, path, asked.ask("GET", path, token=user.token, agent=mark)
        except (OSError, ApiError) as error:
            yield seen.place.way, PATHS[0], Answer(problem=" ".join(str(error).split())[:200])


def _told(access: Access, user: ProbeUser, mark: str) -> list[Mapping[str, Any]]:
    """What Synapse knows of the user's addresses once those of our requests are among them: as soon as it says so of
    the same ones twice, else when all must have been noted. Raises MatrixError."""
    notes = str((user.home.config or {}).get("run_background_tasks_on") or MASTER) == MASTER
    deadline = time.monotonic() + (Limit.NOTED if notes else Limit.WRITTEN)
    before: set[str] = set()
    with matrix(access, user.home) as homeserver:
        while True:
            said = homeserver.request("GET", f"{WHOIS}/{quote(user.user_id)}", token=user.token)
            rows = list(_connections(said))
            marked = {str(each.get("ip")) for each in rows if each.get("user_agent") == mark}
            if (marked and marked == before) or time.monotonic() > deadline:
                return rows
            before = marked
            time.sleep(PAUSE)


def _connections(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    devices = said.get("devices")
    for device in devices.values() if isinstance(devices, dict) else ():
        for session in device.get("sessions") or ():
            yield from session.get("connections") or ()
