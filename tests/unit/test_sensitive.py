"""What must never be printed: found in Secrets, files and environments, and names are not."""

from __future__ import annotations

import pytest

from postflight.cluster import sensitive
from tests.unit import recorded


def of_secret(key: str, value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part, name in sensitive.of_secret("app", key, value):
        found[part] = found.get(part) or name
    return found


@pytest.mark.parametrize(
    "key",
    ["host", "DB_HOST", "db.host", "port", "username", "POSTGRES_USER", "dbname", "ca.crt", "tls.crt", "DB_NAME"],
)
def test_names_are_not_hidden(key: str) -> None:
    assert of_secret(key, "matrix-postgresql-rw") == {}


@pytest.mark.parametrize("key", ["password", "DB_PASSWORD", "api_key", "signing.key", "DATABASE_URL", "token", "dsn"])
def test_a_value_that_is_a_secret_by_its_key_has_a_name_to_be_reported_by(key: str) -> None:
    assert of_secret(key, "short")["short"] == f"app/{key}"


def test_a_placeholder_that_was_left_is_no_secret() -> None:
    found = list(sensitive.of_file("/c/a.yaml", b"form_secret: '${FORM_SECRET}'\ndb_password: '${A}b-secret'\n"))
    assert found == ["${A}b-secret"]


def test_any_other_value_is_hidden_and_never_reported_as_weak() -> None:
    assert of_secret("LOG_LEVEL", "info") == {"info": ""}


def test_the_lines_and_long_words_of_a_file_are_hidden_one_by_one() -> None:
    found = of_secret("homeserver.yaml", "macaroon_secret_key: 0123456789abcdef0123\nshort: x\n")
    assert {"0123456789abcdef0123", "macaroon_secret_key: 0123456789abcdef0123", "short: x"} <= found.keys()
    assert "short:" not in found


def test_the_frame_of_a_pem_file_is_no_secret() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----\n"
    found = of_secret("tls.key", pem)
    assert "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49" in found
    assert "-----BEGIN PRIVATE KEY-----" not in found


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter2hunter2",
        "    password: 'hunter2hunter2'",
        'registration_shared_secret: "hunter2hunter2"',
        "macaroon_secret_key: hunter2hunter2",
        "requirepass hunter2hunter2",
        "masterauth hunter2hunter2",
        "sentinel auth-pass mymaster hunter2hunter2",
        "access_key_id = hunter2hunter2",
        "DB_PASSWORD=hunter2hunter2",
        '{"password": "hunter2hunter2", "user": "x"}',
        "args: {user: synapse, password: hunter2hunter2}",
        "worker_replication_secret: hunter2hunter2 # the one",
    ],
)
def test_secrets_are_found_in_configuration_as_people_write_it(line: str) -> None:
    assert list(sensitive.of_file("/data/homeserver.yaml", f"a: b\n{line}\nc: d\n".encode())) == ["hunter2hunter2"]


def test_of_an_environment_only_values_with_a_secrets_name_are_hidden() -> None:
    body = b"PATH=/bin\0DB_PASSWORD=hunter2hunter2\0DB_HOST=pg\0API_TOKEN=t\xff=x\0DATABASE_URL=postgres://u:p@h/d\0"
    found = list(sensitive.of_file("/proc/1/environ", body))
    assert found == ["hunter2hunter2", "t\ufffd=x", "postgres://u:p@h/d", "p"]


@pytest.mark.parametrize(
    ("value", "password"),
    [
        ("postgresql://synapse:OldSecret4711@db:5432/matrix", "OldSecret4711"),
        ("postgresql+psycopg2://u:p%40ss%2Fw0rd@db/d", "p@ss/w0rd"),
        ("postgres://u:with#hash&more@db/d?mail=a@b", "with#hash&more"),
        ("postgres://u:at@inside@db/d", "at@inside"),
        ("redis://:only-a-password@redis:6379/0", "only-a-password"),
        ("user=syncv3 password=hunter2hunter2 host=db dbname=d", "hunter2hunter2"),
        ("host=db password = 'two words \\'quoted\\''", "two words 'quoted'"),
        ("jdbc:postgresql://db/x?user=a&password=hunter2%21&ssl=true", "hunter2!"),
    ],
)
@pytest.mark.parametrize("key", ["SYNCV3_DB", "DATABASE_URI", "DATABASE_URL", "MAIN_DATABASE"])
def test_the_password_within_a_url_or_a_connection_string_is_hidden(value: str, password: str, key: str) -> None:
    assert password in of_secret(key, value)
    assert password in list(sensitive.of_file("/proc/1/environ", f"A=b\0{key}={value}\0".encode()))
    assert password in list(sensitive.of_file("/c/config.yaml", f"database:\n  uri: {value}\n".encode()))


@pytest.mark.parametrize(
    "value", ["wss://matrix.lab.test/livekit/sfu", "https://[fd00::1]:8443", "http://vault:8080/api/v1/"]
)
def test_an_address_that_users_are_told_is_no_secret(value: str) -> None:
    assert value not in list(sensitive.of_file("/proc/1/environ", f"A=b\0LIVEKIT_URL={value}\0".encode()))


@pytest.mark.parametrize(
    "value",
    [
        "https://hooks.lab.test/services/T024BE7LD/B0A1/9f8e7d6c5b4a39281706",
        "https://lab.test/in?t=9f8e",
        "s3cr3t-w0rd",
    ],
)
def test_an_address_that_may_hold_a_secret_is_one(value: str) -> None:
    assert value in list(sensitive.of_file("/proc/1/environ", f"A=b\0HOOK_URL={value}\0".encode()))


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("script: curl -u scanner:hunter2hunter2 http://scan", "hunter2hunter2"),
        ("script: curl --user=scanner:hunter2hunter2 http://scan", "hunter2hunter2"),
        ("script: curl --user 'scanner:two words' http://scan", "two words"),
        ("script: curl -H 'Authorization: Bearer abcdefghij' http://scan", "abcdefghij"),
        ("script: \"curl -H 'Authorization: Basic c2Nhbjpo=' x\"", "c2Nhbjpo="),
        ("script: scan.sh Bearer abc4defghi", "abc4defghi"),
    ],
)
def test_a_credential_in_a_command_is_hidden(line: str, secret: str) -> None:
    assert secret in list(sensitive.of_file("/data/config.yaml", line.encode()))


@pytest.mark.parametrize(
    "line", ["# basic authentication is off", "run: docker -u 1000:100000000", "curl -u a:${PASSWORD_OF}"]
)
def test_what_only_looks_like_one_is_not(line: str) -> None:
    assert list(sensitive.of_file("/data/config.yaml", line.encode())) == []


def test_a_port_and_a_path_are_no_password() -> None:
    assert list(sensitive.of_file("/c/config.yaml", b"base: http://main:8008/_matrix/client/@alice:a.test\n")) == []


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("password: 'pa,ss}word 1234567'", "pa,ss}word 1234567"),
        ('password: "pa,ss}word 1234567" # old', "pa,ss}word 1234567"),
        ("password: pa,ss}word 1234567 # old", "pa,ss}word 1234567"),
        ("args: {password: 'it''s a secret', user: x}", "it's a secret"),
        ('{"password": "a \\"quoted\\" one"}', 'a "quoted" one'),
        ("{password: first-one, token: second-one}", "second-one"),
    ],
)
def test_a_secret_in_a_file_is_taken_whole(line: str, password: str) -> None:
    assert password in list(sensitive.of_file("/c/config.yaml", line.encode()))


def test_bytes_that_are_no_text_are_no_trouble() -> None:
    assert list(sensitive.of_file("/data/x", bytes(range(256)))) == []


def test_every_secret_of_the_lab_is_found_in_the_files_that_hold_it() -> None:
    lab = recorded.healthy()
    values = {
        value.reveal().strip()
        for held in lab.secrets.found.values()
        for key, value in held.data.items()
        if dict(sensitive.of_secret(held.name, key, value.reveal()))
    }
    assert len(values) > 8
    for paths in lab.files.content.values():
        for path, body in paths.items():
            text = body.decode()
            hidden = set(sensitive.of_file(path, body))
            assert {value for value in values if value in text} <= hidden
