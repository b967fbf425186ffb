"""A part away and back: what is done, what is told, and that everything is put back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api
from postflight.cluster.kinds import CONFIG_MAP, POD, POSTGRES_CLUSTER
from postflight.cluster.streams import Answer
from postflight.deployment.parts import Endpoint
from postflight.polling import TimedOut
from postflight.probes import disruption, disruptions, switchover
from postflight.probes.canary_user import Hindered
from postflight.probes.disruption import After, NotDone, Plan, Stage, Stuck, carry_out, delete_pod
from postflight.probes.disruptions import main_away, proxy_away, store_away
from postflight.probes.outages import Disrupted, Outage
from postflight.probes.own import Turn
from postflight.probes.probe import Unseen
from postflight.probes.redis_failover import redis_away
from postflight.probes.settled import HEALTHY
from postflight.probes.store_health import ServerHealth
from postflight.probes.switchover import _switched, primary_away, slots, used
from postflight.probes.user_stream import Stream
from postflight.settings import Settings
from postflight.traces import Traces
from tests.unit import budgeting, recorded, storing
from tests.unit.clustering import Server
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.test_user_stream import ROOM
from tests.unit.worlds import deployment, snapshot

CLUSTER = MODEL.postgres[0]
NOWHERE = Hindered("nobody is known", "")
FELT = (Outage("sync", 1.0, 0, 4),)


class Still:
    """A stream of requests that are all answered."""

    def __init__(self, entrance: Any, room: Any) -> None:
        self.more: tuple[Any, ...] = ()

    def begin(self) -> None:
        """At once."""

    def stop(self) -> None:
        """At once."""

    def unwell(self, since: float = 0.0) -> str:
        return ""

    def end(self) -> tuple[Outage, ...]:
        return FELT


def stage(api: Api | None = None, **settings: Any) -> Stage:
    access = Access(api or api_to(closed_port()), Way.DIRECT)
    given = Settings(**settings)
    return Stage(MODEL, recorded.healthy().snapshot, access.api, access, given, Traces("abc"), ROOM, ())


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything around a disruption is well, and there are no files."""
    monkeypatch.setattr(disruption, "Stream", Still)
    monkeypatch.setattr(disruption, "_entrance", lambda of: None)
    monkeypatch.setattr(disruption, "_wait", lambda of, limit, also: also())
    monkeypatch.setattr(disruption.Files, "of", lambda *given: None)


def plan(act: Callable[[Any], str], **rest: Any) -> Plan:
    return Plan("part", "the part", 10.0, act, **rest)


@pytest.mark.usefixtures("still")
class TestCarryingOut:
    def test_tells_what_was_done_and_what_users_met(self) -> None:
        found = carry_out(stage(), plan(lambda stream: "it was ended", after=lambda: After(("it is back",))))
        assert (found.what, found.problem, found.unrecovered, found.outages) == ("it was ended", "", "", FELT)
        assert found.seen == ("downloads were not tried: no process takes media", "it is back")
        assert {"part", ROOM.user.home.id} <= set(found.needs)

    def test_that_is_not_done_is_a_problem_and_no_finding(self) -> None:
        def act(stream: Any) -> str:
            raise NotDone("nobody would make it anew")

        found = carry_out(stage(), plan(act))
        assert (found.what, found.problem, found.unrecovered) == ("", "nobody would make it anew", "")

    def test_that_gets_stuck_is_a_finding(self) -> None:
        def act(stream: Any) -> str:
            raise Stuck("nobody takes over")

        found = carry_out(stage(), plan(act))
        assert (found.problem, found.unrecovered) == ("", "nobody takes over")

    def test_what_does_not_recover_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wait(of: Any, limit: float, also: Callable[[], str]) -> None:
            if why := also():
                raise TimedOut(why)

        monkeypatch.setattr(disruption, "_wait", wait)
        found = carry_out(stage(), plan(lambda stream: "it was ended", whole=lambda: "it follows nobody"))
        assert (found.what, found.unrecovered) == ("it was ended", "it follows nobody")

    def test_is_not_begun_while_anything_is_amiss(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wait(of: Any, limit: float, also: Callable[[], str]) -> None:
            raise TimedOut("web-1 is not ready (waited 60 s)")

        monkeypatch.setattr(disruption, "_wait", wait)
        done: list[str] = []
        found = carry_out(stage(), plan(lambda stream: done.append("it") or "it"))  # type: ignore[func-returns-value]
        assert found.problem == "not everything is ready and quiet: web-1 is not ready (waited 60 s)"
        assert done == []

    def test_is_not_begun_when_the_run_is_over(self) -> None:
        here = stage()
        here.traces.over = True
        done: list[str] = []
        found = carry_out(here, plan(lambda stream: done.append("it") or "it"))  # type: ignore[func-returns-value]
        assert (found.problem, done) == ("the run was interrupted", [])

    def test_of_files_needs_files(self) -> None:
        found = carry_out(stage(), plan(lambda stream: "it", storing=True))
        assert found.problem == "no file could be uploaded: no process takes media"


class TestDeleting:
    def pod(self, **meta: Any) -> dict[str, Any]:
        return {"metadata": {"name": "one", "namespace": "matrix", "uid": "u1", **meta}}

    def test_a_pod_is_of_that_very_pod_with_a_seconds_grace(self) -> None:
        path = POD.path("matrix", "one")
        owned = self.pod(ownerReferences=[{"kind": "StatefulSet", "controller": True}])
        seen: list[Request] = []
        server = Server({path: owned})

        def answer(asked: Request) -> Reply:
            seen.append(asked)
            return server(asked)

        with answering(answer) as (port, _):
            said = delete_pod(stage(api_to(port)), "matrix", "one")
        assert said == "pod one was deleted with a second's grace"
        assert server.objects == {}
        assert seen[-1].body == {"gracePeriodSeconds": 1, "preconditions": {"uid": "u1"}}

    def test_a_pod_that_nobody_would_make_anew_is_not_done(self) -> None:
        path = POD.path("matrix", "one")
        server = Server({path: self.pod()})
        with answering(server) as (port, _), pytest.raises(NotDone, match="has no controller"):
            delete_pod(stage(api_to(port)), "matrix", "one")
        assert path in server.objects


def inputs(model: Any = MODEL, **rest: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "deployment": model,
        "snapshot": snapshot(),
        "access": Access(api_to(closed_port()), Way.DIRECT),
        "settings": Settings(),
        "traces": Traces("abc"),
        "turn": Turn(("matrix",)),
        "canary_room": NOWHERE,
        "ingress_controllers": (),
    }
    return common | rest


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        (main_away, "no main process"),
        (proxy_away, "no proxy stands before Synapse"),
        (store_away, "no media go to an object store"),
        (redis_away, "no Synapse process has Redis enabled"),
        (primary_away, "no PostgreSQL of Synapse's is operated"),
    ],
)
def test_what_a_deployment_has_not_is_absent(probe: Callable[..., Disrupted], why: str) -> None:
    assert probe(**inputs(deployment(snapshot()))).absent.startswith(why)


def test_without_a_user_nothing_is_taken_away() -> None:
    with pytest.raises(Unseen, match="there is no user whose requests could go on meanwhile: nobody is known"):
        main_away(**inputs())


def test_a_store_that_goes_with_its_only_pod_is_left_alone() -> None:
    pod = replace(CLUSTER.pods[0], labels={})
    mine = storing.store(endpoint=Endpoint("minio", 9000, "matrix", "minio", ((pod, 9000),)))
    model = replace(MODEL, stores=(mine,))
    with answering(Server({}, {POD.path(pod.namespace): "Pod"})) as (port, _):
        access = Access(api_to(port), Way.DIRECT)
        found = store_away(**inputs(model, access=access))
    assert found.absent == "the one server of the object store keeps its files in its pod, and they would go with it"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"spared": False, "healing": 2}, "2 drives are healing"),
        ({"spared": False}, "writes would end"),
        ({"problem": "no answer in time"}, "no answer in time"),
    ],
    ids=["healing", "no quorum", "silent"],
)
def test_a_server_that_the_others_cannot_do_without_stays(
    said: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = budgeting.servers()
    pod = group.pods[0]
    monkeypatch.setattr(disruptions, "ask", lambda access, group, pod: ServerHealth(pod, **said))
    here: Any = SimpleNamespace(deployment=budgeting.with_servers(MODEL, group), access=None)
    with pytest.raises(NotDone, match=f"cannot spare {pod.name} at the moment: {why}"):
        disruptions._sparing(here, pod)(cast(Stream, None))


class TestSlots:
    def said(self, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> dict[str, bool]:
        monkeypatch.setattr(switchover, "run_in_pod", lambda *given, **named: answer)
        return slots(api_to(closed_port()), CLUSTER.pods[0])

    def test_are_those_that_stay_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = json.dumps([{"name": "li", "active": True}]).encode() + b"\n"
        assert self.said(monkeypatch, Answer(rows, b"", 0)) == {"li": True}

    def test_that_cannot_be_read_are_not_taken_for_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(Unseen, match=r"which slots .* has is not known"):
            self.said(monkeypatch, Answer(b"", b"psql: error", 1))

    def test_keep_the_primary_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(switchover, "slots", lambda api, pod: {"li": True})
        found = primary_away(**inputs(canary_room=ROOM))
        assert CLUSTER.primary
        assert found.absent.startswith(f"logical slot li hangs on {CLUSTER.primary.name} and would stay behind")
        assert "disruption: {risk_slots: on}" in found.absent


class TestSwitchover:
    """The operator of this cluster does at once what it is told."""

    def switched(self, monkeypatch: pytest.MonkeyPatch, unwell: str = "") -> tuple[Any, list[str], Server]:
        assert CLUSTER.primary
        path = POSTGRES_CLUSTER.path(CLUSTER.namespace, CLUSTER.name)
        status = {
            "currentPrimary": CLUSTER.primary.name,
            "targetPrimary": CLUSTER.primary.name,
            "phase": HEALTHY,
            "readyInstances": 2,
        }
        raw = {"metadata": {"name": CLUSTER.name, "resourceVersion": "1"}, "spec": {"instances": 2}, "status": status}
        primary = POD.path(CLUSTER.namespace, CLUSTER.primary.name)
        maps = CONFIG_MAP.path(CLUSTER.namespace)
        server, noted = Server({path: raw, primary: {}}, {maps: "ConfigMap"}), []

        def answer(asked: Request) -> Reply:
            reply = server(asked)
            if asked.method == "PATCH":
                noted.append(asked.body["status"]["targetPrimary"])
                server.objects[path]["status"] |= {"currentPrimary": noted[-1], "phase": HEALTHY}
            return reply

        monkeypatch.setattr(switchover, "carry_out", lambda of, plan: plan)
        with answering(answer) as (port, _):
            here = stage(api_to(port))
            made: Any = _switched(here, CLUSTER, CLUSTER.primary, ())
            stream = SimpleNamespace(unwell=lambda since: unwell)
            try:
                said = made.act(stream)
            except Stuck as error:
                said = error
        return said, noted, server

    def test_goes_to_a_replica_and_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said, told, server = self.switched(monkeypatch)
        assert CLUSTER.primary
        replica = next(each.name for each in CLUSTER.pods if each != CLUSTER.primary)
        assert told == [replica, CLUSTER.primary.name]
        assert said == f"{CLUSTER.name} was switched over from {CLUSTER.primary.name} to {replica} and back"
        assert not [path for path in server.objects if "configmaps" in path]

    def test_goes_back_too_where_users_are_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(switchover, "served", _nobody)
        said, told, _ = self.switched(monkeypatch)
        assert isinstance(said, Stuck)
        assert CLUSTER.primary
        assert told[-1] == CLUSTER.primary.name


def _nobody(*given: Any) -> None:
    raise Stuck("users are not served")


def test_only_clusters_that_main_uses_and_that_have_a_replica_are_switched_over() -> None:
    assert [each.name for each in used(MODEL)] == [CLUSTER.name]
    alone = replace(CLUSTER, pods=CLUSTER.pods[:1])
    assert used(replace(MODEL, postgres=(alone, *MODEL.postgres[1:]))) == []
