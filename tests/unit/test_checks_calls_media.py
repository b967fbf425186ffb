"""What calls.matrixrtc says of two participants, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.livekit_signals import IceCandidate
from postflight.settings import CallsSettings, Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.calling import SERVICE, SFU, advertised, chain, errcode, heard, issue, media, with_calls
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.worlds import service

CHECK = "calls.matrixrtc"
DEAD = ("Connection refused", "Connection refused")


def calls(met: Any, **others: Any) -> Judge:
    return ask(CHECK, deployment=with_calls(MODEL), calls_media=met, **others)


def with_service(ports: dict[str, int]) -> Any:
    """The recorded cluster with a Service before LiveKit that has these node ports."""
    made = service("livekit-rtc")
    made["spec"] |= {
        "type": "NodePort",
        "selector": {"app.kubernetes.io/name": "livekit"},
        "ports": [{"port": 1, "protocol": one.upper(), "nodePort": port} for one, port in ports.items()],
    }
    lab = recorded.healthy().snapshot
    kept = dict(lab.objects)
    for key, held in lab.objects.items():
        if key[0].name == "Service":
            others = tuple(each for each in held if each["metadata"]["name"] != "livekit-rtc")
            kept[key] = (*others, made) if key[1] == "matrix" else held
    return replace(lab, objects=kept)


LABELLED = replace(SFU, pods=(replace(SFU.pods[0], labels={"app.kubernetes.io/name": "livekit"}),))


def test_two_who_hear_each_other_are_green() -> None:
    pen = calls(media())
    assert pen.failures == []
    assert SFU.id in pen.seen


class TestThePortsForMedia:
    def test_lead_nowhere(self) -> None:
        deaf = heard(told=DEAD, over=IceCandidate("udp", "10.244.0.77", 30882, "host"))
        found = only(calls(media(deaf, deaf, sfu=LABELLED), snapshot=with_service({"udp": 30982, "tcp": 30981})))
        assert (found.nature, found.subject) == (Nature.WRONG, SFU.id)
        assert found.headline == (
            "nothing answers at 10.10.0.2:30882 (udp) and 10.10.0.2:30881 (tcp), where livekit sends clients' media"
        )
        assert found.cause == "no Service of livekit has 30882/udp as a node port: livekit-rtc has 30982"
        assert "at its pods' own addresses 10.244.0.77:30882 (udp)" in found.observed

    def test_lead_nowhere_although_a_service_says_so(self) -> None:
        deaf = heard(told=DEAD)
        found = only(calls(media(deaf, deaf, sfu=LABELLED), snapshot=with_service({"udp": 30882, "tcp": 30881})))
        assert found.cause.startswith("Service livekit-rtc has it as a node port: ")

    @pytest.mark.parametrize(
        ("told", "which"), [(("", "no answer"), "30881 (tcp)"), (("no answer", ""), "30882 (udp)")]
    )
    def test_of_one_transport_lead_nowhere(self, told: tuple[str, str], which: str) -> None:
        found = only(calls(media(heard(told=told), heard(told=told))), Status.WARNED)
        assert found.headline == f"nothing answers at 10.10.0.2:{which}, where livekit sends clients' media"

    def test_answer_to_one_of_the_two_is_enough_for_the_address(self) -> None:
        assert calls(media(heard(told=("no answer", "")), heard())).failures == []

    def test_of_a_public_address_may_not_be_reached_from_within(self) -> None:
        deaf = heard(told=DEAD)
        settings = Settings(calls=CallsSettings(("10.10.0.2",)))
        found = only(calls(media(deaf, deaf), settings=settings), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("from within the cluster: whether it does for clients was not seen")

    def test_are_shut_for_the_pod_altogether(self) -> None:
        deaf = heard(told=DEAD, beside=("no answer", "no answer"), over=None, whole=False, problem="no address answers")
        found = only(calls(media(deaf, deaf)), Status.UNKNOWN)
        assert "from a pod nothing of livekit answers" in found.headline
        assert "NetworkPolicy" in found.headline

    def test_are_told_to_nobody(self) -> None:
        none = heard()
        none = replace(none, told=())
        found = only(calls(media(none, none)))
        assert found.headline == "livekit tells clients no address to send media to"


class TestTwoParticipants:
    def test_do_not_hear_each_other(self) -> None:
        deaf = heard(whole=False, problem="connected, and nothing of what the others published came")
        found = only(calls(media(deaf, deaf)))
        assert found.headline == (
            "two participants of one call in livekit do not hear each other:"
            " connected, and nothing of what the others published came"
        )

    def test_of_whom_one_hears_something_else(self) -> None:
        found = only(calls(media(heard(), heard(whole=False))))
        assert found.headline.endswith("do not hear each other: what came was another")

    def test_are_not_let_in_at_the_address_that_clients_are_given(self) -> None:
        found = only(calls(media(astray="through haproxy-1: 404", way="port 7880 of livekit-1")))
        assert found.headline == (
            f"{SERVICE.sfu_url}, where clients join, does not lead into livekit: through haproxy-1: 404"
        )
        assert found.observed == "by port 7880 of livekit-1 they are let in"

    def test_are_not_let_in_at_all(self) -> None:
        met = media(participants=(), refused="port 7880 of livekit-1: it closed the connection at once")
        found = only(calls(met))
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, (SFU.id,))

    @pytest.mark.parametrize(
        "met",
        [
            media(participants=(), unseen="the cluster refuses a probe pod: quota"),
            media(heard(whole=False, lacks=True, problem="the cluster refuses a probe pod: quota")),
        ],
    )
    def test_had_no_place_to_stand(self, met: Any) -> None:
        found = only(calls(met), Status.UNKNOWN)
        assert found.headline == (
            "whether two participants hear each other was not seen: the cluster refuses a probe pod: quota"
        )

    def test_may_not_be_made(self) -> None:
        found = only(calls(NOT_ALLOWED), Status.WARNED)
        assert found.headline.startswith("whether two participants hear each other was not seen: no right")

    def test_are_not_asked_for_twice_where_nothing_was_walked(self) -> None:
        found = only(calls(READ_ONLY, calls_chain=READ_ONLY), Status.WARNED)
        assert "let in was not seen" in found.headline

    def test_need_two_tokens(self) -> None:
        one = issue(other=errcode(429, "M_LIMIT_EXCEEDED"))
        found = only(calls((), calls_chain=chain(MODEL, issues=(one,))))
        assert found.headline == "lk-jwt-service gives a user's other device no token: 429 M_LIMIT_EXCEEDED"


def test_a_room_that_is_told_to_close_and_stays_is_warned_of() -> None:
    found = only(calls(media(room_left=True)), Status.WARNED)
    assert found.headline == "livekit keeps a room open that it was told to close"


def test_the_generated_candidates_are_those_of_the_lab() -> None:
    assert [each.port for each in advertised()[0].candidates] == [SFU.udp and SFU.udp[0], SFU.tcp]
