"""Lawful intercept that is fed by import: how old its newest data are, beside what main has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept
from postflight.limits import Limit
from postflight.probes.li import Said, of_both
from postflight.probes.probe import probe

if TYPE_CHECKING:
    import psycopg

    from postflight.probes.li import Question

#: How long a round may take.
ROUND = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Imported:
    """``due`` is main's newest event that LI must have by now, ``newest`` LI's newest: their place in the stream
    (``stream``) and ``age`` in seconds; no such facts where there is no such event. ``due`` has as ``brought`` the place
    of main's newest event from before the newest round that ended well, where such a round is known."""

    due: Said
    newest: Said


#: By the place in the stream, which has an index; what was fetched from before counts backwards from 0.
NEWEST = """
select stream_ordering, extract(epoch from now()) - received_ts / 1000.0 from events
where received_ts <= (extract(epoch from now()) - %(allowed)s) * 1000
order by stream_ordering desc limit 1
"""
BEFORE = "select stream_ordering from events where received_ts <= %(before)s order by stream_ordering desc limit 1"
#: What was received so shortly before a round began may not have been written by then.
WRITING = timedelta(seconds=10)


def allowed(li: LawfulIntercept) -> timedelta:
    """How old main's events may be that LI lacks: one round may fail, and one takes its time."""
    return 2 * max((each.every for each in li.imports), default=timedelta()) + ROUND


@probe(limit=Limit.DATABASE, reaches=True)
def li_import(deployment: Deployment, access: Access) -> Imported:
    """Read the newest event of LI's database, and the newest of main's that it must have; nothing where no CronJob
    feeds LI."""
    li = deployment.li
    if li is None or not li.imports:
        return Imported(Said({}), Said({}))
    brought = max((each.brought for each in li.imports if each.brought), default=None)
    return Imported(*of_both(access, li, _newest(allowed(li), brought), _newest(timedelta())))


def _newest(older_than: timedelta, brought: datetime | None = None) -> Question:
    def ask(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        import psycopg

        try:
            row = connection.execute(NEWEST, {"allowed": older_than.total_seconds()}).fetchone()
            found = {"stream": row[0], "age": float(row[1])} if row else {}
            if brought:
                before = int((brought - WRITING).timestamp() * 1000)
                row = connection.execute(BEFORE, {"before": before}).fetchone()
                found |= {"brought": row[0]} if row else {}
        except psycopg.errors.UndefinedTable:
            return {}
        return found

    return ask
