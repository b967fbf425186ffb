"""Where placeholders stand, and what must be equal or must not, by the model."""

from __future__ import annotations

import pytest

from postflight.cluster.files import Files
from postflight.deployment.agreements import value_of
from postflight.deployment.placeholders import MARK, Placeholder, spelled
from tests.unit import recorded
from tests.unit.worlds import NAMESPACE, config_map, container, deployment, pod, secrets, snapshot

OTHER = "xZ3kQ9pL"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("CHANGEME", "CHANGEME"),
        ("changeme123", "CHANGEME"),
        ("CHANGEME_SECURE_PASSWORD", "CHANGEME"),
        ("change-me", "CHANGE_ME"),
        ("CHANGE_ME_NOW", "CHANGE_ME"),
        ("CHANGE_TO_A_LONG_VALUE", "CHANGE_TO_"),
        ("DB_PASSWORD_FROM_SECRET", "_FROM_SECRET"),
        ("TOKEN_PLACEHOLDER", "PLACEHOLDER"),
        ("https://matrix.example.com/x", "example.com"),
        ("admin@example.com", "example.com"),
    ],
)
def test_every_spelling_is_known(text: str, word: str) -> None:
    assert spelled(f"key: {text}") == word


@pytest.mark.parametrize(
    "text",
    [
        *(
            "change_membership",
            "exchange_media",
            "example.common",
            "wan.example",
            "myexample.com",
        ),
        *("example.com.br", "placeholder: x", "${DB_PASSWORD}", "from_secret", ""),
    ],
)
def test_ordinary_words_are_none(text: str) -> None:
    assert not MARK.search(text)


def found(*containers: object, held: dict[str, dict[str, str]] | None = None, **files: str) -> list[Placeholder]:
    maps = [config_map("settings", app__yaml="host: matrix.example.com\n# changeme\n", app__py="CHANGEME")]
    world = snapshot(pod("one", *containers, volumes=VOLUMES), *maps)  # type: ignore[arg-type]
    read = Files({(NAMESPACE, "one", "main"): {key: text.encode() for key, text in files.items()}}, {})
    return list(deployment(world, secrets(**(held or {})), read).placeholders.found)


VOLUMES = [{"name": "settings", "configMap": {"name": "settings"}}]
PLAIN = container()


def test_a_secret_is_told_by_its_key_and_never_by_its_value() -> None:
    (one,) = found(PLAIN, held={"app": {"password": "CHANGEME_SECURE_PASSWORD", "other": OTHER}})
    assert one == Placeholder("secret/matrix/app", "Secret app/password", "CHANGEME")
    assert "SECURE" not in repr(one)


def test_each_secret_is_a_find_of_its_own() -> None:
    held = {"app": {"password": "CHANGEME", "token": "CHANGEME"}, "other": {"password": "CHANGEME"}}
    assert len(found(PLAIN, held=held)) == 3


def test_what_a_secret_is_made_into_is_the_same_find() -> None:
    files = {"/proc/1/environ": "A=1\0PASSWORD=CHANGEME_NOW\0", "/config/app.yaml": "password: 'CHANGEME_NOW'\n"}
    (one,) = found(PLAIN, held={"app": {"password": "CHANGEME_NOW"}}, **files)
    assert (one.where, one.pods) == ("Secret app/password", ("one",))


def test_what_runs_on_after_the_secret_was_mended_is_found_in_the_pod() -> None:
    (one,) = found(PLAIN, held={"app": {"password": OTHER}}, **{"/proc/1/environ": "A=1\0PASSWORD=CHANGEME_NOW\0"})
    assert (one.where, one.subject) == ("PASSWORD in the environment of one", "pod/matrix/one")


def test_a_variable_in_the_spec() -> None:
    (one,) = found(container(env=[{"name": "PASSWORD", "value": "CHANGE_ME"}]))
    assert one.where == "PASSWORD in the spec of one"


def test_a_mounted_configmap_without_comments_and_programs() -> None:
    (one,) = found(container(volumeMounts=[{"name": "settings", "mountPath": "/etc/app"}]))
    assert (one.where, one.spelling) == ("ConfigMap settings/app.yaml", "example.com")


def test_a_template_that_only_an_init_container_has_is_no_find() -> None:
    assert found(PLAIN) == []


def test_the_recorded_lab_has_none() -> None:
    held = recorded.model().placeholders
    assert (held.found, held.unread) == ((), ())
    assert "secret/matrix/synapse-secrets" in held.looked


def test_pods_that_could_not_be_read_are_named() -> None:
    lab = recorded.healthy()
    model = lab.deployment(Files({}, {(NAMESPACE, "synapse-main-0", "synapse"): "no right"}))
    assert model.placeholders.unread == ("pod/matrix/synapse-main-0",)


@pytest.mark.parametrize(
    ("setting", "value"), [("a.b", "x"), ("a", ""), ("c", "1"), ("d", ""), ("e", ""), ("a.b.c", ""), ("z", "")]
)
def test_a_setting_by_its_dotted_name(setting: str, value: str) -> None:
    assert value_of({"a": {"b": "x"}, "c": 1, "d": None, "e": "${SECRET}"}, setting) == value
