"""An event's way from main to lawful intercept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary_user import Hindered, ProbeRoom, send
from postflight.probes.li import first_answer
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.persister_rooms import apart
from postflight.probes.probe import Safety, probe
from postflight.traces import Traces

if TYPE_CHECKING:
    import psycopg


#: What is fed by import is not waited for.
FOLLOWS = (
    "select 1 from pg_subscription where subdbid = (select oid from pg_database where datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message sent through main, ``event`` in ``room``, and ``seconds`` until LI's database had it; None when it did not
    come, or (``waited`` 0) was not waited for, as LI follows nobody.

    ``problem`` says why nothing could be sent or looked for, at ``where``: main's or LI's part id."""

    event: str = ""
    seconds: float | None = None
    waited: float = 0.0
    problem: str = ""
    where: str = ""
    room: str = ""


@probe(limit=Limit.CANARY, safety=Safety.CANARY, reaches=True)
def li_arrival(deployment: Deployment, access: Access, traces: Traces, canary_room: ProbeRoom | Hindered) -> Arrival:
    """Send one message through main's Synapse, and wait until LI's database holds it."""
    li = deployment.li
    if li is None or not li.doors:
        return Arrival(problem="no login to LI's database is known", where=li.id if li else "")
    if isinstance(canary_room, Hindered):
        return Arrival(problem=canary_room.problem, where=canary_room.where)
    main = canary_room.user.home
    try:
        with matrix(access, main) as homeserver:
            room = apart(canary_room)
            event = send(homeserver, room, f"li-{traces.run_id}")
    except MatrixError as error:
        return Arrival(problem=str(error), where=main.id)
    began = time.monotonic()

    def arrived(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        if not connection.execute(FOLLOWS).fetchone():
            return {}

        def look() -> None:
            if not connection.execute("select 1 from event_json where event_id = %s", (event,)).fetchone():
                raise NotYet("it is not there")

        wait_for(look, limit=Limit.ARRIVAL)
        return {"seconds": time.monotonic() - began}

    try:
        seen = first_answer(access, li.doors, arrived)
    except TimedOut:
        return Arrival(event, None, Limit.ARRIVAL, room=room.room_id)
    return Arrival(event, seen.facts.get("seconds"), problem=seen.problem, where=li.id, room=room.room_id)
