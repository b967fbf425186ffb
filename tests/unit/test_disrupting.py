"""What keeps a part from being taken away, and the phase in which it is."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.disrupting import beneath, in_the_way
from postflight.probes.disruption import ground
from postflight.probes.drain import parts as node_parts
from postflight.probes.outages import Disrupted
from postflight.probes.probe import BarredBy, Foundation, NotTried, Probe, Safety, probe
from postflight.probes.redis_failover import parts as redis_parts
from postflight.probes.registry import all_probes
from postflight.probes.runner import Outcome
from postflight.run import Run
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import Statement
from postflight.verdict.status import Nature, Status
from tests.unit.observations import MODEL
from tests.unit.records import green, said

MAIN = next(each for each in MODEL.synapse if each.is_main)
GROUP = MODEL.redis[0]
REDIS = Foundation(("redis.",), redis_parts)


def failed(id: str, subject: str, status: Status = Status.FAILED, **rest: Any) -> Statement:
    return said(id, Judge(failures=[Failure(status, Nature.WRONG, subject, "it is broken", **rest)]))


def right(id: str) -> Statement:
    return said(id, green("it"))


FOUNDATION = tuple(map(right, ("platform.workloads", "clients.journey", "redis.memory")))


class TestFoundation:
    def test_of_a_deployment_that_is_right_lets_it_be(self) -> None:
        warned = failed("availability.synapse_main", MAIN.id, Status.WARNED)
        elsewhere = failed("calls.turn", "daemonset/matrix/coturn")
        assert in_the_way(REDIS, MODEL, (*FOUNDATION, warned, elsewhere)) is None

    @pytest.mark.parametrize("missing", FOUNDATION, ids=lambda each: each.check.id)
    def test_that_no_check_was_asked_about_is_in_the_way(self, missing: Statement) -> None:
        found = in_the_way(REDIS, MODEL, [each for each in FOUNDATION if each is not missing])
        assert isinstance(found, NotTried)
        assert found.reason.startswith(f"refused: nothing was said by {missing.check.id.partition('.')[0]}")

    @pytest.mark.parametrize("status", [Status.FAILED, Status.UNKNOWN])
    @pytest.mark.parametrize(
        ("id", "subject"),
        [
            ("redis.replication", "sentinel in redis-1"),
            ("platform.workloads", "deployment/matrix/anything"),
            ("clients.journey", "x"),
            ("workers.signing_key", MAIN.id),
            ("database.login", next(iter(MODEL.depends[MAIN.id]))),
        ],
    )
    def test_that_is_red_or_not_known_is_in_the_way(self, id: str, subject: str, status: Status) -> None:
        found = in_the_way(REDIS, MODEL, (right("redis.memory"), failed(id, subject, status)))
        assert isinstance(found, NotTried)
        assert found.barred_by is BarredBy.FOUNDATION
        assert found.reason == f"refused: {id} is {status}, and this stands on it: it is broken"
        assert {MAIN.id, GROUP.id, subject} <= set(found.parts)

    def test_counts_what_a_failure_stops_too(self) -> None:
        stopping = failed("li.identity", "somebody", stops=(MAIN.id,))
        assert in_the_way(REDIS, MODEL, (stopping,)) is not None

    def test_reaches_all_the_way_down(self) -> None:
        ground_ = beneath(MODEL, [MAIN.id])
        assert {each for part in MODEL.depends[MAIN.id] for each in MODEL.depends.get(part, ())} <= ground_
        assert beneath(MODEL, ["alone"]) == {"alone"}

    def test_of_each_disruption_names_parts_of_the_model(self) -> None:
        for each in all_probes().values():
            if each.disrupts:
                assert MAIN.id in each.disrupts.parts(MODEL)
        assert GROUP.id in node_parts(MODEL)
        assert ground(MODEL) == (MAIN.id,)


def test_what_disrupts_says_so_and_needs_the_level() -> None:
    disruptive = {each.name for each in all_probes().values() if each.disrupts}
    assert disruptive == {each.name for each in all_probes().values() if each.safety is Safety.DISRUPTIVE}
    assert len(disruptive) == 6
    assert all("canary_room" in all_probes()[each].inputs for each in disruptive)


CALLS: list[str] = []


@probe(limit=5, safety=Safety.DISRUPTIVE, disrupts=REDIS)
def taking(deployment: Deployment, canary_room: Any) -> Disrupted:
    """Take something away."""
    CALLS.append("taken")
    return Disrupted(absent=str(deployment))


class Phase:
    """A run in its disrupt phase, with everything around it left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: dict[str, NotTried] | None = None) -> None:
        CALLS.clear()
        self.run: Any = object.__new__(Run)
        known: dict[str, Probe] = {"taking": taking.__probe__}  # type: ignore[attr-defined]
        for name, value in {
            "probes": known,
            "dead": "",
            "outcomes": {"canary_room": Outcome("a room")},
            "times": [],
            "trouble": [],
            "notes": [],
            "gone": None,
            "given": {"api": None, "deployment": MODEL},
        }.items():
            setattr(self.run, name, value)
        monkeypatch.setattr(Run, "_refused", lambda of, wanted: refused or {})
        monkeypatch.setattr(Run, "_gone", lambda of: {("matrix", "one"): "one was replaced during the run"})
        monkeypatch.setattr(Run, "_picture", lambda of, api: {"deployment": "as it is now"})

    def disrupt(self, *statements: Statement) -> Outcome:
        Run.disrupt(self.run, ["taking"], statements, lambda name, done, total: None)
        found: Outcome = self.run.outcomes["taking"]
        return found


class TestPhase:
    def test_works_on_a_picture_of_the_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        phase = Phase(monkeypatch)
        assert phase.disrupt(*FOUNDATION).value == Disrupted(absent="as it is now")
        assert [each.name for each in phase.run.times] == ["taking"]
        assert phase.run.given["deployment"] is MODEL

    def test_what_it_replaces_casts_no_doubt_on_what_was_seen_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        phase = Phase(monkeypatch)
        phase.disrupt(*FOUNDATION)
        monkeypatch.setattr(Run, "_gone", lambda of: {("matrix", "main"): "main was replaced during the run"})
        assert set(Run.doubts(phase.run).replaced) == {"pod/matrix/one"}

    def test_takes_nothing_away_on_a_broken_foundation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = Phase(monkeypatch).disrupt(failed("redis.memory", "x"))
        assert (found.barred_by, CALLS) == (BarredBy.FOUNDATION, [])
        assert "refused: redis.memory is failed" in found.unseen
        assert MAIN.id in found.parts

    def test_takes_nothing_away_where_it_may_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        barred = NotTried("needs --safety disruptive", BarredBy.SAFETY)
        phase = Phase(monkeypatch, {"taking": barred})
        found = phase.disrupt()
        assert (found.unseen, found.barred_by, CALLS) == (barred.reason, barred.barred_by, [])
        assert phase.run.times == []

    def test_takes_nothing_away_without_what_it_needs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        phase = Phase(monkeypatch)
        phase.run.outcomes["canary_room"] = Outcome(unseen="no user")
        assert (phase.disrupt().unseen, CALLS) == ("no user", [])

    def test_is_not_entered_by_a_run_that_saw_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        phase = Phase(monkeypatch)
        phase.run.dead = "no cluster"
        Run.disrupt(phase.run, ["taking"], (), lambda name, done, total: None)
        assert "taking" not in phase.run.outcomes
