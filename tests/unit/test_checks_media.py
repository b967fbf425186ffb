"""The check of the media workers, given each kind of fault alone, and its probe on processes that answer as Synapse does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.media import APP, JOBS, SWITCH, is_media_worker
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, names_of
from postflight.probes import media_doors as probes
from postflight.probes.media_doors import PATHS, MediaAnswer, MediaDoor
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL, ask, only
from tests.unit.processes import media

CHECK = "media.workers"
MAIN = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
WORKERS = [each for each in MODEL.synapse if is_media_worker(each)]
FIRST = WORKERS[0]


def name(process: SynapseProcess) -> str:
    return process.pod.name if process.pod else ""


def changed(change: Callable[[SynapseProcess], SynapseProcess]) -> Deployment:
    return replace(MODEL, synapse=tuple(map(change, MODEL.synapse)))


def configured(where: Callable[[SynapseProcess], bool] | None = None, **values: Any) -> Deployment:
    """With other values, in all or where it holds; None takes a key away."""

    def change(each: SynapseProcess) -> SynapseProcess:
        if each.config is None or (where and not where(each)):
            return each
        config = {key: value for key, value in {**each.config, **values}.items() if value is not None}
        return replace(each, config=config, app=str(values.get("worker_app", each.app)))

    return changed(change)


def judged(model: Deployment, **doors: Any) -> Judge:
    """``doors`` are other fields of what the first media worker said."""
    seen = media(model)
    if doors:
        seen = tuple(replace(each, **doors) if each.process.id == FIRST.id else each for each in seen)
    return ask(CHECK, deployment=model, media_doors=seen)


def listening(each: SynapseProcess, *names: str, **rest: Any) -> dict[str, Any]:
    key = "listeners" if each.is_main else "worker_listeners"
    return {key: [{"port": 8008, "resources": [{"names": list(names)}], **rest}]}


class TestWhoServes:
    def test_the_lab_has_two_media_workers(self) -> None:
        assert [each.app for each in WORKERS] == [APP, APP]

    def test_main_and_whoever_shares_its_configuration(self) -> None:
        shared = configured(lambda each: not is_media_worker(each), enable_media_repo=True)
        found = only(judged(shared))
        others = sum(each.serves for each in media(shared)) - len(WORKERS) - 1
        assert others > 1
        assert found.headline == f"{name(MAIN)} and {others} more serve media too, beside {names_of(WORKERS)}"
        assert found.cause == f"{SWITCH} is true for {name(MAIN)}"
        assert found.subject == MAIN.id

    def test_not_set_means_true(self) -> None:
        found = only(judged(configured(lambda each: each.id == MAIN.id, enable_media_repo=None)))
        assert found.headline == f"{name(MAIN)} serves media too, beside {names_of(WORKERS)}"
        assert found.cause == f"{SWITCH} is true (not set) for {name(MAIN)}"

    def test_a_generic_worker_that_listens_and_may_not(self) -> None:
        generic = [each for each in MODEL.synapse if each.workload_name == "synapse-generic-worker"]
        names = listening(generic[0], "client", "federation", "media")
        found = only(judged(configured(lambda each: each in generic, **names)))
        s = "" if generic[1:] else "s"
        assert found.headline == f"{names_of(generic)} listen{s} for media and refuse{s} it: {SWITCH} is false"
        assert found.cause.endswith("whose app is synapse.app.generic_worker")

    def test_a_generic_worker_that_listens_and_may_is_a_media_worker(self) -> None:
        names = listening(FIRST, "media")
        made = configured(lambda each: each.id == FIRST.id, worker_app="synapse.app.generic_worker", **names)
        assert judged(made).failures == []

    def test_main_alone_by_design(self) -> None:
        alone = replace(MODEL, synapse=tuple(each for each in MODEL.synapse if not is_media_worker(each)))
        served = replace(
            alone,
            synapse=tuple(
                replace(each, config={**(each.config or {}), SWITCH: True, JOBS: None}) for each in alone.synapse
            ),
        )
        pen = judged(served)
        assert pen.failures == []
        assert MAIN.id in pen.seen

    def test_nobody_at_all(self) -> None:
        alone = replace(MODEL, synapse=tuple(each for each in MODEL.synapse if not is_media_worker(each)))
        found = only(judged(alone))
        assert found.headline == (
            f"nobody answers media requests: {name(MAIN)} refuses them ({SWITCH} is false), and there is no media worker"
        )

    def test_li_may_do_without(self) -> None:
        of_li = replace(MAIN, id="pod/matrix/second", side=Side.LI)
        assert judged(replace(MODEL, synapse=(*MODEL.synapse, of_li))).failures == []

    def test_li_with_media_workers_is_held_to_the_same(self) -> None:
        config = {**(MAIN.config or {}), SWITCH: True}
        of_li = [replace(MAIN, id="pod/matrix/second", side=Side.LI, config=config)]
        of_li += [replace(each, id=f"{each.id}-li", side=Side.LI) for each in WORKERS]
        assert "serves media too" in only(judged(replace(MODEL, synapse=(*MODEL.synapse, *of_li)))).headline


class TestWhoCouldNotBeSeen:
    def test_a_worker_that_does_not_answer(self) -> None:
        found = only(judged(MODEL, answers=(), problem="timed out"), Status.UNKNOWN)
        assert found.headline == f"{name(FIRST)} could not be asked for media: timed out"

    def test_a_worker_that_is_down(self) -> None:
        assert FIRST.pod
        down = replace(FIRST, pod=replace(FIRST.pod, ready=False))
        model = changed(lambda each: down if each.id == FIRST.id else each)
        pen = judged(model, process=down, answers=(), problem="it does not run")
        assert {(each.nature, each.subject) for each in pen.failures} == {(Nature.UNAVAILABLE, FIRST.id)}

    def test_a_worker_that_fails_at_what_it_knows(self) -> None:
        answers = (MediaAnswer(PATHS[0], 401, "M_MISSING_TOKEN"), MediaAnswer(PATHS[1], 500, "M_UNKNOWN"))
        found = only(judged(MODEL, answers=answers))
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline == f"{name(FIRST)} knows media requests and fails at them: 500"

    def test_a_worker_that_nobody_can_ask(self) -> None:
        assert only(judged(MODEL, answers=(), problem="its listeners take TLS", unasked=True), Status.UNKNOWN)

    def test_another_that_nobody_can_ask(self) -> None:
        seen = tuple(
            replace(each, answers=(), problem="its listeners take TLS", unasked=True)
            if each.process.id == MAIN.id
            else each
            for each in media(MODEL)
        )
        found = only(ask(CHECK, media_doors=seen), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_one_whose_configuration_is_not_known(self) -> None:
        blind = changed(lambda each: replace(each, config=None, config_problem="no") if each.id == MAIN.id else each)
        found = only(judged(blind), Status.UNKNOWN)
        assert found.headline == f"whether {MAIN.workload_name} serves media is not known: no"


class TestTheJobs:
    def test_a_name_that_nobody_has(self) -> None:
        found = only(judged(configured(media_instance_running_background_jobs="ghost")))
        assert found.headline == (
            f"nobody runs the media background jobs: {JOBS} names ghost, and no process has this worker_name"
        )
        assert found.remedy == f"set {JOBS} to {FIRST.instance}"

    @pytest.mark.parametrize(
        ("named", "hint"),
        [
            ("main", "main is called master there"),
            ("synapse-presence-writer-0", "that process has no media repository"),
        ],
    )
    def test_a_name_of_one_that_has_no_media(self, named: str, hint: str) -> None:
        assert only(judged(configured(media_instance_running_background_jobs=named))).headline.endswith(hint)

    def test_no_name_is_everybody(self) -> None:
        found = only(judged(configured(media_instance_running_background_jobs=None)))
        both = ", ".join(each.instance for each in WORKERS)
        assert found.headline == f"the media background jobs run more than once, on {both}: {JOBS} is not set"

    def test_no_name_suffices_for_one(self) -> None:
        one = configured(media_instance_running_background_jobs=None)
        alone = replace(one, synapse=tuple(each for each in one.synapse if each.id != WORKERS[1].id))
        assert judged(alone).failures == []

    def test_they_disagree(self) -> None:
        second = configured(lambda each: each.id == WORKERS[1].id, **{JOBS: WORKERS[1].instance})
        assert f"they do not agree on {JOBS}" in only(judged(second)).headline

    def test_the_one_may_be_one_whose_configuration_is_not_known(self) -> None:
        blind = changed(lambda each: replace(each, config=None) if each.id == FIRST.id else each)
        assert {each.status for each in judged(blind).failures} == {Status.UNKNOWN}

    def test_the_one_is_not_up(self) -> None:
        assert FIRST.pod
        down = replace(FIRST, pod=replace(FIRST.pod, ready=False))
        found = only(judged(changed(lambda each: down if each.id == FIRST.id else each)))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, FIRST.id)


class TestTheProbe:
    """On processes that listen on loopback."""

    def ask(self, answer: Callable[[Request], Reply], **listener: Any) -> MediaDoor:
        with answering(answer) as (port, _):
            assert FIRST.pod
            config = listening(FIRST, "media", **({"port": port} | listener))
            there = replace(FIRST, pod=replace(FIRST.pod, ip="127.0.0.1"), config=config, server_name="hs.test")
            model = replace(MODEL, synapse=(there,))
            (found,) = probes.media_doors(model, Access(api_to(closed_port()), Way.DIRECT))
            return found

    def test_one_that_knows_media(self) -> None:
        def answer(asked: Request) -> Reply:
            if "download" in asked.path:
                return 404, {"errcode": "M_NOT_FOUND"}
            return 401, {"errcode": "M_MISSING_TOKEN"}

        found = self.ask(answer)
        assert found.serves
        assert not found.broken
        assert [each.path for each in found.answers] == [each.format(server="hs.test") for each in PATHS]

    @pytest.mark.parametrize("body", [{"errcode": "M_UNRECOGNIZED"}, b"nothing here"])
    def test_one_that_does_not(self, body: Any) -> None:
        found = self.ask(lambda asked: (404, body))
        assert (found.serves, found.problem) == (False, "")

    def test_one_that_fails(self) -> None:
        assert self.ask(lambda asked: (500, {"errcode": "M_UNKNOWN"})).broken

    def test_one_that_is_not_there(self) -> None:
        found = self.ask(lambda asked: (200, {}), port=closed_port())
        assert "does not answer" in found.problem
        assert not found.unasked

    @pytest.mark.parametrize("listener", [{"tls": True}, {"port": None, "path": "/run/media.sock"}])
    def test_one_that_nobody_can_ask(self, listener: Any) -> None:
        assert self.ask(lambda asked: (200, {}), **listener).unasked

    def test_one_that_nobody_reaches_is_not_asked(self) -> None:
        quiet = replace(FIRST, config=listening(FIRST, "metrics", "replication"))
        assert probes.media_doors(replace(MODEL, synapse=(quiet,)), Access(api_to(closed_port()), Way.DIRECT)) == ()
