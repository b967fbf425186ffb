from postflight.check import check
from postflight.probes.own import Left
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "leftovers",
    severity=Severity.MINOR,
    remedy="delete what is named; a finalizer or a missing right kept it",
    blind_spots="what upstream gives no way to remove: docs/residue.md lists it",
)
def test_nothing_of_this_or_an_earlier_run_is_left_behind(leftovers: tuple[Left, ...], judge: Judge) -> None:
    """Whoever verifies a system every night must not fill it."""
    judge.saw("the namespaces in scope")
    for each in leftovers:
        if each.gone:
            continue
        judge.wrong(
            each.path,
            f"run {each.run} left {each.what}, and it is still there",
            observed=each.problem or "present after clean-up",
            expected="gone",
            cause="it could not be removed" + (f": {each.problem}" if each.problem else ""),
            remedy=f"kubectl delete --raw {each.path}",
        )
