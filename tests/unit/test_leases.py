"""One run at a time: a Lease is waited for, taken over once it has expired, and given back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from postflight.cluster.api import ApiError
from postflight.cluster.leases import FORMAT, SECONDS, Held, Lease, expired
from postflight.probes.own import turn
from postflight.traces import Traces
from tests.unit import recorded
from tests.unit.loopback import Refused, Reply, Request, answering, api_to

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATH = "/apis/coordination.k8s.io/v1/namespaces/matrix/leases/postflight"


def renewed(ago: float, now: datetime | None = None, **spec: Any) -> dict[str, Any]:
    when = ((now or datetime.now(UTC)) - timedelta(seconds=ago)).strftime(FORMAT)
    return {"holderIdentity": "another", "renewTime": when, "leaseDurationSeconds": SECONDS, **spec}


class TestExpiry:
    @pytest.mark.parametrize(("ago", "over"), [(0, False), (SECONDS - 1, False), (SECONDS + 1, True), (86400, True)])
    def test_a_lease_lasts_its_duration_from_its_last_renewal(self, ago: float, over: bool) -> None:
        assert expired({"spec": renewed(ago, NOW)}, NOW) is over

    def test_the_duration_is_the_leases_own(self) -> None:
        assert not expired({"spec": renewed(50, NOW, leaseDurationSeconds=60)}, NOW)
        assert expired({"spec": renewed(SECONDS + 1, NOW, leaseDurationSeconds=None)}, NOW)

    @pytest.mark.parametrize("raw", [{}, {"spec": None}, {"spec": {}}, {"spec": {"renewTime": None}}])
    def test_one_that_was_never_renewed_is_over(self, raw: dict[str, Any]) -> None:
        assert expired(raw, NOW)

    def test_one_with_a_time_that_nobody_can_read_is_over(self) -> None:
        assert expired({"spec": renewed(0, NOW, renewTime="yesterday")}, NOW)


class Store:
    """Keeps one Lease as the API server does: with a version that a PUT must name."""

    def __init__(self, spec: dict[str, Any] | None = None) -> None:
        self.version = 1
        self.held = {"metadata": {"resourceVersion": "1", "uid": "u1"}, "spec": spec} if spec else None

    def __call__(self, asked: Request) -> Reply:
        if asked.method == "POST":
            if self.held:
                raise Refused(409, "already exists")
            return self._keep(asked.body)
        if self.held is None:
            raise Refused(404, "not found")
        if asked.method == "PUT":
            if asked.body["metadata"]["resourceVersion"] != self.held["metadata"]["resourceVersion"]:
                raise Refused(409, "the object has been modified")
            return self._keep(asked.body)
        if asked.method == "DELETE":
            if asked.body["preconditions"]["uid"] != self.held["metadata"]["uid"]:
                raise Refused(409, "the UID in the precondition does not match")
            self.held = None
            return 200, {}
        return 200, self.held

    def _keep(self, body: dict[str, Any]) -> Reply:
        self.version += 1
        self.held = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version), "uid": "u2"}}
        return 200, self.held


def lease(port: int) -> Lease:
    return Lease(api_to(port), "matrix", "us", {"postflight/run": "abc"})


def test_a_lease_that_nobody_holds_is_ours_until_it_is_released() -> None:
    store = Store()
    with answering(store) as (port, seen):
        ours = lease(port)
        ours.acquire(1)
        assert store.held
        assert store.held["spec"]["holderIdentity"] == "us"
        assert store.held["metadata"]["labels"] == {"postflight/run": "abc"}
        assert not expired(store.held, datetime.now(UTC))
        assert ours.predecessor == {}
        ours.release()
    assert store.held is None
    assert {each.path for each in seen if each.method != "POST"} == {PATH}


def test_one_that_is_held_is_waited_for_and_its_holder_named() -> None:
    with answering(Store(renewed(0))) as (port, seen), pytest.raises(Held, match=r"held by another, renewed 2\S+"):
        lease(port).acquire(0.6)
    assert {each.method for each in seen} == {"GET"}


@pytest.mark.parametrize("spec", [renewed(SECONDS + 1), {"holderIdentity": "another"}], ids=["late", "no time"])
def test_one_that_has_expired_is_taken_over(spec: dict[str, Any]) -> None:
    store = Store(spec)
    with answering(store) as (port, _):
        ours = lease(port)
        ours.acquire(1)
        ours.release()
    assert ours.predecessor["spec"]["holderIdentity"] == "another"
    assert store.held is None


def test_it_is_the_servers_clock_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = timedelta(seconds=40)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Ahead:
            moment = datetime.now(tz) + wrong
            return cls.fromtimestamp(moment.timestamp(), tz)

    for module in ("api", "leases"):
        monkeypatch.setattr(f"postflight.cluster.{module}.datetime", Ahead)
    with answering(Store(renewed(0))) as (port, _), pytest.raises(Held, match="held by another"):
        lease(port).acquire(0.6)
    store = Store()
    with answering(store) as (port, _):
        ours = lease(port)
        ours._try()
        ours._write("PUT", ours.path, ours._body({"resourceVersion": str(store.version)}))
        assert store.held
        assert not expired(store.held, datetime.now(UTC))
        assert expired(store.held, datetime.now(UTC) + timedelta(seconds=SECONDS + 2))


def test_a_run_takes_its_turn_in_each_namespace_and_gives_each_back() -> None:
    stores = {f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases": Store() for name in ("a", "b")}

    def answer(asked: Request) -> Reply:
        return stores[asked.path.removesuffix("/postflight")](asked)

    traces = Traces("abc")
    with answering(answer) as (port, seen):
        found = turn(replace(recorded.model(), namespaces=("b", "a")), api_to(port), traces)
        assert found.namespaces == ("a", "b")
        assert all(each.held for each in stores.values())
        assert traces.close() == []
    assert not any(each.held for each in stores.values())
    assert [each.path.split("/")[5] for each in seen if each.method == "POST"] == ["a", "b"]


def test_of_two_that_take_it_at_once_one_waits() -> None:
    store = Store(renewed(SECONDS + 1))

    def answer(asked: Request) -> Reply:
        if asked.method == "PUT" and store.version == 1:
            assert store.held
            store.held["metadata"]["resourceVersion"] = "taken"
            store.held["spec"] = renewed(0)
            store.version += 1
        return store(asked)

    with answering(answer) as (port, _), pytest.raises(Held, match="held by another"):
        lease(port).acquire(0.6)


def test_one_that_another_took_over_is_not_released() -> None:
    store = Store(renewed(0))
    with answering(store) as (port, seen):
        lease(port).release()
    assert store.held
    assert [each.method for each in seen] == ["GET"]


def test_one_that_is_gone_already_is_released_without_a_word() -> None:
    with answering(Store()) as (port, _):
        lease(port).release()


def test_a_missing_right_is_not_waited_for() -> None:
    def answer(asked: Request) -> Reply:
        raise Refused(403, "leases is forbidden")

    with answering(answer) as (port, seen), pytest.raises(ApiError, match="no right: leases is forbidden"):
        lease(port).acquire(5)
    assert len(seen) == 1
