"""One try with a placeholder, at servers that take it and at those that do not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.probes.placeholder_logins import Answer, placeholder_logins
from tests.unit.loopback import api_to, closed_port, talking
from tests.unit.observations import CLUSTER, GROUP, MODEL
from tests.unit.worlds import deployment, snapshot

NOWHERE = Access(api_to(closed_port()), Way.DIRECT)


def redis_at(port: int) -> Deployment:
    node = replace(GROUP.nodes[0], pod=replace(GROUP.nodes[0].pod, ip="127.0.0.1"), port=port)
    return replace(MODEL, postgres=(), redis=(replace(GROUP, nodes=(node, *GROUP.nodes[1:])),))


def postgres_at(port: int) -> Deployment:
    pod = replace(CLUSTER.pods[0], ip="127.0.0.1")
    led = tuple(replace(each, pods=((pod, port),), external=False) for each in CLUSTER.endpoints)
    return replace(MODEL, redis=(), postgres=(replace(CLUSTER, endpoints=led),))


def redis_says(reply: bytes, asked: list[bytes]) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        while head := lines.readline():
            words = [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
            asked.append(b" ".join(words))
            connection.sendall({b"AUTH": reply, b"PING": b"+PONG\r\n"}.get(words[0].upper(), b"+OK\r\n"))

    return talk


def postgres_says(code: bytes, words: bytes) -> Callable[[socket.socket], None]:
    """No TLS, then a refusal."""

    def talk(connection: socket.socket) -> None:
        data = connection.recv(9999)
        if len(data) == 8:
            connection.sendall(b"N")
            return
        body = b"SFATAL\0VFATAL\0C" + code + b"\0M" + words + b"\0\0"
        connection.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)

    return talk


@pytest.mark.parametrize(
    ("reply", "answer"),
    [(b"-WRONGPASS invalid username-password pair\r\n", Answer.REFUSED), (b"+OK\r\n", Answer.LET_IN)],
)
def test_redis_is_asked_once_at_one_node(reply: bytes, answer: Answer) -> None:
    asked: list[bytes] = []
    with talking(redis_says(reply, asked)) as port:
        (tried,) = placeholder_logins(redis_at(port), NOWHERE)
    assert (tried.subject, tried.answer) == (GROUP.id, answer)
    assert [each for each in asked if each.startswith(b"AUTH")] == [b"AUTH CHANGEME"]


@pytest.mark.parametrize(
    ("code", "words", "answer"),
    [
        (b"28P01", b'password authentication failed for user "synapse"', Answer.REFUSED),
        (b"53300", b"remaining connection slots are reserved for roles with", Answer.LET_IN),
        (b"53300", b"sorry, too many clients already", Answer.SILENT),
    ],
)
def test_postgresql_is_asked_as_a_role_that_somebody_has(code: bytes, words: bytes, answer: Answer) -> None:
    with talking(postgres_says(code, words)) as port:
        (tried,) = placeholder_logins(postgres_at(port), NOWHERE)
    assert (tried.subject, tried.answer) == (CLUSTER.id, answer)
    assert tried.where.startswith("role ")


def test_who_does_not_answer_has_let_nobody_in() -> None:
    for model in (redis_at(closed_port()), postgres_at(closed_port())):
        assert [each.answer for each in placeholder_logins(model, NOWHERE)] == [Answer.SILENT]


def test_without_any_service_nothing_is_tried() -> None:
    assert placeholder_logins(deployment(snapshot()), NOWHERE) == ()
