"""Who writes which stream by the configuration in effect, and what a restart would make of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from postflight.cluster.changes import last_change
from postflight.cluster.files import Files
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.writers import (
    STREAMS,
    Address,
    addresses_of,
    changed,
    lists_of,
    refusals_of,
    scaled,
    unsure,
    writers_of,
)
from tests.unit import recorded, worlds
from tests.unit.observations import MODEL
from tests.unit.recorded import items

MAIN = next(each for each in MODEL.synapse if each.is_main)
WORKER = next(each for each in MODEL.synapse if not each.is_main)
PERSISTERS = tuple(f"event_persister_synapse-event-persister-{number}" for number in (0, 1))
MAP = {"main": {"host": "m", "port": 9093}, "one": {"host": "o", "port": 9093}}


class TestLists:
    def test_who_is_not_said_is_main(self) -> None:
        assert set(lists_of({}).values()) == {("master",)}
        assert set(lists_of({"stream_writers": None})) == set(STREAMS)

    def test_one_may_stand_without_a_list(self) -> None:
        assert lists_of({"stream_writers": {"typing": "one", "events": ["one", "two"]}})["typing"] == ("one",)

    def test_main_goes_by_two_names(self) -> None:
        assert addresses_of({"instance_map": MAP}) == {"master": Address("m", 9093), "one": Address("o", 9093)}

    @pytest.mark.parametrize("odd", [None, [], {"one": {"path": "/run/one.sock"}}, {"one": {"host": "o", "port": "x"}}])
    def test_what_is_no_address_is_none(self, odd: Any) -> None:
        assert addresses_of({"instance_map": odd}) == {}

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [("a.b", "a.b.matrix.svc", True), ("a", "a.", True), ("a", "ab", False), ("a.b", "a.c", False)],
    )
    def test_a_name_may_be_given_without_its_domain(self, one: str, other: str, same: bool) -> None:
        assert Address(one, 1).same(Address(other, 1)) is same
        assert not Address(one, 1).same(Address(other, 2))


class TestRefusals:
    """What synapse/config/workers.py raises ConfigError for, 1.119 and 1.163."""

    def why(self, writers: Any, mapped: Any = MAP, process: SynapseProcess = WORKER) -> list[str]:
        config = {"stream_writers": writers, "instance_map": mapped}
        return [each.why for each in refusals_of(process, config)]

    @pytest.mark.parametrize("stream", ["typing", "to_device", "account_data", "presence", "push_rules"])
    def test_two_where_one_is_allowed(self, stream: str) -> None:
        assert self.why({stream: ["one", "master"]}) == [
            f"stream_writers.{stream} names one and master, and may name one only"
        ]

    @pytest.mark.parametrize("stream", ["events", "receipts", "device_lists", "thread_subscriptions"])
    def test_two_of_a_sharded_stream_are_right(self, stream: str) -> None:
        assert self.why({stream: ["one", "master"]}) == []

    def test_one_without_an_address(self) -> None:
        assert self.why({"events": ["one", "two"]}) == ["two is to write events and is not in instance_map"]

    def test_nobody(self) -> None:
        assert self.why({"events": []}) == ["stream_writers.events names nobody"]

    def test_only_main_itself_need_not_know_where_main_is(self) -> None:
        assert self.why({}, {}) == ["instance_map does not say where main is"]
        assert self.why({}, None) == ["instance_map does not say where main is"]
        assert self.why({}, {}, MAIN) == []

    def test_of_a_configuration_that_is_not_known_nothing_is_refused(self) -> None:
        assert refusals_of(WORKER, None) == ()


class TestWriters:
    def test_of_the_lab(self) -> None:
        writers = writers_of(MODEL)
        assert writers.persisters(MAIN) == PERSISTERS
        assert {each.instance for each in writers.meant()} == set(PERSISTERS)
        assert writers.refusals == {}
        assert writers.listed()["synapse-typing-writer-0"] == ("typing",)
        assert [len(writers.distinct(stream)) for stream in STREAMS] == [1] * len(STREAMS)

    def test_one_of_any_name_that_has_an_address_and_no_work_is_meant_to_persist(self) -> None:
        def called(name: str) -> str:
            return "writer-a" if name == PERSISTERS[0] else name

        def changed_(each: Any) -> Any:
            config = dict(each.config or {})
            config["stream_writers"] = {**config.get("stream_writers", {}), "events": "master"}
            config["instance_map"] = {called(name): at for name, at in (config.get("instance_map") or {}).items()}
            new = {"instance": "writer-a", "workload_name": "any"} if each.instance == PERSISTERS[0] else {}
            return replace(each, config=config, **new)

        writers = writers_of(replace(MODEL, synapse=tuple(map(changed_, MODEL.synapse))))
        assert {each.instance for each in writers.meant()} == {"writer-a", PERSISTERS[1]}

    def test_the_autoscalers_of_the_lab_scale_no_writer(self) -> None:
        assert not list(scaled(recorded.healthy().snapshot, writers_of(MODEL)))


class TestRestart:
    def test_what_a_restart_would_take_is_what_is_in_effect(self) -> None:
        assert not [each.id for each in MODEL.synapse if changed(each)]

    def test_a_list_that_was_changed_since(self) -> None:
        def swap(raw: Any) -> None:
            for each in items(raw, "ConfigMap"):
                for key, text in (each.get("data") or {}).items():
                    listed = f"[{PERSISTERS[0]}, {PERSISTERS[1]}]"
                    each["data"][key] = text.replace(listed, f"[{PERSISTERS[1]}, {PERSISTERS[0]}]")

        model = recorded.changed(swap).deployment()
        found = {each.instance: changed(each) for each in writers_of(model).processes}
        assert set(found.values()) == {("stream_writers.events",)}

    def test_where_no_file_could_be_read_nothing_is_known_to_have_changed(self) -> None:
        model = recorded.healthy().deployment(files=Files({}, {}))
        assert not [each.id for each in model.synapse if changed(each)]

    def test_an_address_that_was_changed_since(self) -> None:
        now = {**(MAIN.config or {}), "instance_map": MAP}
        assert changed(replace(MAIN, config=now, next_config=MAIN.config)) == ("instance_map",)

    def test_when_a_process_began(self) -> None:
        assert MAIN.started
        assert MAIN.started.year == 2026
        assert replace(MAIN, pod=None).started is None


class TestMounted:
    """A file that comes straight from a ConfigMap changes under the process."""

    def process(self, changed_at: str | None, *, sub: str = "", **mount: Any) -> Any:
        at = {"name": "c", "mountPath": "/c/homeserver.yaml" if sub else "/c", **({"subPath": sub} if sub else {})}
        main = worlds.container(
            "main",
            command=["python", "-m", "synapse.app.homeserver", "-c", "/c/homeserver.yaml"],
            volumeMounts=[at],
        )
        one = worlds.pod("one", main, volumes=[{"name": "c", "configMap": {"name": "conf", **mount}}])
        one["status"]["containerStatuses"][0]["state"]["running"] = {"startedAt": "2026-01-01T12:00:00Z"}
        held = worlds.config_map("conf", homeserver__yaml="server_name: a.test\n")
        if changed_at:
            fields = {"f:data": {".": {}, "f:homeserver.yaml": {}}}
            held["metadata"]["managedFields"] = [{"time": changed_at, "fieldsV1": fields}]
        (found,) = worlds.deployment(worlds.snapshot(one, held)).synapse
        return found

    def test_after_it_had_started(self) -> None:
        assert unsure(self.process("2026-01-01T13:00:00Z"))

    def test_with_the_key_under_another_name(self) -> None:
        given = [{"key": "homeserver.yaml", "path": "homeserver.yaml"}]
        assert unsure(self.process("2026-01-01T13:00:00Z", items=given))

    def test_before(self) -> None:
        assert not unsure(self.process("2026-01-01T11:00:00Z"))

    def test_not_where_the_kubelet_leaves_it_alone(self) -> None:
        assert not unsure(self.process("2026-01-01T13:00:00Z", sub="homeserver.yaml"))

    def test_nobody_says_when(self) -> None:
        assert not unsure(self.process(None))


def test_an_object_changed_when_its_key_did() -> None:
    fields = [
        {"time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:a": {}}}},
        {"time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:data": {"f:b": {}}}},
        {"time": "2026-01-05T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        {"fieldsV1": {"f:data": {"f:a": {}}}},
    ]
    raw = {"metadata": {"managedFields": fields}}
    assert last_change(raw) == datetime(2026, 1, 3, tzinfo=UTC)
    assert last_change(raw, "a") == datetime(2026, 1, 1, tzinfo=UTC)
    assert last_change(raw, "c") is None
    assert last_change({"metadata": {}}) is None
