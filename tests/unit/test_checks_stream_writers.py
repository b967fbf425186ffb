"""The check of the streams' writers, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.probes.inside import InsideView
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, inside, only
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
