"""How the logs of the Synapse processes are read: from when on, how much, and what is made of refusals."""

from __future__ import annotations

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
        if "tailLines" in query:
            return ["***** STARTING SERVER *****"] if self.ever else []
        since = datetime.strptime(query["sinceTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        most = int(query["limitBytes"])
        text = "".join(f"{each}\n" for each in self.lines if datetime.fromisoformat(each.split()[0]) >= since)
        return text.encode()[:most].decode().splitlines()


def seen(api: Any) -> ProcessLog:
    found = process_logs(api, MODEL, SNAPSHOT)
    assert [each.process.id for each in found] == [each.id for each in MODEL.synapse]
    return next(each for each in found if each.process.id == MAIN.id)


def test_the_run_and_the_minutes_before_are_told_apart() -> None:
    found = seen(Api(line(-400), line(-30), line(1), line(2, "INFO")))
    assert (len(found.before), len(found.records), found.cut, found.silent) == (1, 1, None, False)


def test_every_process_is_asked_once_by_its_container() -> None:
    api = Api(line(1))
    seen(api)
    assert len(api.asked) == len(MODEL.synapse)
    assert {query["container"] for _, query in api.asked} == {each.container for each in MODEL.synapse}
    assert all(path.endswith("/log") for path, _ in api.asked)


def test_where_the_minutes_before_are_too_much_the_run_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BYTES", 500)
    found = seen(Api(*(line(-20) for _ in range(50)), line(1)))
    assert (len(found.before), len(found.records), found.cut) == (0, 1, None)


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
