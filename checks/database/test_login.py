from collections.abc import Iterable

from postflight.check import check
from postflight.cluster.kinds import CONFIG_MAP
from postflight.cluster.secrets import SecretStore
from postflight.deployment.model import Deployment
from postflight.deployment.parts import DatabaseUse, Login, name_of
from postflight.probes.databases import DatabaseLogins, LoginOutcome, LoginTry
from postflight.probes.inside import InsideView, unseen_ways
from postflight.probes.probe import NotTried
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: Answers of a living server that say that this login is wrong. A database that is missing is
#: database.names' to say: its password was accepted.
WRONG = (
    LoginOutcome.PASSWORD,
    LoginOutcome.NO_ROLE,
    LoginOutcome.NOT_ALLOWED,
    LoginOutcome.NO_CONNECT,
)


@check(
    "database.login",
    severity=Severity.CRITICAL,
    finding="1.1",
    kinds=(CONFIG_MAP,),
    remedy="take the operator's password over into the Secret that the process reads, then restart the process",
    blind_spots="through a tunnel a login enters at the pod's loopback and proves no Service and no policy;"
    " the connection by name from the process's own pod is tried beside it where commands in pods are allowed;"
    " of clients other than Synapse it sees the logins in environments and the URLs in mounted files, no other file",
)
def test_every_process_logs_in_to_its_database_with_the_password_it_has_in_effect(
    deployment: Deployment,
    secrets: SecretStore,
    database_logins: DatabaseLogins,
    redactor: Redactor,
    settings: Settings,
    inside_connections: InsideView | NotTried,
    probe_pod_connections: InsideView | NotTried,
    judge: Judge,
) -> None:
    """A password that is wrong in one Secret keeps every process that reads it from starting; one
    that was changed later does so at the next restart, at night."""
    for (namespace, name), why in secrets.unseen.items():
        if name in (settings.canary.ca_secret, settings.canary.tls_secret):
            continue  # no login is in it
        judge.unknown(f"Secret {namespace}/{name}", f"logins that Secret {name} holds could not be tried: {why}")
    for each in deployment.unclear:
        judge.unknown(
            each.client, f"a login of {name_of(each.client)}, container {each.container}, was not tried: {each.why}"
        )
    if not (deployment.database_uses or deployment.unclear):
        judge.absent("no process names a PostgreSQL")
        return
    in_effect: dict[Login, list[DatabaseUse]] = {}
    later: dict[Login, list[DatabaseUse]] = {}
    mains = {process.workload for process in deployment.synapse if process.is_main}
    for use in sorted(deployment.database_uses, key=lambda use: use.workload not in mains):
        judge.saw(use.client)
        in_effect.setdefault(use.login, []).append(use)
        if use.next_login and use.next_login != use.login:
            later.setdefault(use.next_login, []).append(use)
    for login, uses in in_effect.items():
        _in_effect(database_logins.tries[login], database_logins, uses, deployment, redactor, judge)
    for login, uses in later.items():
        attempt = database_logins.tries.get(login)
        if attempt and attempt.outcome in WRONG:
            _after_restart(attempt, uses, judge)
    if why := unseen_ways(inside_connections, probe_pod_connections):
        judge.unproven("the way by name", f"whether the processes reach the database by name was not seen: {why}")
    for view in (inside_connections, probe_pod_connections):
        if isinstance(view, InsideView):
            _from_inside(database_logins, view, judge)
    for process in deployment.unread:
        why = process.config_problem
        judge.unknown(process.id, f"how {process.workload_name} logs in is not known, its configuration: {why}")
    derived = [use for use in deployment.database_uses if use.derived and _runs(deployment, use)]
    if derived:
        judge.unproven(
            "passwords in effect",
            f"what {_who(derived)} have in effect is taken from their specs: no file could be read in their pods",
        )


def _runs(deployment: Deployment, use: DatabaseUse) -> bool:
    pod = deployment.pods.get(use.client)
    return pod is not None and pod.ready


def _in_effect(
    attempt: LoginTry,
    logins: DatabaseLogins,
    uses: list[DatabaseUse],
    deployment: Deployment,
    redactor: Redactor,
    judge: Judge,
) -> None:
    login, who = attempt.login, _who(uses)
    cluster, pooler = logins.clusters[(login.host, login.port)], deployment.pooler_of(login)
    below = logins.tries.get(logins.beneath.get(login, login))
    observed = f"{attempt.message or attempt.outcome.value}, as {_count(uses)} would log in ({login.where}; asked {attempt.asked})"
    if attempt.outcome is LoginOutcome.NO_SCRAM:
        server = _server(login.host)
        judge.wrong(
            uses[0].client,
            f"{who} logs in to {server} without SCRAM: the server asks for md5 or for the password itself",
            observed=observed,
            expected="the server asks for SCRAM, which shows the password to nobody",
            cause=f"auth_type of {pooler.name} is no SCRAM"
            if pooler
            else f"pg_hba.conf of {server} has another method for role {login.user}, or its password is kept as md5",
            remedy=f"set auth_type: scram-sha-256 in the configuration of {pooler.name}"
            if pooler
            else "say scram-sha-256 in pg_hba.conf, with password_encryption: scram-sha-256, and set the password of role"
            f" {login.user} anew",
        )
    elif attempt.outcome in WRONG:
        cause, remedy = _cause(attempt, logins, uses, deployment.database_uses, redactor)
        if pooler and below and below.outcome is LoginOutcome.ACCEPTED:
            cause = f"{pooler.name} knows another password of role {login.user} than PostgreSQL beneath it, which takes this"
            remedy = f"put the password of {uses[0].origin} into the list of users of {pooler.name} (auth_file), and reload it"
        judge.wrong(
            uses[0].client,
            f"{who} cannot log in to {_server(login.host)}: {attempt.outcome.value}",
            observed=observed,
            expected="the password that a process has in effect opens its database",
            cause=cause,
            remedy=remedy,
            stops=tuple(dict.fromkeys(part for use in uses for part in (use.client, use.workload))),
        )
    elif attempt.outcome is LoginOutcome.NO_DATABASE:
        judge.unavailable(
            uses[0].client,
            f"{who} cannot log in to {_server(login.host)}: {attempt.outcome.value}",
            observed=observed,
            stops=tuple(use.client for use in uses),
        )
    elif attempt.outcome is LoginOutcome.TIMED_OUT and any(pod.ready for pod in cluster.pods):
        judge.unknown(
            cluster.id,
            f"{_server(login.host)} did not answer in time, though its pods are Ready: {attempt.message}",
            observed=observed,
        )
    elif attempt.outcome is LoginOutcome.UNSEEN:
        host = login.host.partition(".")[0]
        judge.unknown(
            cluster.id, f"whether {host} takes logins could not be seen: {attempt.message}", observed=observed
        )
    elif attempt.outcome is LoginOutcome.OUTSIDE:
        address = next(each for each in cluster.endpoints if (each.host, each.port) == (login.host, login.port))
        why = address.problem or "it is outside the cluster, no tunnel leads there (--access direct)"
        judge.unknown(cluster.id, f"{login.host} cannot be asked: {why}")
    elif attempt.outcome in (LoginOutcome.UNREACHABLE, LoginOutcome.TIMED_OUT, LoginOutcome.FULL):
        missing, part, name = cluster.missing or attempt.message, cluster.id, cluster.name
        if pooler and below and below.outcome is LoginOutcome.ACCEPTED:
            missing, part, name = attempt.message, pooler.id, pooler.name
        judge.unavailable(
            part,
            f"{_server(login.host)} does not take logins: {missing}",
            observed=observed,
            expected="PostgreSQL answers at the address that the processes use",
            remedy=f"bring {name} up",
            stops=(part,),
        )


def _cause(
    attempt: LoginTry,
    logins: DatabaseLogins,
    uses: list[DatabaseUse],
    all_uses: Iterable[DatabaseUse],
    redactor: Redactor,
) -> tuple[str, str]:
    """Tell a password changed after its pod started from one that is wrong."""
    use, login = uses[0], attempt.login
    others = [t for t in logins.tries.values() if t.outcome is LoginOutcome.ACCEPTED and _same_role(t.login, login)]
    restart = f"restart {_who(uses)}"
    if attempt.outcome is not LoginOutcome.PASSWORD:
        return f"PostgreSQL says: {attempt.message}", f"correct role {login.user} in PostgreSQL or in {use.origin}"
    if use.next_login in {each.login for each in others} and use.next_login != login:
        when = f" at {use.origin_changed:%Y-%m-%d %H:%M:%SZ}" if use.origin_changed else ""
        return f"{use.origin} was changed{when}, after {use.pod} started with the value before", restart
    if others:
        differs = f"({redactor.token(login.password)} is not {redactor.token(others[0].login.password)})"
        return (
            f"{use.origin} differs from {_origin_of(others[0].login, all_uses)} {differs}",
            f"take the password over into {use.origin.removeprefix('Secret ')}, then {restart}",
        )
    return (
        f"{use.origin} holds another password than role {login.user} has in PostgreSQL",
        f"make {use.origin} and the role's password equal, then {restart}",
    )


def _origin_of(good: Login, uses: Iterable[DatabaseUse]) -> str:
    return next((use.origin for use in uses if good in (use.login, use.next_login)), "PostgreSQL")


def _after_restart(attempt: LoginTry, uses: list[DatabaseUse], judge: Judge) -> None:
    use = uses[0]
    when = f" at {use.origin_changed:%Y-%m-%d %H:%M:%SZ}" if use.origin_changed else ""
    judge.wrong(
        use.client,
        f"{_who(uses)} will not log in after the next restart: {use.origin} was changed{when}: {attempt.outcome.value}",
        observed=f"{attempt.message}, as {_count(uses)} would log in after a restart ({attempt.login.where})",
        expected="the Secret holds the password that the running process logged in with, or another that works",
        cause=f"{use.origin} was changed after {use.pod} started; what it says now is refused",
        remedy=f"put the password that is in effect back into {use.origin.removeprefix('Secret ')} before anything restarts",
    )


def _from_inside(logins: DatabaseLogins, view: InsideView, judge: Judge) -> None:
    """The Service's way, from the process's own pod."""
    accepted = {(t.login.host, t.login.port) for t in logins.tries.values() if t.outcome is LoginOutcome.ACCEPTED}
    for each in view.connections:
        if (each.host, each.port) in accepted and each.problem:
            judge.wrong(
                each.process.id,
                f"{each.process.workload_name} does not reach {_server(each.host)}, which takes logins: {each.problem}",
                observed=f"{each.problem}, connecting to {each.host}:{each.port} from {each.pod}",
                expected="the process reaches the database by the name it has in effect",
                cause="name resolution, the Service or a NetworkPolicy stands between",
                stops=(each.process.id,),
            )


def _same_role(one: Login, other: Login) -> bool:
    return (one.user, _server(one.host), one.port) == (other.user, _server(other.host), other.port)


def _server(host: str) -> str:
    """What a person calls it: a name's first part, an address whole."""
    first = host.partition(".")[0]
    return host if first.isdigit() else first


def _who(uses: Iterable[DatabaseUse]) -> str:
    return several(dict.fromkeys(name_of(use.workload).rpartition(" ")[2] for use in uses))


def _count(uses: list[DatabaseUse]) -> str:
    return f"each of {len(uses)} processes" if len(uses) > 1 else uses[0].pod
