"""Who sends to whom by the configuration in effect, and what the check says of what came."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postflight.deployment.federation import Federation, covering, federation_of, shard
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.prepare import text
from postflight.probes.canary_homeserver import NotPrepared
from postflight.probes.federation import Arrival, FederationCanary
from postflight.probes.federation_counters import Sent
from postflight.settings import CanarySettings
from postflight.verdict.status import Status
from tests.unit.observations import MODEL, NOT_ALLOWED, READ_ONLY, ask, only
from tests.unit.processes import CANARIES, canary

FIRST, SECOND = (f"federation_sender_synapse-federation-sender-{number}" for number in (0, 1))


def configured(change: Any) -> Deployment:
    """The lab with ``change(process, config)`` made in every process's configuration, app included."""

    def changed(process: SynapseProcess) -> SynapseProcess:
        config = dict(process.config or {})
        change(process, config)
        return replace(process, config=config, app=str(config.get("worker_app") or process.app))

    return replace(MODEL, synapse=tuple(map(changed, MODEL.synapse)))


def without_list(process: SynapseProcess, config: dict[str, Any]) -> None:
    config.pop("federation_sender_instances", None)


def says(model: Deployment) -> Any:
    """What the check says where each process does as its configuration has it."""
    return ask("federation.exactly_once", deployment=model, federation_canary=canary(model))


def instances(processes: Any) -> set[str]:
    return {each.instance for each in processes}


def test_the_lab_is_green_and_every_sender_has_its_share() -> None:
    federation = federation_of(MODEL)
    assert instances(federation.meant) == {FIRST, SECOND}
    names = covering(federation.lists, CANARIES)
    assert {each.instance for name in names for each in federation.senders_of(name)} == {FIRST, SECOND}
    pen = says(MODEL)
    assert not pen.failures
    assert pen.seen == list(names)


class TestVariants:
    """The broken rows of the facts: what stands in the first line."""

    def test_a_legacy_app_while_main_sends(self) -> None:
        def legacy(process: SynapseProcess, config: dict[str, Any]) -> None:
            without_list(process, config)
            if process.instance in (FIRST, SECOND):
                config["worker_app"] = "synapse.app.federation_sender"

        first = says(configured(legacy)).failures[0]
        assert FIRST in first.headline
        assert "refuses to start while send_federation is on" in first.headline
        assert first.stops

    def test_b_list_in_the_worker_only(self) -> None:
        def only_there(process: SynapseProcess, config: dict[str, Any]) -> None:
            if process.instance not in (FIRST, SECOND):
                without_list(process, config)

        first = says(configured(only_there)).failures[0]
        assert first.headline.startswith("other homeservers get things more than once: ")
        assert "master" in first.headline
        assert "master takes the senders to be master" in first.cause

    def test_c_senders_listed_nowhere(self) -> None:
        found = says(configured(without_list)).failures
        assert [each.headline.partition(" ")[0] for each in found] == [FIRST, SECOND]
        assert "federation_sender_instances is not set" in found[0].headline
        assert "they come from master" in found[0].observed

    def test_f_nobody_sends(self) -> None:
        def nobody(process: SynapseProcess, config: dict[str, Any]) -> None:
            without_list(process, config)
            config["send_federation"] = False

        first = says(configured(nobody)).failures[0]
        assert first.headline.endswith("send_federation is off and federation_sender_instances is not set")

    def test_legacy_senders_without_a_list(self) -> None:
        def legacy(process: SynapseProcess, config: dict[str, Any]) -> None:
            without_list(process, config)
            config["send_federation"] = False
            if process.instance in (FIRST, SECOND):
                config["worker_app"] = "synapse.app.federation_sender"

        assert f"{FIRST} and {SECOND} both send" in says(configured(legacy)).failures[0].headline

    def test_h_main_listed_in_its_own_list_only(self) -> None:
        def too_many(process: SynapseProcess, config: dict[str, Any]) -> None:
            if process.is_main:
                config["federation_sender_instances"] = [FIRST, SECOND, "master"]

        first = says(configured(too_many)).failures[0]
        assert "master" in first.headline
        assert "both send" in first.headline

    def test_a_sender_that_does_not_exist(self) -> None:
        def ghost(process: SynapseProcess, config: dict[str, Any]) -> None:
            config["federation_sender_instances"] = [FIRST, SECOND, "ghost"]

        found = only(says(configured(ghost)))
        assert found.headline == "ghost is a sender that does not exist: what falls to it is sent by nobody"

    def test_a_sender_that_does_not_exist_and_that_no_canary_meets(self) -> None:
        ghosts = [f"ghost-{number}" for number in range(40)]

        def ghost(process: SynapseProcess, config: dict[str, Any]) -> None:
            config["federation_sender_instances"] = [FIRST, SECOND, *ghosts]

        model = configured(ghost)
        federation = federation_of(model)
        heard = covering(federation.lists, CANARIES)
        missed = set(ghosts) - {shard(federation.lists[0], name) for name in heard}
        told = {each.subject for each in says(model).failures if each.status is Status.FAILED}
        assert missed
        assert missed <= told

    def test_a_listed_sender_of_any_name_that_no_canary_meets_is_not_green(self) -> None:
        names = [each.instance for each in MODEL.synapse if not each.is_main and each.side is Side.MAIN]

        def many(process: SynapseProcess, config: dict[str, Any]) -> None:
            config["federation_sender_instances"] = names

        model = configured(many)
        heard = covering(federation_of(model).lists, CANARIES)
        missed = set(names) - {shard(names, name) for name in heard}
        found = says(model).failures
        assert missed
        assert {each.status for each in found} == {Status.WARNED}
        assert {each.subject for each in found} == {each.id for each in MODEL.synapse if each.instance in missed}

    def test_send_federation_beside_a_right_list_changes_nothing(self) -> None:
        assert not says(configured(lambda process, config: config.update(send_federation=True))).failures


class TestWhatCame:
    def test_the_same_transaction_again_is_a_retry(self) -> None:
        assert not ask("federation.exactly_once", federation_canary=canary(MODEL)).failures

    def test_two_transactions_of_one_sender(self) -> None:
        seen = canary(MODEL)
        first = seen.owed[0]
        again = replace(first.arrivals[0], transaction="2")
        doubled = replace(seen, owed=(replace(first, arrivals=(*first.arrivals, again)), *seen.owed[1:]))
        found = only(ask("federation.exactly_once", federation_canary=doubled))
        assert found.observed.startswith("1 event of 2 events and 1 to-device message came to ")

    def test_a_sender_that_does_not_send_what_it_must(self) -> None:
        seen = canary(MODEL)
        dropped = replace(seen, owed=(replace(seen.owed[0], arrivals=()), *seen.owed[1:]))
        found = only(ask("federation.exactly_once", federation_canary=dropped))
        assert "does not send to" in found.headline

    def test_what_came_twice_says_what_did_not_come_too(self) -> None:
        def only_there(process: SynapseProcess, config: dict[str, Any]) -> None:
            if process.instance not in (FIRST, SECOND):
                without_list(process, config)

        model = configured(only_there)
        seen = canary(model)
        lost = replace(seen, owed=(replace(seen.owed[0], arrivals=()), *seen.owed[1:]))
        first = ask("federation.exactly_once", deployment=model, federation_canary=lost).failures[0]
        assert "both send to" in first.headline
        assert first.observed.endswith("1 event did not come")

    def test_two_that_would_send_are_red_though_one_has_not_begun(self) -> None:
        def legacy(process: SynapseProcess, config: dict[str, Any]) -> None:
            without_list(process, config)
            config["send_federation"] = False
            if process.instance in (FIRST, SECOND):
                config["worker_app"] = "synapse.app.federation_sender"

        model = configured(legacy)
        seen = canary(model)
        once = replace(seen, owed=tuple(replace(each, arrivals=each.arrivals[:1]) for each in seen.owed))
        found = ask("federation.exactly_once", deployment=model, federation_canary=once).failures[0]
        assert f"{FIRST} and {SECOND} both send to" in found.headline
        assert found.status is Status.FAILED

    def test_from_a_process_that_must_not_send(self) -> None:
        seen = canary(MODEL)
        main = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
        strange = Arrival("7", "10.0.0.7", main)
        owed = tuple(replace(each, arrivals=(strange,)) for each in seen.owed)
        stale = replace(seen, owed=owed, senders=(strange,))
        found = ask("federation.exactly_once", federation_canary=stale).failures
        assert all("master sends to" in each.headline for each in found)
        assert found[0].status is Status.FAILED

    def test_what_comes_through_a_proxy_is_told_apart_by_the_counters(self) -> None:
        seen = canary(MODEL)
        hidden = tuple(
            replace(each, arrivals=tuple(replace(one, sender=None) for one in each.arrivals)) for each in seen.owed
        )
        through = replace(seen, owed=hidden, senders=tuple(replace(each, sender=None) for each in seen.senders))
        assert not ask("federation.exactly_once", federation_canary=through).failures
        silent = {each.id: Sent(None, "it serves no metrics", silent=True) for each in MODEL.synapse}
        told = ask("federation.exactly_once", federation_canary=through, federation_counters=silent)
        assert "and 14 more have sent is not known: they serve no metrics" in only(told, Status.WARNED).headline
        assert not ask("federation.exactly_once", federation_canary=seen, federation_counters=silent).failures

    def test_counters_of_a_process_that_must_not_send(self) -> None:
        main = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
        counted = {each.id: Sent(4 if each.id == main.id else 0) for each in MODEL.synapse}
        found = only(ask("federation.exactly_once", federation_counters=counted, federation_canary=canary(MODEL)))
        assert found.subject == main.id

    def test_a_sender_that_is_down_is_what_explains_it(self) -> None:
        seen = canary(MODEL)
        sender = seen.owed[0].arrivals[0].sender
        assert sender
        assert sender.pod
        down = replace(sender, pod=replace(sender.pod, ready=False))
        model = replace(MODEL, synapse=tuple(down if each == sender else each for each in MODEL.synapse))
        empty = replace(
            seen, owed=tuple(replace(each, arrivals=()) if each.name == seen.names[0] else each for each in seen.owed)
        )
        found = ask("federation.exactly_once", deployment=model, federation_canary=empty).failures[0]
        assert found.leans_on == (sender.id,)
        assert "is not ready" in found.headline

    def test_the_lawful_intercept_side_never_sends(self) -> None:
        seen = canary(MODEL)
        li = replace(MODEL.synapse[0], side=Side.LI)
        strange = replace(seen, senders=(*seen.senders, Arrival("9", "10.0.0.9", li)))
        assert "lawful-intercept" in only(ask("federation.exactly_once", federation_canary=strange)).headline

    def test_a_canary_that_could_not_join_is_unknown(self) -> None:
        seen = canary(MODEL)
        deaf = FederationCanary(seen.names, (), (), dict.fromkeys(seen.names, "no key"))
        pen = ask("federation.exactly_once", federation_canary=deaf)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    def test_unprepared_or_not_tried_is_never_green(self) -> None:
        for seen in (NotPrepared("no Service"), READ_ONLY):
            only(ask("federation.exactly_once", federation_canary=seen), Status.WARNED)

    def test_without_the_right_nobody_could_look(self) -> None:
        found = only(ask("federation.exactly_once", federation_canary=NOT_ALLOWED), Status.UNKNOWN)
        assert found.headline.endswith(NOT_ALLOWED.reason)

    def test_federation_that_is_off_by_choice_is_absent(self) -> None:
        model = configured(lambda process, config: config.update(federation_domain_whitelist=[]))
        said = ask("federation.exactly_once", deployment=model)
        assert said.absence == "federation is off by choice: federation_domain_whitelist of synapse-main is empty"
        assert said.failures == []

    def test_and_so_where_only_the_settings_say_it(self) -> None:
        said = ask("federation.exactly_once", deployment=replace(MODEL, federates=False))
        assert said.absence == "federation is off by choice: the settings say so"

    def test_off_though_the_settings_say_on(self) -> None:
        model = configured(lambda process, config: config.update(federation_domain_whitelist=[]))
        unasked = NotPrepared("federation is off")
        found = only(
            ask("federation.exactly_once", deployment=replace(model, federates=True), federation_canary=unasked)
        )
        assert found.headline == (
            "federation is off, though the settings say that it is on:"
            " federation_domain_whitelist of synapse-main is empty"
        )
        assert found.stops

    def test_on_as_the_settings_say_is_looked_at_as_ever(self) -> None:
        assert ask("federation.exactly_once", deployment=replace(MODEL, federates=True)).seen


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), st.text())
def test_the_shard_is_upstreams(instances: list[str], name: str) -> None:
    number = int.from_bytes(sha256(name.encode("utf8", "surrogatepass")).digest(), byteorder="little")
    if not any("\ud800" <= char <= "\udfff" for char in name):
        assert shard(instances, name) == instances[number % len(instances)]


@pytest.mark.parametrize("lists", [(), ((),), (("a",),), (("a", "b"), ("a", "b", "c")), (("c", "a"),)])
def test_covering_meets_every_place_that_any_name_meets(lists: tuple[tuple[str, ...], ...]) -> None:
    names = [f"canary:{port}" for port in range(60)]
    chosen = covering(lists, names)
    assert chosen
    for each in filter(None, lists):
        assert {shard(each, name) for name in chosen} == set(each)


def test_who_falls_to_a_list_of_nobody() -> None:
    assert Federation((), {}, {}).senders_of("anywhere") == ()


def test_prepare_prints_what_the_lab_has() -> None:
    printed = text("matrix", CanarySettings())
    assert all(name in printed for name in CANARIES)
    assert "ip_range_whitelist" in printed
