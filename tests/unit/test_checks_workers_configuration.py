"""The check of settings, what Synapse refuses, and what its code tells of the settings that it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from postflight.cluster.api import ApiError
from postflight.cluster.outposts import RUN
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.refusals import refusals
from postflight.outpost import synapse_settings as outpost
from postflight.probes import known_settings as probe
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import MODEL, NOT_ALLOWED, ask, only
from tests.unit.processes import known_settings, synapse_settings
from tests.unit.recorded import Json, item

CHECK = "workers.configuration"
MAIN = next(each for each in MODEL.synapse if each.is_main)
WORKER = next(each for each in MODEL.synapse if each.workload_name == "synapse-presence-writer")
KNOWN = known_settings(MODEL)
((IMAGE, SAID),) = KNOWN.items()
LAB = Path(__file__).parents[2] / "lab" / "deployment"


def every(**settings: Any) -> Deployment:
    """The deployment with further settings in the configuration that all share."""
    return replace(
        MODEL, synapse=tuple(replace(each, config={**(each.config or {}), **settings}) for each in MODEL.synapse)
    )


def one(process: SynapseProcess, *, up: bool = True, **fields: Any) -> Deployment:
    assert process.pod
    containers = tuple(replace(each, running=up, ready=up) for each in process.pod.containers)
    other = replace(process, pod=replace(process.pod, ready=up, containers=containers), **fields)
    return replace(MODEL, synapse=tuple(other if each.id == process.id else each for each in MODEL.synapse))


class TestNames:
    def test_one_misspelt(self) -> None:
        found = only(ask(CHECK, deployment=every(media_store_providers=[])))
        assert found.headline == (
            "media_store_providers is no setting of Synapse: media_storage_providers is meant, and is not set"
        )
        assert found.expected == "media_storage_providers"
        assert "and 14 more; Synapse 1.163.2 reads no such setting" in found.observed

    def test_names_the_configmap_that_it_stands_in(self) -> None:
        def change(raw: Json) -> None:
            data = item(raw, "ConfigMap", "synapse-config")["data"]
            data["homeserver.yaml"] += "media_store_providers: []\n"

        found = only(ask(CHECK, recorded.changed(change), deployment=every(media_store_providers=[])))
        assert "(ConfigMap synapse-config/homeserver.yaml)" in found.observed

    def test_one_within_a_section(self) -> None:
        redis = {**(MAIN.config or {})["redis"], "pasword": "x"}
        del redis["password"]
        found = only(ask(CHECK, deployment=every(redis=redis)))
        assert found.headline == "redis.pasword is no setting of Synapse: redis.password is meant, and is not set"

    def test_one_that_is_set_rightly_beside_it(self) -> None:
        found = only(ask(CHECK, deployment=every(media_store_providers=[], media_storage_providers=[])), Status.WARNED)
        assert found.headline.endswith("it does nothing; media_storage_providers is set beside it")

    @pytest.mark.parametrize("name", ["livekit", "form_secret_paths_of_mine", "rc_message_path", "msc4143_enabled"])
    def test_one_that_nobody_reads(self, name: str) -> None:
        assert only(ask(CHECK, deployment=every(**{name: 1})), Status.WARNED).headline == (
            f"{name} is nothing that Synapse 1.163.2 reads: it does nothing"
        )

    @pytest.mark.parametrize(
        ("section", "key"),
        [("experimental_features", "msc4144_enabled"), ("stats", "bucket_size"), ("database", "arg")],
        ids=["of another proposal", "of another release", "of a section that is handed on"],
    )
    def test_within_a_section_only_misspellings_count(self, section: str, key: str) -> None:
        config = {**((MAIN.config or {}).get(section) or {}), key: True}
        assert ask(CHECK, deployment=every(**{section: config})).failures == []

    @pytest.mark.parametrize("name", ["x-anchors", "x_own"])
    def test_ones_own(self, name: str) -> None:
        assert ask(CHECK, deployment=every(**{name: 1})).failures == []

    def test_a_setting_of_a_newer_release_is_no_misspelling(self) -> None:
        older = replace(SAID, version="1.119.0", settings=SAID.settings - {"form_secret_path"})
        found = only(ask(CHECK, deployment=every(form_secret_path="/a"), known_settings={IMAGE: older}), Status.WARNED)
        assert found.headline == "form_secret_path is nothing that Synapse 1.119.0 reads: it does nothing"

    @pytest.mark.parametrize("path", sorted(LAB.glob("*/**/config/*.yaml")), ids=lambda each: each.name)
    def test_every_setting_of_the_labs_own_files_is_read(self, path: Path) -> None:
        config = yaml.safe_load(path.read_text())
        if {"server_name", "worker_app"} & set(config):
            assert set(config) <= SAID.settings


class TestNotKnown:
    def test_what_the_image_reads(self) -> None:
        found = only(ask(CHECK, known_settings={IMAGE: replace(SAID, problem="no answer")}), Status.UNKNOWN)
        assert found.headline.endswith(f"reads is not known ({IMAGE}: {SAID.asked}: no answer)")
        assert len(found.needs) == 15

    def test_no_right_to_look(self) -> None:
        found = only(ask(CHECK, known_settings=NOT_ALLOWED), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("reads what is set was not seen: no right: create pods/exec in namespace matrix")

    def test_where_no_container_of_it_runs(self) -> None:
        assert "no container of it runs" in only(ask(CHECK, known_settings={}), Status.UNKNOWN).headline

    def test_what_one_is_configured_with(self) -> None:
        found = only(ask(CHECK, deployment=one(WORKER, config=None, config_problem="empty")), Status.UNKNOWN)
        assert (found.subject, found.headline) == (
            WORKER.id,
            "which settings synapse-presence-writer-0 has is not known: empty",
        )

    def test_a_workload_without_pods_has_none(self) -> None:
        gone = replace(MODEL, synapse=tuple(replace(each, pod=None, config=None) for each in MODEL.synapse))
        pen: Judge = ask(CHECK, deployment=gone)
        assert (pen.seen, pen.failures) == ([], [])


class TestRefused:
    def config(self, **settings: Any) -> Json:
        return {**(WORKER.config or {}), **settings}

    def test_one_that_is_down_with_it(self) -> None:
        found = only(ask(CHECK, deployment=one(WORKER, up=False, config=self.config(worker_replication_host="main"))))
        assert found.headline == (
            "Synapse refuses the configuration of synapse-presence-writer-0: worker_replication_host is no worker's"
            " setting any more"
        )
        assert found.stops == (WORKER.id,)

    def test_one_that_runs_with_it(self) -> None:
        model = one(WORKER, config=self.config(worker_replication_port=9092))
        assert "will not start another time" in only(ask(CHECK, deployment=model), Status.WARNED).headline

    def test_one_that_would_start_with_it(self) -> None:
        model = one(WORKER, next_config=self.config(worker_replication_port=9092))
        assert "will not start another time" in only(ask(CHECK, deployment=model), Status.WARNED).headline

    @pytest.mark.parametrize(
        ("settings", "app", "why"),
        [
            ({"worker_replication_secret_path": "/a"}, "", "are both set"),
            ({"worker_log_config": {}}, "", "worker_log_config is no path"),
            ({}, "synapse.app.pusher", "runs pushers while start_pushers"),
            ({}, "synapse.app.appservice", "does what notify_appservices has main do"),
            ({"update_user_directory": True}, "synapse.app.user_dir", "does what update_user_directory has main do"),
            (
                {"notify_appservices": False, "notify_appservices_from_worker": "synapse-presence-writer-0"},
                "",
                "notify_appservices and notify_appservices_from_worker contradict each other",
            ),
            ({"outbound_federation_restricted_to": ["ghost"]}, "", "names ghost, which is not in instance_map"),
            (
                {"outbound_federation_restricted_to": ["main"], "worker_replication_secret": ""},
                "",
                "no worker_replication_secret is",
            ),
        ],
    )
    def test_what_upstream_refuses(self, settings: Json, app: str, why: str) -> None:
        process = replace(WORKER, app=app or WORKER.app)
        (found,) = refusals(process, self.config(**settings))
        assert why in found.why

    @pytest.mark.parametrize(
        ("settings", "app"),
        [
            ({}, ""),
            # Refused, and workers.stream_writers' to say.
            ({"instance_map": {}}, ""),
            ({"start_pushers": False}, "synapse.app.pusher"),
            ({"pusher_instances": ["one"]}, "synapse.app.pusher"),
            ({"notify_appservices": False}, "synapse.app.appservice"),
            ({"notify_appservices_from_worker": "another"}, ""),
            ({"outbound_federation_restricted_to": ["main"]}, ""),
        ],
    )
    def test_what_upstream_takes(self, settings: Json, app: str) -> None:
        assert refusals(replace(WORKER, app=app or WORKER.app), self.config(**settings)) == ()

    @pytest.mark.parametrize("process", MODEL.synapse, ids=lambda each: each.name)
    def test_the_labs_own_are_taken(self, process: SynapseProcess) -> None:
        assert refusals(process, process.config or {}) == ()


CODE = """
class One:
    def read_config(self, config, **kwargs):
        self.plain = config.get("plain")
        self.must = config["must"]
        if "asked" in config:
            self.asked = config.pop("taken", None)
        self.limit = Limits.parse(config, key="rc_login.address", default={"unread": 1})
        section = config.get("section") or {}
        self.inner = section.get("inner", section["other"])
        if section is None or "third" in section:
            pass
        handed = config.get("handed", {})
        self.handed = parse(handed)
        walked = config["walked"]
        for each in walked:
            pass
        known = config.get("known") or {}
        known.get("seen")

    def second(self, config):
        use(config.get("known"))
"""


class TestItsCode:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "synapse" / "config").mkdir(parents=True)
        (tmp_path / "synapse" / "__init__.py").write_text("raise SystemExit('it is not imported')\n")
        (tmp_path / "synapse" / "config" / "one.py").write_text(CODE)
        (tmp_path / "synapse" / "config" / "_base.py").write_text("def f(config): config.get('never')\n")
        return tmp_path

    def test_tells_what_it_reads(self, root: Path) -> None:
        found = outpost.known(root / "synapse")
        assert found["settings"] == sorted(
            ["plain", "must", "asked", "taken", "rc_login", "section", "handed", "walked", "known"]
        )
        assert found["within"] == {"section": ["inner", "other", "third"]}

    def test_is_told_by_standard_input_that_stays_open(self, root: Path) -> None:
        text = Path(outpost.__file__).read_bytes()
        with subprocess.Popen(
            [sys.executable, "-c", RUN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(root), "PATH": ""},
        ) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"%d\n" % len(text) + text)
            process.stdin.flush()
            said = json.loads(process.stdout.read())
        assert said["version"] == ""
        assert "plain" in said["settings"]

    def test_told_so_in_the_lab(self) -> None:
        said = synapse_settings()
        assert said["version"] == "1.163.2"
        assert {"server_name", "rc_login", "worker_app", "media_storage_providers"} <= set(said["settings"])
        assert "password" in said["within"]["redis"]
        assert "database" not in said["within"]


class TestProbe:
    def ask(self, monkeypatch: pytest.MonkeyPatch, model: Deployment, said: Any) -> tuple[Any, list[str]]:
        asked: list[str] = []

        def run(api: Any, namespace: str, pod: str, container: str, name: str, *, limit: float) -> Any:
            asked.append(pod)
            if isinstance(said, Exception):
                raise said
            return said

        monkeypatch.setattr(probe, "run_script", run)
        return probe.known_settings(None, model), asked  # type: ignore[arg-type]

    def test_asks_main_for_all_of_its_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found, asked = self.ask(monkeypatch, MODEL, synapse_settings())
        assert (found, asked) == ({IMAGE: replace(SAID, asked=MAIN.name)}, [MAIN.name])

    def test_asks_another_where_main_is_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, asked = self.ask(monkeypatch, one(MAIN, up=False), synapse_settings())
        assert asked
        assert asked != [MAIN.name]

    def test_asks_nobody_where_none_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gone = replace(MODEL, synapse=tuple(replace(each, pod=None) for each in MODEL.synapse))
        assert self.ask(monkeypatch, gone, synapse_settings()) == ({}, [])

    def test_says_why_it_was_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found, _ = self.ask(monkeypatch, MODEL, ApiError(0, "no python3"))
        assert found[IMAGE].problem == "no python3"

    def test_an_image_may_hold_no_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found, _ = self.ask(monkeypatch, MODEL, {"version": "", "settings": [], "within": {}})
        assert found[IMAGE].problem == "its image holds no code of Synapse's configuration"
