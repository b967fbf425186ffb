"""Who logs in to which PostgreSQL: every spelling of a login, and the server that it leads to."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from postflight.cluster.files import ENVIRONMENT
from postflight.cluster.kinds import CRON_JOB, DEPLOYMENT
from postflight.deployment.clients import parse_environment
from postflight.deployment.logins import logins_of, unclear_of
from postflight.deployment.parts import DatabaseUse, Login
from postflight.secrets import Secret
from tests.unit import recorded
from tests.unit.worlds import (
    Json,
    container,
    deployment,
    files,
    pod,
    secrets,
    snapshot,
    thing,
)

HOST = "pg-rw"


def login(password: str = "hunter2", host: str = HOST, port: int = 5432, database: str = "d", user: str = "u") -> Login:
    return Login(host, port, database, user, Secret(password))


class TestLoginsOfAnEnvironment:
    @pytest.mark.parametrize(
        ("prefix", "names"),
        [
            ("DB_", ("HOST", "USER", "PASSWORD", "NAME")),
            ("DB_", ("HOST", "USERNAME", "PASS", "DATABASE")),
            ("DB_", ("HOST", "USER", "PASSWD", "NAME")),
            ("PG", ("HOST", "USER", "PASSWORD", "DATABASE")),
            ("POSTGRES_", ("HOST", "USER", "PASSWORD", "DB")),
            ("POSTGRESQL_", ("HOST", "USERNAME", "PASSWORD", "DATABASE")),
            ("DATABASE_", ("HOST", "USER", "PASSWORD", "NAME")),
            ("MAIN_DB_", ("HOST", "USER", "PASSWORD", "NAME")),
            ("LI_POSTGRES_", ("HOST", "USER", "PASSWORD", "DBNAME")),
        ],
    )
    def test_by_variables_of_one_prefix(self, prefix: str, names: tuple[str, ...]) -> None:
        environment = dict(zip((prefix + name for name in names), (HOST, "u", "hunter2", "d"), strict=True))
        assert list(logins_of(environment)) == [(prefix + names[2], login())]

    def test_several_prefixes_are_several_logins(self) -> None:
        environment = {
            f"{prefix}{name}": f"{prefix}{value}"
            for prefix in ("MAIN_DB_", "LI_DB_")
            for name, value in (("HOST", "h"), ("USER", "u"), ("PASSWORD", "p"), ("NAME", "d"))
        }
        assert dict(logins_of(environment)) == {
            "MAIN_DB_PASSWORD": login("MAIN_DB_p", "MAIN_DB_h", 5432, "MAIN_DB_d", "MAIN_DB_u"),
            "LI_DB_PASSWORD": login("LI_DB_p", "LI_DB_h", 5432, "LI_DB_d", "LI_DB_u"),
        }

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            ("postgres://u:hunter2@pg-rw/d", login()),
            ("postgresql://u:hunter2@pg-rw:5433/d?sslmode=require", login(port=5433)),
            ("postgresql+psycopg2://u:hunter2@pg-rw/d", login()),
            ("postgres://u:p%40ss%2Fw@pg-rw/d", login("p@ss/w")),
            ("postgres://u:hunter2@pg-rw", login(database="u")),
            ("postgres://pg-rw/d?user=u&password=hunter2", login()),
            ("jdbc:postgresql://pg-rw:5433/d?user=u&password=hunter2", login(port=5433)),
            ("user=u password=hunter2 host=pg-rw dbname=d sslmode=disable", login()),
            ("host = pg-rw port=5433 user='u' password='p\\'w d'", login("p'w d", port=5433, database="u")),
        ],
    )
    def test_by_a_url_under_any_name(self, url: str, found: Login) -> None:
        assert list(logins_of({"SYNC_TARGET": url})) == [("SYNC_TARGET", found)]

    @pytest.mark.parametrize(
        "environment",
        [
            {"DB_HOST": HOST, "DB_USER": "u"},
            {"DB_HOST": "", "DB_USER": "u", "DB_PASSWORD": "p"},
            {"REDIS_HOST": HOST, "REDIS_USER": "u", "REDIS_PASSWORD": "p"},
            {"SMTP_HOST": HOST, "SMTP_USER": "u", "SMTP_PASSWORD": "p"},
            {"URL": "mysql://u:p@h/d"},
            {"URL": "postgres://h/d"},
            {"URL": "postgres://u@h/d"},
            {"URL": "postgres://u:p[a@h/d"},
            {"URL": "postgres://u:p@h:${PORT}/d"},
            {"URL": "postgres://u:p#a@h/d"},
        ],
    )
    def test_anything_else_is_none(self, environment: dict[str, str]) -> None:
        assert list(logins_of(environment)) == []

    @pytest.mark.parametrize(
        ("environment", "said"),
        [
            ({"DB_HOST": HOST, "DB_USER": "u"}, "DB_HOST names pg-rw without a password"),
            ({"DB_HOST": HOST, "DB_PASSWORD": "p"}, "DB_PASSWORD names pg-rw without a user"),
            (
                {"U": "postgres://u:p#a@h/d"},
                "U cannot be read as a URL (what is special in a password must be encoded)",
            ),
            (
                {"U": "postgres://u:1/a@h/d"},
                "U cannot be read as a URL (what is special in a password must be encoded)",
            ),
            ({"U": "postgres://h/d"}, "U names h without a user"),
            ({"JDBC": "jdbc:postgresql://h/d?user=u"}, "JDBC names h without a password"),
            ({"U": "postgres:///d"}, "U names no host"),
            ({"SYNCV3_DB": "user=u host=h dbname=d"}, "SYNCV3_DB names h without a password"),
        ],
    )
    def test_what_speaks_of_a_login_and_is_none_is_said(self, environment: dict[str, str], said: str) -> None:
        assert list(logins_of(environment)) == []
        assert list(unclear_of(environment)) == [said]

    @pytest.mark.parametrize(
        "environment",
        [
            {"DB_HOST": HOST},
            {"REDIS_HOST": HOST, "REDIS_USER": "u"},
            {"NOTE": "the host is user=friendly"},
            {"URL": "mysql://u@h/d"},
        ],
        ids=["a host alone: something waits for it", "no database", "prose", "another database"],
    )
    def test_what_speaks_of_none_is_not(self, environment: dict[str, str]) -> None:
        assert list(unclear_of(environment)) == []

    @pytest.mark.parametrize(("port", "number"), [("5433", 5433), ("", 5432), ("${DB_PORT}", 5432), ("tcp://x", 5432)])
    def test_the_port_is_a_number_or_the_usual_one(self, port: str, number: int) -> None:
        environment = {"DB_HOST": HOST, "DB_USER": "u", "DB_PASSWORD": "hunter2", "DB_NAME": "d", "DB_PORT": port}
        assert [found.port for _, found in logins_of(environment)] == [number]


def test_an_environment_is_read_as_the_kernel_keeps_it() -> None:
    assert parse_environment(b"A=b\0URL=a=b\0broken\0E=\0\xff=x\0") == {"A": "b", "URL": "a=b", "E": "", "\ufffd": "x"}


def synapse_args(**args: Any) -> DatabaseUse:
    """The use of a Synapse process with these ``database.args``."""
    base = {"host": HOST, "user": "u", "password": "hunter2", "dbname": "d"}
    config = {"database": {"name": "psycopg2", "args": base | args}}
    world = snapshot(pod("one", container(image="matrixdotorg/synapse:1")))
    (found,) = deployment(world, read=files(**{"/data/homeserver.yaml": yaml.safe_dump(config)})).database_uses
    return found


class TestUsesOfSynapse:
    def test_the_login_is_the_one_in_the_pods_file(self) -> None:
        found = synapse_args()
        assert (found.login, found.pool, found.derived) == (login(), 10, False)

    def test_pool_and_port_may_be_said_as_text(self) -> None:
        found = synapse_args(cp_max="25", port="5433")
        assert (found.pool, found.login.port) == (25, 5433)

    def test_database_is_another_word_for_dbname(self) -> None:
        assert synapse_args(dbname=None, database="other").login.database == "other"

    @pytest.mark.parametrize(
        ("args", "noticed"),
        [
            ({}, False),
            ({"keepalives": 1}, False),
            ({"keepalives_idle": 10}, True),
            ({"keepalives_idle": 300}, True),
            ({"keepalives_idle": 7200}, False),
            ({"keepalives": 0, "keepalives_idle": 10}, False),
            ({"tcp_user_timeout": 30000}, True),
            ({"keepalives_idle": "10"}, True),
        ],
    )
    def test_keepalives_are_those_that_notice_a_dead_peer_within_minutes(self, args: Json, noticed: bool) -> None:
        assert synapse_args(**args).keepalives is noticed

    def test_several_databases_are_several_uses(self) -> None:
        base = {"host": HOST, "user": "u", "password": "p"}
        config = {
            "databases": {
                "main": {"name": "psycopg2", "args": base | {"dbname": "a"}},
                "state": {"name": "psycopg2", "args": base | {"dbname": "b"}},
            }
        }
        world = snapshot(pod("one", container(image="matrixdotorg/synapse:1")))
        model = deployment(world, read=files(**{"/data/homeserver.yaml": yaml.safe_dump(config)}))
        assert [each.login.database for each in model.database_uses] == ["a", "b"]

    def test_sqlite_is_no_use_of_postgresql(self) -> None:
        world = snapshot(pod("one", container(image="matrixdotorg/synapse:1")))
        text = "server_name: a.test\ndatabase: {name: sqlite3, args: {database: /data/db}}\n"
        model = deployment(world, read=files(**{"/data/homeserver.yaml": text}))
        assert (model.database_uses, model.postgres) == ((), ())


def test_every_process_of_the_lab_says_which_secret_its_password_comes_from() -> None:
    uses = recorded.model().database_uses
    assert len(uses) == 17
    origins = {each.workload.rpartition("/")[2]: each.origin for each in uses}
    assert origins.pop("key-vault") == "Secret key-vault-secrets/DB_PASSWORD"
    assert origins.pop("matrix-postgresql") == "Secret matrix-postgresql-app/password"
    assert set(origins.values()) == {"Secret synapse-secrets/DB_PASSWORD"}
    assert all(each.next_login == each.login for each in uses if each.client.startswith("pod/"))
    assert all(each.origin_changed for each in uses)


def test_a_secret_changed_after_the_pod_started_is_what_a_restart_would_take() -> None:
    def change(raw: Json) -> None:
        held = next(each for each in raw["secrets"] if each["name"] == "synapse-secrets")
        held["data"]["DB_PASSWORD"] = "another-password"

    uses = [each for each in recorded.changed(change).deployment().database_uses if each.pool]
    assert len(uses) == 15
    for use in uses:
        assert use.next_login
        assert use.next_login.password.reveal() == "another-password"
        assert use.login.password != use.next_login.password


class TestUsesOfOthers:
    CLIENT = container(envFrom=[{"secretRef": {"name": "app"}}])
    HELD: dict[str, str] = {"DB_HOST": HOST, "DB_USER": "u", "DB_PASSWORD": "new", "DB_NAME": "d"}  # noqa: RUF012

    def test_the_environment_is_frozen_when_the_pod_starts(self) -> None:
        frozen = "\0".join(f"{name}={value}" for name, value in (self.HELD | {"DB_PASSWORD": "old"}).items())
        model = deployment(snapshot(pod("one", self.CLIENT)), secrets(app=self.HELD), files(**{ENVIRONMENT: frozen}))
        (use,) = model.database_uses
        assert (use.login, use.next_login, use.derived) == (login("old"), login("new"), False)
        assert (use.origin, use.database_origin) == ("Secret app/DB_PASSWORD", "Secret app/DB_NAME")

    def test_a_pod_that_cannot_be_asked_is_taken_by_its_spec(self) -> None:
        (use,) = deployment(snapshot(pod("one", self.CLIENT)), secrets(app=self.HELD)).database_uses
        assert (use.login, use.derived) == (login("new"), True)

    def test_one_whose_secret_cannot_be_read_is_known_by_its_environment(self) -> None:
        frozen = "\0".join(f"{name}={value}" for name, value in self.HELD.items())
        held = secrets(unseen={"app": "no right"})
        model = deployment(snapshot(pod("one", self.CLIENT)), held, files(**{ENVIRONMENT: frozen}))
        (use,) = model.database_uses
        assert (use.login, use.next_login) == (login("new"), None)
        assert model.notes == ("no right",)

    def test_one_that_has_ended_uses_nothing(self) -> None:
        ended = pod("one", self.CLIENT)
        ended["status"]["phase"] = "Succeeded"
        assert deployment(snapshot(ended), secrets(app=self.HELD)).database_uses == ()

    def test_a_process_that_has_no_such_environment_is_taken_by_its_spec(self) -> None:
        """As where the pod shares one PID namespace: the first process is the pause container's."""
        model = deployment(snapshot(pod("one", self.CLIENT)), secrets(app=self.HELD), files(**{ENVIRONMENT: "PATH=/"}))
        (use,) = model.database_uses
        assert (use.login, use.derived) == (login("new"), True)

    def test_a_password_in_a_mounted_file_is_followed(self) -> None:
        values = {"DB_HOST": HOST, "DB_USER": "u", "DB_NAME": "d", "DB_PASSWORD_FILE": "/run/db/password"}
        client = container(
            env=[{"name": name, "value": value} for name, value in values.items()],
            volumeMounts=[{"name": "v", "mountPath": "/run/db"}],
        )
        one = pod("one", client, volumes=[{"name": "v", "secret": {"secretName": "app"}}])
        model = deployment(snapshot(one), secrets(app={"password": "new\n"}))
        assert [each.login for each in model.database_uses] == [login("new")]
        lost = deployment(snapshot(pod("one", client)))
        assert [(each.container, each.why) for each in lost.unclear] == [
            ("main", "DB_HOST names pg-rw without a password")
        ]
        assert lost.unclear[0].client == "pod/matrix/one"

    @pytest.mark.parametrize("mount", [{"mountPath": "/c/"}, {"mountPath": "/c/config.yaml", "subPath": "config.yaml"}])
    def test_a_url_in_a_mounted_file_is_a_login(self, mount: Json) -> None:
        client = container(volumeMounts=[{"name": "v", **mount}])
        one = pod("one", client, volumes=[{"name": "v", "secret": {"secretName": "app"}}])
        text = "database:\n  uri: postgresql://u:{}@pg-rw/d\n# uri: postgres://$USER:${{PASSWORD}}@x/y\n"
        held = secrets(app={"config.yaml": text.format("new")})
        (use,) = deployment(snapshot(one), held).database_uses
        assert (use.login, use.origin, use.derived) == (login("new"), "Secret app/config.yaml", True)
        read = files(**{ENVIRONMENT: "A=b", "/c/config.yaml": text.format("old")})
        (use,) = deployment(snapshot(one), held, read).database_uses
        assert (use.login, use.next_login, use.derived) == (login("old"), login("new"), False)

    def test_an_init_container_logs_in_too(self) -> None:
        first = container("migrate", envFrom=[{"secretRef": {"name": "app"}}])
        one = pod("one", container(), initContainers=[first])
        (use,) = deployment(snapshot(one), secrets(app=self.HELD)).database_uses
        assert (use.client, use.login, use.derived) == ("pod/matrix/one", login("new"), False)

    def test_one_that_logs_in_as_the_container_after_it_is_no_second(self) -> None:
        one = pod("one", self.CLIENT, initContainers=[{**self.CLIENT, "name": "migrate"}])
        assert len(deployment(snapshot(one), secrets(app=self.HELD)).database_uses) == 1

    @pytest.mark.parametrize(("suspended", "found"), [(False, 1), (True, 0)])
    def test_so_does_what_runs_by_a_schedule(self, suspended: bool, found: int) -> None:
        template = {"spec": {"template": {"spec": {"containers": [self.CLIENT]}}}}
        nightly = thing(CRON_JOB, "sync", spec={"suspend": suspended, "jobTemplate": template})
        uses = deployment(snapshot(nightly), secrets(app=self.HELD)).database_uses
        assert [(each.client, each.pod, each.login) for each in uses] == [
            ("cronjob/matrix/sync", "sync", login("new"))
        ] * found

    @pytest.mark.parametrize(("replicas", "found"), [(1, 1), (0, 0)])
    def test_a_workload_without_pods_would_log_in_when_it_gets_one(self, replicas: int, found: int) -> None:
        template = {"spec": {"containers": [self.CLIENT]}}
        world = snapshot(thing(DEPLOYMENT, "web", spec={"replicas": replicas, "template": template}))
        uses = deployment(world, secrets(app=self.HELD)).database_uses
        assert [each.client for each in uses] == ["deployment/matrix/web"] * found

    def test_nothing_in_the_lab_is_unclear(self) -> None:
        assert recorded.model().unclear == ()
