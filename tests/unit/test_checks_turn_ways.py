"""The check of TURN where clients are sent elsewhere, and where it is looked at by a weaker way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.parts import Endpoint
from postflight.deployment.turn_parts import TurnServer
from postflight.probes.turn_relays import TurnRelays
from postflight.verdict.status import Nature, Status
from tests.unit import relaying
from tests.unit.observations import NOT_ALLOWED, READ_ONLY, only
from tests.unit.relaying import ID, URIS, meeting, told, uri
from tests.unit.test_checks_turn import MAIN, MODEL, NAT, OTHER, SILENT, judged, with_server, with_uses


class TestElsewhere:
    """An address that means nobody here."""

    AWAY = told(server=None, address="", addresses=("203.0.113.9",), relayed=(), passed=(), other=None, expired=None)

    def test_beside_a_server_that_stands_here(self) -> None:
        found = only(judged(turn_relays=TurnRelays((meeting(), self.AWAY))), Status.WARNED)
        assert found.headline == f"the way from {URIS[0]} to coturn was not seen: it means 203.0.113.9"
        assert found.nature is Nature.UNPROVEN

    def test_a_name_that_means_nothing(self) -> None:
        lost = replace(self.AWAY, addresses=(), problem="Name or service not known")
        found = only(judged(turn_relays=TurnRelays((meeting(), lost))), Status.WARNED)
        assert found.headline.endswith("was not seen: Name or service not known")

    def test_where_nothing_stands_here(self) -> None:
        model = replace(MODEL, turn=replace(MODEL.turn, servers=()))
        found = only(judged(model, turn_relays=TurnRelays((self.AWAY,)), turn_tunnels=()), Status.UNKNOWN)
        assert found.headline == f"clients are sent to {URIS[0]}, outside of what stands here, which was not asked"
        assert found.remedy == "name it in the settings, turn.hosts: [turn.lab.test], and it is asked"

    def test_a_service_that_is_not_there(self) -> None:
        gone = uri(
            endpoint=Endpoint("relays", 3478, "matrix", "relays", (), problem="no Service relays in namespace matrix")
        )
        lost = replace(self.AWAY, uri=gone, addresses=(), problem="Name or service not known")
        found = only(judged(turn_relays=TurnRelays((meeting(), lost))))
        assert (
            found.headline == f"clients are told {URIS[0]}, which leads nowhere: no Service relays in namespace matrix"
        )

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({}, None),
            ({"refused": (401, "Unauthorized"), "relayed": (), "passed": ()}, Status.FAILED),
            ({"open": True}, Status.FAILED),
            ({"passed": (False, False)}, Status.FAILED),
            (SILENT, Status.FAILED),
        ],
    )
    def test_one_that_the_settings_name_is_judged_as_any(self, fields: dict[str, Any], status: Status | None) -> None:
        there = TurnServer("turn/outside/turn.lab.test", "", "turn.lab.test", "", (), 3478)
        seen = told(**{"server": there, "address": NAT, "addresses": (NAT,), "relayed": (NAT, NAT), **fields})
        model = replace(MODEL, turn=replace(MODEL.turn, servers=()))
        pen = judged(model, turn_relays=TurnRelays((seen,)), turn_tunnels=())
        assert [each.status for each in pen.failures] == ([status] if status else [])
        assert pen.seen == [MAIN.id] if status and fields is SILENT else there.id in pen.seen

    def test_dtls(self) -> None:
        text = "turns:turn.lab.test:5349?transport=udp"
        found = only(judged(turn_relays=replace(relaying.relays(), untried=(text,))), Status.WARNED)
        assert found.headline == f"{text} was not asked: it is TURN over DTLS"


class TestTheWeakerWays:
    def test_no_probe_pod_is_to_be_had(self) -> None:
        found = only(judged(turn_relays=TurnRelays(problem="the cluster refuses a probe pod: quota")), Status.UNKNOWN)
        assert found.headline.endswith("was not seen: the cluster refuses a probe pod: quota")

    def test_no_right_to_one(self) -> None:
        pen = judged(turn_relays=NOT_ALLOWED)
        found = only(pen, Status.WARNED)
        assert (found.nature, ID in pen.seen) == (Nature.UNPROVEN, True)
        assert found.headline == (
            f"whether coturn relays over UDP, and to who comes by its address, was not seen: {NOT_ALLOWED.reason}"
        )

    def test_a_tunnel_finds_what_is_wrong_all_the_same(self) -> None:
        pen = judged(
            turn_relays=NOT_ALLOWED, turn_tunnels=relaying.tunnels(refused=(401, "Unauthorized"), relayed=(), passed=())
        )
        assert [each.status for each in pen.failures] == [Status.WARNED, Status.FAILED]

    def test_a_tunnel_enters_at_the_loopback(self) -> None:
        pen = judged(turn_relays=NOT_ALLOWED, turn_tunnels=relaying.tunnels(**SILENT))
        assert [each.status for each in pen.failures] == [Status.WARNED, Status.UNKNOWN]

    def test_no_right_to_either(self) -> None:
        assert only(judged(turn_relays=NOT_ALLOWED, turn_tunnels=NOT_ALLOWED), Status.UNKNOWN)

    def test_by_configuration_alone(self) -> None:
        pen = judged(turn_credentials=READ_ONLY, turn_relays=READ_ONLY, turn_tunnels=READ_ONLY)
        found = only(pen, Status.WARNED)
        assert (found.nature, found.headline.endswith("was not seen: needs --safety canary")) == (Nature.UNPROVEN, True)

    def test_for_want_of_a_right(self) -> None:
        assert only(
            judged(turn_credentials=NOT_ALLOWED, turn_relays=NOT_ALLOWED, turn_tunnels=NOT_ALLOWED), Status.UNKNOWN
        )

    def test_secrets_that_differ_are_told_by_configuration(self) -> None:
        pen = judged(
            with_server(secrets=(OTHER,)), turn_credentials=READ_ONLY, turn_relays=READ_ONLY, turn_tunnels=READ_ONLY
        )
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]
        assert pen.failures[0].headline.startswith(
            "coturn has another shared secret than Synapse: Secret synapse-secrets"
        )

    def test_so_is_that_no_client_is_told(self) -> None:
        model = with_uses(lambda _, each: replace(each, texts=(), uris=(), secret=None))
        pen = judged(model, turn_credentials=READ_ONLY, turn_relays=READ_ONLY, turn_tunnels=READ_ONLY)
        assert pen.failures[0].headline.startswith("no client is told of a TURN server, though coturn stands here")
