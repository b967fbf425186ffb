"""A login to PostgreSQL as it goes over the wire, and what its failures mean."""

from __future__ import annotations

import socket
from dataclasses import replace
from threading import Event

import pytest

from postflight.cluster import silences
from postflight.cluster.access import Access, Way
from postflight.deployment.parts import Endpoint, Login
from postflight.limits import Limit
from postflight.probes.databases import LoginOutcome, LoginTry, _try
from postflight.secrets import Secret
from tests.unit.loopback import answering, api_to, closed_port, refuse, talking
from tests.unit.observations import CLUSTER

#: What resolves to loopback and is not spelled so.
LOGIN = Login("0.0.0.0", 5432, "d", "u", Secret("hunter2"))


def tried(access: Access, port: int = 5432) -> LoginTry:
    pod = CLUSTER.pods[0]
    return _try(access, LOGIN, Endpoint(LOGIN.host, port, "matrix", "pg", ((pod, port),)))


def test_a_login_gives_nothing_at_its_start_that_a_pooler_refuses() -> None:
    packets: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        data = connection.recv(9999)
        if len(data) == 8:
            connection.sendall(b"N")  # no TLS
        packets.append(data)

    with talking(talk) as port:
        tried(Access(api_to(closed_port()), Way.DNS), port)
    started = next(each for each in packets if b"database" in each)
    names = started[8:].split(b"\0")[::2]
    assert {b"user", b"database"} <= set(names)
    assert b"options" not in names


def test_a_tunnel_that_is_refused_is_no_word_of_the_servers() -> None:
    words = 'pods "matrix-postgresql-1" is forbidden: User "v" cannot get resource "pods/portforward"'
    with answering(refuse(403, words)) as (port, _):
        found = tried(Access(api_to(port), Way.TUNNEL))
    assert (found.outcome, found.message) == (LoginOutcome.UNSEEN, f"no right: {words}")


def test_a_login_that_is_late_is_met_by_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limit, "CONNECT", 2.0)
    with talking(lambda connection: connection.recv(9999) and Event().wait(3)) as port, silences.noted() as heard:
        assert tried(Access(api_to(closed_port()), Way.DNS), port).outcome is LoginOutcome.TIMED_OUT
    assert "a login at 0.0.0.0" in heard.met


@pytest.mark.parametrize("way", [Way.DNS, Way.DIRECT])
def test_a_port_that_nobody_listens_on_is_the_servers(way: Way) -> None:
    assert tried(Access(api_to(closed_port()), way), closed_port()).outcome is LoginOutcome.UNREACHABLE


def test_a_loopback_address_is_never_tried_from_here() -> None:
    own = replace(LOGIN, host="127.0.0.1")
    found = _try(Access(api_to(closed_port()), Way.DIRECT), own, Endpoint(own.host, 5432, "", "", (), external=True))
    assert (found.outcome, found.message[:29]) == (LoginOutcome.UNSEEN, "it is the process's own pod, ")
