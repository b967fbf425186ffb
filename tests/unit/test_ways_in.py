"""Where a process is asked, and by which spelling of its address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.listeners import port_of
from postflight.deployment.parts import SynapseProcess
from postflight.probes.http import Door, ask
from postflight.probes.matrix import MatrixError, matrix
from tests.unit.loopback import api_to, closed_port
from tests.unit.observations import MODEL

MAIN = next(each for each in MODEL.synapse if each.is_main)


def listening(*listeners: dict[str, Any]) -> SynapseProcess:
    return replace(MAIN, config={"listeners": list(listeners)})


RESOURCES = [{"names": ["client"]}]


class TestTheListeners:
    def test_one_on_a_unix_socket_has_no_port(self) -> None:
        socket = {"path": "/run/main.sock", "type": "http", "resources": RESOURCES}
        assert port_of(listening(socket), "client") is None

    def test_and_the_next_one_counts(self) -> None:
        socket = {"path": "/run/main.sock", "type": "http", "resources": RESOURCES}
        assert port_of(listening(socket, {"port": 8008, "resources": RESOURCES}), "client") == 8008


class TestAnAddressOfIpv6:
    """Nothing listens there: what matters is that it is asked at all."""

    def access(self) -> Access:
        return Access(api_to(closed_port()), Way.DIRECT)

    def test_of_synapse(self) -> None:
        assert MAIN.pod
        there = replace(listening({"port": closed_port(), "resources": RESOURCES}), pod=replace(MAIN.pod, ip="::1"))
        with pytest.raises(MatrixError, match="does not answer GET /versions"), matrix(self.access(), there) as http:
            http.request("GET", "/versions")

    def test_of_anything_else(self) -> None:
        assert MAIN.pod
        said = ask(self.access(), Door(replace(MAIN.pod, ip="::1"), closed_port()), "GET", "/")
        assert said.problem
