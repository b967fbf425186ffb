from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import DatabaseUse, Login
from postflight.probes.databases import DatabaseInstance, DatabaseLogins, LoginOutcome, server_facts
from postflight.probes.probe import NotTried
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
    deployment: Deployment,
    database_logins: DatabaseLogins,
    database_instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried,
    judge: Judge,
) -> None:
    """A database under another name stops its service at the first query, and a database of another
    owner at the first schema change. CloudNativePG's postInitSQL runs once: editing it later makes
    nothing."""
    if not deployment.database_uses:
        judge.absent("no process names a PostgreSQL")
        return
    for process in deployment.unread:
        why = process.config_problem
        judge.unknown(process.id, f"which database {process.workload_name} uses is not known: {why}")
    # Whoever follows another's database does not own it.
    reading = {door.login for door in deployment.li.sync} if deployment.li else set()
    for login, uses in _by_login(deployment).items():
        attempt = database_logins.tries.get(login)
        if attempt is None:
            continue
        use = uses[0]
        cluster = database_logins.clusters[(login.host, login.port)]
        name = use.workload.rpartition("/")[2]
        known = server_facts(cluster, database_logins, database_instances).get("databases") or {}
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
        elif not known:
            judge.unknown(
                use.client,
                f"whether database {login.database} exists could not be seen: {attempt.message or attempt.outcome}",
                needs=(use.client, cluster.id),
            )
        elif login.database not in known:
            judge.wrong(
                use.client,
                f"{name} names database {login.database}, which does not exist on {cluster.name}",
                observed=f"there are: {', '.join(sorted(known))} (as another role sees them)",
                expected=f"a database {login.database} owned by {login.user}",
            )
        elif login in reading:
            judge.saw(use.client)
        else:
            here = [each.login for each in database_logins.of(cluster)]
            _owner(known[login.database], login, here, use, name, judge)


def _owner(owner: str, login: Login, here: list[Login], use: DatabaseUse, name: str, judge: Judge) -> None:
    """A database that belongs to one of the deployment's roles is that one's: others that name it read there."""
    judge.saw(use.client)
    owned = any((each.user, each.database) == (owner, login.database) for each in here)
    busy = any(each.user == owner for each in here)
    if owner != login.user and not owned:
        judge.wrong(
            use.client,
            f"database {login.database}, which {name} uses as {login.user}, is owned by {owner}",
            observed=f"owner {owner}",
            expected=f"owner {login.user}",
            cause=f"{login.database} was created by or for another role",
            remedy=f"let {name} name a database of its own: {owner} is another service's role"
            if busy
            else f"ALTER DATABASE {login.database} OWNER TO {login.user}, as a superuser",
        )


def _by_login(deployment: Deployment) -> Mapping[Login, list[DatabaseUse]]:
    found: dict[Login, list[DatabaseUse]] = {}
    for use in deployment.database_uses:
        found.setdefault(use.login, []).append(use)
    return found
