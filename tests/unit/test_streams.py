"""Commands in pods: how they ended, and what is said where they could not be started.

The two protocols themselves are proved on a real kubelet (tests/lab/live)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from postflight.cluster import silences
from postflight.cluster.api import ApiError
from postflight.cluster.streams import Answer, _exit_code, run_in_pod
from postflight.cluster.tunnels import tunnel
from tests.unit.loopback import answering, api_to, closed_port, head, refuse, talking


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}, 3),
        (
            {
                "status": "Failure",
                "details": {"causes": [{"reason": "Other"}, {"reason": "ExitCode", "message": "137"}]},
            },
            137,
        ),
        ({"status": "Failure", "message": "container not found"}, 1),
        ({"status": "Failure", "details": {"causes": None}}, 1),
        ({"status": "Failure", "details": None}, 1),
    ],
)
def test_the_exit_code_is_the_one_in_the_status(status: object, code: int) -> None:
    assert _exit_code(json.dumps(status).encode()) == code


@pytest.mark.parametrize("status", [b"", b"{", b"command terminated", b"\xff", b"null", b"[]", b"3"])
def test_without_a_status_it_is_not_known_how_a_command_ended(status: bytes) -> None:
    assert _exit_code(status) is None


def test_a_complaint_is_one_line_of_what_the_command_said_last() -> None:
    assert Answer(b"", b"sh: base64:\n  not found\n", 127).complaint == "sh: base64: not found"
    assert Answer(b"", b"x" * 1000, 1).complaint == "x" * 300
    assert Answer(b"", b"", 7).complaint == "exit code 7"


def run(port: int) -> Answer:
    return run_in_pod(api_to(port, token="t"), "matrix", "redis-0", "redis", ("true",), limit=2)


def refusal(port: int) -> ApiError:
    with pytest.raises(ApiError) as caught:
        run(port)
    assert "\n" not in str(caught.value)
    return caught.value


class TestACommandThatCannotBeStarted:
    def test_for_want_of_a_right(self) -> None:
        with answering(refuse(403, 'pods "redis-0" is forbidden')) as (port, seen):
            error = refusal(port)
        assert (error.status, str(error)) == (403, 'no right: pods "redis-0" is forbidden')
        assert seen[0].path == "/api/v1/namespaces/matrix/pods/redis-0/exec"
        assert seen[0].authorization == "Bearer t"

    def test_for_want_of_the_container(self) -> None:
        with answering(refuse(400, "container redis is not valid")) as (port, _):
            error = refusal(port)
        assert str(error) == "exec into redis-0 was refused (400): container redis is not valid"

    @pytest.mark.parametrize("body", [b"<html>\nBad gateway</html>", b"[]", b"{}", b""])
    def test_for_a_proxy_on_the_way_that_says_something_else(self, body: bytes) -> None:
        with answering(lambda asked: (502, body)) as (port, _):
            assert refusal(port).status == 502

    def test_for_want_of_a_server(self) -> None:
        assert str(refusal(closed_port())).startswith("API server 127.0.0.1:")

    def test_for_a_server_that_speaks_something_else(self) -> None:
        def talk(connection: socket.socket) -> None:
            head(connection)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        with talking(talk) as port:
            assert str(refusal(port)).startswith("API server 127.0.0.1:")


def upgraded(*frames: bytes, protocol: bytes = b"v5.channel.k8s.io") -> Callable[[socket.socket], None]:
    """A WebSocket that sends these messages and is gone."""

    def talk(connection: socket.socket) -> None:
        match = re.search(rb"Sec-WebSocket-Key: (\S+)", head(connection), re.IGNORECASE)
        assert match
        accepted = base64.b64encode(hashlib.sha1(match[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: " + protocol + b"\r\nSec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )
        for frame in frames:
            connection.sendall(bytes([0x82, len(frame)]) + frame)

    return talk


def test_a_connection_that_breaks_leaves_what_was_said_and_no_exit_code() -> None:
    with talking(upgraded(b"\x01half a li", b"\x02oh")) as port:
        answer = run(port)
    assert (answer.stdout, answer.stderr, answer.code) == (b"half a li", b"oh", None)


DONE = b'\x03{"status":"Success"}'


@pytest.mark.parametrize("first", [(DONE,), (b"\x01hal", DONE)], ids=["nothing", "half"])
def test_an_answer_that_was_cut_on_its_way_is_asked_for_once_more(first: tuple[bytes, ...]) -> None:
    talks = iter([upgraded(*first), upgraded(DONE, b"\x01half a line\n")])
    with talking(lambda connection: next(talks)(connection)) as port:
        answer = run(port)
    assert (answer.stdout, answer.code, answer.cut) == (b"half a line\n", 0, False)


def test_an_answer_that_was_cut_twice_is_none() -> None:
    with talking(upgraded(b"\x01hal", DONE)) as port:
        answer = run(port)
    assert answer.cut
    assert answer.complaint == "its answer was cut on the way"


def test_what_may_be_done_once_only_is_not_done_again() -> None:
    talks = iter([upgraded(DONE)])
    with talking(lambda connection: next(talks)(connection)) as port:
        assert run_in_pod(api_to(port), "matrix", "redis-0", "redis", ("true",), limit=2, again=False).cut


def through(port: int) -> None:
    """A client that sends a word through a tunnel to redis-0 and gets no answer."""
    with (
        tunnel(api_to(port), "matrix", "redis-0", 6379) as local,
        socket.create_connection(("127.0.0.1", local)) as own,
    ):
        own.settimeout(5)
        with suppress(OSError):
            own.sendall(b"PING\r\n")
            assert own.recv(1) == b""
        raise ValueError("closed without an answer")


def forwarding(words: bytes) -> Callable[[socket.socket], None]:
    """A kubelet that opens both channels of a port-forward and then complains."""
    opened = (6379).to_bytes(2, "little")
    return upgraded(b"\x00" + opened, b"\x01" + opened, b"\x01" + words, protocol=b"v4.channel.k8s.io")


class TestATunnelThatDoesNotCarry:
    def test_says_that_it_was_refused_not_what_its_client_makes_of_that(self) -> None:
        words = 'pods "redis-0" is forbidden: User "v" cannot get resource "pods/portforward"'
        with answering(refuse(403, words)) as (port, _), pytest.raises(ApiError) as caught:
            through(port)
        assert (caught.value.status, str(caught.value)) == (403, f"no right: {words}")

    def test_quotes_the_kubelet_where_it_could_not_reach_the_pod(self) -> None:
        with (
            talking(forwarding(b"error forwarding port 6379: lost\nconnection to pod")) as port,
            pytest.raises(ApiError) as caught,
        ):
            through(port)
        assert str(caught.value) == "port-forward to redis-0: error forwarding port 6379: lost connection to pod"

    def test_tells_a_pod_that_listens_on_no_such_port(self) -> None:
        words = b"failed to connect to localhost:6379: dial tcp4 127.0.0.1:6379: connect: connection refused"
        with talking(forwarding(words)) as port, pytest.raises(ConnectionRefusedError) as caught:
            through(port)
        assert str(caught.value) == "nothing listens on port 6379 of redis-0"

    def test_leaves_what_its_client_says_where_it_did_carry(self) -> None:
        with (
            talking(forwarding(b"")) as port,
            pytest.raises(ValueError, match="other"),
            tunnel(api_to(port), "matrix", "redis-0", 6379),
        ):
            raise ValueError("other")


def silently(*words: bytes, wait: float) -> Callable[[socket.socket], None]:
    """A kubelet whose pod says these words, then nothing, and hangs up in the end."""
    opened = (6379).to_bytes(2, "little")

    def talk(connection: socket.socket) -> None:
        upgraded(b"\x00" + opened, b"\x01" + opened, protocol=b"v4.channel.k8s.io")(connection)
        time.sleep(0.3)
        for each in words:
            connection.sendall(bytes([0x82, len(each) + 1]) + b"\x00" + each)
        time.sleep(wait)

    return talk


class TestSilence:
    @pytest.mark.parametrize(
        ("words", "wait", "patience", "met"),
        [((), 9.0, 2.3, True), ((b"+PONG",), 9.0, 2.3, False), ((), 9.0, 0.3, False), ((), 2.3, 9.0, False)],
        ids=["nobody answers", "an answer", "its client has no patience", "it hangs up itself"],
    )
    def test_is_noted_where_a_client_gives_up(
        self, words: tuple[bytes, ...], wait: float, patience: float, met: bool
    ) -> None:
        with (
            talking(silently(*words, wait=wait)) as port,
            silences.noted() as heard,
            tunnel(api_to(port), "matrix", "redis-0", 6379) as local,
            socket.create_connection(("127.0.0.1", local)) as own,
        ):
            own.sendall(b"PING\r\n")
            own.settimeout(patience)
            with suppress(TimeoutError):
                while own.recv(5):
                    pass
        assert bool(heard.met) is met

    def test_is_noted_where_the_way_itself_took_the_time(self) -> None:
        answers = silently(wait=9.0)

        def late(connection: socket.socket) -> None:
            time.sleep(2.2)
            answers(connection)

        with (
            talking(late) as port,
            silences.noted() as heard,
            tunnel(api_to(port), "matrix", "redis-0", 6379) as local,
            socket.create_connection(("127.0.0.1", local)) as own,
        ):
            own.sendall(b"PING\r\n")
            own.settimeout(2.8)
            with suppress(TimeoutError):
                own.recv(5)
        assert heard.met

    def test_is_noted_of_a_command_that_does_not_end(self) -> None:
        def talk(connection: socket.socket) -> None:
            upgraded(b"\x01half a li")(connection)
            time.sleep(2.5)

        with talking(talk) as port, silences.noted() as heard:
            assert run(port).complaint == "no answer within the time limit"
        assert heard.met == ["a command in redis-0"]
