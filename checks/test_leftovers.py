from postflight.check import check
from postflight.cluster.kinds import CONFIG_MAP, LEASE
from postflight.probes.own import Left
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "leftovers",
    severity=Severity.MINOR,
    kinds=(CONFIG_MAP, LEASE),
    remedy="delete what is named; a finalizer or a missing right kept it",
    blind_spots="what a killed run left outside of Kubernetes (sessions of the probe user, rooms, objects in the bucket, LiveKit"
    " rooms, records of the key vault): the next run removes it, unseen by this check; what upstream gives no way to"
    " remove: docs/residue.md lists it",
)
def test_nothing_of_this_or_an_earlier_run_is_left_behind(leftovers: tuple[Left, ...], judge: Judge) -> None:
    """Whoever verifies a system every night must not fill it."""
    judge.saw("the namespaces in scope")
    for each in leftovers:
        if each.earlier:
            judge.wrong(
                each.path,
                f"run {each.run}, which was killed, left {each.what}"
                + ("; it is removed now" if each.gone else ", and it is still there"),
                observed=each.problem or "found when this run began",
                expected="a run leaves nothing",
                cause="an earlier run could not clean up after itself",
                remedy="none: the next run is green" if each.gone else f"kubectl delete --raw {each.path}",
            )
        elif not each.gone:
            judge.wrong(
                each.path,
                f"this run left {each.what}",
                observed=each.problem,
                expected="gone after clean-up",
                remedy=f"kubectl delete --raw {each.path}",
            )
