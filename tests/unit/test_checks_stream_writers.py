"""The check of the streams' writers, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.inside import InsideView
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only
from tests.unit.processes import inside
from tests.unit.recorded import item, items

CHECK = "workers.stream_writers"
P0, P1 = (f"event_persister_synapse-event-persister-{number}" for number in (0, 1))
PRESENCE, RECEIPTS = "synapse-presence-writer-0", "synapse-receipts-writer-0"


def model(change: Callable[[SynapseProcess], SynapseProcess]) -> Deployment:
    return replace(MODEL, synapse=tuple(map(change, MODEL.synapse)))


def with_writers(*, only_in: str = "", **streams: Any) -> Deployment:
    """The lab with other writers of some streams, in all processes or in one workload, before and after a restart."""

    def change(each: SynapseProcess) -> SynapseProcess:
        if only_in not in ("", each.workload_name) or "stream_writers" not in (each.config or {}):
            return each
        config = {**(each.config or {})}
        config["stream_writers"] = {**config["stream_writers"], **streams}
        return replace(each, config=config, next_config=config)

    return model(change)


def down(found: Deployment, *workloads: str) -> Deployment:
    def stop(each: SynapseProcess) -> SynapseProcess:
        if each.workload_name not in workloads or each.pod is None:
            return each
        containers = tuple(replace(one, running=False, ready=False) for one in each.pod.containers)
        return replace(each, pod=replace(each.pod, ready=False, containers=containers))

    return replace(found, synapse=tuple(map(stop, found.synapse)))


def test_the_lab_is_green() -> None:
    pen = ask(CHECK)
    assert pen.failures == []
    assert len(pen.seen) == 15


class TestLists:
    def test_one_that_is_listed_twice(self) -> None:
        found = only(ask(CHECK, deployment=with_writers(receipts=[RECEIPTS, RECEIPTS])))
        assert found.headline == f"{RECEIPTS} is listed 2 times as a writer of receipts"

    def test_two_where_one_is_allowed(self) -> None:
        broken = with_writers(only_in="synapse-synchrotron", presence=[PRESENCE, RECEIPTS])
        found = only(ask(CHECK, deployment=down(broken, "synapse-synchrotron")))
        assert found.headline.count("synchrotron_synapse-synchrotron-") == 2
        assert " do not start: stream_writers.presence names" in found.headline
        assert "one only" in found.headline
        assert len(found.stops) == 3

    def test_two_where_one_is_allowed_in_a_process_that_still_runs(self) -> None:
        broken = with_writers(only_in="synapse-synchrotron", presence=[PRESENCE, RECEIPTS])
        found = only(ask(CHECK, deployment=broken))
        assert "will not start again" in found.headline
        assert found.stops == ()

    def test_a_persister_without_an_address_is_for_another_check_to_say(self) -> None:
        broken = with_writers(only_in="synapse-synchrotron", events=[P0, P1, "third"])
        assert ask(CHECK, deployment=down(broken, "synapse-synchrotron")).failures == []

    def test_a_writer_of_receipts_without_an_address(self) -> None:
        broken = with_writers(only_in="synapse-synchrotron", receipts=["third"])
        found = only(ask(CHECK, deployment=down(broken, "synapse-synchrotron")))
        assert found.headline.endswith("do not start: third is to write receipts and is not in instance_map")

    def test_another_order_in_one_process(self) -> None:
        found = only(ask(CHECK, deployment=with_writers(only_in="synapse-typing-writer", events=[P1, P0])))
        assert found.headline.startswith("synapse-typing-writer-0 takes others for the writers of events than ")
        assert "one order" in found.expected

    def test_another_address_in_one_process(self) -> None:
        def move(each: SynapseProcess) -> SynapseProcess:
            if each.workload_name != "synapse-typing-writer":
                return each
            config = {**(each.config or {})}
            config["instance_map"] = {**config["instance_map"], PRESENCE: {"host": "elsewhere", "port": 9093}}
            return replace(each, config=config, next_config=config)

        assert any("at elsewhere:9093" in each.headline for each in ask(CHECK, deployment=model(move)).failures)


class TestWithoutMain:
    """A worker whose instance_map does not say where main is."""

    TYPING = "synapse-typing-writer"
    WHY = "instance_map does not say where main is"

    def model(self, *, now: bool = True, then: bool = True) -> Deployment:
        """One worker without it, in effect or after a restart."""

        def change(each: SynapseProcess) -> SynapseProcess:
            if each.workload_name != self.TYPING:
                return each
            known = each.config or {}
            others = {name: at for name, at in known["instance_map"].items() if name != "main"}
            bare = {**known, "instance_map": others}
            return replace(each, config=bare if now else known, next_config=bare if then else known)

        return model(change)

    def test_that_is_down_with_it(self) -> None:
        pen = ask(CHECK, deployment=down(self.model(), self.TYPING))
        found = next(each for each in pen.failures if each.nature is Nature.WRONG)
        assert found.headline == f"{self.TYPING}-0 does not start: {self.WHY}"
        assert found.expected == "main in the instance_map of every worker, with host and port"
        assert found.remedy == "correct instance_map, then restart"
        assert len(found.stops) == 2

    def test_that_runs_with_it(self) -> None:
        found = only(ask(CHECK, deployment=self.model()))
        assert (found.headline, found.stops) == (f"{self.TYPING}-0 will not start again: {self.WHY}", ())

    def test_that_would_start_with_it(self) -> None:
        said = [each.headline for each in ask(CHECK, deployment=self.model(now=False)).failures]
        assert f"{self.TYPING}-0 will not start again: {self.WHY}" in said
        assert f"{self.TYPING}-0 started before instance_map changed: it does not know it" in said

    def test_that_is_mended_by_a_restart(self) -> None:
        said = [each.headline for each in ask(CHECK, deployment=self.model(then=False)).failures]
        assert f"{self.TYPING}-0 will not start again: {self.WHY}" in said

    def test_no_other_check_says_it(self) -> None:
        assert ask("workers.configuration", deployment=self.model()).failures == []

    def test_a_persister_that_only_a_restart_would_miss_is_said_here(self) -> None:
        later = with_writers(only_in=self.TYPING, events=[P0, P1, "third"])
        both = zip(MODEL.synapse, later.synapse, strict=True)
        model = replace(MODEL, synapse=tuple(replace(now, next_config=then.next_config) for now, then in both))
        said = [each.headline for each in ask(CHECK, deployment=model).failures]
        assert f"{self.TYPING}-0 will not start again: third is to write events and is not in instance_map" in said


class TestLi:
    """Of LI's processes only that they start is looked at."""

    def with_li(self, *, up: bool = True, **fields: Any) -> Deployment:
        """The lab with one more worker, which is LI's."""
        worker = next(each for each in MODEL.synapse if each.workload_name == "synapse-typing-writer")
        assert worker.pod
        containers = tuple(replace(each, running=up, ready=up) for each in worker.pod.containers)
        pod = replace(worker.pod, id="pod/matrix/li-worker-0", name="li-worker-0", containers=containers)
        mine = {"workload": "statefulset/matrix/li-worker", "workload_name": "li-worker", "instance": "li-worker-0"}
        li = replace(worker, id=pod.id, pod=pod, side=Side.LI, **mine, **fields)
        return replace(MODEL, synapse=(*MODEL.synapse, li))

    def config(self, **settings: Any) -> dict[str, Any]:
        """Of a LI that has one worker, which writes nothing."""
        known = {"main": {"host": "li-main", "port": 9093}}
        return {"server_name": "matrix.lab.test", "instance_map": known, **settings}

    def test_that_starts(self) -> None:
        config = self.config()
        pen = ask(CHECK, deployment=self.with_li(config=config, next_config=config))
        assert pen.failures == []
        assert "pod/matrix/li-worker-0" in pen.seen

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"instance_map": {}}, "instance_map does not say where main is"),
            ({"stream_writers": {"events": "a"}}, "a is to write events and is not in instance_map"),
            ({"stream_writers": {"receipts": "a"}}, "a is to write receipts and is not in instance_map"),
        ],
    )
    def test_that_does_not_start(self, settings: dict[str, Any], why: str) -> None:
        config = self.config(**settings)
        found = only(ask(CHECK, deployment=self.with_li(up=False, config=config, next_config=config)))
        assert found.headline == f"LI: li-worker-0 does not start: {why}"
        assert found.stops == ("pod/matrix/li-worker-0", "statefulset/matrix/li-worker")
        found = only(ask(CHECK, deployment=self.with_li(config=config, next_config=config)))
        assert found.headline == f"LI: li-worker-0 will not start again: {why}"
        found = only(ask(CHECK, deployment=self.with_li(config=self.config(), next_config=config)))
        assert found.headline == f"LI: li-worker-0 will not start again: {why}"

    def test_what_is_refused_of_both_sides_is_said_of_each(self) -> None:
        def bare(each: SynapseProcess) -> SynapseProcess:
            wanted = each.side is Side.LI or each.workload_name == "synapse-typing-writer"
            return replace(each, config={"server_name": "a"}, next_config=None) if wanted else each

        broken = self.with_li()
        pen = ask(CHECK, deployment=replace(broken, synapse=tuple(map(bare, broken.synapse))))
        said = [each.headline for each in pen.failures if "where main is" in each.headline]
        assert said == [
            "synapse-typing-writer-0 will not start again: instance_map does not say where main is",
            "LI: li-worker-0 will not start again: instance_map does not say where main is",
        ]

    def test_whose_configuration_is_not_known(self) -> None:
        blind = self.with_li(config=None, next_config=None, config_problem="no right to exec")
        found = only(ask(CHECK, deployment=blind), Status.UNKNOWN)
        assert found.headline == "whom li-worker takes for the writers is not known: no right to exec"


class TestProcesses:
    def test_one_that_does_not_exist(self) -> None:
        ghost = tuple(each for each in MODEL.synapse if each.instance != PRESENCE)
        found = only(ask(CHECK, deployment=replace(MODEL, synapse=ghost)))
        assert found.headline == f"{PRESENCE} is to write presence, and no process is called that"
        assert found.stops == (PRESENCE,)

    def test_one_that_may_be_the_one_that_could_not_be_read(self) -> None:
        blind = model(lambda each: replace(each, config=None, instance="?") if each.instance == PRESENCE else each)
        pen = ask(CHECK, deployment=blind)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    def test_one_that_is_not_up(self) -> None:
        found = only(ask(CHECK, deployment=down(MODEL, "synapse-presence-writer")))
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline == f"{PRESENCE}, which writes presence, is not up"

    def test_where_nothing_runs_nothing_is_green(self) -> None:
        names = {each.workload_name for each in MODEL.synapse}
        pen = ask(CHECK, deployment=down(MODEL, *names), inside_connections=InsideView((), {}))
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}

    def test_two_of_one_name(self) -> None:
        twin = next(each for each in MODEL.synapse if each.instance == PRESENCE)
        other = replace(twin, id="pod/matrix/synapse-presence-writer-1")
        found = only(ask(CHECK, deployment=replace(MODEL, synapse=(*MODEL.synapse, other))))
        assert f"2 processes are called {PRESENCE}" in found.headline

    def test_main_out_of_view(self) -> None:
        headless = replace(MODEL, synapse=tuple(each for each in MODEL.synapse if each.instance != "master"))
        assert only(ask(CHECK, deployment=headless), Status.UNKNOWN).subject == "master"


class TestAutoscaling:
    def scaled(self, name: str, kind: str, least: int = 2) -> recorded.Recording:
        def add(raw: Any) -> None:
            scaler = {
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "more", "namespace": "matrix"},
                "spec": {"scaleTargetRef": {"kind": kind, "name": name}, "minReplicas": least, "maxReplicas": 4},
            }
            items(raw, "HorizontalPodAutoscaler").append(scaler)

        return recorded.changed(add)

    def test_of_the_persisters(self) -> None:
        found = only(ask(CHECK, snapshot=self.scaled("synapse-event-persister", "StatefulSet").snapshot))
        assert found.headline.startswith("autoscaler more scales synapse-event-persister, whose processes are listed")
        assert found.observed == "more: 2 to 4 pods; 2 of them are listed"

    def test_that_has_no_choice(self) -> None:
        fixed = self.scaled("synapse-event-persister", "StatefulSet", least=4)
        assert ask(CHECK, snapshot=fixed.snapshot).failures == []

    def test_of_others(self) -> None:
        assert ask(CHECK, snapshot=self.scaled("synapse-federation-sender", "StatefulSet").snapshot).failures == []


class TestStale:
    def test_all_started_before_the_list_changed(self) -> None:
        def swap(raw: Any) -> None:
            held = item(raw, "ConfigMap", "synapse-config")["data"]
            held["homeserver.yaml"] = held["homeserver.yaml"].replace(f"[{P0}, {P1}]", f"[{P1}, {P0}]")

        lab = recorded.changed(swap)
        found = only(ask(CHECK, lab))
        assert "and 14 more started before stream_writers.events changed: they do not know it" in found.headline
        assert found.observed.startswith("15 of 15 processes run by an older stream_writers.events, the first at 2026")
        assert P0 in found.evidence[0]

    def test_some_did_and_the_difference_is_not_said_twice(self) -> None:
        new = {"events": [P1, P0]}
        some = with_writers(only_in="synapse-typing-writer", **new)

        def later(each: SynapseProcess) -> SynapseProcess:
            if "stream_writers" not in (each.config or {}):
                return each
            config = {**(each.config or {})}
            config["stream_writers"] = {**config["stream_writers"], **new}
            return replace(each, next_config=config)

        mixed = replace(some, synapse=tuple(map(later, some.synapse)))
        found = only(ask(CHECK, deployment=mixed))
        assert "and 13 more started before stream_writers.events changed" in found.headline

    def test_a_file_that_came_later_may_hold_another_list(self) -> None:
        def refresh(each: SynapseProcess) -> SynapseProcess:
            if each.workload_name != "synapse-typing-writer" or not each.started:
                return each
            return replace(each, refreshed=each.started + timedelta(hours=1))

        found = only(ask(CHECK, deployment=model(refresh)), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith("synapse-typing-writer-0 started before its configuration was last changed")


class TestTheWay:
    def test_a_writer_that_is_up_and_is_not_reached(self) -> None:
        view = inside(MODEL)
        deaf = tuple(
            replace(each, seen=(), problem="timed out") if each.host.startswith(PRESENCE) else each
            for each in view.connections
        )
        found = only(ask(CHECK, inside_connections=InsideView(deaf, {})))
        assert f"does not reach {PRESENCE} at {PRESENCE}." in found.headline
        assert found.headline.endswith(": timed out")

    def test_nobody_could_be_asked(self) -> None:
        found = only(ask(CHECK, inside_connections=InsideView((), {})), Status.WARNED)
        assert "no process that runs could be asked" in found.headline

    @pytest.mark.parametrize(
        ("view", "words"),
        [(NOT_ALLOWED, NOT_ALLOWED.reason), (InsideView((), {"pod/matrix/a-0": "busy"}), "a-0 reaches")],
    )
    def test_it_was_not_seen(self, view: Any, words: str) -> None:
        assert words in only(ask(CHECK, inside_connections=view), Status.WARNED).headline
