from postflight.check import check
from postflight.cluster.secrets import SecretStore
from postflight.deployment.agreements import Reuse, Split, drifts, reuses, splits
from postflight.deployment.model import Deployment
from postflight.deployment.parts import names_of
from postflight.deployment.placeholders import Placeholder
from postflight.probes.placeholder_logins import WORD, Answer, PlaceholderLogin
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several


@check(
    "security.placeholders",
    severity=Severity.CRITICAL,
    finding="3.1",
    remedy="make a value of its own for every secret, where the deployment's secrets are made, then restart what has it",
    blind_spots="a weak secret that is spelled like no placeholder; Secrets that no workload names; files that are made in"
    " a container and that no part of the model reads; services that take a placeholder and are neither PostgreSQL nor"
    " Redis; a secret that differs in effect already: who logs in with it says so (database.login, calls.turn and others)",
)
def test_no_secret_is_a_placeholder_and_those_of_two_sides_are_as_they_must_be(
    deployment: Deployment, secrets: SecretStore, placeholder_logins: tuple[PlaceholderLogin, ...], judge: Judge
) -> None:
    """Everyone who has read the template knows its placeholders; and a secret that was changed on one side only breaks
    with the next restart, long after the change."""
    held = deployment.placeholders
    judge.saw(*held.looked)
    for each in held.found:
        _placeholder(each, judge)
    for login in placeholder_logins:
        if login.answer is not Answer.SILENT:
            judge.saw(login.subject)
        if login.answer is Answer.LET_IN:
            judge.wrong(
                login.subject,
                f"{login.name} lets {login.where} in with the password {WORD}",
                expected="a placeholder opens nothing",
                cause="its password is the placeholder, or it asks for none",
                remedy=f"set a password of its own for {login.where}, where {login.name} and its clients have it from",
            )
    for drift in drifts(deployment):
        judge.wrong(
            drift.subject,
            f"{drift.changed} was changed on one side only: {drift.kept} has the value before",
            observed=f"{drift.late} runs on the value before, which is {drift.kept}'s; a restart would take the new one",
            expected=f"{drift.changed} and {drift.kept} hold the same value",
            cause=f"{drift.changed} was changed, and {drift.kept} was not",
            remedy="make {} and {} equal, then restart what has them".format(
                drift.changed.removeprefix("Secret "), drift.kept.removeprefix("Secret ")
            ),
        )
    for split in splits(deployment):
        _split(split, judge)
    for reuse in reuses(deployment):
        _reuse(reuse, judge)
    _not_seen(deployment, secrets, judge)


def _placeholder(each: Placeholder, judge: Judge) -> None:
    running = f"; {several(each.pods)} {'run' if len(each.pods) > 1 else 'runs'} with it" if each.pods else ""
    judge.wrong(
        each.subject,
        f"{each.where} holds a placeholder ({each.spelling})",
        observed=f"{each.spelling} stands in {each.where}{running}",
        expected="a value of its own",
        cause="the value of the template was never replaced",
        remedy=f"set {each.where.removeprefix('Secret ')} anew, then restart what takes it",
    )


def _split(split: Split, judge: Judge) -> None:
    judge.wrong(
        split.odd[0].id,
        f"{names_of(split.odd)} has another {split.setting} than {names_of(split.others)}",
        expected=f"one {split.setting} in all processes of a homeserver",
        cause="they started before and after the Secret was changed, or take it from two places",
        remedy=f"give all of them one {split.setting}, then restart them",
    )


def _reuse(reuse: Reuse, judge: Judge) -> None:
    if reuse.one is reuse.other:
        line = f"{reuse.setting} and {reuse.as_setting} of {reuse.one.name} are the same value"
    else:
        line = f"{reuse.one.name} and {reuse.other.name} have the same {reuse.setting}: what opens one opens the other"
    judge.wrong(
        reuse.other.id,
        line,
        expected="a value of its own for every secret, and for each of main and LI",
        cause="one value was used twice",
        remedy=f"set {reuse.as_setting} of {reuse.other.workload_name} anew",
    )


def _not_seen(deployment: Deployment, secrets: SecretStore, judge: Judge) -> None:
    if secrets.unseen:
        names = [f"{namespace}/{name}" for namespace, name in secrets.unseen]
        why = next(iter(secrets.unseen.values()))
        judge.unknown(f"secret/{names[0]}", f"Secret {several(names)} could not be read: {why}")
    if unread := deployment.placeholders.unread:
        pods = [deployment.pods[each].name for each in unread if each in deployment.pods]
        if pods:
            judge.unproven(unread[0], f"what {several(pods)} run on was read from the spec only, not in the pods")
