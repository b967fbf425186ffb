"""Lawful intercept: what main publishes and LI follows, as both servers say, and the rights of the role between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Door, LawfulIntercept
from postflight.limits import Limit
from postflight.probes.databases import LoginOutcome, log_in, meaning, way_to
from postflight.probes.probe import probe

if TYPE_CHECKING:
    import psycopg

    Question = Callable[[psycopg.Connection[Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Said:
    """What one server says; ``facts`` is empty and ``problem`` set when no login of the deployment opens it."""

    facts: Mapping[str, Any]
    asked: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Replication:
    """``published`` is main's side, ``followed`` LI's."""

    published: Said
    followed: Said


#: Ordinary roles may read all of it; tables by their qualified names.
PUBLISHED = """
select json_build_object(
 'publications', (select coalesce(json_object_agg(pubname, tables), '{}') from (
   select pubname, json_agg(schemaname || '.' || tablename order by tablename) as tables
   from pg_publication_tables group by pubname) p),
 'slots', (select coalesce(json_agg(json_build_object('name', slot_name, 'active', active, 'pid', active_pid,
   'wal_status', wal_status, 'behind', pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn))), '[]')
   from pg_replication_slots where slot_type = 'logical' and database = current_database()),
 'senders', (select coalesce(json_agg(json_build_object('pid', pid, 'role', usename)), '[]')
   from pg_stat_replication))::text
"""
FOLLOWED = """
select json_build_object(
 'version', current_setting('server_version_num')::int,
 'subscriptions', (select coalesce(json_agg(json_build_object('name', s.subname, 'enabled', subenabled,
   'slot', subslotname, 'publications', subpublications, 'pid', pid,
   'silent', extract(epoch from clock_timestamp() - last_msg_receipt_time))), '[]')
   from pg_subscription s left join pg_stat_subscription w on w.subid = s.oid and w.relid is null
   where subdbid = (select oid from pg_database where datname = current_database())),
 'relations', (select coalesce(json_object_agg(srrelid::text, srsubstate), '{}') from pg_subscription_rel),
 'tables', (select coalesce(json_object_agg(c.oid::text, n.nspname || '.' || relname), '{}')
   from pg_class c join pg_namespace n on n.oid = relnamespace
   where relkind in ('r', 'p') and nspname !~ '^pg_' and nspname <> 'information_schema'))::text
"""
#: PostgreSQL 15 and newer.
ERRORS = """
select json_object_agg(subname, json_build_object('apply', apply_error_count, 'copy', sync_error_count))::text
from pg_stat_subscription_stats
"""


@probe(limit=Limit.DATABASE, reaches=True)
def li_replication(deployment: Deployment, access: Access) -> Replication:
    """Ask main's database what it publishes and to whom, and LI's what it follows and how far."""
    li = deployment.li
    if li is None:
        return Replication(Said({}), Said({}))

    def published(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        return _json(connection, PUBLISHED)

    def followed(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        facts = dict(_json(connection, FOLLOWED))
        facts["errors"] = _json(connection, ERRORS) if facts["version"] >= 150000 else {}
        return facts

    return Replication(*of_both(access, li, published, followed))


def of_both(access: Access, li: LawfulIntercept, mains: Question, own: Question) -> tuple[Said, Said]:
    """What main's database and LI's say, each to its own question, side by side."""
    works = [lambda: first_answer(access, li.main_doors, mains), lambda: first_answer(access, li.doors, own)]
    first, second = map(_in_time, in_threads(works, Limit.DATABASE - 1))
    return first, second


def _in_time(outcome: Future[Said]) -> Said:
    try:
        return outcome.result()
    except TimeoutError:
        return Said({}, problem="no answer within the time limit")


@dataclass(frozen=True, slots=True)
class Role:
    """What a role may do in main's database, by main's catalogue. ``writes`` and ``unreadable`` are tables: those it
    may change, and the published ones that it may not read. ``doors`` are its logins, ``walsender`` says that it
    is the one that follows."""

    name: str
    exists: bool
    superuser: bool = False
    replication: bool = False
    creates: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    doors: tuple[Door, ...] = ()
    walsender: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """An UPDATE that would change nothing, as the role, in a transaction that is rolled back. ``refused`` is None when
    it was not come to: ``problem`` says why."""

    door: Door
    outcome: LoginOutcome
    table: str = ""
    refused: bool | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class MainRights:
    """``problem`` says why the catalogue could not be read."""

    roles: tuple[Role, ...]
    attempts: tuple[Attempt, ...] = ()
    problem: str = ""


#: By catalogue rights, memberships included; ``%(tables)s`` are the published ones.
RIGHTS = """
select json_build_object('superuser', rolsuper, 'replication', rolreplication,
 'creates', (select coalesce(json_agg(what), '[]') from (
    select 'roles' where rolcreaterole union all select 'databases' where rolcreatedb
    union all select 'schemas in ' || current_database() where has_database_privilege(r.oid, current_database(), 'CREATE')
    union all select 'tables in ' || nspname from pg_namespace
      where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege(r.oid, oid, 'CREATE')) c (what)),
 'writes', (select coalesce(json_agg(name order by name), '[]') from (
    select n.nspname || '.' || relname as name from pg_class c join pg_namespace n on n.oid = relnamespace
    where relkind in ('r', 'p') and nspname !~ '^pg_' and nspname <> 'information_schema'
      and has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) w),
 'unreadable', (select coalesce(json_agg(t order by t), '[]') from unnest(%(tables)s::text[]) t
    where to_regclass(t) is not null and not has_table_privilege(r.oid, to_regclass(t), 'SELECT')))::text
from pg_roles r where rolname = %(role)s
"""
#: A table of Synapse's, and a column of it to change into itself.
TARGET = """
select quote_ident(n.nspname) || '.' || quote_ident(relname), quote_ident(attname)
from pg_class c join pg_namespace n on n.oid = relnamespace
join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = ''
where relkind = 'r' and nspname !~ '^pg_' and nspname <> 'information_schema'
order by relname <> 'users', relname, attnum limit 1
"""


@probe(limit=Limit.DATABASE, reaches=True)
def li_main_rights(deployment: Deployment, access: Access, li_replication: Replication) -> MainRights:
    """What the role that LI's feed uses may do in main's database, by catalogue and by a refused UPDATE."""
    li = deployment.li
    if li is None:
        return MainRights(())
    slots = _slots(li_replication)
    facts = li_replication.published.facts
    followers = {str(each["role"]) for each in facts.get("senders", ()) if each["pid"] in slots}
    names = {**{door.login.user: None for door in li.sync}, **dict.fromkeys(sorted(followers))}
    tables = sorted({each for found in facts.get("publications", {}).values() for each in found})

    def roles(connection: psycopg.Connection[Any]) -> Mapping[str, Any]:
        return {name: _json(connection, RIGHTS, {"role": name, "tables": tables}) for name in names}

    seen = first_answer(access, li.main_doors, roles) if names else Said({})

    def trier(door: Door) -> Callable[[], Attempt]:
        return lambda: _attempt(access, door)

    attempts: list[Attempt] = []
    for door, outcome in zip(li.sync, in_threads([trier(each) for each in li.sync], Limit.DATABASE / 2), strict=True):
        try:
            attempts.append(outcome.result())
        except TimeoutError:
            attempts.append(Attempt(door, LoginOutcome.TIMED_OUT, problem="no answer within the time limit"))
    return MainRights(
        tuple(_role(name, seen.facts.get(name), li, name in followers) for name in names if not seen.problem),
        tuple(attempts),
        seen.problem,
    )


def _slots(seen: Replication) -> Mapping[int, str]:
    """The walsender and the name of each slot that LI's subscriptions read."""
    own = {each["slot"] for each in seen.followed.facts.get("subscriptions", ())}
    return {each["pid"]: each["name"] for each in seen.published.facts.get("slots", ()) if each["name"] in own}


def _role(name: str, facts: Mapping[str, Any] | None, li: LawfulIntercept, walsender: bool) -> Role:
    doors = tuple(each for each in li.sync if each.login.user == name)
    if not facts:
        return Role(name, False, doors=doors, walsender=walsender)
    lists = {key: tuple(facts[key]) for key in ("creates", "writes", "unreadable")}
    return Role(name, True, facts["superuser"], facts["replication"], **lists, doors=doors, walsender=walsender)


def _attempt(access: Access, door: Door) -> Attempt:
    import psycopg

    if not door.login.password:
        return Attempt(door, LoginOutcome.UNSEEN, problem=f"{door.origin} could not be read")
    try:
        with _open(access, door, read_only=False) as connection:
            row = connection.execute(TARGET).fetchone()
            if row is None:
                return Attempt(door, LoginOutcome.ACCEPTED, problem="main's database has no table")
            table, column = row
            try:
                connection.execute(f"update {table} set {column} = {column} where false")
            except psycopg.errors.InsufficientPrivilege:
                return Attempt(door, LoginOutcome.ACCEPTED, table, refused=True)
            except psycopg.Error as error:
                return Attempt(door, LoginOutcome.ACCEPTED, table, problem=meaning(error)[1])
            finally:
                connection.rollback()
            return Attempt(door, LoginOutcome.ACCEPTED, table, refused=False)
    except ApiError as error:
        return Attempt(door, LoginOutcome.UNSEEN, problem=str(error))
    except (psycopg.Error, OSError) as error:
        outcome, words = meaning(error)
        return Attempt(door, outcome, problem=words)


def first_answer(access: Access, doors: Sequence[Door], ask: Question) -> Said:
    """What ``ask`` finds behind the first of these doors that opens."""
    import psycopg

    problem = "no login is known"
    for door in doors:
        try:
            with _open(access, door) as connection:
                return Said(ask(connection), f"as {door.login.user}")
        except (psycopg.Error, OSError, ApiError) as error:
            problem = meaning(error)[1]
    return Said({}, problem=problem)


@contextmanager
def _open(access: Access, door: Door, *, read_only: bool = True) -> Iterator[psycopg.Connection[Any]]:
    if not door.endpoint.pods and not door.endpoint.external:
        raise OSError(door.endpoint.problem)
    with (
        way_to(access, door.endpoint) as (address, port, _),
        log_in(door.login, address, port, read_only=read_only) as connection,
    ):
        yield connection


def _json(
    connection: psycopg.Connection[Any], statement: str, values: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    row = connection.execute(statement, values).fetchone()
    return dict(json.loads(row[0])) if row and row[0] else {}
