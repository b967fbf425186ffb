"""The way to an address outside of the cluster by a command in a pod."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.api import ApiError
from postflight.cluster.relay import CARRY, relay
from postflight.cluster.standing import Standing
from tests.unit.loopback import answering, api_to, closed_port, refuse, talking
from tests.unit.test_streams import DONE, upgraded
from tests.unit.worlds import container, deployment, pod, snapshot

HERE = Standing("matrix", "synapse-main-0", "synapse")


def carried(port: int, said: bytes) -> subprocess.CompletedProcess[bytes]:
    """What the command prints that is run in a pod, with this on its standard input."""
    command = [sys.executable, "-I", "-S", "-c", CARRY, "127.0.0.1", str(port)]
    return subprocess.run(command, input=said, capture_output=True, timeout=20, check=False)


def test_the_command_carries_both_ways_whole() -> None:
    def echo(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)

    body = bytes(range(256)) * 4000
    with talking(echo) as port:
        done = carried(port, body)
    assert (done.stdout == body, done.stderr, done.returncode) == (True, b"", 0)


def test_the_command_says_why_it_does_not_get_there() -> None:
    done = carried(closed_port(), b"")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Connection refused" in done.stderr


def through(port: int) -> bytes:
    """What a client gets by the relay; a client that gets nothing complains."""
    with (
        relay(api_to(port), HERE, "db.example.com", 5432) as local,
        socket.create_connection(("127.0.0.1", local)) as own,
    ):
        own.settimeout(5)
        found = b""
        with suppress(OSError):
            own.sendall(b"hello")
            while data := own.recv(100):
                found += data
        if not found:
            raise ValueError("closed without an answer")
        return found


def test_what_the_command_writes_is_what_the_client_gets() -> None:
    with talking(upgraded(b"\x01half ", b"\x01a line", DONE)) as port:
        assert through(port) == b"half a line"


def test_the_words_of_the_command_come_in_the_place_of_the_clients() -> None:
    with (
        talking(upgraded(b"\x02[Errno -2] Name or service not known\n", DONE)) as port,
        pytest.raises(OSError, match=r"from synapse-main-0: .* Name or service not known"),
    ):
        through(port)


def test_a_command_that_may_not_be_run_is_said_to_be_that() -> None:
    with answering(refuse(403, "pods is forbidden")) as (port, seen), pytest.raises(ApiError, match="no right: pods"):
        through(port)
    assert seen[0].path == "/api/v1/namespaces/matrix/pods/synapse-main-0/exec"


def to(access: Access) -> tuple[str, int]:
    with access.to_outside("db.example.com", 5432) as there:
        return there


@pytest.mark.parametrize(
    ("way", "standing", "straight"),
    [(Way.TUNNEL, HERE, False), (Way.TUNNEL, None, True), (Way.DNS, HERE, True), (Way.DIRECT, HERE, True)],
)
def test_it_is_taken_where_there_is_no_other(way: Way, standing: Standing | None, straight: bool) -> None:
    access = Access.choose(api_to(closed_port()), way, standing)
    assert (to(access) == ("db.example.com", 5432)) is straight


def test_it_begins_at_main_while_that_runs() -> None:
    def synapse(name: str, app: str) -> dict[str, object]:
        return pod(name, container("synapse", command=["python", "-m", f"synapse.app.{app}"]))

    world = [synapse("a-worker", "generic_worker"), synapse("main", "homeserver")]
    assert deployment(snapshot(*world)).standing == Standing("matrix", "main", "synapse")
    assert deployment(snapshot(world[0])).standing == Standing("matrix", "a-worker", "synapse")
    client = pod("client", container("app", env=[{"name": "URL", "value": "postgres://u:p@db/d"}]))
    assert deployment(snapshot(client)).standing == Standing("matrix", "client", "app")
    assert deployment(snapshot()).standing is None
