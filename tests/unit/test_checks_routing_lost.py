"""Each way by which a request that was answered stands in nobody's counters, and what the check then says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import POD, Kind
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.request_classes import RequestClass
from postflight.deployment.turnover import turnover
from postflight.probes import haproxy
from postflight.probes.haproxy import HaproxyView
from postflight.probes.request_counters import Counted
from postflight.probes.rounds import FrontDoor
from postflight.verdict.failure import Failure
from postflight.verdict.status import Nature, Status
from tests.unit import recorded, storing
from tests.unit.observations import ask, only
from tests.unit.routing import answer, front_door, led, main_of, views, worker

CHECK = "routing.backends"
MODEL = storing.with_storage(recorded.model())
PROXY = MODEL.proxies[0]
WORLD = recorded.healthy().snapshot
MAIN = main_of(MODEL)
PODS = list(WORLD.all(POD))
UNRECOGNISED = '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}'
NOT_SEEN = "which process answers account requests was not seen: "
NOBODY = "account requests are answered by no process of this deployment"


def uncounted(kind: RequestClass) -> SynapseProcess | None:
    """Nobody counts what asks for one's own account; the generic workers should have."""
    return None if kind.name == "account" else led(MODEL, kind)


def surely(
    change: Callable[[FrontDoor], FrontDoor] = lambda front: front, status: Status = Status.FAILED, **given: Any
) -> Failure:
    """What is said where nobody counted one class, twice over."""
    model = given.get("deployment", MODEL)
    (front,) = front_door(model, by=lambda kind: None if kind.name == "account" else led(model, kind))
    twice = change(replace(front, rounds=front.rounds * 2))
    return only(ask(CHECK, front_door_requests=(twice,), **given), status)


def lost(change: Callable[[FrontDoor], FrontDoor] = lambda front: front, **given: Any) -> Failure:
    return surely(change, Status.UNKNOWN, **given)


def counting(front: FrontDoor, change: Callable[[Counted], Counted]) -> FrontDoor:
    return replace(
        front, rounds=tuple(replace(each, counted=tuple(map(change, each.counted))) for each in front.rounds)
    )


def of(name: str, **fields: Any) -> Callable[[FrontDoor], FrontDoor]:
    """With other things said by the processes of one workload."""

    def change(each: Counted) -> Counted:
        return replace(each, **fields) if each.process.workload_name == name else each

    return lambda front: counting(front, change)


def saying(change: Callable[[Any], Any], kinds: Callable[[RequestClass], bool]) -> Callable[[FrontDoor], FrontDoor]:
    """With the answers of some classes changed."""

    def of_front(front: FrontDoor) -> FrontDoor:
        return replace(
            front,
            rounds=tuple(
                replace(
                    round_,
                    asked=tuple(
                        replace(each, said=tuple(map(change, each.said))) if kinds(each.kind) else each
                        for each in round_.asked
                    ),
                )
                for round_ in front.rounds
            ),
        )

    return of_front


def holding(host: str) -> tuple[HaproxyView, ...]:
    """Every proxy pod holds one of its generic workers to be at this address."""
    found: list[HaproxyView] = []
    for view in views(MODEL, WORLD):
        first = view.up("generic_workers")[0]
        moved = replace(first, address=f"{host}:8008")
        found.append(replace(view, servers=tuple(moved if each is first else each for each in view.servers)))
    return tuple(found)


def began(ago: float) -> Deployment:
    """The lab with a typing writer that began so many seconds before the snapshot."""

    def young(each: SynapseProcess) -> SynapseProcess:
        if each.workload_name != "synapse-typing-writer" or not each.pod:
            return each
        start = WORLD.taken - timedelta(seconds=ago)
        containers = tuple(replace(one, started=start) for one in each.pod.containers)
        return replace(each, pod=replace(each.pod, containers=containers))

    return replace(MODEL, synapse=tuple(map(young, MODEL.synapse)))


class TestOpen:
    def test_a_process_that_began_anew(self) -> None:
        found = lost(of("synapse-typing-writer", restarted=True, problem="it began anew meanwhile"))
        assert found.headline == NOT_SEEN + "synapse-typing-writer-0 began anew meanwhile"

    def test_a_process_whose_counters_could_not_be_read(self) -> None:
        found = lost(of("synapse-typing-writer", problem="its metrics port 9090 answers 500"))
        assert found.headline.endswith("synapse-typing-writer could not be asked, its metrics port 9090 answers 500")
        assert found.subject == "pod/matrix/synapse-typing-writer-0"

    def test_pods_that_changed_meanwhile(self) -> None:
        changed = tuple(f"synapse-generic-worker-{n} is ending" for n in range(5))
        found = lost(lambda front: replace(front, changed=changed))
        assert found.headline == (
            NOT_SEEN + "Synapse's pods changed meanwhile (synapse-generic-worker-0 is ending,"
            " synapse-generic-worker-1 is ending, synapse-generic-worker-2 is ending and 2 more)"
        )

    def test_another_name_in_another_release(self) -> None:
        new = {("GET", "WhoAmIServlet", 401): 6}

        def change(each: Counted) -> Counted:
            mine = each.process is worker(MODEL, "synapse-generic-worker")
            return replace(each, answered={**each.answered, **new}) if mine else each

        found = lost(lambda front: counting(front, change))
        assert found.headline.startswith(NOT_SEEN + "as many were counted by the name WhoAmIServlet")

    def test_that_name_counts_nothing_where_the_known_one_was_ever_counted(self) -> None:
        """Other people's requests are no excuse."""
        new = {("GET", "VersionsRestServlet", 401): 60}

        def change(each: Counted) -> Counted:
            known = frozenset({("GET", "WhoamiRestServlet")})
            return replace(each, answered={**each.answered, **new}, known=known)

        assert surely(lambda front: counting(front, change)).headline == NOBODY

    def test_nor_does_what_a_kubelet_asks_for(self) -> None:
        new = {("GET", "HealthResource", 401): 60}

        def change(each: Counted) -> Counted:
            return replace(each, answered={**each.answered, **new})

        assert surely(lambda front: counting(front, change)).headline == NOBODY

    def test_a_pod_that_is_not_known_to_run_synapse(self) -> None:
        def without(front: FrontDoor) -> FrontDoor:
            rounds = tuple(
                replace(
                    each,
                    counted=tuple(one for one in each.counted if one.process.workload_name != "synapse-generic-worker"),
                )
                for each in front.rounds
            )
            return replace(front, rounds=rounds)

        (front,) = front_door(MODEL, by=uncounted)
        pen = ask(CHECK, front_door_requests=(without(front),))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert "synapse-generic-worker-77fcbb497c-bvzhw is not known to run" in " ".join(
            each.headline for each in pen.failures
        )

    def test_a_backend_that_leads_out_of_view(self) -> None:
        outside = tuple(replace(each, external=True) for each in PROXY.backends["generic_workers"])
        proxy = replace(PROXY, backends={**PROXY.backends, "generic_workers": outside})
        (front,) = front_door(replace(MODEL, proxies=(proxy,)), by=uncounted)
        pen = ask(CHECK, deployment=replace(MODEL, proxies=(proxy,)), front_door_requests=(front,))
        assert "backend generic_workers leads to " in only(pen, Status.UNKNOWN).headline

    def test_an_address_that_is_no_pods_shortly_after_a_start(self) -> None:
        found = lost(haproxy_views=holding("10.244.9.9"), deployment=began(20))
        assert "holds 10.244.9.9:8008 in backend generic_workers, which is no pod's address" in found.headline
        assert found.headline.endswith("less than a minute after processes began")
        assert found.subject == PROXY.id

    def test_addresses_that_are_not_told_shortly_after_a_start(self) -> None:
        hidden = tuple(
            replace(view, servers=tuple(replace(each, address="") for each in view.servers))
            for view in views(MODEL, WORLD)
        )
        found = lost(haproxy_views=hidden, deployment=began(20))
        assert "where haproxy leads was not seen" in found.headline

    def test_a_process_that_does_not_know_them_and_was_not_seen(self) -> None:
        (front,) = front_door(MODEL, lambda kind: answer(kind, *_unknown(kind)), by=uncounted)
        changed = replace(front, changed=("synapse-generic-worker-1 is ending",))
        found = only(ask(CHECK, front_door_requests=(changed,)), Status.UNKNOWN)
        assert found.headline.startswith(NOT_SEEN)

    def test_an_answer_out_of_a_cache(self) -> None:
        (front,) = front_door(MODEL, by=uncounted)
        stored = saying(lambda said: replace(said, stored=True), lambda kind: kind.name == "account")(front)
        found = only(ask(CHECK, front_door_requests=(stored,)), Status.WARNED)
        assert (found.nature, found.headline) == (Nature.UNPROVEN, NOT_SEEN + "they are answered out of a cache")


class TestSure:
    def test_who_counts_late_is_blamed_for_nothing(self) -> None:
        """Taken in, the answer not counted (yet): that tells who answered just as well."""

        def change(each: Counted) -> Counted:
            received = {("GET", "WhoamiRestServlet"): 6}
            mine = each.process is worker(MODEL, "synapse-generic-worker")
            return replace(each, received=received) if mine else each

        (front,) = front_door(MODEL, by=uncounted)
        assert ask(CHECK, front_door_requests=(counting(front, change),)).failures == []

    def test_or_for_what_is_not_its_own(self) -> None:
        def change(each: Counted) -> Counted:
            mine = each.process.workload_name == "synapse-media-repository"
            return replace(each, received={("GET", "WhoamiRestServlet"): 3}) if mine else each

        found = surely(lambda front: counting(front, change))
        assert found.headline == "account requests are answered by synapse-media-repository, which cannot serve them"

    def test_where_all_processes_are_the_same(self) -> None:
        found = surely()
        assert found.headline == NOBODY
        assert found.observed == ("2 times over, the last time account: 6 requests, counted by nobody")
        assert found.cause.startswith("haproxy leads them to backend generic_workers")

    def test_an_address_that_is_no_pods_is_the_cause(self) -> None:
        found = surely(haproxy_views=holding("10.244.9.9"), deployment=began(600))
        assert "holds 10.244.9.9:8008 in backend generic_workers, which is no pod's address" in found.cause

    def test_addresses_that_are_all_pods_leave_no_doubt_after_a_start(self) -> None:
        assert surely(deployment=began(20)).headline == NOBODY

    def test_the_proxy_itself_is_the_cause(self) -> None:
        signed = saying(lambda said: replace(said, server="Synapse/1.163.2"), lambda kind: kind.name != "account")
        assert surely(signed).cause == "haproxy gives these answers itself"

    def test_the_answers_say_whose_they_are(self) -> None:
        signed = saying(lambda said: replace(said, server="Synapse/1.119.0"), lambda kind: True)
        assert surely(signed).observed.endswith("counted by nobody (Server: Synapse/1.119.0)")


def _unknown(kind: RequestClass) -> tuple[int, str]:
    return (404, UNRECOGNISED) if kind.name == "account" else (0, "")


class TestTurnover:
    def now(self, name: str, **meta: Any) -> list[Any]:
        return [
            {**each, "metadata": {**each["metadata"], **meta}} if each["metadata"]["name"] == name else each
            for each in PODS
        ]

    def test_nothing_changed(self) -> None:
        assert turnover(MODEL, PODS, PODS) == ()

    def test_of_pods_that_are_not_synapses_nothing_is_said(self) -> None:
        assert turnover(MODEL, PODS, [each for each in PODS if "redis" not in each["metadata"]["name"]]) == ()

    def test_a_pod_that_is_ending(self) -> None:
        ending = self.now("synapse-main-0", deletionTimestamp="2026-11-24T20:22:00Z")
        assert turnover(MODEL, PODS, ending) == ("synapse-main-0 is ending",)

    def test_a_pod_that_was_ending_when_the_run_began(self) -> None:
        """It is in no model, so that nobody asks what it counted."""
        old = next(each for each in PODS if each["metadata"]["name"] == "synapse-main-0")
        gone = {**old, "metadata": {**old["metadata"], "name": "synapse-main-9", "deletionTimestamp": "x"}}
        assert turnover(MODEL, [*PODS, gone], PODS) == ("synapse-main-9 was ending already",)

    def test_a_pod_of_another_template(self) -> None:
        old = next(each for each in PODS if each["metadata"]["name"].startswith("synapse-synchrotron"))
        labels = {**old["metadata"]["labels"], "pod-template-hash": "other"}
        owner = [{"kind": "ReplicaSet", "name": "synapse-synchrotron-other"}]
        meta = {**old["metadata"], "name": "synapse-synchrotron-other-1", "labels": labels, "ownerReferences": owner}
        assert turnover(MODEL, PODS, [*PODS, {**old, "metadata": meta}]) == ("synapse-synchrotron-other-1 is new",)

    def test_another_pod_of_the_same_name(self) -> None:
        assert turnover(MODEL, self.now("synapse-main-0", uid="a"), self.now("synapse-main-0", uid="b")) == (
            "synapse-main-0 is gone",
            "synapse-main-0 is new",
        )

    def test_a_container_that_was_started_anew(self) -> None:
        def again(each: Any) -> Any:
            if each["metadata"]["name"] != "synapse-main-0":
                return each
            statuses = [{**one, "restartCount": 7} for one in each["status"]["containerStatuses"]]
            return {**each, "status": {**each["status"], "containerStatuses": statuses}}

        assert turnover(MODEL, PODS, map(again, PODS)) == ("synapse-main-0 was started anew",)


def test_the_addresses_of_pods_whose_readiness_changed() -> None:
    class Listing:
        def list_all(self, kind: Kind, namespace: str = "", **query: str) -> list[Any]:
            ended = {"deletionTimestamp": "2026-11-24T20:22:00Z"}
            first, *rest = [each for each in PODS if each["metadata"]["name"].startswith("synapse-synchrotron")]
            others = [each for each in PODS if each not in (first, *rest)]
            return [{**first, "metadata": {**first["metadata"], **ended}}, *rest, *others]

    listing: Any = Listing()
    assert haproxy._moved(listing, WORLD) == {"10.244.0.6"}


@pytest.mark.parametrize("address", ["10.244.0.14:8008", "[fd00::1]:8008", ""])
def test_the_host_of_an_address(address: str) -> None:
    view = views(MODEL, WORLD)[0]
    assert replace(view.servers[0], address=address).host in ("10.244.0.14", "fd00::1", "")
