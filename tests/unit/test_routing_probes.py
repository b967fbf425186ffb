"""The probes of the front door and of HAProxy: what they read, where they ask, and what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.kinds import POD, Kind
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.request_classes import CLASSES, RequestClass, can_serve, classes_of, servers_of
from postflight.limits import Limit
from postflight.probes import front_door
from postflight.probes.front_door import TIMES, front_door_requests
from postflight.probes.http import Door, Request, Said, ask_all
from postflight.probes.request_counters import Counted, Key, Look, between, counted, totals
from postflight.probes.rounds import FrontDoor
from tests.unit import recorded, routing
from tests.unit.loopback import Refused, answering, api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.routing import main_of, worker
from tests.unit.test_ingresses import ingress, to
from tests.unit.worlds import KINDS, endpoints, service

WORLD = recorded.healthy().snapshot
MAIN = main_of(MODEL)
PROXY = MODEL.proxies[0]
KIND = {each.name: each for each in CLASSES}
#: As Synapse 1.163 and 1.119 write them.
METRICS = """
# TYPE synapse_http_server_response_time_seconds histogram
synapse_http_server_response_time_seconds_bucket{code="401",le="0.005",method="GET",servlet="SyncRestServlet",tag=""} 7.0
synapse_http_server_response_time_seconds_count{code="401",method="GET",server_name="a",servlet="SyncRestServlet",tag=""} 4.0
synapse_http_server_response_time_seconds_count{code="401",method="GET",servlet="SyncRestServlet",tag="x y"} 3.0
synapse_http_server_response_time_seconds_count{code="404",method="PUT",servlet="ClientRestResource",tag=""} 1e+01
# TYPE synapse_http_server_requests_received_total counter
synapse_http_server_requests_received_total{method="GET",server_name="a",servlet="SyncRestServlet"} 8.0
process_start_time_seconds 1.7958951425e+09
"""


class TestCounters:
    def test_are_added_up_over_other_labels(self) -> None:
        look = totals(METRICS)
        assert look.answered == {("GET", "SyncRestServlet", 401): 7, ("PUT", "ClientRestResource", 404): 10}
        assert look.received == {("GET", "SyncRestServlet"): 8}
        assert look.began == 1795895142.5

    def test_from_one_look_to_the_next(self) -> None:
        a, b, c = ("GET", "A", 200), ("GET", "B", 200), ("GET", "C", 200)
        seen = between(MAIN, Look({a: 3, c: 2}, {a[:2]: 3}, 9.0), Look({a: 5, b: 1, c: 2}, {a[:2]: 6}, 9.0))
        assert (seen.answered, seen.received, seen.problem) == ({a: 2, b: 1}, {a[:2]: 3}, "")
        assert seen.known == {a[:2], b[:2], c[:2]}

    def test_of_a_process_that_says_it_began_anew(self) -> None:
        """Its counters need not have gone back: it may have answered more since than before."""
        a = ("GET", "A", 200)
        seen = between(MAIN, Look({a: 1}, {}, 9.0), Look({a: 3}, {}, 12.5))
        assert (seen.answered, seen.restarted, seen.problem) == ({a: 3}, True, "it began anew meanwhile")

    def test_of_a_process_whose_counters_went_back(self) -> None:
        a, b = ("GET", "A", 200), ("GET", "B", 200)
        seen = between(MAIN, Look({a: 3, b: 9}), Look({a: 5}))
        assert (seen.answered, seen.restarted) == ({a: 5}, True)

    def test_of_two_looks_of_which_one_failed(self) -> None:
        failed = Counted(MAIN, problem="no answer in time")
        assert counted(MAIN, failed, Look()) is failed
        assert counted(MAIN, Look(), failed) is failed
        assert not counted(MAIN, Look(), Look()).problem

    def test_of_what_a_process_does_not_know(self) -> None:
        seen = Counted(MAIN, {("PUT", "ClientRestResource", 404): 3, ("PUT", "RoomTypingRestServlet", 404): 1})
        assert (seen.unknown("PUT"), seen.unknown("GET")) == (3, 0)


class TestTheTable:
    def test_names_each_class_once_with_its_source(self) -> None:
        assert len(KIND) == len(CLASSES)
        assert all(each.section and each.servlet and each.path.startswith("/_") for each in CLASSES)

    def test_tells_classes_apart_by_what_is_counted(self) -> None:
        assert len({(each.method, each.servlet) for each in CLASSES}) == len(CLASSES)
        assert len({(each.method, each.path) for each in CLASSES}) == len(CLASSES)

    @pytest.mark.parametrize("name", KIND)
    def test_in_the_lab_each_is_led_to_who_can_serve_it(self, name: str) -> None:
        process = routing.led(MODEL, KIND[name])
        assert process
        able = servers_of(MODEL, MAIN, KIND[name])
        assert process.workload_name in {each.workload_name for each in able}
        assert not (KIND[name].relieves and process.is_main)

    @pytest.mark.parametrize("each", CLASSES, ids=KIND)
    def test_a_request_that_needs_no_token_only_reads(self, each: RequestClass) -> None:
        assert each.statuses == (401,) or (each.method == "GET" and each.statuses == (200,))

    @pytest.mark.parametrize(
        ("kind", "able"),
        [
            ("typing", {"synapse-typing-writer"}),
            ("to-device", {"synapse-todevice-writer"}),
            ("receipt", {"synapse-receipts-writer"}),
            ("push rule setting", {"synapse-main"}),
            ("media", {"synapse-media-repository"}),
            ("OpenID userinfo", {"synapse-main"}),
            ("federation transaction", {"synapse-main", "synapse-generic-worker"}),
        ],
    )
    def test_who_can_serve_in_the_lab(self, kind: str, able: set[str]) -> None:
        assert {each.workload_name for each in servers_of(MODEL, MAIN, KIND[kind])} == able

    def with_config(self, process: SynapseProcess, **config: Any) -> SynapseProcess:
        return replace(process, config={**(process.config or {}), **config})

    def test_main_has_the_media_repository_unless_it_is_off(self) -> None:
        assert can_serve(self.with_config(MAIN, enable_media_repo=True), KIND["media upload"])
        assert not can_serve(MAIN, KIND["media upload"])

    def test_a_stream_that_no_worker_writes_is_mains(self) -> None:
        process = self.with_config(MAIN, stream_writers={})
        assert can_serve(process, KIND["typing"])
        assert not can_serve(
            self.with_config(worker(MODEL, "synapse-typing-writer"), stream_writers=None), KIND["typing"]
        )

    @pytest.mark.parametrize(("release", "workers"), [((1, 119), False), ((1, 130), True), (None, True)])
    def test_rooms_are_administered_by_workers_from_1_130_on(
        self, release: tuple[int, int] | None, workers: bool
    ) -> None:
        able = {each.workload_name for each in servers_of(MODEL, MAIN, KIND["room admin"], release)}
        assert "synapse-main" in able
        assert ("synapse-generic-worker" in able) is workers

    @pytest.mark.parametrize(
        ("servers", "release"),
        [
            (("Synapse/1.119.0",), (1, 119)),
            (("Synapse/1.163.2 (b=main,abc)", "Synapse/1.119.0", "nginx"), (1, 163)),
            (("", "LiveKit"), None),
        ],
    )
    def test_the_answers_say_which_release_it_is(
        self, servers: tuple[str, ...], release: tuple[int, int] | None
    ) -> None:
        (front,) = routing.front_door(MODEL)
        (only,) = front.rounds
        said = tuple(replace(only.asked[0].said[0], server=each) for each in servers)
        asked = (replace(only.asked[0], said=said), *only.asked[1:])
        assert replace(front, rounds=(replace(only, asked=asked),)).release == release

    def test_nothing_is_known_of_an_unread_process(self) -> None:
        assert not any(can_serve(replace(MAIN, config=None), kind) for kind in CLASSES)

    def test_logins_of_another_service_are_left_out(self) -> None:
        main = self.with_config(MAIN, matrix_authentication_service={"enabled": True})
        assert "login" not in {each.name for each in classes_of(MODEL, main)}
        assert "login" in {each.name for each in classes_of(MODEL, MAIN)}


@dataclass
class Doors:
    """Answers all alike, notes who was asked what, and lets main count it: ``counting`` says of each round whether it
    does, the last holds on."""

    counting: Sequence[bool] = (True,)
    asked: list[str] = field(default_factory=list)
    counts: dict[Key, int] = field(default_factory=dict)
    rounds: int = 0

    def ask_all(
        self, access: Access, door: Door, requests: Sequence[Request], *, rounds: int = 1, limit: float = 0.0
    ) -> list[list[Said]]:
        self.asked += [f"{door.pod.name}:{door.port} {door.host} {method} {path}" for method, path, _ in requests]
        if self.counting[min(self.rounds, len(self.counting) - 1)]:
            for method, path, _ in requests:
                kind = next(each for each in CLASSES if (each.method, each.path) == (method, path))
                key = (method, kind.servlet, 401)
                self.counts[key] = self.counts.get(key, 0) + rounds
        return [[Said(door.pod.name, 401, '{"errcode": "M_MISSING_TOKEN"}')] * rounds for _ in requests]

    def read_all(self, access: Access, processes: Sequence[SynapseProcess], limit: float) -> list[Look | Counted]:
        return [Look(dict(self.counts) if each.is_main else {}) for each in processes]

    def pause(self, seconds: float) -> None:
        self.rounds += 1

    def to(self, path: str) -> list[str]:
        return [each.rpartition(" ")[0] for each in self.asked if each.endswith(f" {path}")]


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    found = Doors()
    monkeypatch.setattr(front_door, "ask_all", found.ask_all)
    monkeypatch.setattr(front_door, "read_all", found.read_all)
    monkeypatch.setattr("time.sleep", found.pause)
    return found


def access() -> Access:
    return Access(api_to(closed_port()), Way.DIRECT)


class Listing:
    """An API server that lists these pods, or refuses to."""

    def __init__(self, pods: Iterable[Any] | None) -> None:
        self.pods = pods

    def list_all(self, kind: Kind, namespace: str = "", **query: str) -> Iterable[Any]:
        if self.pods is None:
            raise ApiError(403, "no right: list pods")
        return [each for each in self.pods if each["metadata"]["namespace"] == namespace]


def asked(model: Deployment = MODEL, world: Any = WORLD, pods: Any = ...) -> FrontDoor:
    listing: Any = Listing(world.all(POD) if pods is ... else pods)
    (found,) = front_door_requests(model, world, access(), listing)
    return found


class TestTheFrontDoor:
    def test_every_pod_of_the_proxy_is_asked_for_every_class(self, doors: Doors) -> None:
        found = asked()
        pods = [each.name for each in PROXY.pods]
        assert doors.to("/_matrix/client/v3/sync") == [f"{each}:8008 matrix.lab.test GET" for each in pods]
        inbound = doors.to(KIND["federation transaction"].path)
        assert inbound == [f"{each}:8448 matrix.lab.test PUT" for each in pods]
        (once,) = found.rounds
        assert len(once.asked) == len(CLASSES) * len(pods)
        assert {len(each.said) for each in once.asked} == {TIMES}
        backends = {each.way.backend for each in once.ways(KIND["federation transaction"])}
        assert (backends, found.shut) == ({"inbound_federation"}, {})

    def test_no_pod_of_it_is_ready(self, doors: Doors) -> None:
        down = replace(PROXY, pods=tuple(replace(each, ready=False) for each in PROXY.pods))
        found = asked(replace(MODEL, proxies=(down,)))
        assert (found.kinds, set(found.shut.values())) == ((), {"no pod of a proxy is ready"})

    def test_nothing_leads_to_the_workers(self, doors: Doors) -> None:
        assert set(asked(replace(MODEL, proxies=())).shut.values()) == {"no proxy and no Ingress in view leads to it"}

    def test_main_alone_is_its_own_door(self, doors: Doors) -> None:
        found = asked(replace(MODEL, proxies=(), synapse=(MAIN,)))
        assert {each.way.door.pod.name for each in found.rounds[0].asked} == {"synapse-main-0"}

    def test_an_ingress_leads_past_the_proxy(self, doors: Doors) -> None:
        worker_pod = worker(MODEL, "synapse-media-repository").pod
        assert worker_pod
        there = ingress("matrix.lab.test", to("media-door", "/_matrix/client/v1/media"), name="media")
        extra = [there, service("media-door", 80, target=8008), endpoints("media-door", worker_pod.name, port=8008)]
        objects = dict(WORLD.objects)
        for each in extra:
            key = (KINDS[each["kind"]], "matrix")
            objects[key] = (*objects.get(key, ()), each)
        found = asked(MODEL, replace(WORLD, objects=objects))
        assert doors.to("/_matrix/client/v1/media/config") == [f"{worker_pod.name}:8008 matrix.lab.test GET"]
        ways = {each.way.ingress for each in found.rounds[0].ways(KIND["media"])}
        assert ways == {"Ingress media leads to Service media-door"}

    def test_no_main_process(self, doors: Doors) -> None:
        assert front_door_requests(replace(MODEL, synapse=()), WORLD, access(), api_to(closed_port())) == ()

    def test_what_was_counted_is_asked_once(self, doors: Doors) -> None:
        found = asked()
        assert (len(found.rounds), found.changed, doors.rounds) == (1, (), 0)

    def test_what_nobody_counted_is_asked_again_until_somebody_does(self, doors: Doors) -> None:
        doors.counting = (False, False, True)
        found = asked()
        assert (len(found.rounds), found.rounds[-1].lost, found.changed) == (3, (), ())
        assert found.kinds == found.last(KIND["sync"]).kinds == found.rounds[0].kinds

    def test_only_what_was_not_counted_is_asked_again(self, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
        def forgetful(*args: Any, rounds: int, limit: float) -> list[list[Said]]:
            found = doors.ask_all(*args, rounds=rounds)
            if not doors.rounds:
                # By each door there is, side by side.
                doors.counts.pop(("GET", "SyncRestServlet", 401), None)
            return found

        monkeypatch.setattr(front_door, "ask_all", forgetful)
        found = asked(replace(MODEL, proxies=(replace(PROXY, pods=PROXY.pods[:1]),)))
        assert found.rounds[1].kinds == (KIND["sync"],)
        assert len(found.rounds) == 2
        assert found.last(KIND["login"]) is found.rounds[0]

    def test_what_has_no_server_yet_is_asked_again(self, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
        def late(*args: Any, rounds: int, limit: float) -> list[list[Said]]:
            found = doors.ask_all(*args, rounds=rounds)
            return found if doors.rounds else [[Said("haproxy", 503, "<html>")] * len(each) for each in found]

        monkeypatch.setattr(front_door, "ask_all", late)
        found = asked(replace(MODEL, proxies=(replace(PROXY, pods=PROXY.pods[:1]),)))
        assert (len(found.rounds), found.rounds[0].waiting, found.rounds[1].waiting) == (2, CLASSES, ())

    def test_what_was_asked_too_late_is_asked_again_though_all_of_it_would_take_too_long(
        self, doors: Doors, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Limit, "ROUTES", 1.4)
        monkeypatch.setattr(Limit, "CONNECT", 0.1)

        def slow(*args: Any, rounds: int, limit: float) -> list[list[Said]]:
            found = doors.ask_all(*args, rounds=rounds)
            if doors.rounds:
                return found
            threading.Event().wait(0.6)
            return [*found[:-1], []]

        monkeypatch.setattr(front_door, "PAUSES", (0.3,))
        monkeypatch.setattr(front_door, "ask_all", slow)
        found = asked(replace(MODEL, proxies=(replace(PROXY, pods=PROXY.pods[:1]),)))
        assert (len(found.rounds), len(found.rounds[0].silent) > 0, found.rounds[1].silent) == (2, True, ())

    def test_what_nobody_ever_counts_is_asked_a_few_times(self, doors: Doors) -> None:
        doors.counting = (False,)
        found = asked()
        assert (len(found.rounds), found.changed) == (1 + len(front_door.PAUSES), ())
        assert set(found.rounds[-1].lost) == set(CLASSES)

    def test_then_the_pods_are_looked_at_once_more(self, doors: Doors) -> None:
        doors.counting = (False,)
        first, *others = [each for each in WORLD.all(POD) if "synapse-generic-worker" in each["metadata"]["name"]]
        rest = [each for each in WORLD.all(POD) if each not in (first, *others)]
        found = asked(pods=[*others, *rest])
        assert found.changed == (f"{first['metadata']['name']} is gone",)
        assert "no right: list pods" in asked(pods=None).changed[0]


class TestManyRequests:
    def door(self, port: int) -> Door:
        return Door(replace(PROXY.pods[0], ip="127.0.0.1"), port, host="matrix.lab.test")

    def test_are_answered_in_their_order(self) -> None:
        def reply(request: Any) -> tuple[int, Any]:
            if request.path == "/two":
                raise Refused(503, "nobody")
            return 200, {"path": request.path}

        with answering(reply) as (port, seen):
            found = ask_all(access(), self.door(port), [("GET", "/one", None), ("PUT", "/two", {})], rounds=2)
        assert [[each.status for each in said] for said in found] == [[200, 200], [503, 503]]
        assert [(each.method, each.path, each.body) for each in seen[:2]] == [
            ("GET", "/one", None),
            ("PUT", "/two", {}),
        ]

    def test_what_was_not_asked_in_time_has_no_answer(self) -> None:
        def slow(request: Any) -> tuple[int, Any]:
            time.sleep(0.1)
            return 200, {}

        requests = [("GET", f"/{number}", None) for number in range(20)]
        with answering(slow) as (port, seen):
            found = ask_all(access(), self.door(port), requests, rounds=2, limit=0.3)
        assert 0 < len(seen) < 10
        assert [len(each) for each in found] == [1] * len(seen) + [0] * (20 - len(seen))

    def test_have_all_one_problem_where_nobody_listens(self) -> None:
        found = ask_all(access(), self.door(closed_port()), [("GET", "/one", None), ("GET", "/two", None)], rounds=3)
        assert [len(each) for each in found] == [3, 3]
        assert all(each.problem and not each.status for said in found for each in said)
