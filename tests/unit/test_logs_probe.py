"""How the logs of the Synapse processes are read: from when on, how much, and what is made of refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postflight.cluster.api import ApiError
from postflight.deployment.parts import Side
from postflight.probes import logs
from postflight.probes.logs import ProcessLog, process_logs
from tests.unit import recorded
from tests.unit.observations import MODEL

SNAPSHOT = recorded.healthy().snapshot
BEGAN = SNAPSHOT.taken
MAIN = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)


def line(seconds: float, level: str = "ERROR", text: str = "went wrong") -> str:
    at = (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return f"{at} 2026-01-01 12:00:00,000 - synapse.x - 1 - {level} - GET-1 - {text}"


class Api:
    """An API server whose pods have logged these lines, or that refuses."""

    def __init__(self, *lines: str, refusal: ApiError | None = None, ever: bool = True) -> None:
        self.lines, self.refusal, self.ever = lines, refusal, ever
        self.asked: list[tuple[str, dict[str, str]]] = []

    def log(self, path: str, **query: str) -> list[str]:
        self.asked.append((path, query))
        if self.refusal:
            raise self.refusal
        if "sinceTime" not in query:
            return ["***** STARTING SERVER *****"] if self.ever else []
        since = datetime.strptime(query["sinceTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        most, tail = int(query["limitBytes"]), int(query.get("tailLines", "0"))
        # As the kubelet does: from a time on, of that the last lines, of those the first bytes.
        lines = [each for each in self.lines if datetime.fromisoformat(each.split()[0]) >= since][-tail:]
        return "".join(f"{each}\n" for each in lines).encode()[:most].decode().splitlines()

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=60)


def seen(api: Any) -> ProcessLog:
    found = process_logs(api, MODEL, SNAPSHOT)
    assert [each.process.id for each in found] == [each.id for each in MODEL.synapse]
    return next(each for each in found if each.process.id == MAIN.id)


def test_the_run_and_the_time_before_are_told_apart() -> None:
    found = seen(Api(line(-7000), line(-400), line(-30), line(1), line(2, "INFO")))
    assert (len(found.before), len(found.records), found.cut, found.silent) == (2, 1, None, False)
    assert found.read == BEGAN + timedelta(seconds=60)


def test_what_another_container_logged_is_not_asked_for() -> None:
    api = Api(line(1))
    seen(api)
    assert not [query for _, query in api.asked if query.get("previous")]
    assert all(path.endswith("/log") for path, _ in api.asked)
    assert {query["container"] for _, query in api.asked} == {each.container for each in MODEL.synapse}


def test_it_looks_back_as_far_as_the_process_has_run_and_an_hour_at_most() -> None:
    began = [each.started for each in MODEL.synapse if each.started]
    assert all(BEGAN - timedelta(hours=1) < each for each in began)
    assert seen(Api(line(-60))).reach == MAIN.started


def test_where_it_has_run_for_days_it_looks_back_an_hour() -> None:
    assert MAIN.pod
    containers = tuple(replace(each, started=BEGAN - timedelta(days=3)) for each in MAIN.pod.containers)
    old = replace(MAIN, pod=replace(MAIN.pod, containers=containers))
    (found,) = process_logs(Api(line(-60)), replace(MODEL, synapse=(old,)), SNAPSHOT)  # type: ignore[arg-type]
    assert found.reach == BEGAN - timedelta(hours=1)


def test_a_process_that_began_during_the_run_has_logged_nothing_before() -> None:
    assert MAIN.pod
    containers = tuple(replace(each, started=BEGAN + timedelta(seconds=5)) for each in MAIN.pod.containers)
    young = replace(MAIN, pod=replace(MAIN.pod, containers=containers))
    (found,) = process_logs(Api(line(6)), replace(MODEL, synapse=(young,)), SNAPSHOT)  # type: ignore[arg-type]
    assert (len(found.records), found.before, found.reach) == (1, (), BEGAN)


def test_where_the_time_before_is_too_much_it_is_said_how_far_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LINES", 10)
    found = seen(Api(*(line(-second) for second in range(50, 0, -1)), line(1)))
    assert (len(found.before), len(found.records), found.cut) == (9, 1, None)
    assert found.reach == BEGAN - timedelta(seconds=9)


def test_all_processes_together_are_read_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "TOTAL", 1000 * len(MODEL.synapse))
    api = Api(line(1))
    seen(api)
    assert {query["limitBytes"] for _, query in api.asked} == {"1000"}


def test_where_the_run_is_too_much_it_is_said_up_to_when_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BYTES", 500)
    monkeypatch.setattr(logs, "BYTES_OF_RUN", 500)
    found = seen(Api(*(line(second) for second in range(50))))
    assert found.cut is not None
    assert BEGAN < found.cut < BEGAN + timedelta(seconds=10)


def test_a_quiet_process_is_not_one_that_logs_elsewhere() -> None:
    assert not seen(Api()).silent
    assert seen(Api(ever=False)).silent


def test_a_refusal_is_the_problem_of_each_log() -> None:
    assert seen(Api(refusal=ApiError(403, "no right: pods/log"))).problem == "no right: pods/log"
