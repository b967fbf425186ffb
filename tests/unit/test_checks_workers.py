"""The checks of workers, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, tasks_of
from postflight.probes.background import BackgroundUpdates, Update
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only

CHECK = "workers.background"
MAIN = next(each for each in MODEL.synapse if each.is_main)


def named(name: str, *, only_in: str = "") -> Deployment:
    """The deployment with ``run_background_tasks_on`` in the configuration of all, or of one workload."""

    def config(each: Any) -> Any:
        changed = not only_in or each.workload_name == only_in
        return {**(each.config or {}), "run_background_tasks_on": name} if changed else each.config

    return replace(MODEL, synapse=tuple(replace(each, config=config(each)) for each in MODEL.synapse))


class TestTasks:
    def test_on_a_worker_that_runs(self) -> None:
        assert ask(CHECK, deployment=named("synapse-presence-writer-0")).failures == []

    def test_on_nobody(self) -> None:
        found = only(ask(CHECK, deployment=named("ghost")))
        assert found.headline == (
            "nobody runs the background tasks: run_background_tasks_on names ghost, and no process has this worker_name"
        )
        assert found.stops == (tasks_of(MAIN),)

    def test_main_is_called_otherwise_there(self) -> None:
        assert only(ask(CHECK, deployment=named("main"))).headline.endswith("and main is called master there")

    def test_on_two(self) -> None:
        model = named("synapse-presence-writer-0", only_in="synapse-presence-writer")
        assert "run more than once, on master, synapse-presence-writer-0" in only(ask(CHECK, deployment=model)).headline

    def test_on_a_worker_that_is_not_up(self) -> None:
        model = named("synapse-presence-writer-0")
        down = tuple(
            replace(each, pod=replace(each.pod, ready=False))
            if each.pod and each.workload_name == "synapse-presence-writer"
            else each
            for each in model.synapse
        )
        found = only(ask(CHECK, deployment=replace(model, synapse=down)))
        assert found.nature is Nature.UNAVAILABLE

    def test_on_a_worker_whose_configuration_is_not_known(self) -> None:
        model = named("synapse-presence-writer-0")
        blind = tuple(
            replace(each, config=None) if each.workload_name == "synapse-presence-writer" else each
            for each in model.synapse
        )
        assert only(ask(CHECK, deployment=replace(model, synapse=blind)), Status.UNKNOWN)


class TestUpdates:
    def left(self, *updates: Update, known: Any = None, **fields: Any) -> Judge:
        seen = (BackgroundUpdates(MAIN, updates, **fields),)
        return ask(CHECK, background_updates=seen, known_updates=known or {each.name: True for each in updates})

    def test_nobody_knows_it(self) -> None:
        found = only(self.left(Update("odd", ""), known={"odd": False}))
        assert found.headline.startswith("background update odd waits for ever")

    def test_what_waits_behind_one_that_nobody_knows_is_no_finding_of_its_own(self) -> None:
        found = only(self.left(Update("fine", ""), Update("odd", ""), known={"fine": True, "odd": False}))
        assert found.headline.startswith("background update odd waits for ever")
        assert found.observed.startswith("2 rows")

    def test_that_are_worked_on_are_right(self) -> None:
        assert self.left(Update("one", ""), Update("two", "one"), moving=True).failures == []

    def test_that_may_be_an_index_that_is_made(self) -> None:
        assert "runs for long" in only(self.left(Update("one", ""), busy=True), Status.WARNED).headline

    def test_that_does_not_move(self) -> None:
        found = only(self.left(Update("one", "")))
        assert found.headline == "background update one does not move: nobody works on it"

    def test_that_do_not_move_on_lis_side_may_be_mains(self) -> None:
        seen = (BackgroundUpdates(replace(MAIN, side=Side.LI, workload_name="second"), (Update("one", ""),)),)
        found = only(ask(CHECK, background_updates=seen, known_updates={"one": True}), Status.WARNED)
        assert found.headline == (
            "background update one does not move in LI's database: it is a copy of main's row, or second does not work on it"
        )

    def test_that_nobody_knows_are_wrong_on_lis_side_too(self) -> None:
        seen = (BackgroundUpdates(replace(MAIN, side=Side.LI), (Update("odd", ""),)),)
        assert "waits for ever" in only(ask(CHECK, background_updates=seen, known_updates={"odd": False})).headline

    def test_that_wait_for_each_other(self) -> None:
        pen = self.left(Update("one", "two"), Update("two", "one"))
        assert all("waits for itself" in each.headline for each in pen.failures)

    def test_whose_name_could_not_be_looked_up(self) -> None:
        seen = (BackgroundUpdates(MAIN, (Update("one", ""),), moving=True),)
        assert ask(CHECK, background_updates=seen, known_updates=NOT_ALLOWED).failures == []

    def test_that_could_not_be_read(self) -> None:
        found = only(self.left(problem="password rejected"))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, MAIN.id)

    def test_that_nobody_could_ask_for(self) -> None:
        assert "is not known" in only(self.left(unseen="its database is not known"), Status.UNKNOWN).headline
