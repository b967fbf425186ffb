"""The check of TURN, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.address_echo import Echo
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint
from postflight.deployment.turn_parts import SharedSecret, TurnSetup, TurnUse
from postflight.probes.canary_user import Hindered
from postflight.probes.http import Said
from postflight.probes.turn_relays import Meeting, TurnRelays, in_short
from postflight.secrets import Secret
from postflight.settings import CallsSettings, Settings
from postflight.verdict.blame import resolve
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import Statement
from postflight.verdict.status import Nature, Status
from tests.unit import relaying, worlds
from tests.unit.observations import CHECKS, READ_ONLY, ask, only
from tests.unit.observations import MODEL as LAB
from tests.unit.relaying import ID, NODE, OURS, POD, SERVER, SERVICE, URIS, meeting, told, uri

CHECK = "calls.turn"
MODEL = relaying.with_turn(LAB)
MAIN = next(each for each in MODEL.synapse if each.is_main)
OTHER = replace(relaying.THEIRS, value=Secret("another secret"))
NAT = "1.1.1.1"


def judged(model: Deployment = MODEL, **others: Any) -> Judge:
    return ask(CHECK, deployment=model, **others)


def met(**fields: Any) -> Judge:
    """Where every meeting came to that."""
    return judged(turn_relays=relaying.relays(**fields), turn_tunnels=relaying.tunnels(**fields))


def with_server(**fields: Any) -> Deployment:
    return relaying.with_turn(LAB, **fields)


def with_uses(change: Callable[[int, TurnUse], TurnUse], model: Deployment = MODEL) -> Deployment:
    uses = tuple(change(number, each) for number, each in enumerate(model.turn.uses))
    return replace(model, turn=replace(model.turn, uses=uses))


class TestThePart:
    def test_relays_that_pass_bytes_are_all_right(self) -> None:
        pen = judged()
        assert pen.failures == []
        assert {*pen.seen} == {MAIN.id, ID}

    def test_without_anything_of_turn_it_is_no_part(self) -> None:
        pen = judged(replace(MODEL, turn=TurnSetup()), turn_credentials=(), turn_tunnels=(), turn_relays=TurnRelays())
        assert (pen.failures, pen.seen) == ([], [])
        assert pen.absence == "nothing refers to TURN: no server, and no turn_uris of any process"

    def test_main_whose_configuration_is_not_known(self) -> None:
        hidden = replace(MAIN, config=None, config_problem="no right")
        model = replace(MODEL, synapse=tuple(hidden if each.id == MAIN.id else each for each in MODEL.synapse))
        found = only(judged(model), Status.UNKNOWN)
        assert found.headline == f"what {MAIN.workload_name} tells clients of TURN is not known: no right"


class TestTheAddressEcho:
    ECHO = Echo("detect-external-ip", True, "ifconfig.me", "its command")

    def test_an_init_container_that_asks(self) -> None:
        found = only(judged(with_server(echoes=(self.ECHO,))))
        assert (
            found.headline
            == "init container detect-external-ip of coturn asks the internet for its address: ifconfig.me"
        )
        assert (found.nature, found.subject, found.stops) == (Nature.WRONG, ID, ())
        assert "status.hostIP" in found.remedy

    def test_is_told_without_anyone_being_asked(self) -> None:
        pen = judged(with_server(echoes=(self.ECHO,)), turn_credentials=READ_ONLY, turn_relays=READ_ONLY)
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]


class TestWhatSynapseGives:
    def test_nothing(self) -> None:
        found = only(judged(turn_credentials=relaying.credentials(LAB, mine=None, uris=())))
        assert found.headline == (
            "no client is told of a TURN server, though coturn stands here: turn_uris stands there without"
            " turn_shared_secret and without turn_username"
        )
        assert found.subject == MAIN.id

    def test_nothing_as_nothing_is_set(self) -> None:
        model = with_uses(lambda _, each: replace(each, texts=(), uris=(), secret=None))
        found = only(judged(model, turn_credentials=relaying.credentials(LAB, mine=None, uris=())))
        assert found.cause == "turn_uris is not set"

    @pytest.mark.parametrize(
        ("status", "nature"),
        [(0, Nature.UNAVAILABLE), (502, Nature.UNAVAILABLE), (500, Nature.UNAVAILABLE), (404, Nature.WRONG)],
    )
    def test_no_answer_or_another(self, status: int, nature: Nature) -> None:
        said = Said(MAIN.name, status, "{}", "no answer in time" if not status else "")
        found = only(judged(turn_credentials=relaying.credentials(LAB, mine=None, said=said)))
        assert (found.nature, found.subject) == (nature, MAIN.id)

    def test_silence_is_blamed_on_what_is_beneath_main(self) -> None:
        said = Said(MAIN.name, problem="no answer in time")
        pen = judged(turn_credentials=relaying.credentials(LAB, mine=None, said=said))
        down = Failure(Status.FAILED, Nature.UNAVAILABLE, "postgres", "the database is down", stops=("postgres",))
        found = verdict(pen, down, {MAIN.id: ("postgres",)})
        assert found is Status.BLOCKED

    def test_the_probe_user_could_not_be_had(self) -> None:
        hindered = relaying.credentials(LAB, mine=None, hindered=Hindered("main is down", MAIN.id))
        found = only(judged(turn_credentials=hindered), Status.UNKNOWN)
        assert (found.subject, found.headline.endswith("was not seen: main is down")) == (MAIN.id, True)

    def test_other_things_by_another_process(self) -> None:
        model = with_uses(lambda number, each: replace(each, secret=OURS_CHANGED) if number == 1 else each)
        found = only(judged(model))
        assert " has another turn_shared_secret than " in found.headline
        assert found.subject == MODEL.turn.uses[1].process

    def test_other_addresses_by_another_process(self) -> None:
        model = with_uses(lambda number, each: replace(each, texts=("turn:old.test",)) if number == 1 else each)
        assert " has other turn_uris than " in only(judged(model)).headline


OURS_CHANGED = SharedSecret(Secret("one that nobody else has"), OURS.origin)


class TestWhoMayHaveARelay:
    def test_the_user_may_not(self) -> None:
        pen = judged(
            with_server(secrets=(OTHER,)),
            turn_relays=relaying.relays(
                refused=(401, "Unauthorized"), relayed=(), passed=(), server=replace(SERVER, secrets=(OTHER,))
            ),
        )
        found = only(pen)
        assert found.headline == (
            "coturn refuses the credentials that Synapse gives (401 Unauthorized):"
            " Secret synapse-secrets/TURN_SECRET differs from Secret coturn-secrets/TURN_SHARED_SECRET"
        )
        assert (found.stops, found.subject) == ((ID,), ID)
        assert OTHER.value.reveal() not in repr(found)

    def test_the_user_may_not_and_the_secrets_are_the_same(self) -> None:
        found = only(met(refused=(401, "Unauthorized"), relayed=(), passed=()))
        assert found.cause.startswith("the clocks of Synapse and of its node differ")

    def test_the_user_may_not_and_nobody_knows_the_secret(self) -> None:
        server = replace(SERVER, secrets=(), problem="no right")
        relays = relaying.relays(refused=(401, "Unauthorized"), relayed=(), passed=(), server=server)
        found = only(judged(with_server(secrets=(), problem="no right"), turn_relays=relays))
        assert (
            found.cause
            == "coturn does not have the secret that Synapse signs with (what it has is not known: no right)"
        )

    def test_everybody_may(self) -> None:
        found = only(met(open=True, other=None, expired=None))
        assert found.headline == "coturn gives relays to anyone: it asks nobody who they are"

    @pytest.mark.parametrize(
        ("word", "what"), [("other", "no shared secret has signed"), ("expired", "expired a day ago")]
    )
    def test_somebody_may_who_may_not(self, word: str, what: str) -> None:
        found = only(met(**{word: 0}))
        assert found.headline == f"coturn gives relays for credentials that {what}"

    def test_somebody_is_refused_otherwise(self) -> None:
        found = only(met(other=500), Status.UNKNOWN)
        assert found.headline.endswith("with 500, not with 401")

    def test_that_credentials_expire_was_not_seen(self) -> None:
        pen = judged(
            turn_credentials=relaying.credentials(LAB, expired=None), turn_relays=relaying.relays(expired=None)
        )
        found = only(pen, Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_a_quota_for_less_than_two(self) -> None:
        found = only(met(refused=(486, "Allocation Quota Reached"), relayed=(NODE,), passed=()), Status.UNKNOWN)
        assert found.remedy == "raise user-quota"

    def test_no_port_is_left(self) -> None:
        found = only(met(refused=(508, "Cannot create socket"), relayed=(NODE,), passed=()))
        assert found.headline == "coturn has no relay for who may have one: 508 Cannot create socket"

    def test_a_relay_stays(self) -> None:
        assert only(met(freed=False), Status.WARNED).headline.startswith("coturn did not take back a relay")


class TestTheRelay:
    def test_forbids_its_own_address(self) -> None:
        server = replace(SERVER, allowed=())
        relays = relaying.relays(permission=(403, "Forbidden IP"), passed=(), server=server)
        found = only(judged(with_server(allowed=()), turn_relays=relays))
        assert found.headline == f"coturn relays nothing from one of its clients to another: it forbids them {NODE}"
        assert found.cause == "denied-peer-ip 10.0.0.0-10.255.255.255 holds its own relays' address"

    def test_forbids_it_for_no_known_reason(self) -> None:
        assert only(met(permission=(403, "Forbidden IP"), passed=())).cause == "403 Forbidden IP"

    @pytest.mark.parametrize(("passed", "how"), [((False, False), "no way"), ((True, False), "one way")])
    def test_loses_bytes(self, passed: tuple[bool, bool], how: str) -> None:
        found = only(met(passed=passed))
        assert found.headline == f"relays of coturn at {NODE} pass bytes {how}"
        assert found.stops == (ID,)

    @pytest.mark.parametrize(
        ("external", "cause"), [((), "told no external-ip"), (("10.244.9.9/10.1.1.1",), "is 10.244.9.9")]
    )
    def test_is_at_its_pods_own_address(self, external: tuple[str, ...], cause: str) -> None:
        """Which is one of the server's addresses, and no client gets there; bytes pass within the cluster."""
        pods = (replace(POD, ip="10.244.9.9"),)
        changed = {"pods": pods, "addresses": ("10.244.9.9", NODE), "external": external}
        snapshot = worlds.snapshot(worlds.pod(POD.name, worlds.container("coturn"), ip="10.244.9.9"))
        relays = relaying.relays(relayed=("10.244.9.9", "10.244.9.9"), server=replace(SERVER, **changed))
        found = only(judged(with_server(**changed), turn_relays=relays, snapshot=snapshot))
        assert found.headline == "coturn gives relays at its pod's own address, 10.244.9.9"
        assert cause in found.cause

    def test_is_at_its_services_address_within_the_cluster(self) -> None:
        spec = {"clusterIP": SERVICE, "ports": []}
        snapshot = worlds.snapshot(worlds.thing(worlds.KINDS["Service"], "coturn", spec=spec))
        found = only(judged(turn_relays=relaying.relays(relayed=(SERVICE, SERVICE)), snapshot=snapshot))
        assert found.headline.endswith(f"relays at {SERVICE}, the cluster's own address of Service coturn")

    def test_is_at_its_pods_own_address_which_the_settings_name(self) -> None:
        changed = {"pods": (replace(POD, ip="10.244.9.9"),), "addresses": ("10.244.9.9",)}
        snapshot = worlds.snapshot(worlds.pod(POD.name, worlds.container("coturn"), ip="10.244.9.9"))
        relays = relaying.relays(relayed=("10.244.9.9",) * 2, server=replace(SERVER, **changed))
        settings = Settings(calls=CallsSettings(addresses=("10.244.9.9",)))
        pen = judged(with_server(**changed), turn_relays=relays, snapshot=snapshot, settings=settings)
        assert pen.failures == []

    def test_is_at_an_address_that_nobody_has(self) -> None:
        server = replace(SERVER, external=("10.10.0.9",))
        relays = relaying.relays(relayed=("10.10.0.9", "10.10.0.9"), server=server)
        found = only(judged(with_server(external=("10.10.0.9",)), turn_relays=relays))
        assert found.headline == "coturn gives relays at 10.10.0.9, which no pod, node or Service of it has"
        assert found.cause == "its external-ip is 10.10.0.9"

    def test_is_at_an_address_that_nobody_has_and_loses_bytes(self) -> None:
        """One fault, told once."""
        assert only(met(relayed=("10.10.0.9", "10.10.0.9"), passed=(False, False))).headline.startswith("coturn gives")

    def test_is_at_an_address_of_the_internet(self) -> None:
        found = only(met(relayed=(NAT, NAT)), Status.UNKNOWN)
        assert found.remedy == f"if a NAT leads it here, say so in the settings: calls.addresses: [{NAT}]"

    def test_is_where_the_settings_say(self) -> None:
        settings = Settings(calls=CallsSettings(addresses=(NAT,)))
        pen = judged(turn_relays=relaying.relays(relayed=(NAT, NAT)), settings=settings)
        assert pen.failures == []

    def test_is_where_its_public_name_leads(self) -> None:
        relays = TurnRelays((meeting(relayed=(NAT, NAT)), told(relayed=(NAT, NAT), addresses=(NAT,), address=NAT)))
        assert judged(turn_relays=relays).failures == []


SILENT: dict[str, Any] = {
    "problem": "no answer within the time limit",
    "relayed": (),
    "passed": (),
    "other": None,
    "expired": None,
}


class TestWhereNobodyAnswers:
    def test_anywhere(self) -> None:
        found = only(met(**SILENT))
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, (ID,))
        assert found.headline == "coturn does not answer: no answer within the time limit"

    def test_the_probe_pod(self) -> None:
        found = only(judged(turn_relays=relaying.relays(**SILENT)), Status.UNKNOWN)
        assert found.headline.endswith("no answer within the time limit; through a tunnel it does")

    def test_the_probe_pod_and_nothing_listens_at_its_loopback(self) -> None:
        shut = relaying.tunnels(**{**SILENT, "problem": f"nothing listens on port 3478 of {POD.name}"})
        found = only(judged(turn_relays=relaying.relays(**SILENT), turn_tunnels=shut), Status.UNKNOWN)
        assert "no answer within the time limit" in found.headline
        assert f"nothing listens on port 3478 of {POD.name}" in found.headline
        down = Failure(Status.FAILED, Nature.WRONG, SERVER.workload, "crashes", stops=(SERVER.workload,))
        pen = judged(turn_relays=relaying.relays(**SILENT), turn_tunnels=shut)
        assert verdict(pen, down, {ID: (SERVER.workload,)}) is Status.BLOCKED

    def test_the_probe_pod_and_no_tunnel_carries_udp(self) -> None:
        relays = TurnRelays((meeting(**SILENT), told(**SILENT)))
        assert "carries UDP" in only(judged(turn_relays=relays, turn_tunnels=()), Status.UNKNOWN).headline

    def test_over_a_transport_that_nobody_is_told(self) -> None:
        closed = meeting("tcp", transport="tcp", announced=False, **{**SILENT, "problem": "Connection refused"})
        assert judged(turn_relays=TurnRelays((meeting(), closed, told()))).failures == []

    def test_as_nobody_is_told_to_come(self) -> None:
        found = only(judged(turn_relays=TurnRelays(), turn_tunnels=()), Status.WARNED)
        assert found.headline == "coturn was not asked: no address that clients are told is known to lead to it"

    def test_over_udp(self) -> None:
        relays = TurnRelays((meeting(**SILENT), meeting("tcp", transport="tcp"), told(**SILENT), told(URIS[1])))
        found = only(judged(turn_relays=relays))
        assert found.nature is Nature.WRONG
        assert found.headline.startswith(f"coturn does not answer at {POD.name} over UDP and {URIS[0]}: no answer")

    def test_at_an_address_that_clients_are_told(self) -> None:
        closed = uri(
            endpoint=Endpoint("relays", 3479, "matrix", "relays", (), problem="Service relays has no port 3479")
        )
        relays = TurnRelays((meeting(), told(uri=closed, **SILENT)))
        assert only(judged(turn_relays=relays)).cause == "Service relays has no port 3479"

    def test_as_no_pod_is_ready(self) -> None:
        server = replace(SERVER, pods=(replace(POD, ready=False),))
        found = only(
            judged(
                replace(MODEL, turn=replace(MODEL.turn, servers=(server,))), turn_relays=TurnRelays(), turn_tunnels=()
            )
        )
        assert (found.nature, found.headline) == (Nature.UNAVAILABLE, "coturn has no pod that is ready")

    def test_silence_is_blamed_on_its_workload(self) -> None:
        down = Failure(Status.FAILED, Nature.WRONG, SERVER.workload, "crashes", stops=(SERVER.workload,))
        assert verdict(met(**SILENT), down, {ID: (SERVER.workload,)}) is Status.BLOCKED

    def test_one_that_was_asked_too_late(self) -> None:
        late = meeting(address="", addresses=(), **SILENT)
        relays = TurnRelays((late, replace(late, transport="tcp")))
        assert only(judged(turn_relays=relays, turn_tunnels=())).nature is Nature.UNAVAILABLE


def verdict(pen: Judge, other: Failure, depends: dict[str, tuple[str, ...]]) -> Status:
    """What the check comes to beside another's failure."""
    mine = Statement(CHECKS[CHECK].__check__, tuple(pen.seen), tuple(pen.failures), pen.absence, 0.0)  # type: ignore[attr-defined]
    theirs = Statement(CHECKS["platform.workloads"].__check__, (), (other,), "", 0.0)  # type: ignore[attr-defined]
    found = resolve((theirs, mine), depends)
    return next(each.status for each in found.results if each.check.id == CHECK)


def test_what_came_of_several_is_said_once() -> None:
    refused = {"refused": (401, "Unauthorized"), "relayed": ()}
    three = [meeting("a", **refused), meeting("b", address="", **refused), meeting("c", **refused)]
    assert in_short([meeting("d"), *three]) == (
        f"d ({NODE}): relays at {NODE}, bytes passed both ways; a ({NODE}), b and c ({NODE}): 401 Unauthorized"
    )


def test_a_meeting_says_what_came_of_it() -> None:
    assert meeting().short == f"relays at {NODE}, bytes passed both ways"
    assert meeting(permission=(403, "Forbidden IP"), passed=()).short == (
        f"relays at {NODE}, no permission for each other: 403 Forbidden IP"
    )
    assert Meeting(None, "", "udp").short == "not asked"
    assert SERVICE in told().addresses
