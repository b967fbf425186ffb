"""Blame: one cause stands, what follows from it is blocked, and nothing is blamed away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from postflight.verdict.blame import Verdict, resolve
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import CheckMeta, CheckResult, Statement, Waiver
from postflight.verdict.status import Nature, Severity, Status
from postflight.verdict.waivers import Waivers

#: clients > proxy > synapse > (postgres > storage, redis)
DEPENDS = {
    "clients": ("proxy",),
    "proxy": ("synapse",),
    "synapse": ("postgres", "redis"),
    "postgres": ("storage",),
}


def said(id: str, *judges: Judge, seen: Sequence[str] = (), absence: str = "") -> Statement:
    failures = tuple(failure for judge in judges for failure in judge.failures)
    return Statement(CheckMeta(id, f"{id} holds", "because", Severity.MAJOR), tuple(seen), failures, absence)


def wrong(subject: str, *stops: str) -> Judge:
    judge = Judge()
    judge.wrong(subject, f"{subject} is wrong", stops=stops)
    return judge


def down(subject: str, *stops: str, needs: Sequence[str] = ()) -> Judge:
    judge = Judge()
    judge.unavailable(subject, f"{subject} is down", stops=stops or (subject,), needs=tuple(needs))
    return judge


def unknown(subject: str) -> Judge:
    judge = Judge()
    judge.unknown(subject, f"{subject} could not be looked at")
    return judge


def waive(check: str, subject: str, count: int = 1) -> Waivers:
    return Waivers((Waiver(check, subject, "alice", "known", "OPS-1", "2099-01-01", count),))


def statuses(verdict: Verdict) -> dict[str, Status]:
    return {result.check.id: result.status for result in verdict.results}


def only(verdict: Verdict, id: str) -> CheckResult:
    return next(result for result in verdict.results if result.check.id == id)


class TestWhatStands:
    def test_the_deepest_silence_blocks_all_above_it_whatever_the_order(self) -> None:
        statements = [said("c", down("clients")), said("s", down("synapse")), said("p", down("postgres"))]
        for order in (statements, statements[::-1]):
            verdict = resolve(order, DEPENDS)
            assert statuses(verdict) == {"c": Status.BLOCKED, "s": Status.BLOCKED, "p": Status.FAILED}
            assert only(verdict, "c").blocked_by == ("p",)
            assert only(verdict, "c").reason == "blocked by p"
            assert set(only(verdict, "p").judged[0].blocks) == {"c", "s"}

    def test_a_wrong_answer_stands_for_itself_above_a_failure(self) -> None:
        verdict = resolve([said("p", down("postgres")), said("s", wrong("synapse"))], DEPENDS)
        assert statuses(verdict) == {"p": Status.FAILED, "s": Status.FAILED}

    def test_a_wrong_answer_blocks_what_it_stops(self) -> None:
        verdict = resolve([said("login", wrong("login", "synapse")), said("s", down("synapse"))], DEPENDS)
        assert statuses(verdict) == {"login": Status.FAILED, "s": Status.BLOCKED}

    def test_a_failure_that_only_degrades_blocks_nobody(self) -> None:
        verdict = resolve([said("p", wrong("postgres")), said("s", down("synapse"))], DEPENDS)
        assert statuses(verdict) == {"p": Status.FAILED, "s": Status.FAILED}

    def test_a_warning_blocks_nobody_even_if_it_says_so(self) -> None:
        judge = Judge()
        judge.warn("postgres", "one instance only", stops=("postgres",))
        verdict = resolve([said("p", judge), said("s", down("synapse"))], DEPENDS)
        assert statuses(verdict) == {"p": Status.WARNED, "s": Status.FAILED}

    def test_an_unknown_blocks_nobody_and_is_blocked_by_what_explains_it(self) -> None:
        assert statuses(resolve([said("p", unknown("postgres")), said("s", down("synapse"))], DEPENDS)) == {
            "p": Status.UNKNOWN,
            "s": Status.FAILED,
        }
        assert statuses(resolve([said("p", down("postgres")), said("s", unknown("synapse"))], DEPENDS)) == {
            "p": Status.FAILED,
            "s": Status.BLOCKED,
        }

    def test_what_is_beside_it_is_not_blocked(self) -> None:
        verdict = resolve([said("r", down("redis")), said("p", down("postgres"))], DEPENDS)
        assert statuses(verdict) == {"r": Status.FAILED, "p": Status.FAILED}

    def test_two_independent_causes_are_both_named(self) -> None:
        verdict = resolve([said("s", down("synapse")), said("r", down("redis")), said("p", down("postgres"))], DEPENDS)
        assert only(verdict, "s").blocked_by == ("r", "p")

    def test_needs_narrow_the_edge_that_explains_a_failure(self) -> None:
        verdict = resolve([said("p", down("postgres")), said("s", down("synapse", needs=["redis"]))], DEPENDS)
        assert statuses(verdict) == {"p": Status.FAILED, "s": Status.FAILED}

    def test_of_two_silences_about_one_part_the_first_stands(self) -> None:
        verdict = resolve([said("a", down("redis")), said("b", down("redis"))], DEPENDS)
        assert statuses(verdict) == {"a": Status.FAILED, "b": Status.BLOCKED}

    def test_a_failure_never_blocks_itself(self) -> None:
        assert statuses(resolve([said("r", down("redis", "redis", "clients"))], DEPENDS)) == {"r": Status.FAILED}

    def test_within_one_check_a_standing_failure_blocks_another_subject(self) -> None:
        verdict = resolve([said("all", down("synapse"), down("postgres"))], DEPENDS)
        result = only(verdict, "all")
        assert result.status is Status.FAILED
        assert [judged.status for judged in result.judged] == [Status.BLOCKED, Status.FAILED]
        assert result.judged[1].blocks == ()

    def test_a_check_that_failed_for_more_is_not_counted_as_blocked(self) -> None:
        verdict = resolve([said("p", down("postgres")), said("s", down("synapse"), wrong("synapse"))], DEPENDS)
        assert only(verdict, "s").status is Status.FAILED
        assert only(verdict, "p").judged[0].blocks == ()

    def test_blame_passes_through_a_blocked_failure_that_the_model_has_no_edge_for(self) -> None:
        statements = [
            said("x", down("elsewhere")),
            said("s", down("synapse", "elsewhere")),
            said("r", down("redis")),
        ]
        verdict = resolve(statements, DEPENDS)
        assert only(verdict, "x").blocked_by == ("r",)

    def test_a_cycle_of_parts_keeps_one_failure(self) -> None:
        depends = {"a": ("b",), "b": ("c",), "c": ("a", "c")}
        verdict = resolve([said("1", down("b")), said("2", down("a")), said("3", down("c"))], depends)
        assert statuses(verdict) == {"1": Status.FAILED, "2": Status.BLOCKED, "3": Status.BLOCKED}


class TestWhatAChecksComesTo:
    def test_the_worst_of_its_failures(self) -> None:
        judge = Judge()
        judge.warn("redis", "small")
        assert statuses(resolve([said("a", judge, unknown("redis"), wrong("redis"))], {}))["a"] is Status.FAILED
        assert statuses(resolve([said("a", judge, unknown("redis"))], {}))["a"] is Status.UNKNOWN
        assert statuses(resolve([said("a", judge)], {}))["a"] is Status.WARNED

    def test_passed_needs_something_seen(self) -> None:
        assert statuses(resolve([said("a", seen=["redis-0"])], {})) == {"a": Status.PASSED}

    def test_nothing_looked_at_is_unknown(self) -> None:
        result = only(resolve([said("a")], {}), "a")
        assert (result.status, result.judged[0].failure.headline) == (Status.UNKNOWN, "nothing was looked at")

    def test_absent_has_a_reason(self) -> None:
        result = only(resolve([said("a", absence="no scanner is referred to")], {}), "a")
        assert (result.status, result.reason) == (Status.ABSENT, "no scanner is referred to")

    def test_failures_win_over_absence(self) -> None:
        assert statuses(resolve([said("a", wrong("redis"), absence="none")], {})) == {"a": Status.FAILED}


class TestWaived:
    def test_a_waived_failure_is_waived_and_blocks_nobody(self) -> None:
        verdict = resolve([said("p", down("postgres")), said("s", down("synapse"))], DEPENDS, waive("p", "postgres"))
        assert statuses(verdict) == {"p": Status.WAIVED, "s": Status.FAILED}
        assert only(verdict, "p").reason == "waived until 2099-01-01 by alice (OPS-1): known"
        assert verdict.trouble == ()

    def test_a_check_is_waived_only_if_all_of_it_is(self) -> None:
        statement = said("p", wrong("a"), wrong("b"))
        assert statuses(resolve([statement], {}, waive("p", "a"))) == {"p": Status.FAILED}
        assert statuses(resolve([statement], {}, waive("p", "*", count=2))) == {"p": Status.WAIVED}

    def test_a_blocked_failure_does_not_use_its_waiver_and_does_not_make_it_stale(self) -> None:
        statements = [said("p", down("postgres")), said("s", down("synapse"))]
        verdict = resolve(statements, DEPENDS, waive("s", "synapse"))
        assert statuses(verdict) == {"p": Status.FAILED, "s": Status.BLOCKED}
        assert verdict.trouble == ()

    def test_a_waiver_hit_too_often_covers_nothing(self) -> None:
        statements = [said("p", down("postgres"), down("redis")), said("s", down("synapse"))]
        verdict = resolve(statements, DEPENDS, waive("p", "*", count=1))
        assert statuses(verdict) == {"p": Status.FAILED, "s": Status.BLOCKED}
        assert verdict.trouble == ("waiver (p, *): hit 2 times, more than its count of 1: postgres, redis",)

    def test_a_waiver_that_covers_nothing_any_more_is_trouble(self) -> None:
        verdict = resolve([said("p", seen=["postgres"])], DEPENDS, waive("p", "postgres"))
        assert verdict.trouble == ("waiver (p, postgres): no longer needed, the check is passed without it: remove it",)

    def test_trouble_of_the_file_is_carried_along(self) -> None:
        assert resolve([said("p", seen=["x"])], {}, Waivers(trouble=("expired",))).trouble == ("expired",)


PARTS = [f"part{number}" for number in range(6)]
some_parts = st.lists(st.sampled_from(PARTS), max_size=3, unique=True).map(tuple)
failures = st.builds(
    Failure,
    status=st.sampled_from([Status.FAILED, Status.FAILED, Status.FAILED, Status.UNKNOWN, Status.WARNED]),
    nature=st.sampled_from([Nature.UNAVAILABLE, Nature.UNAVAILABLE, Nature.WRONG]),
    subject=st.sampled_from(PARTS),
    headline=st.just("bad"),
    needs=some_parts,
    stops=some_parts,
)
graphs = st.dictionaries(st.sampled_from(PARTS), some_parts)
lists_of_failures = st.lists(st.lists(failures, max_size=3).map(tuple), max_size=7)


def statements_of(lists: Sequence[tuple[Failure, ...]]) -> list[Statement]:
    meta = (CheckMeta(f"check{place}", "", "", Severity.MAJOR) for place in range(len(lists)))
    return [Statement(check, ("seen",), found) for check, found in zip(meta, lists, strict=True)]


def closure(failure: Failure, depends: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    found = set(failure.leans_on)
    while more := {below for part in found for below in depends.get(part, ())} - found:
        found |= more
    return frozenset(found)


@settings(max_examples=150, deadline=None)
@given(lists_of_failures, graphs)
def test_nothing_is_blamed_away(lists: list[tuple[Failure, ...]], depends: dict[str, tuple[str, ...]]) -> None:
    verdict = resolve(statements_of(lists), depends)
    judged = [(result.check.id, one) for result in verdict.results for one in result.judged]
    standing = {id for id, one in judged if one.status is Status.FAILED}
    assert bool(standing) == any(failure.status is Status.FAILED for found in lists for failure in found)
    for _, one in judged:
        assert (one.status is Status.BLOCKED) == bool(one.blocked_by)
        assert set(one.blocked_by) <= standing
        if one.failure.status is Status.FAILED and one.failure.nature is Nature.WRONG:
            assert one.status is Status.FAILED
        if one.failure.status is Status.WARNED:
            assert one.status is Status.WARNED
    blocked = {result.check.id for result in verdict.results if result.status is Status.BLOCKED}
    assert blocked == {id for _, one in judged for id in one.blocks}


@settings(max_examples=150, deadline=None)
@given(lists_of_failures, graphs)
def test_what_a_wrong_failure_stops_is_blocked_and_nothing_is_blocked_for_nothing(
    lists: list[tuple[Failure, ...]], depends: dict[str, tuple[str, ...]]
) -> None:
    verdict = resolve(statements_of(lists), depends)
    judged = [one for result in verdict.results for one in result.judged]
    for one in judged:
        may_be_blocked = one.failure.status is Status.UNKNOWN or (
            one.failure.status is Status.FAILED and one.failure.nature is Nature.UNAVAILABLE
        )
        beneath = closure(one.failure, depends)
        explaining = [
            other
            for other in judged
            if other is not one and other.failure.status is Status.FAILED and beneath & set(other.failure.stops)
        ]
        if may_be_blocked and any(other.failure.nature is Nature.WRONG for other in explaining):
            assert one.status is Status.BLOCKED
        if not explaining:
            assert one.status is one.failure.status


@settings(max_examples=150, deadline=None)
@given(lists_of_failures, graphs, st.randoms(use_true_random=False))
def test_order_decides_only_between_failures_that_lean_on_the_same_parts(
    lists: list[tuple[Failure, ...]], depends: dict[str, tuple[str, ...]], random: object
) -> None:
    # One failure for each set of parts beneath it: then no tie is left for the order to break.
    singles: dict[frozenset[str], Failure] = {}
    for found in lists:
        for failure in found:
            singles.setdefault(closure(failure, depends), failure)
    statements = statements_of([(failure,) for failure in singles.values()])
    shuffled = list(statements)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def told(given: Sequence[Statement]) -> dict[str, tuple[Status, frozenset[str]]]:
        results = resolve(given, depends).results
        return {result.check.id: (result.status, frozenset(result.blocked_by)) for result in results}

    assert told(statements) == told(shuffled)


def test_many_failures_are_resolved_in_little_time() -> None:
    statements = [said(f"check{n}", down(PARTS[n % 6]), down("synapse")) for n in range(300)]
    verdict = resolve(statements, DEPENDS)
    assert sum(result.status is Status.FAILED for result in verdict.results) == 6
