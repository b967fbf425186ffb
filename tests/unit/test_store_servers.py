"""MinIO's servers in the model, and what they answer on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import STATEFUL_SET, TENANT
from postflight.deployment.store_parts import StoreServers
from postflight.deployment.store_servers import TENANT_LABEL, laid_out
from postflight.probes.store_health import ServerHealth, store_health
from tests.unit.budgeting import servers
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL
from tests.unit.worlds import Json, container, deployment, pod, snapshot, thing

HOSTS = "http://m-{0...3}.hl.matrix.svc.cluster.local/export{0...1}"
ACCESS = Access(api_to(closed_port()), Way.DIRECT)


def world(*others: Json, command: list[str] | None = None, env: list[Json] | None = None) -> StoreServers:
    """Two pods of a StatefulSet, and what the model makes of them."""
    labels = {TENANT_LABEL: "m"}
    made = container("minio", image="x/minio:1", command=command or ["minio", "server", HOSTS], env=env or [])
    owner = [{"kind": "StatefulSet", "name": "m-pool-0", "controller": True}]
    pods = [pod(f"m-pool-0-{number}", made, labels=labels) for number in range(2)]
    for each in pods:
        each["metadata"]["ownerReferences"] = owner
    template = {"metadata": {"labels": labels}, "spec": {"containers": [made]}}
    workload = thing(STATEFUL_SET, "m-pool-0", spec={"replicas": 2, "template": template})
    (found,) = deployment(snapshot(workload, *pods, *others)).store_servers
    return found


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([HOSTS], (4, 2)),
        (["--address", ":9000", HOSTS, "--certs-dir", "/tmp/certs"], (4, 2)),
        (["http://a/d1", "http://a/d2", "http://b/d1", "http://b/d2"], (2, 2)),
        (["/data"], (1, 1)),
        (["/data{1...4}"], (1, 4)),
        (["http://a-{0...3}.x/d", "http://b-{0...3}.x/d"], (8, 1)),
        (["--console-address=:9001"], (0, 0)),
    ],
)
def test_how_many_servers_and_drives_a_command_names(arguments: list[str], found: tuple[int, int]) -> None:
    assert laid_out(arguments) == found


class TestModel:
    def test_a_command_says_how_many_there_are_to_be(self) -> None:
        found = world()
        assert (found.id, found.servers, found.drives, len(found.pods)) == ("minio/matrix/m", 4, 2, 2)
        assert (found.workloads, found.port, found.tls) == (("statefulset/matrix/m-pool-0",), 9000, False)

    def test_a_tenant_says_it_better(self) -> None:
        tenant = thing(TENANT, "m", spec={"pools": [{"servers": 6, "volumesPerServer": 4}]})
        found = world(tenant, command=["minio", "server", "--address", ":9900", "--certs-dir", "/tmp/certs"])
        assert (found.servers, found.drives, found.port) == (6, 4, 9900)
        assert found.tenant["metadata"]["name"] == "m"

    def test_drives_may_stand_in_a_variable(self) -> None:
        env = [{"name": "MINIO_VOLUMES", "value": HOSTS.replace("http:", "https:")}]
        found = world(command=["minio", "server"], env=env)
        assert (found.servers, found.drives, found.tls) == (4, 2, True)

    def test_where_nobody_says_there_are_as_many_as_the_workload_has(self) -> None:
        found = world(command=["minio", "server"])
        assert (found.servers, found.drives) == (2, 0)


@contextmanager
def minio(answers: Mapping[str, tuple[int, Mapping[str, str]]]) -> Iterator[int]:
    """An HTTP server of statuses and headers, by path with its query."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def asked(port: int, **rest: Any) -> ServerHealth:
    group = servers(1, 1, port=port)
    there = tuple(replace(each, ip="127.0.0.1", **rest) for each in group.pods)
    model = replace(MODEL, store_servers=(replace(group, pods=there),))
    ((said,),) = store_health(model, ACCESS).values()
    return said


def paths(write: int = 200, read: int = 200, spare: int = 200, **headers: str) -> dict[str, tuple[int, dict[str, str]]]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    quorum = {"x-minio-write-quorum": "5"}
    return {
        "/minio/health/cluster": (write, quorum | given),
        "/minio/health/cluster/read": (read, {"x-minio-read-quorum": "4"}),
        "/minio/health/cluster?maintenance=true": (spare, quorum),
    }


class TestHealth:
    def test_of_a_whole_one(self) -> None:
        with minio(paths()) as port:
            said = asked(port)
        assert (said.writes, said.reads, said.spared) == (True, True, True)
        assert (said.write_quorum, said.read_quorum, said.healing, said.problem) == (5, 4, 0, "")

    def test_of_one_that_has_lost_its_write_quorum(self) -> None:
        with minio(paths(503, 200, 412, x_minio_healing_drives="2")) as port:
            said = asked(port)
        assert (said.writes, said.reads, said.spared, said.healing) == (False, True, False, 2)

    def test_of_one_that_starts(self) -> None:
        starting = (503, {"x-minio-server-status": "offline"})
        with minio(dict.fromkeys(paths(), starting)) as port:
            said = asked(port)
        assert (said.writes, said.state, said.problem) == (False, "offline", "")

    def test_of_what_is_no_minio(self) -> None:
        with minio(dict.fromkeys(paths(), (404, {}))) as port:
            assert asked(port).problem.startswith("it answers /minio/health/cluster with 404")

    def test_of_one_that_does_not_answer(self) -> None:
        assert asked(closed_port()).problem

    def test_of_one_that_does_not_run(self) -> None:
        assert asked(closed_port(), containers=()).problem == "it does not run"
