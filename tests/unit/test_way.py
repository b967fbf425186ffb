"""The bad way that runs are proven on: it hands on everything, slowly, and cuts what it is to cut."""

from __future__ import annotations

import random
import socket
import time

import pytest

from tests.lab.live.way import Way, leading_to
from tests.unit.loopback import closed_port, talking


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def told(port: int, data: bytes) -> bytes:
    """What comes back until the end."""
    with socket.create_connection(("127.0.0.1", port)) as own:
        own.settimeout(10)
        own.sendall(data)
        own.shutdown(socket.SHUT_WR)
        heard = b""
        while more := own.recv(65536):
            heard += more
        return heard


def test_everything_comes_through_later_and_in_order() -> None:
    data = random.Random(1).randbytes(700_000)
    with talking(echo) as port, leading_to(way := Way(port, delay=0.3)) as slow:
        began = time.monotonic()
        assert told(slow, data) == data
        assert 0.3 <= time.monotonic() - began < 3
    assert (way.carried, way.cut) == (1, 0)


def spoken_to_the_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as own:
        own.settimeout(10)
        while True:
            own.sendall(b"x")
            own.recv(1)
            time.sleep(0.01)


def test_what_is_to_be_cut_is_cut() -> None:
    with talking(echo) as port, leading_to(way := Way(port, cuts=1.0)) as bad:
        for _ in range(4):
            with pytest.raises(ConnectionError):
                spoken_to_the_end(bad)
    assert way.cut == 4


def test_where_nobody_listens_it_ends_at_once() -> None:
    with leading_to(Way(closed_port())) as bad, pytest.raises(ConnectionError):
        spoken_to_the_end(bad)
