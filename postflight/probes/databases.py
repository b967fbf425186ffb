"""PostgreSQL: logins as the processes would make them, what the servers say, how instances replicate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.parts import Deployment, Endpoint, Login, Pod, PostgresCluster, SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import EXEC, NotTried, probe


class LoginOutcome(StrEnum):
    """``NO_SLOT`` comes after the password was accepted (InitPostgres checks the slots that are kept
    for superusers last), ``FULL`` before it was asked for."""

    ACCEPTED = "accepted"
    PASSWORD = "password rejected"
    NO_SCRAM = "not asked for SCRAM"
    NO_DATABASE = "database does not exist"
    NO_ROLE = "role may not log in"
    NOT_ALLOWED = "refused by pg_hba.conf"
    NO_SLOT = "no connection slot left"
    FULL = "too many connections"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "no answer in time"
    OUTSIDE = "outside the cluster"


#: What libpq and PostgreSQL 13 to 18 say, tried on 15, 16 and 18; a connection error has no sqlstate.
MESSAGES = (
    (r"password authentication failed|no password supplied|SASL authentication failed", LoginOutcome.PASSWORD),
    (r"authentication method requirement", LoginOutcome.NO_SCRAM),
    (r'database ".*" does not exist', LoginOutcome.NO_DATABASE),
    (r'role ".*" does not exist|is not permitted to log in', LoginOutcome.NO_ROLE),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", LoginOutcome.NOT_ALLOWED),
    (r"timeout expired|timed out", LoginOutcome.TIMED_OUT),
    (r"remaining connection slots", LoginOutcome.NO_SLOT),
    (r"too many clients|too many connections", LoginOutcome.FULL),
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
    host and port leads to."""

    tries: Mapping[Login, LoginTry]
    clusters: Mapping[tuple[str, int], PostgresCluster]


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
    """Log in as every process would, with the password in effect and with the one a restart takes."""
    clusters = {
        (endpoint.host, endpoint.port): cluster for cluster in deployment.postgres for endpoint in cluster.endpoints
    }
    endpoints = {(each.host, each.port): each for cluster in deployment.postgres for each in cluster.endpoints}
    logins: dict[Login, None] = {}
    for use in deployment.database_uses:
        logins[use.login] = None
        if use.next_login and (use.next_login.host, use.next_login.port) in endpoints:
            logins[use.next_login] = None

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
    return DatabaseLogins(tries, clusters)


def _tried(access: Access, login: Login, endpoint: Endpoint) -> LoginTry:
    """One login; one that gets no answer in time is tried once more before it is believed."""
    first = _try(access, login, endpoint)
    return _try(access, login, endpoint) if first.outcome is LoginOutcome.TIMED_OUT else first


def _try(access: Access, login: Login, endpoint: Endpoint) -> LoginTry:
    import psycopg

    asked = f"{login.host}:{login.port}"
    if endpoint.external and access.way is Way.TUNNEL:
        return LoginTry(login, LoginOutcome.OUTSIDE, "no tunnel leads to an address outside the cluster", asked)
    if not endpoint.pods and not endpoint.external:
        return LoginTry(login, LoginOutcome.UNREACHABLE, endpoint.problem, asked)
    try:
        with _way(access, endpoint) as (address, port, through):
            asked = f"{asked}, {through}"
            return LoginTry(login, LoginOutcome.ACCEPTED, "", asked, _log_in(login, address, port))
    except (psycopg.Error, OSError) as error:
        text = " ".join(str(error).split())
        for pattern, outcome in MESSAGES:
            if re.search(pattern, text):
                return LoginTry(login, outcome, _server_words(text), asked)
        return LoginTry(login, LoginOutcome.UNREACHABLE, _server_words(text), asked)


def _log_in(login: Login, address: str | None, port: int) -> Mapping[str, Any]:
    """One login, by SCRAM, over TLS where the server has it. Raises psycopg.Error.

    libpq's own ``prefer`` would try a refused password a second time without TLS.
    """
    import psycopg

    for sslmode in ("require", "disable"):
        try:
            with psycopg.connect(
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
                options=f"-c default_transaction_read_only=on -c statement_timeout={int(Limit.SQL * 1000)}",
            ) as connection:
                row = connection.execute(FACTS).fetchone()
                return dict(json.loads(row[0])) if row else {}
        except psycopg.OperationalError as error:
            if sslmode == "disable" or "does not support SSL" not in str(error):
                raise
    return {}


def _server_words(text: str) -> str:
    """What the server said, without libpq's prefix about the address of the tunnel."""
    return re.sub(r"^.*(FATAL:|failed:)\s*", "", text)[:300]


@contextmanager
def _way(access: Access, endpoint: Endpoint) -> Iterator[tuple[str | None, int, str]]:
    """Address, port, and how it is reached. By name where names resolve, else to one pod behind it."""
    if access.way is Way.DNS or endpoint.external:
        yield None, endpoint.port, "by name"
        return
    pod, port = endpoint.pods[0]
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (address, local):
        yield address, local, f"by {access.way.value} to {pod.name}"


#: Run by psql as the instance's own administrator, over its Unix socket; reads only.
INSTANCE = """
select json_build_object(
 'max_connections', current_setting('max_connections')::int,
 'reserved', current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true), '0')::int,
 'sessions', (select count(*) from pg_stat_activity where backend_type = 'client backend'),
 'databases', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database where not datistemplate),
 'in_recovery', pg_is_in_recovery(),
 'timeline', (select timeline_id from pg_control_checkpoint()),
 'received_timeline', (select received_tli from pg_stat_wal_receiver),
 'receiver', (select status from pg_stat_wal_receiver),
 'receives_from', (select sender_host from pg_stat_wal_receiver),
 'lsn', case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
 'wal_bytes', (select sum(size) from pg_ls_waldir()),
 'wal_ceiling', pg_size_bytes(current_setting('max_wal_size')),
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
    for attempt in logins.tries.values():
        where = (attempt.login.host, attempt.login.port)
        if attempt.facts and logins.clusters[where].id == cluster.id:
            return attempt.facts
    asked = () if isinstance(instances, NotTried) else instances.get(cluster.id, ())
    return next((each.facts for each in asked if each.facts and not each.facts["in_recovery"]), {})


def _ask(api: Api, pod: Pod) -> DatabaseInstance:
    command = ("psql", "-XAtq", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", INSTANCE)
    try:
        answer = run_in_pod(api, pod.namespace, pod.name, "postgres", command)
    except ApiError as error:
        return DatabaseInstance(pod, {}, str(error))
    if answer.code != 0:
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


POOL = re.compile(r"^synapse_threadpool_max_threads\{([^}]*)\}\s+([0-9.e+]+)", re.MULTILINE)


@probe(limit=Limit.INSIDE, reaches=True)
def database_pools(deployment: Deployment, access: Access) -> tuple[Pool, ...]:
    """The size of each Synapse process's database pool, from its own metrics.

    Source: ``synapse_threadpool_max_threads{name="database-..."}``, seen on 1.119 and 1.163.
    """
    pools = {use.client: use.pool or 10 for use in deployment.database_uses if use.pool is not None}
    processes = [each for each in deployment.synapse if each.id in pools]

    def asker(process: SynapseProcess) -> Callable[[], int | None]:
        return lambda: _reported_pool(access, process)

    outcomes = in_threads([asker(each) for each in processes], Limit.INSIDE - 1)
    found: list[Pool] = []
    for process, outcome in zip(processes, outcomes, strict=True):
        error = outcome.exception()
        size = None if error else outcome.result()
        problem = str(error) if error else ""
        found.append(Pool(process, size or pools[process.id], reported=size is not None, problem=problem))
    return tuple(found)


def _reported_pool(access: Access, process: SynapseProcess) -> int | None:
    """None where the process serves no metrics. Raises OSError when it does not answer."""
    import http.client

    port = metrics_port(process.config or {})
    pod = process.pod
    status = pod.container(process.container) if pod else None
    if pod is None or status is None or not status.running:
        raise OSError("it does not run")
    if port is None:
        return None
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
        connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
        try:
            connection.request("GET", "/_synapse/metrics", headers={"Host": "localhost"})
            text = connection.getresponse().read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError(f"its metrics port {port} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
    sizes = [float(value) for labels, value in POOL.findall(text) if 'name="database' in labels]
    return int(sum(sizes)) or None


def metrics_port(config: Mapping[str, Any]) -> int | None:
    """The port of a process's metrics listener; workers keep theirs in worker_listeners."""
    listeners: Sequence[Any] = config.get("worker_listeners") or config.get("listeners") or ()
    for each in listeners:
        if not isinstance(each, dict):
            continue
        names = [name for resource in each.get("resources") or () for name in resource.get("names") or ()]
        if each.get("type") == "metrics" or "metrics" in names:
            return int(each["port"])
    return None
