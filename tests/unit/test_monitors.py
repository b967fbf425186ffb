"""What a monitor selects, what an address answers, and the names that it serves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest

from postflight.cluster.access import Access
from postflight.cluster.kinds import DEPLOYMENT, POD_MONITOR, SERVICE_MONITOR
from postflight.deployment.exposition import series_in
from postflight.deployment.monitors import Monitor, Target, matches, monitors_of, rules_of
from postflight.probes.metrics import PATH, Numbers
from postflight.probes.monitors import Page, scrape, scraped_metrics
from tests.unit import recorded
from tests.unit.monitoring import ALL, monitor, rules, with_objects
from tests.unit.observations import MODEL
from tests.unit.worlds import Json, container, deployment, endpoints, pod, pods_of, service, snapshot, thing

LABELS = {"app": "one"}
TEXT = """# HELP one A counter.
# TYPE one_total counter
# TYPE two histogram
two_bucket{le="+Inf",of="a } b"} 3 1700000000000
# TYPE three counter
# EOF
four NaN
"""


def labelled(made: Json, **labels: str) -> Json:
    made["metadata"]["labels"] = labels or LABELS
    return made


def one(*objects: Json) -> Monitor:
    plain = [each for each in objects if not each["kind"].endswith("Monitor")]
    world = with_objects(snapshot(*plain), *(each for each in objects if each["kind"].endswith("Monitor")))
    (found,) = monitors_of(world, pods_of(world))
    return found


BEHIND = (labelled(service("one")), endpoints("one", "a"), pod("a", container(), ip="10.0.0.1", labels=LABELS))


class TestMonitors:
    def test_a_service_monitor_leads_to_the_pods_behind_a_port(self) -> None:
        found = one(*BEHIND, monitor(SERVICE_MONITOR, "m", LABELS, {"port": "one", "params": {"scope": ["a", "b"]}}))
        (target,) = found.targets
        assert (target.pod.name, target.port, target.path) == ("a", 80, "/metrics?scope=a&scope=b")
        assert (target.tls, target.ready, target.secured, found.problem) == (False, True, False, "")

    def test_a_target_port_is_one_of_the_pods(self) -> None:
        made = pod("a", container(ports=[{"name": "numbers", "containerPort": 9000}]), labels=LABELS)
        endpoint = {"port": None, "targetPort": "numbers", "scheme": "HTTPS", "bearerTokenFile": "/token"}
        (target,) = one(BEHIND[0], BEHIND[1], made, monitor(SERVICE_MONITOR, "m", LABELS, endpoint)).targets
        assert (target.port, target.tls, target.secured) == (9000, True, True)

    def test_pods_that_are_down_are_no_fault_of_the_monitor(self) -> None:
        made = thing(DEPLOYMENT, "one", spec={"template": {"metadata": {"labels": LABELS}, "spec": {"containers": []}}})
        lonely = labelled(service("one"))
        lonely["spec"]["selector"] = LABELS
        by_port = {"port": "one"}
        assert one(lonely, made, monitor(SERVICE_MONITOR, "m", LABELS, by_port)).problem == ""
        assert one(lonely, monitor(SERVICE_MONITOR, "m", LABELS, by_port)).problem == "Service one selects no pod"
        made["spec"]["template"]["spec"]["containers"] = [container()]
        assert one(made, monitor(POD_MONITOR, "m", LABELS)).problem == ""

    def test_a_pod_monitor_leads_to_pods(self) -> None:
        made = pod("a", container(ports=[{"name": "metrics", "containerPort": 9187}]), labels=LABELS)
        assert [each.port for each in one(made, monitor(POD_MONITOR, "m", LABELS)).targets] == [9187]
        assert [each.port for each in one(made, monitor(POD_MONITOR, "m", LABELS, {"portNumber": 1})).targets] == [1]
        assert (
            "no container of a has a port called x"
            in one(made, monitor(POD_MONITOR, "m", LABELS, {"port": "x"})).problem
        )

    def test_a_label_that_no_pod_has(self) -> None:
        problem = one(*BEHIND, monitor(POD_MONITOR, "m", {"app": "two"})).problem
        assert problem == "no pod has the labels app=two: none has app=two, there is one"

    def test_a_namespace_that_is_not_looked_at(self) -> None:
        made = monitor(
            SERVICE_MONITOR, "m", LABELS, {"port": "one"}, namespaceSelector={"matchNames": ["matrix", "far"]}
        )
        found = one(*BEHIND, made)
        assert (len(found.targets), found.elsewhere) == (1, ("far",))

    @pytest.mark.parametrize(
        ("operator", "values", "held"),
        [
            ("In", ["one"], True),
            ("NotIn", ["one"], False),
            ("Exists", None, True),
            ("DoesNotExist", None, False),
            ("Gt", ["1"], False),
        ],
    )
    def test_expressions_of_selectors(self, operator: str, values: list[str] | None, held: bool) -> None:
        each = {"key": "app", "operator": operator, **({"values": values} if values else {})}
        assert matches({"matchExpressions": [each]}, LABELS) is held
        assert matches({"matchExpressions": [each]}, {}) is (operator in ("NotIn", "DoesNotExist"))

    def test_rules_are_read_with_what_they_record(self) -> None:
        found = rules_of(with_objects(snapshot(), rules("a > b", record="c:d")))
        assert [(each.name, each.names, each.recorded) for each in found] == [
            ("Alert0", ("a", "b"), False),
            ("c:d", ("synapse_a_total",), True),
        ]


class TestExposition:
    def test_names_of_samples_and_of_what_may_get_some(self) -> None:
        assert series_in(TEXT) == {
            *("one_total", "one_total_total", "two_bucket", "two_sum", "two_count"),
            *("three", "three_total", "four"),
        }

    @pytest.mark.parametrize("text", ["", "<html>a 1</html>", '{"a": 1}', "not found"])
    def test_another_page_is_no_metrics(self, text: str) -> None:
        assert series_in(text) == frozenset()


class Direct:
    """A way to every pod that leads to one port of the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def to_pod(self, *_: Any) -> Iterator[tuple[str, int]]:
        yield "127.0.0.1", self.port


@contextmanager
def serving(status: int, text: str) -> Iterator[tuple[Access, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield cast(Access, Direct(server.server_port)), asked
    finally:
        server.shutdown()
        server.server_close()


TARGET = Target(pods_of(snapshot(BEHIND[2]))["pod/matrix/a"], 9090, "/metrics", tls=False, ready=True)


class TestProbe:
    def test_metrics_are_read(self) -> None:
        with serving(200, "a 1\n") as (access, asked):
            assert scrape(access, TARGET) == Page(frozenset({"a"}))
        assert asked == ["/metrics"]

    def test_a_page_without_metrics(self) -> None:
        with serving(200, "<html>") as (access, _):
            assert scrape(access, TARGET).problem == "/metrics at port 9090 answers with no metrics"

    @pytest.mark.parametrize(("status", "refused"), [(404, False), (401, True)])
    def test_a_refusal(self, status: int, refused: bool) -> None:
        with serving(status, "") as (access, _):
            found = scrape(access, TARGET)
        assert (found.problem, found.refused) == (f"/metrics at port 9090 answers {status}", refused)

    def test_nobody_listens_and_no_tls(self) -> None:
        assert scrape(cast(Access, Direct(1)), TARGET).problem == "nothing listens on port 9090"
        with serving(200, "a 1\n") as (access, _):
            assert "does not speak TLS" in scrape(access, replace(TARGET, tls=True)).problem

    def test_what_was_read_of_synapse_is_not_read_again(self) -> None:
        world = with_objects(recorded.healthy().snapshot, ALL)
        numbers = {each.id: Numbers(series=frozenset({"a"})) for each in MODEL.synapse}
        with serving(200, "b 1\n") as (access, asked):
            found = scraped_metrics(MODEL, world, access, numbers)
            assert asked == []
            assert {page.series for page in found.pages.values()} == {frozenset({"a"})}
            other = {**numbers, MODEL.synapse[0].id: Numbers(problem="it does not run")}
            scraped_metrics(MODEL, world, access, other)
            assert asked == [PATH]

    def test_without_monitors_nothing_is_asked(self) -> None:
        world = snapshot()
        found = scraped_metrics(deployment(world), world, cast(Access, Direct(1)), {})
        assert (found.monitors, found.pages, found.known) == ((), {}, False)
