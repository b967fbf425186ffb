from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.parts import DatabaseUse, Deployment, Login
from postflight.probes.databases import DatabaseLogins, LoginOutcome, LoginTry
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "database.names",
    severity=Severity.CRITICAL,
    finding="2.8",
    remedy="create the database, owned by the role that uses it, or correct the name in the workload",
    blind_spots="a server that no login of the deployment reaches: database.login says why",
)
def test_every_database_that_a_workload_names_exists_and_is_owned_by_its_role(
    deployment: Deployment, database_logins: DatabaseLogins, judge: Judge
) -> None:
    """A database under another name stops its service at the first query, and a database of another
    owner at the first schema change. CloudNativePG's postInitSQL runs once: editing it later makes
    nothing."""
    if not deployment.database_uses:
        judge.absent("no process names a PostgreSQL")
        return
    for login, uses in _by_login(deployment).items():
        attempt = database_logins.tries.get(login)
        if attempt is None:
            continue
        use = uses[0]
        cluster = database_logins.clusters[(login.host, login.port)]
        name = use.workload.rpartition("/")[2]
        known = _databases(database_logins, cluster.id)
        if attempt.outcome is LoginOutcome.NO_DATABASE:
            near = ", ".join(sorted(known)) or "not known"
            judge.wrong(
                use.client,
                f"{name} names database {login.database}, which does not exist on {cluster.name}",
                observed=f"{attempt.message} (asked {attempt.asked}); there are: {near}",
                expected=f"a database {login.database} owned by {login.user}",
                cause=f"{use.database_origin} says {login.database}; {cluster.name} has {near}",
                remedy=f"correct {use.database_origin}, or create the database owned by {login.user}",
                stops=tuple(dict.fromkeys(part for u in uses for part in (u.client, u.workload))),
            )
        elif attempt.outcome is LoginOutcome.ACCEPTED:
            _owner(attempt, use, name, judge)
        elif attempt.outcome in (LoginOutcome.UNREACHABLE, LoginOutcome.TIMED_OUT, LoginOutcome.FULL):
            judge.unknown(cluster.id, f"whether database {login.database} exists could not be seen: {attempt.message}")
        elif known and login.database not in known:
            judge.wrong(
                use.client,
                f"{name} names database {login.database}, which does not exist on {cluster.name}",
                observed=f"there are: {', '.join(sorted(known))} (as another role sees them)",
                expected=f"a database {login.database} owned by {login.user}",
            )
        elif known:
            judge.saw(use.client)
        else:
            judge.unknown(
                use.client, f"{name} cannot log in, so its database cannot be seen", needs=(use.client, cluster.id)
            )


def _owner(attempt: LoginTry, use: DatabaseUse, name: str, judge: Judge) -> None:
    judge.saw(use.client)
    owner = (attempt.facts.get("databases") or {}).get(attempt.login.database)
    if owner and owner != attempt.login.user:
        judge.wrong(
            use.client,
            f"database {attempt.login.database}, which {name} uses as {attempt.login.user}, is owned by {owner}",
            observed=f"owner {owner}",
            expected=f"owner {attempt.login.user}",
            cause=f"{attempt.login.database} was created by or for another role",
            remedy=f"ALTER DATABASE {attempt.login.database} OWNER TO {attempt.login.user}, as a superuser",
        )


def _by_login(deployment: Deployment) -> Mapping[Login, list[DatabaseUse]]:
    found: dict[Login, list[DatabaseUse]] = {}
    for use in deployment.database_uses:
        found.setdefault(use.login, []).append(use)
    return found


def _databases(logins: DatabaseLogins, cluster: str) -> Mapping[str, str]:
    """All databases of a server with their owners, as any role that got in sees them."""
    for attempt in logins.tries.values():
        where = (attempt.login.host, attempt.login.port)
        if attempt.outcome is LoginOutcome.ACCEPTED and logins.clusters[where].id == cluster:
            return dict(attempt.facts.get("databases") or {})
    return {}
