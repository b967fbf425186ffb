"""Which processes persist events: by the newest rows of the events table, and by their own counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.databases import log_in, way_to
from postflight.probes.doors import main_of
from postflight.probes.metrics import PERSISTED, Count, Numbers, counts
from postflight.probes.probe import probe

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

#: Who wrote the newest rows. NULL is older than workers that persist (synapse/storage/schema, events.instance_name).
ROWS = """
SELECT coalesce(instance_name, 'master'), count(*), coalesce(max(received_ts), 0), max(stream_ordering)
FROM (SELECT instance_name, received_ts, stream_ordering FROM events ORDER BY stream_ordering DESC LIMIT 5000) AS newest
GROUP BY 1
"""
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


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
    """Whether a process has persisted an event since it started, and not longer ago than ``within``; that only the
    rows tell."""
    row = rows.of(process.instance)
    if row and (process.started is None or row.newest > process.started):
        return within is None or rows.now is None or rows.now - row.newest <= within
    counted = counters.get(process.id)
    return bool(counted and counted.number) and (within is None or rows.now is None)


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

    found = asked(access, deployment, ask)
    return found if isinstance(found, PersistedRows) else PersistedRows(problem=found.problem, unseen=found.unseen)


@dataclass(frozen=True, slots=True)
class Unasked:
    """``problem`` says why the database did not answer, ``unseen`` why nobody could ask it."""

    problem: str = ""
    unseen: str = ""


def asked(access: Access, deployment: Deployment, ask: Callable[[psycopg.Connection[Any]], T]) -> T | Unasked:
    """What main's database says to main's own login, in a transaction that only reads."""
    import psycopg

    main = main_of(deployment)
    login = next((use.login for use in deployment.database_uses if main and use.client == main.id), None)
    endpoint = next(
        (
            each
            for cluster in deployment.postgres
            for each in cluster.endpoints
            if login and (each.host, each.port) == (login.host, login.port)
        ),
        None,
    )
    if login is None or endpoint is None:
        return Unasked(unseen="main's database is not known")
    if endpoint.external and access.way is Way.TUNNEL:
        return Unasked(unseen=f"no tunnel leads to {login.host}, outside the cluster")
    if not endpoint.pods and not endpoint.external:
        return Unasked(problem=endpoint.problem)
    try:
        with way_to(access, endpoint) as (address, port, _), log_in(login, address, port) as connection:
            return ask(connection)
    except (psycopg.Error, OSError) as error:
        return Unasked(problem=" ".join(str(error).split())[:200])
    except ApiError as error:
        return Unasked(unseen=str(error))


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
