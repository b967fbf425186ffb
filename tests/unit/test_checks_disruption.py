"""What is said of parts that were taken away."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.disrupted import told, words
from postflight.probes.outages import Disrupted
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.disrupting import LONG, OPEN, PROBES, SHORT, taken
from tests.unit.observations import ask, only


def said(id: str = "disruption.proxy", **fields: Any) -> Judge:
    return ask(id, **{PROBES[id]: taken(**fields)})


@pytest.mark.parametrize("id", PROBES)
class TestEach:
    def test_that_is_back_in_time_is_green(self, id: str) -> None:
        pen = said(id)
        assert (pen.failures, pen.absence) == ([], "")
        assert pen.seen == ["statefulset/matrix/part"]

    def test_that_users_missed_for_too_long_is_wrong(self, id: str) -> None:
        failure = only(said(id, bound=10.0))
        assert failure.nature is Nature.WRONG
        assert failure.headline == (
            "users went without for 12.5 s (account data) when part was taken away, and may for 10 s"
        )
        assert failure.cause == "account data: 503"
        assert f"disruption.outage.{id.partition('.')[2]}" in failure.expected
        assert failure.stops == ()

    def test_that_does_not_come_back_is_wrong_and_stops_what_stands_on_it(self, id: str) -> None:
        failure = only(said(id, unrecovered="part-0 is not ready (waited 60 s)", outages=(OPEN,)))
        assert failure.headline == ("part does not recover once it was taken away: part-0 is not ready (waited 60 s)")
        assert failure.stops == ("statefulset/matrix/part",)
        assert "sync more than 41.0 s (80 of 90 failed)" in failure.observed

    def test_that_was_not_taken_away_is_unknown(self, id: str) -> None:
        failure = only(said(id, problem="not everything is ready", needs=("a", "b"), what=""), Status.UNKNOWN)
        assert failure.headline == "part was not taken away: not everything is ready"
        assert failure.needs == ("a", "b")

    def test_there_is_nothing_of_is_absent(self, id: str) -> None:
        pen = ask(id, **{PROBES[id]: Disrupted(absent="there is one node")})
        assert (pen.failures, pen.seen, pen.absence) == ([], [], "there is one node")

    def test_that_is_not_as_it_must_be_afterwards_is_wrong(self, id: str) -> None:
        assert only(said(id, wrong=("nobody is master",))).headline == "nobody is master"

    def test_that_put_nothing_to_the_test_is_unproven(self, id: str) -> None:
        assert only(said(id, untested="it was back at once"), Status.WARNED).nature is Nature.UNPROVEN


def test_what_users_met_is_told_with_what_went_on() -> None:
    (part,) = taken(outages=(SHORT, LONG), seen=("redis-1 is master",)).parts
    assert words(part) == (
        "pod part-0 was deleted with a second's grace; users went without: account data 12.5 s (20 of 60 failed);"
        " went on: versions; all quiet after 20.0 s; redis-1 is master"
    )


def test_of_what_was_taken_away_the_report_has_a_line_and_of_nothing_else() -> None:
    (part,) = taken(outages=(LONG,)).parts
    assert told(taken(outages=(LONG,))) == [f"part: {words(part)}"]
    assert told(taken(problem="not everything is ready", what="")) == []
    assert told(Disrupted(absent="there is one node")) == []
    assert told(None) == []
