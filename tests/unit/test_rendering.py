"""Environments and files by spec: what a container would have if it started now."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.secrets import SecretStore
from postflight.deployment.rendering import ANY, Spec, Unreadable, Variable
from tests.unit.worlds import Json, config_map, container, secrets, snapshot

HELD = secrets(app={"PASSWORD": "hunter2", "USER": "synapse"})
UNSEEN = secrets(unseen={"app": "no right: secrets is forbidden"})
MAP = config_map("config", LEVEL="info", homeserver__yaml="server_name: a.test\n", t__yaml="p: ${PASSWORD}\n")


def spec(held: SecretStore = HELD, **raw: Any) -> Spec:
    return Spec(snapshot(MAP), held, "matrix", "synapse-0", "10.0.0.1", raw)


def environment(held: SecretStore = HELD, **fields: Any) -> dict[str, Variable]:
    return spec(held).environment(container(**fields))


def env(name: str, **source: Any) -> Json:
    return {"name": name, **source}


def from_key(secret: str, key: str) -> Json:
    return {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def mount(name: str, at: str, **rest: str) -> Json:
    return {"name": name, "mountPath": at, **rest}


CONFIG = {"name": "v", "configMap": {"name": "config"}}
EMPTY = {"name": "v", "emptyDir": {}}
TEMPLATES = {"name": "t", "configMap": {"name": "config"}}


class TestEnvironment:
    def test_of_plain_values_keys_and_fields(self) -> None:
        found = environment(
            env=[
                env("A", value="x"),
                env("B", **from_key("app", "PASSWORD")),
                env("C", valueFrom={"configMapKeyRef": {"name": "config", "key": "LEVEL"}}),
                env("NAME", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
                env("IP", valueFrom={"fieldRef": {"fieldPath": "status.podIP"}}),
                env("NONE"),
            ]
        )
        assert {name: each.value for name, each in found.items()} == {
            "A": "x",
            "B": "hunter2",
            "C": "info",
            "NAME": "synapse-0",
            "IP": "10.0.0.1",
            "NONE": "",
        }
        assert found["B"].origin == "Secret app/PASSWORD"
        assert found["B"].secret == ("matrix", "app")
        assert found["C"].origin == "ConfigMap config/LEVEL"

    def test_whole_secrets_and_maps_come_first_with_their_prefix(self) -> None:
        found = environment(
            envFrom=[{"secretRef": {"name": "app"}, "prefix": "DB_"}, {"configMapRef": {"name": "config"}}],
            env=[env("DB_USER", value="other")],
        )
        assert (found["DB_PASSWORD"].value, found["DB_PASSWORD"].origin) == ("hunter2", "Secret app/PASSWORD")
        assert (found["DB_USER"].value, found["LEVEL"].value) == ("other", "info")

    def test_references_to_variables_before_are_followed(self) -> None:
        found = environment(
            env=[
                env("P", **from_key("app", "PASSWORD")),
                env("URL", value="postgres://u:$(P)@$(HOST)/d"),
                env("HOST", value="h"),
            ]
        )
        assert found["URL"].value == "postgres://u:hunter2@$(HOST)/d", "one that comes later is left as it stands"

    def test_an_escaped_reference_is_none(self) -> None:
        found = environment(env=[env("A", value="x"), env("B", value="$$(A)")])
        assert found["B"].value == "$(A)"

    def test_what_does_not_exist_is_empty(self) -> None:
        found = environment(envFrom=[{"secretRef": {"name": "gone"}}], env=[env("A", **from_key("gone", "x"))])
        assert found == {"A": Variable("", "Secret gone/x", ("matrix", "gone"))}

    def test_a_secret_that_could_not_be_read_says_so(self) -> None:
        found = environment(UNSEEN, envFrom=[{"secretRef": {"name": "app"}}], env=[env("A", **from_key("app", "x"))])
        assert found["A"].unreadable == found[ANY].unreadable == "no right: secrets is forbidden"


class TestMountedFiles:
    def test_of_a_config_map(self) -> None:
        one = container(volumeMounts=[mount("v", "/data")])
        assert spec(volumes=[CONFIG]).file(one, "/data/homeserver.yaml") == "server_name: a.test\n"

    def test_of_a_secret(self) -> None:
        one = container(volumeMounts=[mount("v", "/data/")])
        assert spec(volumes=[{"name": "v", "secret": {"secretName": "app"}}]).file(one, "/data/USER") == "synapse"

    def test_by_items_only_what_they_name_is_there(self) -> None:
        items = [{"key": "homeserver.yaml", "path": "conf.d/main.yaml"}]
        found = spec(volumes=[{"name": "v", "configMap": {"name": "config", "items": items}}])
        one = container(volumeMounts=[mount("v", "/data")])
        assert found.file(one, "/data/conf.d/main.yaml") == "server_name: a.test\n"
        assert found.file(one, "/data/homeserver.yaml") is None

    def test_of_a_projected_volume(self) -> None:
        sources = [
            {"secret": {"name": "app", "items": [{"key": "USER", "path": "user"}]}},
            {"configMap": {"name": "config"}},
        ]
        found = spec(volumes=[{"name": "v", "projected": {"sources": sources}}])
        one = container(volumeMounts=[mount("v", "/data")])
        assert (found.file(one, "/data/user"), found.file(one, "/data/LEVEL")) == ("synapse", "info")
        assert found.file(one, "/data/PASSWORD") is None

    def test_of_one_key_by_sub_path(self) -> None:
        one = container(volumeMounts=[mount("v", "/data/homeserver.yaml", subPath="homeserver.yaml")])
        assert spec(volumes=[CONFIG]).file(one, "/data/homeserver.yaml") == "server_name: a.test\n"

    def test_the_deepest_mount_counts(self) -> None:
        one = container(volumeMounts=[mount("v", "/data/conf"), mount("e", "/data")])
        found = spec(volumes=[CONFIG, {"name": "e", "emptyDir": {}}])
        assert found.file(one, "/data/conf/LEVEL") == "info"
        assert found.file(one, "/data/LEVEL") is None
        assert found.file(one, "/database/LEVEL") is None

    @pytest.mark.parametrize(
        "volume", [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}, EMPTY, {"name": "other"}]
    )
    def test_what_the_spec_does_not_tell_is_not_known(self, volume: Json) -> None:
        assert spec(volumes=[volume]).file(container(volumeMounts=[mount("v", "/data")]), "/data/LEVEL") is None


def rendered(script: str, held: SecretStore = HELD, path: str = "/config/out.yaml", **trace: Any) -> str | None:
    """What an init container makes by ``script`` of the templates for the container beside it."""
    maker = container(
        "render",
        command=["sh", "-c"],
        args=[script],
        volumeMounts=[mount("t", "/templates"), mount("v", "/made")],
        envFrom=[{"secretRef": {"name": "app"}}],
        env=[env("FILE", value="t.yaml")],
    )
    found = spec(held, volumes=[EMPTY, TEMPLATES], initContainers=[maker])
    return found.file(container(volumeMounts=[mount("v", "/config")]), path, **trace)


class TestFilesThatAnInitContainerMakes:
    @pytest.mark.parametrize(
        "script",
        [
            "envsubst < /templates/t.yaml > /made/out.yaml",
            "envsubst '$PASSWORD' </templates/t.yaml >/made/out.yaml && echo done",
            'set -e; envsubst < "/templates/t.yaml" > "/made/out.yaml"; ls',
            'envsubst < "/templates/$FILE" > /made/out.yaml',
            "cp /templates/LEVEL /made/x; envsubst < /templates/${FILE} > /made/out.yaml\n",
        ],
    )
    def test_by_envsubst(self, script: str) -> None:
        assert rendered(script) == "p: hunter2\n"

    @pytest.mark.parametrize(
        ("script", "path"),
        [
            ("cp /templates/LEVEL /made/out.yaml", "/config/out.yaml"),
            ("cp -f -v /templates/LEVEL /made/", "/config/LEVEL"),
            ("cp /templates/LEVEL /made", "/config/LEVEL"),
        ],
    )
    def test_by_cp(self, script: str, path: str) -> None:
        assert rendered(script, path=path) == "info"

    def test_a_file_copied_into_a_folder_keeps_its_name(self) -> None:
        assert rendered("cp /templates/LEVEL /made/", path="/config/homeserver.yaml") is None

    def test_another_file_is_not_known(self) -> None:
        assert rendered("envsubst < /templates/t.yaml > /made/other.yaml") is None
        assert rendered("python render.py") is None

    @pytest.mark.parametrize(
        ("listed", "made"),
        [("$PASSWORD", "p: hunter2\n"), ("${USER} ${PASSWORD}", "p: hunter2\n"), ("$USER", "p: ${PASSWORD}\n")],
    )
    def test_by_envsubst_with_a_list_of_what_is_put_in(self, listed: str, made: str) -> None:
        assert rendered(f"envsubst '{listed}' < /templates/t.yaml > /made/out.yaml") == made

    def test_a_variable_that_is_not_set_is_empty_as_envsubst_has_it(self) -> None:
        assert rendered("envsubst < /templates/t.yaml > /made/out.yaml", secrets(app={})) == "p: \n"

    def test_an_unreadable_secret_is_no_empty_value(self) -> None:
        with pytest.raises(Unreadable, match="secrets is forbidden"):
            rendered("envsubst < /templates/t.yaml > /made/out.yaml", UNSEEN)

    def test_values_can_be_traced_to_their_variables(self) -> None:
        text = rendered("envsubst < /templates/t.yaml > /made/out.yaml", environment=lambda name: f"from {name}")
        assert text == "p: from PASSWORD\n"

    def test_a_chain_of_init_containers_is_followed(self) -> None:
        first = container(
            "first",
            args=["envsubst < /templates/t.yaml > /mid/m.yaml"],
            volumeMounts=[mount("t", "/templates"), mount("m", "/mid")],
            envFrom=[{"secretRef": {"name": "app"}}],
        )
        second = container(
            "second", args=["cp /mid/m.yaml /made/out.yaml"], volumeMounts=[mount("m", "/mid"), mount("v", "/made")]
        )
        found = spec(volumes=[EMPTY, TEMPLATES, {"name": "m", "emptyDir": {}}], initContainers=[first, second])
        assert found.file(container(volumeMounts=[mount("v", "/config")]), "/config/out.yaml") == "p: hunter2\n"

    def test_one_that_copies_in_a_circle_ends(self) -> None:
        assert rendered("cp /made/out.yaml /made/out.yaml") is None
