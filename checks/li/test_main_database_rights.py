from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept
from postflight.probes.databases import LoginOutcome
from postflight.probes.li import Attempt, MainRights, Role
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

REFUSED = (LoginOutcome.PASSWORD, LoginOutcome.NO_ROLE, LoginOutcome.NOT_ALLOWED, LoginOutcome.NO_SCRAM)
NAMED = 3
LEAST = "a role of its own with LOGIN, REPLICATION and SELECT on the published tables (in CloudNativePG: managed.roles)"


@check(
    "li.main_database_rights",
    severity=Severity.CRITICAL,
    finding="3.3",
    remedy=f"give LI's sync {LEAST}",
    blind_spots="a login to main that LI's workloads hold under names that do not speak of a database",
)
def test_the_role_by_which_li_reads_main_can_change_nothing_there(
    deployment: Deployment, li_main_rights: MainRights, judge: Judge
) -> None:
    """Whoever holds LI's credentials for main could otherwise change the evidence, or take the
    homeserver down. Following a publication takes REPLICATION and SELECT, and nothing else."""
    li = deployment.li
    if li is None:
        judge.absent("nothing refers to a lawful-intercept homeserver")
        return
    needs = (*((li.main_cluster.id,) if li.main_cluster else ()), *(each.id for each in li.mains))
    if li_main_rights.problem:
        why = li_main_rights.problem
        judge.unknown(li.id, f"what LI's role may do in main's database could not be asked: {why}", needs=needs)
    elif not li_main_rights.roles:
        judge.unknown(
            li.id, "as which role LI reads main is not known: no workload says it, and nobody follows", needs=needs
        )
    attempts = {each.door.login.user: each for each in li_main_rights.attempts}
    for role in li_main_rights.roles:
        judge.saw(f"role {role.name}")
        _role(li, role, attempts.get(role.name), judge)
    for attempt in li_main_rights.attempts:
        _login(attempt, needs, judge)


def _role(li: LawfulIntercept, role: Role, attempt: Attempt | None, judge: Judge) -> None:
    let_in = attempt is not None and attempt.refused is False
    if not role.exists or not (role.superuser or role.writes or role.creates or let_in):
        # An attempt that was not come to is told with its login.
        if role.exists and attempt is None:
            line = f"that role {role.name} can change nothing in main's database is shown by its catalogue rights alone"
            judge.unproven(li.id, f"{line}: no login of it is known, and no UPDATE was tried")
        return
    can = [
        *(["is a superuser"] if role.superuser else []),
        *([f"may write {len(role.writes)} of its tables"] if role.writes else []),
        *(["may create in it"] if role.creates else []),
    ]
    listed = f"{role.name} may write {_some(role.writes)}, may create {', '.join(role.creates) or 'nothing'}"
    tried = "an UPDATE as it was not tried"
    if attempt is not None and attempt.refused is not None:
        tried = f"UPDATE {attempt.table} ... WHERE false was {'refused' if attempt.refused else 'let in'}"
    readers = {door.part for door in li.sync}
    mains = {door.login.user for door in li.main_doors if door.part not in readers}
    own = (
        f"{role.name} is the role of main's own processes"
        if role.name in mains
        else f"{role.name} was granted too much"
    )
    held = f"{role.doors[0].name} logs in as {role.name} ({role.doors[0].origin})" if role.doors else "it follows by it"
    judge.wrong(
        li.id,
        f"LI reads main's database as {role.name}, which {' and '.join(can) or 'may write'}",
        observed=f"{tried}; by catalogue {listed}",
        expected="not superuser, no INSERT, UPDATE, DELETE or TRUNCATE on any table, no CREATE",
        cause=f"{held}; {own}",
        remedy=f"give LI's sync {LEAST}, and put it in the place of {role.name}",
    )


def _login(attempt: Attempt, needs: tuple[str, ...], judge: Judge) -> None:
    door = attempt.door
    if attempt.outcome in REFUSED:
        judge.wrong(
            door.part,
            f"{door.name} cannot log in to main's database as {door.login.user}: {attempt.outcome.value}",
            observed=f"{attempt.problem} ({door.login.where})",
            expected="the password that LI's sync holds opens main's database",
            cause=f"{door.origin} holds another password than role {door.login.user} has in PostgreSQL",
            remedy=f"make {door.origin} and the role's password equal",
        )
    elif attempt.outcome is LoginOutcome.UNSEEN:
        judge.unknown(door.part, f"what {door.login.user} may do in main's database was not tried: {attempt.problem}")
    elif attempt.outcome is not LoginOutcome.ACCEPTED:
        judge.unavailable(door.part, f"main's database does not take LI's login: {attempt.problem}", needs=needs)
    elif attempt.refused is None:
        judge.unknown(
            door.part, f"what {door.login.user} is refused in main's database was not seen: {attempt.problem}"
        )


def _some(tables: tuple[str, ...]) -> str:
    return several((each.removeprefix("public.") for each in tables), NAMED) if tables else "nothing"
