"""Where LiveKit takes media by its configuration, what leads there, and whose an address is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.media_ports import leads_in, sfu_media, why_nowhere
from postflight.deployment.reach import Reach, addresses_of
from tests.unit.calling import SFU
from tests.unit.test_calls_model import plain, sfu
from tests.unit.worlds import container, pod, pods_of, service, snapshot

LABELS = {"app": "sfu"}


@pytest.mark.parametrize(
    ("flags", "rtc", "expected"),
    [
        ({}, {}, ("", "", (50000, 60000), 7881)),
        ({}, {"node_ip": "1.2.3.4", "udp_port": 7882, "tcp_port": 7}, ("1.2.3.4", "rtc.node_ip", (7882, 7882), 7)),
        ({}, {"udp_port": "7882-7892", "tcp_port": 0}, ("", "", (7882, 7892), None)),
        ({}, {"port_range_start": 100, "port_range_end": 200}, ("", "", (100, 200), 7881)),
        ({}, {"force_tcp": True}, ("", "", None, 7881)),
        ({}, {"node_ip": {"v4": "1.2.3.4"}}, ("1.2.3.4", "rtc.node_ip", (50000, 60000), 7881)),
        ({"node-ip": "9.9.9.9", "udp-port": "1"}, {"node_ip": "1.2.3.4"}, ("9.9.9.9", "--node-ip", (1, 1), 7881)),
    ],
)
def test_livekits_ports_are_read(flags: dict[str, str], rtc: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = sfu_media(flags, {"rtc": rtc})
    assert (found["node_ip"], found["node_ip_from"], found["udp"], found["tcp"]) == expected


def test_a_variable_stands_in_for_a_flag() -> None:
    found = sfu(env=[plain("NODE_IP", "10.1.1.1"), plain("LIVEKIT_CONFIG", "rtc: {udp_port: 7882}")])
    assert (found.node_ip, found.udp, found.tcp) == ("10.1.1.1", (7882, 7882), 7881)


def world(*ports: Any, spec: Any = None, held: Any = None) -> tuple[Any, Any]:
    """A cluster with one pod of LiveKit and a Service before it with these ports, and LiveKit there."""
    one = pod("livekit-1", container(ports=held or []), labels=LABELS, **(spec or {}))
    before = service("rtc")
    before["spec"] |= {"selector": LABELS, "ports": list(ports)}
    found = snapshot(one, before)
    return found, replace(SFU, pods=tuple(pods_of(found).values()))


class TestAPortOfTheNode:
    def test_is_led_by_a_node_port_of_its_protocol(self) -> None:
        found = world({"port": 1, "nodePort": 30882, "protocol": "UDP"})
        assert leads_in(*found, "udp", 30882) == "Service rtc has it as a node port"
        assert leads_in(*found, "tcp", 30882) == ""
        assert why_nowhere(*found, "udp", 7882) == "no Service of livekit has 7882/udp as a node port: rtc has 30882"

    def test_is_a_host_port(self) -> None:
        found = world(held=[{"containerPort": 7881, "hostPort": 7881}])
        assert leads_in(*found, "tcp", 7881) == "livekit-1 has it as a host port"

    def test_is_livekits_itself(self) -> None:
        found = world(spec={"hostNetwork": True})
        assert leads_in(*found, "udp", 7882) == "livekit-1 is on its node's network"

    def test_is_led_nowhere(self) -> None:
        line = "no Service has 7882/udp as a node port for livekit, and its pods have no host port or network"
        assert why_nowhere(*world(), "udp", 7882) == line

    def test_is_not_led_by_a_service_of_others(self) -> None:
        found, livekit = world({"port": 1, "nodePort": 30882})
        other = replace(livekit, pods=(replace(livekit.pods[0], labels={}),))
        assert leads_in(found, other, "tcp", 30882) == ""


class TestAddresses:
    def test_of_a_pod_on_its_nodes_network_are_the_nodes(self) -> None:
        one = pod("a", container(), ip="10.0.0.5", hostNetwork=True)
        assert addresses_of(snapshot(one)).whose("10.0.0.5").reach is Reach.NODE

    def test_of_pods_tell_nothing_of_a_network_that_they_share_with_nodes(self) -> None:
        one = pod("a", container(), ip="10.0.1.50")
        one["status"] |= {"hostIP": "10.0.1.5", "podIPs": [{"ip": "10.0.1.50"}, {"ip": "fd00::50"}]}
        known = addresses_of(snapshot(one))
        assert known.whose("10.0.1.77").reach is Reach.UNKNOWN
        assert known.whose("10.0.1.50").reach is Reach.NOBODY
        assert known.whose("fd00::51").words == "of the network of the pods (fd00::/64)"

    def test_that_are_names_are_not_known(self) -> None:
        assert addresses_of(snapshot()).whose("sfu.example.org").reach is Reach.UNKNOWN
