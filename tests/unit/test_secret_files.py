"""Configurations of several files, and secrets that stand in files of their own."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster import sensitive
from postflight.cluster.files import Files
from postflight.deployment.model import Deployment
from postflight.deployment.secret_files import filled, password_in
from tests.unit.worlds import NAMESPACE, Json, config_map, container, deployment, pod, secrets, snapshot

COMMAND = [
    *("python", "-m", "synapse.app.homeserver", "-c", "/config/homeserver.yaml"),
    *("--config-path", "/conf.d", "--config-path=/config/last.yaml"),
]
WHOLE = "server_name: a.test\nredis: {enabled: false}\ndatabase: {name: sqlite3}\n"
DATABASE = "database: {name: psycopg2, args: {host: db, user: synapse, dbname: matrix, passfile: /config/pgpass}}\n"
REDIS = "redis: {enabled: true, host: cache, password_path: /secrets/REDIS}\n"
OTHERS = "turn_uris: [turn:t.test]\nturn_shared_secret_path: /secrets/TURN\n"
LAST = "registration_shared_secret_path: /secrets/REGISTRATION\n"
PASSFILE = "other:*:*:synapse:no\n*:*:*:synapse:{}\n"
HELD = {"DB": "hunter2", "REDIS": "of-redis\n", "TURN": "of-turn", "REGISTRATION": "of-registration"}
RENDER = """envsubst < /templates/pgpass > /config/pgpass
cp /templates/homeserver.yaml /config/homeserver.yaml
cp /templates/last.yaml /config/last.yaml"""


def mount(name: str, at: str) -> Json:
    return {"name": name, "mountPath": at}


def world() -> Json:
    """A pod that keeps its configuration in three places, and each secret in a file."""
    source = {"secretKeyRef": {"name": "app", "key": "DB"}}
    init = {
        **container("render", command=["sh", "-c", RENDER], env=[{"name": "DB", "valueFrom": source}]),
        "volumeMounts": [mount("templates", "/templates"), mount("config", "/config")],
    }
    main = container(command=COMMAND)
    main["volumeMounts"] = [mount("config", "/config"), mount("conf-d", "/conf.d"), mount("secrets", "/secrets")]
    volumes = [
        {"name": "templates", "configMap": {"name": "templates"}},
        {"name": "config", "emptyDir": {}},
        {"name": "conf-d", "configMap": {"name": "conf-d"}},
        {"name": "secrets", "secret": {"secretName": "app"}},
    ]
    return pod("hs", main, initContainers=[init], volumes=volumes)


TEMPLATES = config_map("templates", homeserver__yaml=WHOLE, last__yaml=LAST, pgpass=PASSFILE.format("${DB}"))
CONF_D = {"30-others.yaml": OTHERS, "10-database.yaml": DATABASE, "20-redis.yaml": REDIS, "README": "redis: {}"}
FOLDER = {"kind": "ConfigMap", "metadata": {"name": "conf-d", "namespace": NAMESPACE}, "data": CONF_D}


def in_pod(**others: str) -> Files:
    texts = {"/config/homeserver.yaml": WHOLE, "/conf.d": "", "/config/last.yaml": LAST, "/proc/1/environ": ""}
    texts |= {f"/conf.d/{name}": text for name, text in CONF_D.items() if name.endswith(".yaml")}
    texts |= {"/config/pgpass": PASSFILE.format("hunter2")} | {
        f"/secrets/{key}": value for key, value in others.items()
    }
    return Files({(NAMESPACE, "hs", "main"): {path: text.encode() for path, text in texts.items()}}, {})


def model(files: Files | None = None, **held: str) -> Deployment:
    given = (files,) if files else ()
    return deployment(snapshot(world(), TEMPLATES, FOLDER), secrets(app=HELD | held), *given)


def in_effect(found: Deployment) -> tuple[Any, ...]:
    (process,) = found.synapse
    (use,) = found.database_uses
    (address,) = found.redis_endpoints
    config = process.config or {}
    return (
        use.login.password.reveal(),
        address.password and address.password.reveal(),
        config["turn_shared_secret"],
        config["registration_shared_secret"],
    )


SECRETS = ("hunter2", "of-redis", "of-turn", "of-registration")


def test_in_the_pod_later_files_win_and_each_secret_is_read_where_it_stands() -> None:
    found = model(in_pod(REDIS="of-redis\n", TURN="of-turn", REGISTRATION="of-registration"))
    assert in_effect(found) == SECRETS
    (use,) = found.database_uses
    assert (use.origin, use.derived, use.next_login == use.login) == ("Secret app/DB", False, True)
    assert found.synapse[0].next_config is None


def test_by_the_spec_it_comes_to_the_same() -> None:
    found = model()
    assert in_effect(found) == SECRETS
    assert (found.synapse[0].derived, found.synapse[0].config_problem) == (True, "")


def test_what_is_in_effect_and_what_a_restart_would_take_are_two_values() -> None:
    found = model(in_pod(REDIS="of-redis", TURN="of-turn", REGISTRATION="of-registration"), DB="hunter3")
    (use,) = found.database_uses
    assert use.next_login
    assert (use.login.password.reveal(), use.next_login.password.reveal()) == ("hunter2", "hunter3")
    assert found.synapse[0].next_config


def test_a_file_that_was_not_read_in_the_pod_is_as_the_spec_has_it() -> None:
    assert in_effect(model(in_pod())) == SECRETS


def test_where_it_is_not_to_be_had_nothing_is_made_up() -> None:
    config = {
        "redis": {"password_path": "/gone"},
        "database": {"args": {"passfile": "/gone"}},
        "databases": {"a": None},
    }
    assert filled(config, lambda path: None) == config
    assert filled(None, lambda path: "x") is None
    kept = {"turn_shared_secret": "mine", "turn_shared_secret_path": "/other"}
    assert filled(kept, lambda path: "other") == kept
    several = filled(
        {"databases": {"a": {"args": {"passfile": "/p", "user": "u", "host": "h"}}}}, lambda path: "*:*:u:u:x"
    )
    assert several
    assert several["databases"]["a"]["args"]["password"] == "x"


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("db:5432:matrix:synapse:a", "a"),
        ("# *:*:*:*:c\nother:*:*:*:b\n*:*:*:*:a\n", "a"),
        (r"db:*:*:synapse:a\:b\\c", r"a:b\c"),
        ("db:5433:*:synapse:a", ""),
        ("db:5432:matrix", ""),
        ("", ""),
    ],
)
def test_libpq_takes_the_first_line_that_fits(text: str, password: str) -> None:
    assert password_in(text, "db", "5432", "matrix", "synapse") == password


def test_what_such_a_file_holds_is_hidden_everywhere() -> None:
    found = set(sensitive.of_secret_file("/p", b"*:*:*:synapse:hunter2hunter2\n"))
    assert {"hunter2hunter2", "*:*:*:synapse:hunter2hunter2"} <= found
    assert "alone-in-its-file" in set(sensitive.of_secret_file("/p", b"alone-in-its-file\n"))
