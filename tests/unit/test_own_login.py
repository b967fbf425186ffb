"""A process's database, asked with the process's own login; and the background updates that are asked for so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint
from postflight.limits import Limit
from postflight.probes import background, own_login
from postflight.probes.background import BackgroundUpdates, Update, background_updates
from postflight.probes.own_login import Unasked, asked
from postflight.probes.persisters import PersistedRows, persisted_rows
from tests.unit.loopback import answering, api_to, closed_port, refuse
from tests.unit.observations import MODEL

MAIN = next(each for each in MODEL.synapse if each.is_main)
LOGIN = next(use.login for use in MODEL.database_uses if use.client == MAIN.id)
POD = MODEL.postgres[0].pods[0]
DIRECT = Access(api_to(closed_port()), Way.DNS)
TUNNEL = Access(api_to(closed_port()), Way.TUNNEL)


def with_endpoint(endpoint: Endpoint) -> Deployment:
    """The lab, its main logging in there."""
    login = replace(LOGIN, host=endpoint.host, port=endpoint.port)
    uses = tuple(replace(use, login=login) if use.client == MAIN.id else use for use in MODEL.database_uses)
    return replace(
        MODEL, database_uses=uses, postgres=tuple(replace(each, endpoints=(endpoint,)) for each in MODEL.postgres)
    )


def said(model: Deployment, access: Access, ask: Callable[[Any], Any] = lambda _: "answer") -> Any:
    return asked(access, model, MAIN, ask)


def opened(connection: Any) -> Callable[..., Any]:
    """A login that is let in."""
    return lambda *_: nullcontext(connection)


class TestAsking:
    def test_what_the_database_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[Any] = []

        def log_in(*given: Any) -> Any:
            tried.append(given)
            return nullcontext("connection")

        monkeypatch.setattr(own_login, "log_in", log_in)
        model = with_endpoint(Endpoint("0.0.0.0", 5432, "", "", (), external=True))
        assert said(model, DIRECT, lambda connection: f"{connection} asked") == "connection asked"
        assert [(each[0].host, each[0].password) for each in tried] == [("0.0.0.0", LOGIN.password)]

    @pytest.mark.parametrize("changed", [replace(MODEL, database_uses=()), replace(MODEL, postgres=())])
    def test_a_database_that_is_not_known(self, changed: Deployment) -> None:
        assert said(changed, DIRECT) == Unasked(unseen=f"the database of {MAIN.workload_name} is not known")

    @pytest.mark.parametrize("access", [DIRECT, TUNNEL])
    def test_one_on_loopback_is_never_this_machines(self, access: Access) -> None:
        model = with_endpoint(Endpoint("127.0.0.1", 5432, "", "", (), external=True))
        found = said(model, access)
        assert found == Unasked(unseen="127.0.0.1 is the process's own pod, and only from there can one log in")

    def test_one_outside_the_cluster_by_tunnel(self) -> None:
        model = with_endpoint(Endpoint("db.example.com", 5432, "", "", (), external=True))
        assert said(model, TUNNEL) == Unasked(unseen="no tunnel leads to db.example.com, outside the cluster")

    def test_an_address_that_leads_nowhere(self) -> None:
        model = with_endpoint(Endpoint("pg-rw", 5432, "matrix", "pg-rw", (), problem="no pod of it is ready"))
        assert said(model, DIRECT) == Unasked(problem="no pod of it is ready")

    def test_one_that_does_not_answer(self) -> None:
        found = said(with_endpoint(Endpoint("0.0.0.0", closed_port(), "", "", (), external=True)), DIRECT)
        assert (found.unseen, "refused" in found.problem) == ("", True)

    def test_a_tunnel_that_is_refused_is_no_word_of_the_databases(self) -> None:
        model = with_endpoint(Endpoint("0.0.0.0", 5432, "matrix", "pg", ((POD, 5432),)))
        with answering(refuse(403, "pods is forbidden")) as (port, _):
            found = said(model, Access(api_to(port), Way.TUNNEL))
        assert found == Unasked(unseen="no right: pods is forbidden")

    def test_a_question_that_the_database_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(own_login, "log_in", opened(None))

        def ask(_: Any) -> str:
            raise psycopg.errors.InsufficientPrivilege("permission denied\nfor table events")

        model = with_endpoint(Endpoint("0.0.0.0", 5432, "", "", (), external=True))
        assert said(model, DIRECT, ask) == Unasked(problem="permission denied for table events")


class TestWhoAsks:
    """Both say what the helper says, in their own observation."""

    model = with_endpoint(Endpoint("pg-rw", 5432, "matrix", "pg-rw", (), problem="no pod of it is ready"))

    def test_for_rows(self) -> None:
        assert persisted_rows(self.model, DIRECT) == PersistedRows(problem="no pod of it is ready")
        assert persisted_rows(replace(MODEL, synapse=()), DIRECT) == PersistedRows(unseen="no main process is known")

    def test_for_updates(self) -> None:
        (seen,) = background_updates(replace(self.model, synapse=(MAIN,)), DIRECT)
        assert seen == BackgroundUpdates(MAIN, problem="no pod of it is ready")
        (seen,) = background_updates(replace(MODEL, synapse=(MAIN,), database_uses=()), DIRECT)
        assert seen == BackgroundUpdates(MAIN, unseen=f"the database of {MAIN.workload_name} is not known")


class Answers:
    """A connection to a database that says these rows of background_updates, look after look."""

    def __init__(self, *looks: Mapping[str, str], busy: int = 0) -> None:
        self.looks = iter(looks)
        self.busy = busy

    def execute(self, statement: str) -> Answers:
        self.asked = statement
        return self

    def fetchall(self) -> Sequence[tuple[str, str, str]]:
        return [(name, progress, "") for name, progress in next(self.looks).items()]

    def fetchone(self) -> tuple[int]:
        assert self.asked == background.BUSY
        return (self.busy,)

    def commit(self) -> None:
        """What was locked for the first look is free."""


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (Answers({}), BackgroundUpdates(MAIN)),
        (Answers({"a": "1"}, {"a": "1"}), BackgroundUpdates(MAIN, (Update("a", ""),))),
        (Answers({"a": "1"}, {"a": "2"}), BackgroundUpdates(MAIN, (Update("a", ""),), moving=True)),
        (Answers({"a": "1", "b": "1"}, {"b": "1"}), BackgroundUpdates(MAIN, (Update("b", ""),), moving=True)),
        (Answers({"a": "1"}, {"a": "1"}, busy=1), BackgroundUpdates(MAIN, (Update("a", ""),), busy=True)),
    ],
)
def test_background_updates_are_looked_at_twice(
    connection: Answers, expected: BackgroundUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_login, "log_in", opened(connection))
    monkeypatch.setattr(Limit, "PROGRESS", 0.0)
    model = with_endpoint(Endpoint("0.0.0.0", 5432, "", "", (), external=True))
    assert background_updates(replace(model, synapse=(MAIN,)), DIRECT) == (expected,)
