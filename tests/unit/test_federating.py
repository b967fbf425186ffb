"""Whether federation is meant to be on: what the settings say, and what is proposed of what is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.federating import allowed, choice_of, lets_nobody_in
from postflight.deployment.model import Deployment
from postflight.deployment.request_classes import Asker, classes_of
from postflight.probes.canary_homeserver import NotPrepared, canary_homeserver
from postflight.settings import Settings
from tests.unit import recorded
from tests.unit.calling import with_calls
from tests.unit.observations import MODEL
from tests.unit.processes import without_federation

MAIN = next(each for each in MODEL.synapse if each.is_main)
EMPTY = "federation_domain_whitelist of synapse-main is empty"


def configured(model: Deployment = MODEL, main_only: bool = False, **values: Any) -> Deployment:
    """The model with these settings in each process's configuration."""
    processes = [
        replace(each, config={**(each.config or {}), **values}) if each.is_main or not main_only else each
        for each in model.synapse
    ]
    return replace(model, synapse=tuple(processes))


def bare() -> Deployment:
    """Neither a listener, nor a sender, nor a route."""

    def client_only(config: Any) -> Any:
        listeners = [{"port": 8008, "type": "http", "resources": [{"names": ["client"]}]}]
        kept = {key: value for key, value in (config or {}).items() if key != "federation_sender_instances"}
        return {**kept, "listeners": listeners, "worker_listeners": listeners, "send_federation": False}

    processes = tuple(replace(each, config=client_only(each.config)) for each in MODEL.synapse)
    fronts = [
        replace(each, frontends=tuple(one for one in each.frontends if one != each.federation))
        for each in MODEL.proxies
    ]
    return replace(MODEL, synapse=processes, proxies=tuple(fronts))


class TestWhatIsProposed:
    def test_the_lab_federates_and_that_needs_no_note(self) -> None:
        choice = choice_of(MODEL)
        assert (choice.on, choice.said, choice.against, choice.note) == (True, None, "", "")
        assert choice.why.startswith("listening for other servers: synapse-")
        assert "leading them here: haproxy" in choice.why

    def test_mains_empty_whitelist_is_enough(self) -> None:
        choice = choice_of(configured(main_only=True, federation_domain_whitelist=[]))
        assert (choice.on, choice.reason) == (False, EMPTY)
        assert choice.note == (
            f"federation is taken to be off, as {EMPTY}; the settings can say it (federation: on, or off)"
        )

    def test_a_worker_with_an_empty_one_is_not(self) -> None:
        workers = [
            each if each.is_main else replace(each, config={"federation_domain_whitelist": []}) for each in [MAIN]
        ]
        assert choice_of(replace(MODEL, synapse=tuple(workers))).on

    def test_nothing_there_for_it(self) -> None:
        choice = choice_of(bare())
        assert not choice.on
        assert choice.why == (
            "no process listens for other servers; none sends to them (send_federation, federation_sender_instances);"
            " no proxy has a frontend for them"
        )

    def test_a_deployment_without_a_proxy_lacks_nothing(self) -> None:
        assert choice_of(replace(MODEL, proxies=())).note == ""

    def test_something_there_for_it_is_enough_and_what_is_not_is_said(self) -> None:
        """A deployment that lost its senders must not count as one that wants none."""
        without = replace(bare(), proxies=MODEL.proxies)
        choice = choice_of(without)
        assert choice.on
        assert choice.note.startswith("federation is taken to be on, as leading them here: haproxy, though no process")

    def test_a_configuration_that_is_not_known_proposes_nothing(self) -> None:
        unread = replace(MAIN, config=None)
        others = [each for each in bare().synapse if not each.is_main]
        choice = choice_of(replace(bare(), synapse=(unread, *others)))
        assert (choice.on, choice.why) == (True, f"the configuration of {MAIN.name} is not known")


class TestWhatTheSettingsSay:
    @pytest.mark.parametrize("said", [True, False])
    def test_counts_and_needs_no_note(self, said: bool) -> None:
        for model in (MODEL, without_federation(MODEL)):
            choice = choice_of(replace(model, federates=said))
            assert (choice.on, choice.note) == (said, "")

    def test_with_what_was_found_where_that_is_the_same(self) -> None:
        assert (
            choice_of(replace(without_federation(MODEL), federates=False)).reason == f"the settings say so, and {EMPTY}"
        )
        assert choice_of(replace(MODEL, federates=False)).reason == "the settings say so"

    def test_is_part_of_the_model(self) -> None:
        assert recorded.healthy().deployment(settings=Settings(federation=False)).federates is False
        assert MODEL.federates is None


@pytest.mark.parametrize(
    ("given", "named", "nobody"),
    [(None, None, False), ([], (), True), ({}, (), True), (["a.test"], ("a.test",), False), (7, None, False)],
)
def test_a_whitelist_as_synapse_reads_it(given: Any, named: Any, nobody: bool) -> None:
    process = replace(MAIN, config={"federation_domain_whitelist": given})
    assert (allowed(process), lets_nobody_in(process)) == (named, nobody)


@pytest.mark.parametrize("model", [without_federation(MODEL), replace(MODEL, federates=False)])
def test_no_canary_homeserver_is_made_where_federation_is_off(model: Deployment) -> None:
    nothing: Any = None
    found = canary_homeserver(model, nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    assert isinstance(found, NotPrepared)
    assert found.reason.startswith("federation is off: ")


def test_no_class_of_other_servers_is_asked_for_where_federation_is_off_but_what_calls_need() -> None:
    model = without_federation(MODEL)
    main = next(each for each in model.synapse if each.is_main)
    assert [each.name for each in classes_of(replace(model, calls=replace(model.calls, jwt_services=())), main)]
    servers = [each.name for each in classes_of(with_calls(model), main) if each.asker is Asker.SERVER]
    assert servers == ["OpenID userinfo"]
    without = replace(model, calls=replace(model.calls, jwt_services=()))
    assert not [each for each in classes_of(without, main) if each.asker is Asker.SERVER]
    assert len([each for each in classes_of(MODEL, MAIN) if each.asker is Asker.SERVER]) == 7
