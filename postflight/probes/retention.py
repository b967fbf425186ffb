"""What main's database and LI's still hold of messages that were redacted.

Source: synapse/storage/databases/main/censor_events.py, 1.119 and 1.163: a redaction that is older than the retention
period has the content of its event taken out of ``event_json``, and is marked ``have_censored``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import CLIENT, LOCALPART, Hindered, ProbeRoom, ProbeUser
from postflight.probes.li import Said, first_answer, of_both
from postflight.probes.matrix import MatrixError, matrix
from postflight.probes.probe import Safety, probe
from postflight.settings import Settings
from postflight.traces import Traces

if TYPE_CHECKING:
    import psycopg

    from postflight.probes.li import Question

#: ``since`` is in milliseconds; a redaction from before there was that column has none.
CENSORED = """
select count(*), max(received_ts) / 1000.0, count(*) filter (where received_ts >= %(since)s)
from redactions where have_censored
"""
#: What a purge takes of an event itself, and nothing else ever deletes (synapse/storage/databases/main/purge_events.py and
#: events.py, 1.119 and 1.163); what a room is like just now (``current_state_events``) is deleted at every change.
EVIDENCE = ("event_json", "events", "redactions", "state_events")
#: By publication that holds any of these tables, those of which it tells that rows are deleted.
DELETES = """
select coalesce(json_object_agg(pubname, told), '{}') from (
 select p.pubname, coalesce(json_agg(tablename order by tablename) filter (where pubdelete or pubtruncate), '[]') as told
 from pg_publication p join pg_publication_tables t on t.pubname = p.pubname
 where schemaname = 'public' and tablename in ('event_json', 'events', 'redactions', 'state_events') group by p.pubname) p
"""
#: Which of them have a trigger that sees, and may hold back, the deletes that replication brings (bits of tgtype: 2
#: before, 8 delete).
GUARDS = """
select coalesce(json_agg(distinct relname), '[]') from pg_trigger join pg_class c on c.oid = tgrelid
where relnamespace = to_regnamespace('public') and relname in ('event_json', 'events', 'redactions', 'state_events')
and not tgisinternal and tgenabled in ('R', 'A') and tgtype & 10 = 10
"""
#: How many of the newest are read, and of the oldest: these speak for the longest time.
MOST = 100
#: Our redacted messages: when they were redacted, and what is left of them. None where the row is gone.
SOME = """
(select e.stream_ordering as place, r.redacts as event, extract(epoch from now()) - r.received_ts / 1000.0 as age,
 j.event_id is not null as held, j.json::json #>> '{{content,body}}' as body
from events e join redactions r on r.event_id = e.event_id left join event_json j on j.event_id = r.redacts
where e.room_id = any(%(rooms)s) and e.sender = %(sender)s and e.type = 'm.room.redaction'
order by e.stream_ordering {} limit {})
"""
OURS = f"""
select event, age, held, body from ({SOME.format("desc", MOST)} union {SOME.format("asc", MOST)}) ours
order by place desc
"""
#: One that is not older need not be followed by another.
LATELY = timedelta(minutes=10)
REASON = f"{LOCALPART}: is what is redacted still there"


@dataclass(frozen=True, slots=True)
class Censored:
    """What a database says of redactions whose event has lost its content. Facts: ``count``, ``newest`` (when the newest
    of these redactions came, seconds since the epoch, or None), ``since`` (how many came after the day that the settings
    name); of main's also ``deletes`` (by publication that holds any table of events, those tables of which it tells LI that
    rows were deleted), of LI's ``guards`` (those of these tables that have a trigger which may hold that back)."""

    main: Said
    li: Said


@dataclass(frozen=True, slots=True)
class Ours:
    """One message of ours that was redacted ``age`` seconds ago. ``held``: its row is there; ``body`` is its text, None
    where that was taken out."""

    event: str
    age: float
    held: bool
    body: str | None

    @property
    def readable(self) -> bool:
        return self.held and bool(self.body) and str(self.body).startswith(LOCALPART)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A message of ours that was redacted now or within minutes, and the newest and the oldest of those from before.

    ``main`` and ``li`` are what each database holds, by event; ``waited`` is how long LI was given for ``event``, and
    ``promised`` how many seconds ago the day was from which on nothing is to be lost (infinite where nobody says). The
    problems say why a database was not asked.
    """

    event: str
    main: Mapping[str, Ours] = field(default_factory=dict)
    li: Mapping[str, Ours] = field(default_factory=dict)
    waited: float = 0.0
    promised: float = inf
    main_problem: str = ""
    li_problem: str = ""


@probe(limit=Limit.DATABASE, reaches=True)
def censored_rows(deployment: Deployment, access: Access, settings: Settings) -> Censored:
    """Count in both databases the redactions whose event has lost its content, and see whether main publishes deletes."""
    li = deployment.li
    if li is None:
        return Censored(Said({}), Said({}))
    day = _day(settings)
    since = int(day.timestamp() * 1000) if day else 0
    return Censored(*of_both(access, li, _counted(since, "deletes", DELETES), _counted(since, "guards", GUARDS)))


def _day(settings: Settings) -> datetime | None:
    """The beginning of the day from which on nothing is to be lost."""
    day = settings.li.since
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None


def _counted(since: int, also: str, statement: str) -> Question:
    def ask(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        import psycopg

        more = connection.execute(statement).fetchone()
        try:
            row = connection.execute(CENSORED, {"since": since}).fetchone()
        except psycopg.errors.UndefinedTable:
            return {}
        if row is None or more is None:
            return {}
        newest = float(row[1]) if row[1] is not None else None
        return {"count": row[0], "newest": newest, "since": row[2], also: more[0]}

    return ask


@probe(limit=Limit.CANARY, safety=Safety.CANARY, reaches=True)
def redacted_message(
    deployment: Deployment,
    access: Access,
    settings: Settings,
    traces: Traces,
    canary_room: ProbeRoom | Hindered,
    li_arrival: Arrival,
) -> Redacted | Hindered:
    """Redact a message of ours, unless one was minutes ago, and read in both databases what is left of ours, old and new.

    It is the one that was sent to see it arrive in LI, so that no other is sent: Synapse limits a user's messages.
    """
    li = deployment.li
    if li is None or not li.doors or not li.main_doors:
        return Hindered("no login to both databases is known", li.id if li else "")
    if isinstance(canary_room, Hindered):
        return canary_room
    main = _held(access, li, canary_room)
    if main.problem:
        return Redacted("", main_problem=main.problem)
    event = next((each.event for each in main.facts["ours"] if each.age < LATELY.total_seconds()), "")
    if not event:
        if not li_arrival.event:
            return Hindered(li_arrival.problem or "no message was sent", li_arrival.where or li.id)
        event = li_arrival.event
        try:
            _redact(access, canary_room.user, li_arrival, traces.run_id)
        except MatrixError as error:
            return Hindered(str(error), canary_room.user.home.id)
        main = _held(access, li, canary_room, event)
    began = time.monotonic()
    # What LI does not follow is not waited for.
    own = _held(access, li, canary_room, event if li_arrival.seconds is not None else "", mains=False)
    return Redacted(
        event,
        _by_event(main),
        _by_event(own),
        round(time.monotonic() - began, 1),
        time.time() - since.timestamp() if (since := _day(settings)) else inf,
        main.problem,
        own.problem,
    )


def _redact(access: Access, user: ProbeUser, sent: Arrival, run: str) -> None:
    """Raises MatrixError."""
    where = f"{CLIENT}/rooms/{quote(sent.room)}/redact/{quote(sent.event)}/redact-{run}"
    with matrix(access, user.home) as homeserver:
        homeserver.request("PUT", where, {"reason": REASON}, token=user.token, limit=Limit.ROOM)


def _held(access: Access, li: LawfulIntercept, room: ProbeRoom, event: str = "", *, mains: bool = True) -> Said:
    """Our redacted messages as one of the databases has them, the newest first, once that of ``event`` is among them.

    Of all our rooms: which one a run sends in changes when there are more, and what was redacted before stays ours."""

    ours = {"rooms": [room.room_id, *room.others], "sender": room.user.user_id}

    def ask(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        found: tuple[Ours, ...] = ()

        def look() -> None:
            nonlocal found
            rows = connection.execute(OURS, ours).fetchall()
            found = tuple(Ours(str(each[0]), float(each[1]), bool(each[2]), each[3]) for each in rows)
            if event and event not in {each.event for each in found}:
                raise NotYet("it is not there")

        with suppress(TimedOut):
            wait_for(look, limit=Limit.ARRIVAL)
        return {"ours": found}

    return first_answer(access, li.main_doors if mains else li.doors, ask)


def _by_event(said: Said) -> dict[str, Ours]:
    ours: Sequence[Ours] = said.facts.get("ours", ())
    return {each.event: each for each in ours}
