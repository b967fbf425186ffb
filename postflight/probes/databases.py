"""PostgreSQL: logins as the processes would make them, what the servers say, how instances replicate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from postflight.cluster import silences
from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Login, Pod, PostgresCluster, SynapseProcess, is_loopback
from postflight.limits import Limit
from postflight.probes.metrics import POOL, Numbers
from postflight.probes.probe import EXEC, NotTried, probe

if TYPE_CHECKING:
    import psycopg


class LoginOutcome(StrEnum):
    """``NO_SLOT`` comes after the password was accepted (InitPostgres checks the slots that are kept
    for superusers last), ``FULL`` before it was asked for."""

    ACCEPTED = "accepted"
    PASSWORD = "password rejected"
    NO_SCRAM = "not asked for SCRAM"
    NO_DATABASE = "database does not exist"
    NO_ROLE = "role may not log in"
    NOT_ALLOWED = "refused by pg_hba.conf"
    NO_CONNECT = "role may not connect to the database"
    NO_SLOT = "no connection slot left"
    FULL = "too many connections"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "no answer in time"
    OUTSIDE = "outside the cluster"
    UNSEEN = "not to be seen from here"


#: What libpq, PostgreSQL 13 to 18 and PgBouncer 1.18 say, tried on PostgreSQL 15, 16 and 18; a connection error has no
#: sqlstate.
MESSAGES = (
    (r"password authentication failed|no password supplied|SASL authentication failed", LoginOutcome.PASSWORD),
    (r"authentication method requirement", LoginOutcome.NO_SCRAM),
    (r'database ".*" does not exist|no such database', LoginOutcome.NO_DATABASE),
    (r'role ".*" does not exist|is not permitted to log in|no such user', LoginOutcome.NO_ROLE),
    (r"permission denied for database", LoginOutcome.NO_CONNECT),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", LoginOutcome.NOT_ALLOWED),
    (r"timeout expired|timed out|query_wait_timeout", LoginOutcome.TIMED_OUT),
    (r"remaining connection slots", LoginOutcome.NO_SLOT),
    (r"too many clients|too many connections|no more connections allowed", LoginOutcome.FULL),
)


@dataclass(frozen=True, slots=True)
class LoginTry:
    """One login by SCRAM over TCP. ``asked`` is the address that was connected to."""

    login: Login
    outcome: LoginOutcome
    message: str
    asked: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatabaseLogins:
    """Every distinct login of the deployment, tried once; ``clusters`` says which PostgreSQL each
    host and port leads to, ``beneath`` which login a pooler makes of one."""

    tries: Mapping[Login, LoginTry]
    clusters: Mapping[tuple[str, int], PostgresCluster]
    beneath: Mapping[Login, Login] = field(default_factory=dict)

    def of(self, cluster: PostgresCluster) -> list[LoginTry]:
        """The tries at one PostgreSQL, by whatever name."""
        return [
            each for each in self.tries.values() if self.clusters[(each.login.host, each.login.port)].id == cluster.id
        ]


FACTS = """
select json_build_object(
  'version', current_setting('server_version'),
  'max_connections', current_setting('max_connections')::int,
  'reserved', current_setting('superuser_reserved_connections')::int
              + coalesce(current_setting('reserved_connections', true), '0')::int,
  'sessions', (select count(*) from pg_stat_activity where backend_type = 'client backend'),
  'databases', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database
                where not datistemplate),
  'in_recovery', pg_is_in_recovery())::text
"""


@probe(limit=Limit.DATABASE, reaches=True)
def database_logins(deployment: Deployment, access: Access) -> DatabaseLogins:
    """Log in as every process would, with the password in effect and with the one a restart takes; where a pooler
    stands between, beneath it too."""
    clusters = {
        (endpoint.host, endpoint.port): cluster for cluster in deployment.postgres for endpoint in cluster.endpoints
    }
    endpoints = {(each.host, each.port): each for cluster in deployment.postgres for each in cluster.endpoints}
    logins: dict[Login, None] = {}
    for use in deployment.database_uses:
        logins[use.login] = None
        if use.next_login and (use.next_login.host, use.next_login.port) in endpoints:
            logins[use.next_login] = None
    beneath: dict[Login, Login] = {}
    for login in logins:
        pooler = deployment.pooler_of(login)
        made = pooler.login_beneath(login) if pooler else None
        if made and (made.host, made.port) in endpoints:
            beneath[login] = made
    logins |= dict.fromkeys(beneath.values())

    def trier(login: Login) -> Callable[[], LoginTry]:
        where = (login.host, login.port)
        return lambda: _tried(access, login, endpoints[where])

    tries: dict[Login, LoginTry] = {}
    outcomes = in_threads([trier(each) for each in logins], Limit.DATABASE - 1)
    for login, outcome in zip(logins, outcomes, strict=True):
        try:
            tries[login] = outcome.result()
        except TimeoutError:
            asked = f"{login.host}:{login.port}"
            tries[login] = LoginTry(login, LoginOutcome.TIMED_OUT, "no answer within the time limit", asked)
    return DatabaseLogins(tries, clusters, beneath)


def _tried(access: Access, login: Login, endpoint: Endpoint) -> LoginTry:
    """One login; one that gets no answer in time is tried once more before it is believed."""
    first = _try(access, login, endpoint)
    return _try(access, login, endpoint) if first.outcome is LoginOutcome.TIMED_OUT else first


def _try(access: Access, login: Login, endpoint: Endpoint) -> LoginTry:
    import psycopg

    asked = f"{login.host}:{login.port}"
    if is_loopback(login.host):
        words = "it is the process's own pod, where a proxy may stand, and only from there can one log in"
        return LoginTry(login, LoginOutcome.UNSEEN, words, asked)
    if endpoint.external and access.way is Way.TUNNEL and (endpoint.problem or access.standing is None):
        return LoginTry(login, LoginOutcome.OUTSIDE, "no tunnel leads to an address outside the cluster", asked)
    if not endpoint.pods and not endpoint.external:
        return LoginTry(login, LoginOutcome.UNREACHABLE, endpoint.problem, asked)
    try:
        with way_to(access, endpoint) as (address, port, through):
            asked = f"{asked}, {through}"
            with log_in(login, address, port) as connection:
                row = connection.execute(FACTS).fetchone()
            return LoginTry(login, LoginOutcome.ACCEPTED, "", asked, json.loads(row[0]) if row else {})
    except (psycopg.Error, OSError) as error:
        return LoginTry(login, *meaning(error), asked)
    except ApiError as error:
        return LoginTry(login, LoginOutcome.UNSEEN, str(error), asked)


def meaning(error: Exception) -> tuple[LoginOutcome, str]:
    """What a connection that failed came to, and the server's own words."""
    text = " ".join(str(error).split())
    outcome = next((each for pattern, each in MESSAGES if re.search(pattern, text)), LoginOutcome.UNREACHABLE)
    return outcome, _server_words(text)


def log_in(login: Login, address: str | None, port: int, *, read_only: bool = True) -> psycopg.Connection[Any]:
    """One login, by SCRAM, over TLS where the server has it, in a transaction with limits. Raises psycopg.Error.

    libpq's own ``prefer`` would try a refused password a second time without TLS.
    """
    import psycopg

    for sslmode in ("require", "disable"):
        try:
            connection = psycopg.connect(
                host=login.host,
                hostaddr=address,
                port=port,
                user=login.user,
                password=login.password.reveal(),
                dbname=login.database,
                sslmode=sslmode,
                gssencmode="disable",
                connect_timeout=int(Limit.CONNECT),
                require_auth="scram-sha-256",
                application_name="postflight",
            )
            connection.read_only = read_only
            connection.execute(LIMITS)
            return connection
        except psycopg.errors.ConnectionTimeout:
            # Each of its answers may have come in time, and not all of them.
            silences.note(f"a login at {login.host}")
            raise
        except psycopg.OperationalError as error:
            if sslmode == "disable" or "does not support SSL" not in str(error):
                raise
    raise AssertionError("one of the two returns or raises")


def _server_words(text: str) -> str:
    """What the server said, without libpq's prefix about the address of the tunnel."""
    return re.sub(r"^.*(FATAL:|failed:)\s*", "", text)[:300]


#: Not as startup options: a pooler refuses them.
LIMITS = f"set local statement_timeout = {int(Limit.SQL * 1000)}; set local lock_timeout = {int(Limit.LOCK * 1000)}"


@contextmanager
def way_to(access: Access, endpoint: Endpoint) -> Iterator[tuple[str | None, int, str]]:
    """Address, port, and how it is reached. By name where names resolve, else to one pod behind it; what is outside of
    the cluster, else as a process of the deployment reaches it."""
    if endpoint.external and access.standing and access.is_shut(endpoint.host, endpoint.port):
        with access.to_outside(endpoint.host, endpoint.port) as (address, local):
            yield address, local, f"by name from {access.standing.pod}"
        return
    if endpoint.external or (access.way is Way.DNS and access.answers(endpoint.host, endpoint.port)):
        yield None, endpoint.port, "by name"
        return
    pod, port = endpoint.pods[0]
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (address, local):
        yield address, local, f"by {Way.TUNNEL if access.falls_back else access.way} to {pod.name}"


#: Run by psql as the instance's own administrator, over its Unix socket; reads only. A primary's timeline is
#: that of the file it writes: the control file has the old one until the first checkpoint after a failover.
INSTANCE = """
select json_build_object(
 'max_connections', current_setting('max_connections')::int,
 'reserved', current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true), '0')::int,
 'sessions', (select count(*) from pg_stat_activity where backend_type = 'client backend'),
 'databases', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database where not datistemplate),
 'in_recovery', pg_is_in_recovery(),
 'timeline', case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint()) else
   ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end,
 'received_timeline', (select received_tli from pg_stat_wal_receiver),
 'receiver', (select status from pg_stat_wal_receiver),
 'receives_from', (select sender_host from pg_stat_wal_receiver),
 'lsn', case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
 'wal_bytes', (select sum(size) from pg_ls_waldir()),
 'wal_ceiling', pg_size_bytes(current_setting('max_wal_size')),
 'archiver', (select json_build_object('last_archived', last_archived_wal, 'archived_at', last_archived_time,
   'last_failed', last_failed_wal, 'failed_at', last_failed_time, 'failed', failed_count, 'now', now(),
   'open', case when pg_is_in_recovery() then null else pg_walfile_name(pg_current_wal_lsn()) end) from pg_stat_archiver),
 'subscriptions', (select coalesce(json_agg(subslotname), '[]') from pg_subscription),
 'slots', (select coalesce(json_agg(json_build_object('name', slot_name, 'type', slot_type, 'active', active,
   'wal_status', wal_status, 'behind', case when pg_is_in_recovery() then null else
   pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(confirmed_flush_lsn, restart_lsn)) end)), '[]') from pg_replication_slots),
 'senders', (select coalesce(json_agg(json_build_object('name', application_name, 'state', state,
   'behind', case when pg_is_in_recovery() then null else
   pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) end)), '[]') from pg_stat_replication))::text
"""


@dataclass(frozen=True, slots=True)
class DatabaseInstance:
    """What one PostgreSQL instance says of itself; ``facts`` is empty and ``problem`` set when it
    could not be asked. Byte counts are those of the primary's own view."""

    pod: Pod
    facts: Mapping[str, Any]
    problem: str = ""


@probe(limit=Limit.DATABASE, rights=(EXEC,))
def database_instances(deployment: Deployment, api: Api) -> Mapping[str, tuple[DatabaseInstance, ...]]:
    """Ask every operated instance, in its own pod, how it replicates. By cluster id."""
    operated = [each for each in deployment.postgres if each.operator]
    asked = [(cluster, pod) for cluster in operated for pod in cluster.pods]

    def asker(pod: Pod) -> Callable[[], DatabaseInstance]:
        return lambda: _ask(api, pod)

    outcomes = in_threads([asker(pod) for _, pod in asked], Limit.DATABASE - 1)
    found: dict[str, tuple[DatabaseInstance, ...]] = {each.id: () for each in operated}
    for (cluster, pod), outcome in zip(asked, outcomes, strict=True):
        try:
            instance = outcome.result()
        except TimeoutError:
            instance = DatabaseInstance(pod, {}, "no answer within the time limit")
        found[cluster.id] = (*found[cluster.id], instance)
    return found


def server_facts(
    cluster: PostgresCluster,
    logins: DatabaseLogins,
    instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried,
) -> Mapping[str, Any]:
    """What a server says of itself (max_connections, reserved, sessions, databases with owners): to a
    login that was let in, else to its own administrator. Empty when neither could ask."""
    for attempt in logins.of(cluster):
        if attempt.facts:
            return attempt.facts
    asked = () if isinstance(instances, NotTried) else instances.get(cluster.id, ())
    return next((each.facts for each in asked if each.facts and not each.facts["in_recovery"]), {})


def _ask(api: Api, pod: Pod) -> DatabaseInstance:
    command = ("psql", "-XAtq", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", INSTANCE)
    try:
        answer = run_in_pod(api, pod.namespace, pod.name, "postgres", command)
    except ApiError as error:
        return DatabaseInstance(pod, {}, str(error))
    if answer.code != 0 or answer.cut:
        return DatabaseInstance(pod, {}, answer.complaint)
    return DatabaseInstance(pod, json.loads(answer.stdout))


@dataclass(frozen=True, slots=True)
class Pool:
    """The database pool of one Synapse process, as it reports it, else as it is configured.
    ``problem`` says why it could not be asked."""

    process: SynapseProcess
    size: int
    reported: bool
    problem: str = ""


@probe(limit=Limit.INSIDE)
def database_pools(deployment: Deployment, process_numbers: Mapping[str, Numbers]) -> tuple[Pool, ...]:
    """The size of each Synapse process's database pool, from its own metrics.

    Source: ``synapse_threadpool_max_threads{name="database-..."}``, seen on 1.119 and 1.163.
    """
    pools: dict[str, int] = {}
    for use in deployment.database_uses:
        if use.pool is not None:
            pools[use.client] = max(pools.get(use.client, 0), use.pool or 10)
    found: list[Pool] = []
    for process in (each for each in deployment.synapse if each.id in pools):
        numbers = process_numbers.get(process.id, Numbers())
        size = numbers.total(POOL, 'name="database')
        problem = "" if numbers.silent else numbers.problem
        found.append(Pool(process, size or pools[process.id], reported=bool(size), problem=problem))
    return tuple(found)
