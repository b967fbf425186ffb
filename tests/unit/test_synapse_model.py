"""Synapse processes: which they are, and the configuration that each has in effect."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from postflight.cluster.files import ENVIRONMENT, Files
from postflight.cluster.kinds import JOB, STATEFUL_SET
from postflight.deployment import synapse
from postflight.deployment.build import survey
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.settings import Settings
from tests.unit import recorded
from tests.unit.recorded import Json
from tests.unit.worlds import NO_SECRETS, config_map, container, deployment, files, pod, secrets, snapshot, thing

IMAGE = "matrixdotorg/synapse:v1.163.2"
MAIN = "server_name: a.test\n"
WORKER = "worker_app: synapse.app.generic_worker\nworker_name: worker1\n"


def paths(**fields: Any) -> tuple[str, ...]:
    """Where a container's configuration is, by its command line and environment."""
    world = snapshot(pod("one", container(image=IMAGE, **fields)))
    (found,) = survey(world, NO_SECRETS, Settings()).synapse
    return found.paths


MODULE = ["python", "-m", "synapse.app.generic_worker"]
BOTH = ("/a/homeserver.yaml", "/a/worker.yaml")


class TestWhereTheConfigurationIs:
    @pytest.mark.parametrize(
        "fields",
        [
            {"command": [*MODULE, "--config-path", BOTH[0], "--config-path", BOTH[1]]},
            {"command": [*MODULE, f"--config-path={BOTH[0]}", f"--config-path={BOTH[1]}"]},
            {"command": [*MODULE, "-c", BOTH[0], "-c", BOTH[1]]},
            {"command": MODULE, "args": ["--config-path", BOTH[0], "-c", BOTH[1]]},
            {"args": ["run", "-m", "synapse.app.generic_worker", f"--config-path={BOTH[0]}", "-c", BOTH[1]]},
            {"command": ["sh", "-c", f"exec {' '.join(MODULE)} --config-path {BOTH[0]} -c {BOTH[1]}"]},
            {"command": ["/bin/bash", "-c"], "args": [f"sleep 1; {' '.join(MODULE)} -c {BOTH[0]} -c {BOTH[1]}; echo"]},
            {"command": ["sh", "-e", "-c", f"exec {' '.join(MODULE)} -c {BOTH[0]} -c {BOTH[1]}"]},
            {"command": ["bash", "-eu", "-o", "pipefail", "-c", f"{' '.join(MODULE)} -c {BOTH[0]} -c {BOTH[1]}"]},
            {"command": ["sh", "-ec", f"set -x\n{' '.join(MODULE)} -c '{BOTH[0]}' --config-path={BOTH[1]};\n"]},
            {"command": ["sh", "-ec", f"python3.11 -c 'import os'\n{' '.join(MODULE)} -c {BOTH[0]} -c {BOTH[1]}"]},
            {
                "command": [
                    "sh",
                    "-c",
                    f"{' '.join([*MODULE, '-c', BOTH[0]])}; {' '.join(MODULE)} -c {BOTH[0]} -c {BOTH[1]}",
                ]
            },
        ],
    )
    def test_the_command_line_says_in_every_spelling(self, fields: dict[str, Any]) -> None:
        assert paths(**fields) == BOTH

    @pytest.mark.parametrize(
        ("environment", "path"),
        [
            ({}, "/data/homeserver.yaml"),
            ({"SYNAPSE_CONFIG_DIR": "/conf/"}, "/conf/homeserver.yaml"),
            ({"SYNAPSE_CONFIG_DIR": "/conf", "SYNAPSE_CONFIG_PATH": "/b/h.yaml"}, "/b/h.yaml"),
        ],
    )
    def test_else_the_image_says(self, environment: dict[str, str], path: str) -> None:
        assert paths(env=[{"name": name, "value": value} for name, value in environment.items()]) == (path,)


class TestWhatIsSynapse:
    @pytest.mark.parametrize(
        "fields",
        [
            {"image": IMAGE},
            {"image": "registry.test/mirror/synapse@sha256:00"},
            {"image": "element-hq/synapse"},
            {"image": "registry.test/matrix-synapse:1"},
            {"image": "registry.test/corp-synapse-worker:1"},
            {"image": "registry.test/own:1", "command": ["python3", "-m", "synapse.app.homeserver"]},
            {"image": "registry.test/own:1", "command": ["sh", "-c", "exec python -m synapse.app.generic_worker"]},
            {"image": IMAGE, "args": ["run"]},
            {"image": IMAGE, "command": ["/start.py"]},
        ],
    )
    def test_is_told_by_its_command_then_by_its_image(self, fields: dict[str, Any]) -> None:
        assert synapse.is_synapse(container(**fields))

    @pytest.mark.parametrize(
        "fields",
        [
            {"image": "registry.test/synapse-admin:1"},
            {"image": "registry.test/synapse-s3-storage-provider:1"},
            {"image": IMAGE, "command": ["python", "/app/key_vault.py"]},
            {"image": "nginx:1", "args": ["synapse"]},
        ],
    )
    def test_what_only_has_its_name_is_not(self, fields: dict[str, Any]) -> None:
        assert not synapse.is_synapse(container(**fields))

    @pytest.mark.parametrize("command", [[*MODULE], ["python", "-m", "synapse.app.admin_cmd"], ["/start.py"]])
    def test_a_pod_of_a_job_is_no_process_of_the_homeserver(self, command: list[str]) -> None:
        one = pod("export-x", container(image=IMAGE, command=command))
        one["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "export", "controller": True}]
        world = snapshot(one, thing(JOB, "export", spec={"template": {"spec": one["spec"]}}))
        assert survey(world, NO_SECRETS, Settings()).synapse == ()

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_nor_is_a_pod_that_ended_or_an_administrators_command(self, phase: str) -> None:
        ended = pod("ended", container(image=IMAGE))
        ended["status"]["phase"] = phase
        command = pod("command", container(command=["python", "-m", "synapse.app.admin_cmd", "-c", "/c/hs.yaml"]))
        assert survey(snapshot(ended, command), NO_SECRETS, Settings()).synapse == ()

    def test_the_settings_may_say_which_container(self) -> None:
        odd: dict[str, Any] = {"image": "registry.test/odd:1", "command": ["/run"]}
        both = {"containers": [container("istio-proxy", image="istio/proxyv2:1"), container("app", **odd)]}
        world = snapshot(thing(STATEFUL_SET, "hs", spec={"template": {"spec": both}}))
        named = Settings(names=dataclasses.replace(Settings().names, synapse=named_workload("hs/app")))
        assert [each.name for each in survey(world, NO_SECRETS, named).synapse] == ["app"]

    def test_the_settings_may_say_it(self) -> None:
        odd: dict[str, Any] = {"image": "registry.test/odd:1", "command": ["/run"]}
        world = snapshot(thing(STATEFUL_SET, "hs", spec={"template": {"spec": {"containers": [container(**odd)]}}}))
        assert not survey(world, NO_SECRETS, Settings()).synapse
        named = Settings(names=dataclasses.replace(Settings().names, synapse=named_workload("hs")))
        assert [each.workload.name for each in survey(world, NO_SECRETS, named).synapse] == ["hs"]


def named_workload(name: str) -> Any:
    return dataclasses.replace(Settings().names.synapse, workloads=(name,))


def process(*texts: str, command: str = "synapse.app.homeserver") -> SynapseProcess:
    """One process with these configuration files."""
    names = [f"/c/{number}.yaml" for number in range(len(texts))]
    words = ["python", "-m", command, *(f"--config-path={name}" for name in names)]
    world = snapshot(pod("one", container(command=words)))
    read = files(**dict(zip(names, texts, strict=True)))
    (found,) = deployment(world, read=read).synapse
    return found


class TestMerged:
    def test_later_top_level_keys_replace_earlier_ones_whole(self) -> None:
        found = process("a: {x: 1, y: 2}\nb: 1\n", "a: {x: 3}\n", WORKER)
        assert found.config == {"a": {"x": 3}, "b": 1, **yaml.safe_load(WORKER)}

    def test_a_file_of_comments_changes_nothing(self) -> None:
        assert process(MAIN, "# nothing yet\n").config == {"server_name": "a.test"}

    @pytest.mark.parametrize(("text", "problem"), [("", "empty"), ("{", "not YAML: "), ("- a\n", "not a mapping")])
    def test_what_is_no_configuration_is_none_with_the_reason(self, text: str, problem: str) -> None:
        found = process(text)
        assert found.config is None
        assert found.config_problem.startswith(problem)
        assert "\n" not in found.config_problem

    def test_a_folder_is_merged_file_by_file(self) -> None:
        command = [*MODULE, "-c", "/c/hs.yaml", "-c", "/c/conf.d/"]
        world = snapshot(pod("one", container(image=IMAGE, command=command)))
        later = {"/c/conf.d/20-b.yaml": "a: 2\n", "/c/conf.d/10-a.yaml": "a: 1\nb: 1\n"}
        read = {"/c/hs.yaml": MAIN + "a: 0\n", "/c/conf.d/": "", **later, "/c/conf.d.yaml": "a: 9\n"}
        (found,) = deployment(world, read=files(**read)).synapse
        assert found.config == {"server_name": "a.test", "a": 2, "b": 1}

    def test_a_folder_that_could_not_be_read_is_not_taken_as_empty(self) -> None:
        command = [*MODULE, "-c", "/c/hs.yaml", "-c", "/c/conf.d/"]
        world = snapshot(pod("one", container(image=IMAGE, command=command)))
        (found,) = deployment(world, read=files(**{"/c/hs.yaml": MAIN})).synapse
        assert (found.config, found.derived) == (None, True)

    def test_a_path_that_is_not_there_is_taken_from_the_spec(self) -> None:
        world = snapshot(
            pod(
                "one",
                container(image=IMAGE, volumeMounts=[{"name": "v", "mountPath": "/data"}]),
                volumes=[{"name": "v", "configMap": {"name": "conf"}}],
            ),
            config_map("conf", homeserver__yaml=MAIN),
        )
        (found,) = deployment(world, read=files(**{ENVIRONMENT: "A=b"})).synapse
        assert (found.server_name, found.derived) == ("a.test", True)


class TestWhichItIs:
    def test_main_is_called_master(self) -> None:
        found = process(MAIN)
        assert (found.is_main, found.instance, found.app) == (True, "master", "synapse.app.homeserver")

    def test_a_worker_is_called_by_its_name(self) -> None:
        found = process(MAIN, WORKER, command="synapse.app.generic_worker")
        assert (found.is_main, found.instance, found.server_name) == (False, "worker1", "a.test")

    def test_the_configuration_counts_before_the_command(self) -> None:
        found = process(MAIN, "worker_app: synapse.app.media_repository\nworker_name: m\n", command="synapse.app.x")
        assert found.app == "synapse.app.media_repository"

    def test_a_worker_whose_configuration_is_not_known_is_no_main(self) -> None:
        found = process("{", command="synapse.app.generic_worker")
        assert (found.is_main, found.instance) == (False, "one")

    def test_a_workload_without_pods_is_a_process_that_does_not_run(self) -> None:
        template = {"spec": {"containers": [container(image=IMAGE)]}}
        world = snapshot(thing(STATEFUL_SET, "hs", spec={"replicas": 0, "template": template}))
        (found,) = deployment(world).synapse
        assert (found.id, found.pod, found.config) == ("statefulset/matrix/hs", None, None)
        assert found.config_problem == "/data/homeserver.yaml is not to be had from the pod's spec"


class TestTheLab:
    def test_every_process_is_known_by_the_name_that_others_call_it(self) -> None:
        main, *_ = [each for each in recorded.model().synapse if each.is_main]
        assert main.config
        names = {each.instance for each in recorded.model().synapse}
        called = [*main.config["instance_map"], *main.config["federation_sender_instances"]]
        called += [name for writers in main.config["stream_writers"].values() for name in writers]
        assert len(names) == len(recorded.model().synapse) == 15
        assert set(called) - {"main"} <= names
        assert main.config["media_instance_running_background_jobs"] in names

    def test_what_is_derived_equals_what_was_read(self) -> None:
        """The rendering by spec is as good as the file, for every process."""
        read = {each.id: each.config for each in recorded.model().synapse}
        derived = recorded.healthy().deployment(files=Files({}, {})).synapse
        assert {each.id: each.config for each in derived} == read
        assert all(each.derived for each in derived)
        assert not any(each.derived for each in recorded.model().synapse)

    def test_a_pod_that_cannot_be_asked_says_why(self) -> None:
        key = ("matrix", "synapse-main-0", "synapse")
        model = recorded.healthy().deployment(files=Files({}, {key: "no right: pods/exec is forbidden"}))
        main = next(each for each in model.synapse if each.is_main)
        assert main.config_problem == "read from the spec only: no right: pods/exec is forbidden"
        assert model.notes == ("no right: pods/exec is forbidden",)

    def test_other_names_and_labels_make_no_other_model(self) -> None:
        pairs = (
            ("matrix-postgresql", "pg-one"),
            ("synapse", "homeserver-x"),
            ("homeserver-x.app", "synapse.app"),
            ("matrixdotorg/homeserver-x", "matrixdotorg/synapse"),
            ("haproxy", "front"),
            ('"front", "-W"', '"haproxy", "-W"'),
            ("key-vault", "escrow"),
            ("redis-", "cache-"),
            ('"name": "redis"', '"name": "cache"'),
            ('service-name": "redis"', 'service-name": "cache"'),
            ("redis.matrix", "cache.matrix"),
            ("app.kubernetes.io/", "corp.test/"),
            ("matrix.instance", "corp.instance"),
            ("matrix.svc", "chat.svc"),
            ('"namespace": "matrix"', '"namespace": "chat"'),
            ('"matrix"\n ],', '"chat"\n ],'),
            ('"namespaces": ["matrix"]', '"namespaces": ["chat"]'),
        )
        ours, theirs = recorded.model(), recorded.renamed(*pairs).deployment()
        assert shape(theirs) == shape(ours)
        assert not {each.name for each in theirs.workloads} & {each.name for each in ours.workloads}
        assert {each.namespace for each in theirs.synapse} == {"chat"}


def shape(model: Any) -> dict[str, Any]:
    """The model without its names."""
    return {
        "synapse": sorted((each.app, each.is_main, each.derived, bool(each.config)) for each in model.synapse),
        "uses": sorted(
            (each.login.database, each.login == each.next_login, each.pool or 0, each.origin.partition(" ")[0])
            for each in model.database_uses
        ),
        "postgres": [
            (each.operator, len(each.pods), each.primary is not None, len(each.endpoints), each.missing)
            for each in model.postgres
        ],
        "redis": [(each.expected, len(each.nodes), len(each.sentinels), each.missing) for each in model.redis],
        "passwords": [node.password is not None for group in model.redis for node in group.nodes],
        "addresses": [
            (len(each.users), len(each.endpoint.pods), bool(each.group), each.endpoint.problem)
            for each in model.redis_endpoints
        ],
        "depends": sorted(len(beneath) for beneath in model.depends.values()),
        "notes": len(model.notes),
    }


words = st.sampled_from(
    ["args", "name", "host", "port", "user", "password", "dbname", "cp_max", "enabled", "keepalives_idle", "master"]
)
scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "${X}", "a", "10"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=4))
keys = st.sampled_from(["server_name", "database", "databases", "redis", "worker_app", "worker_name", "listeners"])
psycopg = st.fixed_dictionaries({"name": st.just("psycopg2"), "args": values})


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, values | psycopg, max_size=5))
def test_whatever_a_configuration_says_the_model_is_built(config: Json) -> None:
    assert process(yaml.safe_dump(config)).id == "pod/matrix/one"


def test_the_registration_secret_may_stand_in_a_file_of_its_own() -> None:
    mounted = [{"name": "s", "mountPath": "/s"}]
    volumes = [{"name": "s", "secret": {"secretName": "registration"}}]
    one = pod("one", container(image=IMAGE, volumeMounts=mounted), volumes=volumes)
    read = Files(
        {
            ("matrix", "one", "main"): {
                "/data/homeserver.yaml": f"{MAIN}\nregistration_shared_secret_path: /s/key\n".encode()
            }
        },
        {},
    )
    (found,) = deployment(snapshot(one), secrets(registration={"key": "s3cret\n"}), read).synapse
    assert (found.config or {})["registration_shared_secret"] == "s3cret"
    (found,) = deployment(snapshot(one), read=read).synapse
    assert "registration_shared_secret" not in (found.config or {})


class TestTheNextStart:
    def world(self, running: str) -> SynapseProcess:
        """A process whose file comes from a ConfigMap, and what was read of it in the pod."""
        mounted = [{"name": "c", "mountPath": "/data"}]
        one = pod(
            "one", container(image=IMAGE, volumeMounts=mounted), volumes=[{"name": "c", "configMap": {"name": "hs"}}]
        )
        world = snapshot(one, config_map("hs", homeserver__yaml=MAIN))
        (found,) = deployment(world, read=files(**{"/data/homeserver.yaml": running})).synapse
        return found

    def test_is_on_what_the_spec_says_today(self) -> None:
        found = self.world("server_name: b.test\n")
        assert (found.server_name, found.next_config) == ("b.test", {"server_name": "a.test"})

    def test_changes_nothing_where_it_says_the_same(self) -> None:
        assert self.world(f"# the same\n{MAIN}").next_config is None
        assert all(each.next_config is None for each in recorded.model().synapse)

    def test_is_not_known_of_one_that_is_derived(self) -> None:
        assert all(each.next_config is None for each in recorded.healthy().deployment(files=Files({}, {})).synapse)


def test_each_namespace_has_the_homeserver_of_its_users() -> None:
    assert set(recorded.model().homeservers.values()) == {recorded.model().synapse[0].server_name}
    read = {"/data/homeserver.yaml": MAIN.encode()}
    world = deployment(snapshot(pod("one", container(image=IMAGE))), read=Files({("matrix", "one", "main"): read}, {}))
    assert list(world.homeservers) == ["matrix"]
    assert deployment(snapshot(pod("one", container(image=IMAGE)))).homeservers == {}


class TestWithoutMain:
    def world(self, *mains: Json) -> Deployment:
        worker = pod("wk-0", container(command=[*MODULE, "-c", "/c/hs.yaml"]))
        read = {"/c/hs.yaml": (MAIN + WORKER).encode()}
        content = {
            ("matrix", "wk-0", "main"): read,
            ("matrix", "one", "main"): {"/data/homeserver.yaml": MAIN.encode()},
        }
        return deployment(snapshot(worker, *mains), read=Files(content, {}))

    def test_a_worker_whose_main_is_not_seen_is_said_to_be_so(self) -> None:
        assert [each.id for each in self.world().without_main] == ["pod/matrix/wk-0"]
        other = pod("one", container(image="registry.test/odd:1"))
        assert [each.id for each in self.world(other).without_main] == ["pod/matrix/wk-0"]

    def test_with_its_main_it_is_not(self) -> None:
        assert self.world(pod("one", container(image=IMAGE))).without_main == ()
        assert self.world(pod("unread", container(image=IMAGE))).without_main == ()
        assert recorded.model().without_main == ()
