"""What is said of parts that were taken away, the same for each kind of them."""

from __future__ import annotations

from postflight.probes.outages import Disrupted, Disruption, Outage
from postflight.verdict.judge import Judge

#: Seconds that nobody notices: what took no longer went on.
UNNOTICED = 2.0


def judged(seen: Disrupted, bound: str, remedy: str, judge: Judge) -> None:
    """``bound`` is the name in the settings of the seconds that users may go without."""
    if seen.absent:
        judge.absent(seen.absent)
    for each in seen.parts:
        if each.problem:
            judge.unknown(each.subject, f"{each.name} was not taken away: {each.problem}", needs=each.needs)
            continue
        judge.saw(each.subject)
        if each.unrecovered:
            _unrecovered(each, remedy, judge)
        for line in each.wrong:
            judge.wrong(each.subject, line, observed=words(each), remedy=remedy, evidence=evidence(each))
        if each.over and not each.unrecovered:
            _over(each, bound, remedy, judge)
        if each.untested:
            judge.unproven(each.subject, f"{each.name} was not put to the test: {each.untested}")


def _unrecovered(each: Disruption, remedy: str, judge: Judge) -> None:
    judge.wrong(
        each.subject,
        f"{each.name} does not recover once it was taken away: {each.unrecovered}",
        observed=words(each),
        expected="everything ready and quiet again, and users served as before",
        cause=each.unrecovered,
        remedy=remedy,
        evidence=evidence(each),
        stops=(each.subject,),
    )


def _over(each: Disruption, bound: str, remedy: str, judge: Judge) -> None:
    worst = max(each.over, key=lambda outage: outage.seconds)
    judge.wrong(
        each.subject,
        f"users went without for {worst.seconds:.1f} s ({worst.kind}) when {each.name} was taken away, and may for"
        f" {each.bound:g} s",
        observed=words(each),
        expected=f"at most {each.bound:g} s (settings: disruption.outage.{bound})",
        cause=f"{worst.kind}: {worst.first}" if worst.first else "",
        remedy=remedy,
        evidence=evidence(each),
    )


def told(seen: object) -> list[str]:
    """What users met of each part that was taken away, whether that was in time or not: a line of the report each."""
    parts = seen.parts if isinstance(seen, Disrupted) else ()
    return [f"{each.name}: {words(each)}" for each in parts if not each.problem]


def words(each: Disruption) -> str:
    """What was done, what users met, and how long it took."""
    felt = [outage for outage in each.outages if _noticed(outage)]
    went_on = [outage.kind for outage in each.outages if not _noticed(outage)]
    parts = [each.what or each.name]
    parts += [f"users went without: {', '.join(outage.words for outage in felt)}"] if felt else []
    parts += [f"went on: {', '.join(went_on)}"] if went_on else []
    parts += [f"all quiet after {each.seconds:.1f} s"] if each.seconds and not each.unrecovered else []
    return "; ".join([*parts, *each.seen])


def evidence(each: Disruption) -> tuple[str, ...]:
    return tuple(f"{outage.kind}: first {outage.first}" for outage in each.outages if outage.first)


def _noticed(outage: Outage) -> bool:
    return outage.seconds > UNNOTICED or outage.open
