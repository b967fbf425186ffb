"""What a session makes of what checks said, before blame."""

from __future__ import annotations

from inspect import signature
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from postflight.cluster.kinds import POD
from postflight.deployment.model import Deployment
from postflight.probes.probe import BarredBy
from postflight.probes.registry import all_probes
from postflight.probes.runner import Outcome
from postflight.run import Run
from postflight.session import Session, _beyond, _expected
from postflight.settings import Settings
from postflight.verdict.doubts import Doubts
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit.loopback import RecordedApi, answering, api_to, closed_port
from tests.unit.observations import CHECKS
from tests.unit.records import absent, green, said
from tests.unit.worlds import container, deployment, files, pod, snapshot


def model(database: str, redis: str) -> Deployment:
    args = {"host": database, "user": "u", "password": "hunter2", "dbname": "d"}
    config = {"database": {"name": "psycopg2", "args": args}, "redis": {"enabled": True, "host": redis}}
    world = snapshot(pod("one", container(image="matrixdotorg/synapse:1")))
    return deployment(world, read=files(**{"/data/homeserver.yaml": yaml.safe_dump(config)}))


ELSEWHERE = model("pg-rw.databases.svc.cluster.local", "redis.cache.svc")


@pytest.mark.parametrize(
    ("id", "line"),
    [
        ("database.replication", "pg-rw.databases.svc.cluster.local: namespace databases is not looked at"),
        ("platform.operators", "pg-rw.databases.svc.cluster.local: namespace databases is not looked at"),
        ("redis.memory", "redis.cache.svc: namespace cache is not looked at"),
    ],
)
def test_what_stands_in_a_namespace_that_is_not_looked_at_is_unknown_not_absent(id: str, line: str) -> None:
    statement = _beyond(said(id, absent("outside the cluster")), ELSEWHERE)
    (failure,) = statement.failures
    namespace = line.split("namespace ")[1].split()[0]
    assert (failure.status, failure.headline) == (Status.UNKNOWN, f"{line}: --namespace matrix,{namespace}")
    assert statement.absence == ""
    assert _beyond(said(id, green("it")), ELSEWHERE).failures == ()


def test_what_stands_outside_the_cluster_or_is_no_part_of_it_stays_absent() -> None:
    outside = model("db.example.com", "10.1.2.3")
    assert list(outside.beyond()) == []
    for id, world in (("database.replication", outside), ("federation.exactly_once", ELSEWHERE)):
        assert _beyond(said(id, absent("no")), world).absence == "no"


def test_what_is_promised_and_there_is_not_missing_where_its_kind_has_nothing_for_a_check() -> None:
    there = model("db.example.com", "10.1.2.3")
    for id, part in (("database.replication", "postgresql"), ("redis.replication", "redis")):
        assert _expected(said(id, absent("no")), [part], there).absence == "no"
        (missing,) = _expected(said(id, absent("no")), [part], None).failures
        assert missing.headline == f"{part} is expected by the settings and is not part of what stands here: no"


def session(*ids: str, **out_of_reach: str) -> Any:
    items = [SimpleNamespace(function=CHECKS[id], fixturenames=[*signature(CHECKS[id]).parameters]) for id in ids]
    options = SimpleNamespace(settings=Settings(out_of_reach=out_of_reach))
    run = SimpleNamespace(options=options, notes=[], look=lambda names, report: None)
    found = SimpleNamespace(items=items, run=run)
    found._needed = lambda: Session._needed(cast(Session, found))
    return found


def test_what_a_check_takes_beside_is_made_for_others_only_and_the_run_says_where_it_was_not() -> None:
    journey, federation = "clients.journey", "federation.exactly_once"
    assert session(journey)._needed() == {"client_journey", "deployment", "judge"}
    assert "federation_canary" in session(journey, federation)._needed()
    assert "federation_canary" not in session(journey, federation, **{federation: "no right"})._needed()
    for ids, out_of_reach, notes in (
        ((journey,), {}, 1),
        ((journey, federation), {}, 0),
        ((journey, federation), {federation: "no right"}, 1),
        ((journey,), {journey: "no right"}, 0),
    ):
        found = session(*ids, **out_of_reach)
        Session.look(found, lambda name, done, total: None)
        assert len(found.run.notes) == notes
        assert all("clients.journey was judged without federation_canary" in each for each in found.run.notes)


def test_a_probe_that_was_wanted_and_has_said_nothing_is_not_one_that_nobody_asked_for() -> None:
    run: Any = SimpleNamespace(dead="", given={}, outcomes={}, wanted=frozenset({"wanted"}))
    assert Run.value(run, "wanted").barred_by is None
    assert Run.value(run, "other").barred_by is BarredBy.RUN
    assert all(Run.value(run, each).unseen for each in ("wanted", "other"))


class TestWhatWasReplacedMeanwhile:
    def after(self, id: str, kind: str = "wrong", asked: int = 1) -> Status:
        judge, calls = Judge(), list[Doubts]()
        getattr(judge, kind)("pod/matrix/main-0", "it is so")
        found = session(id)
        doubts = Doubts(replaced={"pod/matrix/main-0": "main-0 was replaced during the run"})
        found.run.probes = all_probes()

        def asking() -> Doubts:
            calls.append(doubts)
            return doubts

        found.run.doubts = asking
        model = SimpleNamespace(depends={"pod/matrix/main-0": ("cluster/matrix/pg",)})
        (statement,) = Session._doubted(found, [said(id, judge)], cast(Deployment, model))
        assert len(calls) == asked
        return statement.failures[0].status

    def test_is_unknown_where_a_check_goes_by_what_pods_answered(self) -> None:
        assert self.after("workers.signing_key") is Status.UNKNOWN
        assert self.after("workers.logs") is Status.UNKNOWN

    def test_stands_where_kubernetes_says_it(self) -> None:
        assert self.after("platform.references", asked=0) is Status.FAILED

    def test_is_not_looked_for_where_nothing_failed(self) -> None:
        assert self.after("workers.signing_key", "warn", asked=0) is Status.WARNED


def test_a_run_says_what_no_way_led_to_and_what_was_replaced() -> None:
    world = snapshot(pod("one"), pod("two"))
    for each in world.all(POD):
        cast(dict[str, Any], each)["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    run: Any = object.__new__(Run)
    run.given, run.gone = {"snapshot": world}, None
    run.outcomes = {"a": Outcome(no_way={("matrix", "one"): "no way"}), "b": Outcome()}
    with answering(RecordedApi(snapshot(pod("one")), ("matrix",))) as (port, _):
        run.given["api"] = api_to(port)
        found = Run.doubts(run)
    assert found.no_way == {"pod/matrix/one": "no way"}
    assert found.replaced == {"pod/matrix/two": "two was replaced during the run"}
    run.given["api"] = api_to(closed_port())
    assert Run.doubts(run).replaced == {}
