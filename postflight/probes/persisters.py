"""Which processes persist events: by the newest rows of the events table, and by their own counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.metrics import PERSISTED, Count, Numbers, counts
from postflight.probes.own_login import Unasked, asked
from postflight.probes.probe import probe

if TYPE_CHECKING:
    import psycopg

#: Who wrote the newest rows. NULL is older than workers that persist (synapse/storage/schema, events.instance_name).
ROWS = """
SELECT coalesce(instance_name, 'master'), count(*), coalesce(max(received_ts), 0), max(stream_ordering)
FROM (SELECT instance_name, received_ts, stream_ordering FROM events ORDER BY stream_ordering DESC LIMIT 5000) AS newest
GROUP BY 1
"""
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
#: How long ago a persister may have written and still be taken to have been seen at it.
LATELY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of one instance among the newest of the events table; ``newest`` is by that instance's clock."""

    instance: str
    events: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class PersistedRows:
    """Who wrote the newest rows of the events table. ``now`` is the database's clock, ``last`` the highest
    stream_ordering. ``problem`` says why the database did not answer, ``unseen`` why nobody could ask it."""

    rows: tuple[Written, ...] = ()
    now: datetime | None = None
    last: int = 0
    problem: str = ""
    unseen: str = ""

    def of(self, instance: str) -> Written | None:
        return next((each for each in self.rows if each.instance == instance), None)


def has_written(
    process: SynapseProcess,
    rows: PersistedRows,
    counters: Mapping[str, Count],
    within: timedelta | None = None,
) -> bool:
    """Whether a process has persisted an event since it started, and not longer ago than ``within``: that only the
    rows tell, a counter does not say when."""
    row = rows.of(process.instance)
    if row and (process.started is None or row.newest > process.started):
        return within is None or (rows.now is not None and rows.now - row.newest <= within)
    counted = counters.get(process.id)
    return within is None and bool(counted and counted.number)


@probe(limit=Limit.INSIDE)
def persisted_counters(process_numbers: Mapping[str, Numbers]) -> Mapping[str, Count]:
    """The events that each Synapse process has persisted, by its own metrics. By process id."""
    return counts(process_numbers, PERSISTED)


@probe(limit=Limit.DATABASE, reaches=True)
def persisted_rows(deployment: Deployment, access: Access) -> PersistedRows:
    """Read which instances wrote the newest rows of the events table, as main would log in."""

    def ask(connection: psycopg.Connection[Any]) -> PersistedRows:
        rows = connection.execute(ROWS).fetchall()
        (now,) = connection.execute(NOW).fetchone() or (0,)
        written = tuple(Written(str(name), int(events), _moment(newest)) for name, events, newest, _ in rows)
        return PersistedRows(written, _moment(now), max((int(each[3]) for each in rows), default=0))

    main = main_of(deployment)
    found = asked(access, deployment, main, ask) if main else Unasked(unseen="no main process is known")
    return found if isinstance(found, PersistedRows) else PersistedRows(problem=found.problem, unseen=found.unseen)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
