"""The way to a pod: by its address where that answers, else by tunnel where both are allowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from postflight.cluster import access as module
from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api
from tests.unit.loopback import api_to, closed_port, talking

#: An address that no name service knows: nothing answers there.
NOWHERE = "postflight.invalid"


@pytest.fixture(autouse=True)
def no_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def tunnel(api: Api, namespace: str, pod: str, port: int) -> Iterator[int]:
        yield 1

    monkeypatch.setattr(module, "tunnel", tunnel)


def within() -> Access:
    api = api_to(closed_port())
    api.connection = replace(api.connection, in_cluster=True)
    return Access.choose(api, Way.AUTO)


def led_to(access: Access, ip: str, port: int) -> tuple[str, int]:
    with access.to_pod("matrix", "redis-0", ip, port) as found:
        return found


def test_from_within_the_cluster_it_is_the_address() -> None:
    assert within().way is Way.DNS
    with talking(lambda connection: None) as port:
        assert led_to(within(), "127.0.0.1", port) == ("127.0.0.1", port)


def test_an_address_that_refuses_answers() -> None:
    port = closed_port()
    assert led_to(within(), "127.0.0.1", port) == ("127.0.0.1", port)


def test_where_nothing_answers_it_is_a_tunnel_unless_another_way_was_asked_for() -> None:
    assert led_to(within(), NOWHERE, 6379) == ("127.0.0.1", 1)
    asked_for = Access.choose(within().api, Way.DNS)
    assert led_to(asked_for, NOWHERE, 6379) == (NOWHERE, 6379)


def test_from_outside_it_is_a_tunnel() -> None:
    assert led_to(Access.choose(api_to(closed_port()), Way.AUTO), "10.0.0.1", 6379) == ("127.0.0.1", 1)
