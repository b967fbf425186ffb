"""The runner: side by side, in order of their inputs, in time, and none without an outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from postflight.cluster import silences
from postflight.cluster.connection import ClusterError
from postflight.cluster.threads import in_threads
from postflight.limits import Limit
from postflight.probes.probe import BarredBy, NotTried, Probe, Safety, Unseen
from postflight.probes.runner import ABREAST, BEGUN, FEW, Looked, closure, once_more, run
from postflight.verdict.record import ProbeTime


def made(name: str, body: Callable[..., Any], *inputs: str, limit: float = 5.0) -> Probe:
    return Probe(name, body, inputs, (), limit, Safety.READ_ONLY, reaches=False, leaves=False)


def look(*probes: Probe, refused: Mapping[str, NotTried] | None = None, **given_: Any) -> Looked:
    return run(probes, given_, refused or {})


def raising(error: Exception) -> Callable[..., Any]:
    def body(**inputs: Any) -> Any:
        raise error

    return body


def times(looked: Looked) -> dict[str, ProbeTime]:
    return {each.name: each for each in looked.times}


class TestOrder:
    def test_a_probe_gets_what_is_given_and_what_others_observed(self) -> None:
        one = made("one", lambda api: f"{api}!", "api")
        two = made("two", lambda one, api: (one, api), "one", "api")
        looked = look(two, one, api="API")
        assert looked.outcomes["two"].value == ("API!", "API")
        assert [each.name for each in looked.times] == ["one", "two"]

    def test_what_does_not_wait_for_another_runs_beside_it(self) -> None:
        together = threading.Barrier(8, timeout=5)
        looked = look(*(made(f"p{number}", together.wait) for number in range(8)))
        assert not any(each.unseen for each in looked.outcomes.values())

    def test_a_chain_counts_what_it_waited_for(self) -> None:
        one = made("one", lambda: time.sleep(0.2))
        two = made("two", lambda one: time.sleep(0.1), "one")
        found = times(look(one, two))
        assert found["two"].chain >= found["one"].seconds + found["two"].seconds - 0.01
        assert found["two"].began >= found["one"].seconds - 0.01
        assert (found["one"].inputs, found["two"].inputs) == ((), ("one",))

    def test_what_had_to_end_before_any_counts_in_every_chain(self) -> None:
        before = ProbeTime("files", 1.0, 2.0, 3.0, "seen")
        (found,) = run([made("one", lambda: 1)], {}, {}, before=before).times
        assert found.chain >= 3.0
        assert (found.began >= 3.0, found.inputs) == (True, ("files",))

    def test_each_end_is_reported_with_how_many_are_done(self) -> None:
        said: list[tuple[str, int, int]] = []
        one, two = made("one", lambda: 1), made("two", lambda one: 2, "one")
        run([one, two], {}, {}, lambda *line: said.append(line))
        assert said == [("one", 1, 2), ("two", 2, 2)]

    def test_nothing_wanted_is_nothing_run(self) -> None:
        assert look() == Looked({}, ())


class TestTime:
    def test_a_probe_past_its_limit_is_left_behind_and_what_needs_it_is_unseen(self) -> None:
        stuck = made("stuck", lambda: time.sleep(30), limit=0.4)
        above = made("above", lambda stuck: 1, "stuck")
        beside = made("beside", lambda: "seen")
        began = time.monotonic()
        looked = look(stuck, above, beside)
        assert time.monotonic() - began < 0.9
        line = "stuck did not end within its time limit of 0.4 s"
        assert looked.outcomes["stuck"].unseen == looked.outcomes["above"].unseen == line
        assert looked.outcomes["beside"].value == "seen"
        assert times(looked)["stuck"].outcome == "unseen"

    def test_the_limit_begins_with_the_probe_and_not_with_the_run(self) -> None:
        slow = made("slow", lambda: time.sleep(0.5))
        quick = made("quick", lambda slow: "seen", "slow", limit=0.4)
        assert look(slow, quick).outcomes["quick"].value == "seen"

    def test_one_that_ends_after_it_was_left_behind_changes_nothing(self) -> None:
        late = made("late", lambda: time.sleep(0.2), limit=0.1)
        slow = made("slow", lambda: time.sleep(0.5))
        looked = look(late, slow)
        assert looked.outcomes["late"].unseen
        assert len(looked.times) == 2


class TestNothingToSee:
    def test_a_crash_keeps_its_traceback_and_is_one_line_for_people(self) -> None:
        looked = look(made("bad", raising(KeyError("a\nb"))), made("above", lambda bad: 1, "bad"))
        bad = looked.outcomes["bad"]
        assert bad.unseen.startswith("bad crashed: KeyError: ")
        assert "\n" not in bad.unseen
        assert "Traceback (most recent call last)" in bad.crash
        assert bad.crash.rstrip().splitlines()[-1].startswith("KeyError")
        assert (looked.outcomes["above"].unseen, looked.outcomes["above"].crash) == (bad.unseen, "")
        assert {name: each.outcome for name, each in times(looked).items()} == {"bad": "crashed", "above": "unseen"}

    def test_what_could_not_be_looked_at_is_no_crash(self) -> None:
        looked = look(made("a", raising(Unseen("no route"))), made("b", raising(ClusterError("no right"))))
        assert [(each.unseen, each.crash) for each in looked.outcomes.values()] in (
            [("no route", ""), ("no right", "")],
            [("no right", ""), ("no route", "")],
        )

    def test_a_refusal_is_inherited_and_nothing_is_run(self) -> None:
        touched: list[str] = []
        turn = made("turn", lambda: touched.append("turn"))
        write = made("write", lambda turn: touched.append("write"), "turn")
        refusal = NotTried("needs --safety canary", BarredBy.SAFETY)
        looked = look(turn, write, refused={"turn": refusal})
        assert {(each.unseen, each.barred_by) for each in looked.outcomes.values()} == {
            (refusal.reason, BarredBy.SAFETY)
        }
        assert touched == []

    def test_of_two_inputs_the_first_that_is_unseen_is_named(self) -> None:
        looked = look(
            made("a", raising(Unseen("first"))),
            made("b", raising(Unseen("second"))),
            made("c", lambda a, b: 1, "a", "b"),
        )
        assert looked.outcomes["c"].unseen == "first"


class TestTheirOrder:
    def test_the_longest_way_begins_first(self) -> None:
        began: list[str] = []

        def noting(name: str) -> Callable[..., int]:
            return lambda **inputs: began.append(name) or 1  # type: ignore[func-returns-value]

        look(
            made("short", noting("short"), limit=2),
            made("root", noting("root"), limit=1),
            made("long", noting("long"), "root", limit=9),
        )
        assert began[0] == "root"

    def test_few_begin_at_once_and_nobody_waits_for_one_that_has_begun(self) -> None:
        count = FEW + 2
        looked = look(*(made(f"p{each}", lambda: time.sleep(BEGUN * 4)) for each in range(count)))
        began = sorted(each.began for each in looked.times)
        for first, later in zip(began, began[ABREAST:], strict=False):
            assert later - first >= BEGUN - 0.01
        assert began[-1] < count * BEGUN

    def test_a_few_begin_at_once(self) -> None:
        looked = look(*(made(f"p{each}", lambda: time.sleep(BEGUN)) for each in range(FEW)))
        assert max(each.began for each in looked.times) < BEGUN / 2

    def test_what_has_ended_makes_room_at_once(self) -> None:
        started = time.monotonic()
        look(*(made(f"p{each}", lambda: 1) for each in range(ABREAST * 20)))
        assert time.monotonic() - started < BEGUN * 4


def test_those_that_are_needed_are_those_and_all_beneath() -> None:
    probes = {
        each.name: each
        for each in (
            made("a", lambda: 1, "api"),
            made("b", lambda a: 1, "a"),
            made("c", lambda a, b: 1, "a", "b"),
            made("d", lambda: 1),
        )
    }
    assert [each.name for each in closure(["c", "judge"], probes)] == ["a", "b", "c"]
    assert closure(["judge", "request"], probes) == ()


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[tuple[int, ...], str]]:
    """Probes with the inputs they take from earlier ones, and what each of them comes to."""
    count = draw(st.integers(1, 10))
    return [
        (
            tuple(draw(st.sets(st.integers(0, number - 1), max_size=3))) if number else (),
            draw(st.sampled_from(["seen", "seen", "seen", "unseen", "crash", "refused", "stuck"])),
        )
        for number in range(count)
    ]


@settings(max_examples=40, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_every_probe_ends_exactly_once_and_after_its_inputs(
    graph: list[tuple[tuple[int, ...], str]], random: Any
) -> None:
    started: list[str] = []
    ended: list[str] = []

    def body(name: str, fate: str) -> Callable[..., Any]:
        def act(**inputs: Any) -> str:
            assert all(f"seen {each}" == value for each, value in inputs.items())
            started.append(name)
            if fate == "unseen":
                raise Unseen(name)
            if fate == "crash":
                raise RuntimeError(name)
            if fate == "stuck":
                time.sleep(5)
            return f"seen {name}"

        return act

    probes = [
        made(
            f"p{number}",
            body(f"p{number}", fate),
            *(f"p{each}" for each in inputs),
            limit=0.05 if fate == "stuck" else 5,
        )
        for number, (inputs, fate) in enumerate(graph)
    ]
    refused = {
        f"p{number}": NotTried(f"p{number}", BarredBy.RIGHT)
        for number, (_, fate) in enumerate(graph)
        if fate == "refused"
    }
    random.shuffle(probes)
    looked = run(probes, {}, refused, lambda name, done, total: ended.append(name))
    assert sorted(ended) == sorted(looked.outcomes) == sorted(each.name for each in probes)
    assert len(started) == len(set(started))
    blind: set[str] = set()
    for number, (inputs, fate) in enumerate(graph):
        name = f"p{number}"
        assert all(ended.index(f"p{each}") < ended.index(name) for each in inputs)
        if fate != "seen" or any(f"p{each}" in blind for each in inputs):
            blind.add(name)
        assert bool(looked.outcomes[name].unseen) == (name in blind)
        assert (name in started) == (fate != "refused" and not any(f"p{each}" in blind for each in inputs))


def silent(value: Any = None) -> Callable[..., Any]:
    def body(**inputs: Any) -> Any:
        silences.note("a port")
        return value

    return body


class TestSilence:
    def test_what_met_it_says_so_and_nobody_else_does(self) -> None:
        def asks(**inputs: Any) -> None:
            in_threads([silent()], 1.0)

        def waits(**inputs: Any) -> None:
            in_threads([lambda: time.sleep(5)], 0.05)

        looked = look(
            made("own", silent()),
            made("thread", asks),
            made("waits", waits),
            made("late", lambda: time.sleep(5), limit=0.1),
            made("heard", lambda: time.sleep(0.2)),
        )
        assert {name for name, each in looked.outcomes.items() if each.silent} == {"own", "thread", "waits", "late"}

    def test_who_only_reads_looks_once_more_with_all_that_takes_what_it_saw(self) -> None:
        first = made("first", silent())
        taker = made("taker", lambda first: first, "first")
        other = made("other", lambda: 1)
        writer = Probe("writer", silent(), (), (), 5.0, Safety.CANARY, reaches=False, leaves=False)
        follows = Probe("follows", lambda first: 1, ("first",), (), 5.0, Safety.CANARY, reaches=False, leaves=False)
        probes = (first, taker, other, writer, follows)
        assert [each.name for each in once_more(probes, look(*probes).outcomes)] == ["first", "taker"]

    def test_what_was_not_tried_for_want_of_it_is_tried_whatever_it_does(self) -> None:
        def unseen() -> None:
            silences.note("a port")
            raise Unseen("no answer")

        first = made("first", unseen)
        follows = Probe("follows", lambda first: 1, ("first",), (), 5.0, Safety.CANARY, reaches=False, leaves=False)
        probes = (first, follows)
        again = once_more(probes, look(*probes).outcomes)
        assert [each.name for each in again] == ["first", "follows"]
        assert {each.limit for each in again} == {5.0}

    def test_what_lacks_something_else_is_not_tried_again(self) -> None:
        first, blind = made("first", silent()), made("blind", raising(Unseen("no")))
        both = made("both", lambda first, blind: 1, "first", "blind")
        probes = (first, blind, both)
        assert [each.name for each in once_more(probes, look(*probes).outcomes)] == ["first"]

    def test_a_crash_and_what_was_barred_stay(self) -> None:
        crash = made("crash", raising(ValueError("no")))
        barred = made("barred", silent())
        outcomes = look(crash, barred, refused={"barred": NotTried("no right", BarredBy.RIGHT)}).outcomes
        assert once_more((crash, barred), outcomes) == ()

    def test_a_second_look_is_a_short_one(self) -> None:
        probes = (made("first", silent(), limit=60.0),)
        assert [each.limit for each in once_more(probes, look(*probes).outcomes)] == [Limit.AGAIN]
