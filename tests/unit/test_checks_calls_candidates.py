"""calls.candidates, given each kind of address alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.livekit_signals import IceCandidate
from postflight.settings import CallsSettings, Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.calling import NODE, POD, SFU, UDP, advertised, with_calls
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.worlds import container, pod, service, snapshot

CHECK = "calls.candidates"


def standing() -> Any:
    """A node with a pod of LiveKit, and two Services, one with an outer address."""
    one = pod("livekit-1", container(), ip=POD)
    one["status"]["hostIP"] = NODE
    outer = service("balancer", ip="10.96.7.7")
    outer["status"] = {"loadBalancer": {"ingress": [{"ip": "10.99.0.1"}]}}
    return snapshot(one, service("livekit", ip="10.96.0.77"), outer)


def told(*addresses: str, **others: Any) -> Judge:
    found = tuple(IceCandidate("udp", each, 30882, "host") for each in addresses)
    return calls(advertised(*found) if found else advertised(), **others)


def calls(seen: Any, sfu: Any = SFU, **others: Any) -> Judge:
    model = with_calls(MODEL, sfus=(sfu,))
    return ask(CHECK, deployment=model, snapshot=standing(), sfu_candidates=seen, **others)


@pytest.mark.parametrize("address", [NODE, "10.99.0.1", "8.8.4.4", "2600::7"])
def test_a_nodes_address_an_outer_and_a_public_one_are_green(address: str) -> None:
    pen = told(address)
    assert pen.failures == []
    assert pen.seen == [SFU.id]


def test_a_pods_own_address_is_wrong_and_its_flag_the_cause() -> None:
    seen = advertised(replace(UDP, address=POD))
    found = only(calls(seen, replace(SFU, node_ip=POD)))
    assert found.headline == "livekit has clients send media to its pod's own address"
    assert found.cause == "--node-ip of livekit is its pod's own address"
    assert f"{POD}:30882 (udp), the address of pod livekit-1" in found.observed


def test_without_a_node_ip_it_takes_what_its_pod_has() -> None:
    found = only(calls(advertised(replace(UDP, address=POD)), replace(SFU, node_ip="", node_ip_from="")))
    assert found.cause.startswith("livekit is told no node IP")


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "the loopback address"),
        ("0.0.0.0", "the loopback address"),
        ("169.254.3.4", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("172.17.0.1", "of a container bridge"),
        ("10.244.0.1", "of the network of the pods (10.244.0.0/24)"),
        ("10.96.0.77", "the cluster's own address of Service livekit"),
        ("3f2504e0.local", "a name that nobody beyond its own network segment resolves"),
    ],
)
def test_an_address_that_no_client_gets_to_is_wrong(address: str, what: str) -> None:
    found = only(told(address))
    assert found.headline.startswith(f"livekit has clients send media to {address}, {what}")


def test_one_such_beside_a_good_one_is_warned_of() -> None:
    found = only(told(NODE, "172.17.0.1"), Status.WARNED)
    assert found.headline.endswith(f"a container bridge (172.17.0.0/16), beside {NODE}")


def test_a_private_address_that_nothing_has_is_not_seen_to_be_right() -> None:
    found = only(told("192.168.77.7"), Status.WARNED)
    assert found.nature is Nature.UNPROVEN
    assert "calls.addresses" in found.remedy


class TestTheSettings:
    NAMED = Settings(calls=CallsSettings(("192.168.77.7",)))

    def test_say_that_it_is_right(self) -> None:
        assert told("192.168.77.7", settings=self.NAMED).failures == []

    def test_say_that_another_would_be(self) -> None:
        found = only(told(NODE, settings=self.NAMED))
        assert found.headline.endswith("elsewhere than the settings say: not to 192.168.77.7")

    def test_take_addresses_only(self) -> None:
        with pytest.raises(ValueError, match="must be IP addresses, not 'sfu'"):
            CallsSettings(("sfu",))


class TestWhatCannotBeLookedAt:
    def test_calls_that_nothing_refers_to(self) -> None:
        model = with_calls(MODEL, sfus=(), jwt_services=(), announced={})
        assert ask(CHECK, deployment=model).absence.startswith("nothing refers to calls")

    def test_livekit_elsewhere(self) -> None:
        assert only(ask(CHECK, deployment=with_calls(MODEL, sfus=())), Status.UNKNOWN).headline.endswith(
            "no LiveKit stands here"
        )

    @pytest.mark.parametrize(("barred", "status"), [(READ_ONLY, Status.WARNED), (NOT_ALLOWED, Status.UNKNOWN)])
    def test_a_room_may_not_be_made(self, barred: Any, status: Status) -> None:
        found = only(calls(barred), status)
        assert f"(its node IP is {NODE}, the address of a node)" in found.headline

    def test_the_configuration_alone_tells_what_is_wrong_for_sure(self) -> None:
        found = only(calls(READ_ONLY, replace(SFU, node_ip=POD)))
        assert found.headline == "livekit is configured to have clients send media to its pod's own address"

    def test_no_key_is_known(self) -> None:
        found = only(calls((), replace(SFU, keys=(), problem="no right: get secrets")), Status.WARNED)
        assert found.headline.endswith("no room of its can be opened: no right: get secrets")

    def test_no_pod_is_ready(self) -> None:
        down = replace(SFU, pods=(replace(SFU.pods[0], ready=False),))
        found = only(calls((), down))
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, (SFU.id,))

    @pytest.mark.parametrize(("refused", "nature"), [(True, Nature.WRONG), (False, Nature.UNAVAILABLE)])
    def test_nobody_is_let_in(self, refused: bool, nature: Nature) -> None:
        silent = advertised(problem="503", refused=refused)
        found = only(calls((replace(silent[0], candidates=()),)))
        assert (found.nature, found.headline) == (nature, "livekit tells no address, for it lets nobody in: 503")

    def test_no_address_is_told(self) -> None:
        found = only(calls((replace(advertised()[0], candidates=()),)))
        assert found.headline == "livekit tells clients no address to send media to"
