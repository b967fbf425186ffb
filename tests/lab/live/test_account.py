"""An account that the settings give, where none can be registered: a token is used and left as it was, a user logged
in and out."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live.client import Client
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

JOURNEY = "clients.journey"
MAIN = "synapse-main-0"


@pytest.fixture
def checker(cluster: Cluster) -> Iterator[Client]:
    with Client(cluster, "matrix", MAIN, f"checker-{time.time():.0f}") as client:
        yield client


def devices(checker: Client) -> list[str]:
    return sorted(each["device_id"] for each in checker.ask("GET", "devices")["devices"])


def given(tmp_path: Path, secret: str, **probe_user: str) -> tuple[str, Path]:
    """``--settings`` with this account; its secret in a file."""
    (tmp_path / "secret").write_text(f"{secret}\n")
    settings = tmp_path / "settings.yaml"
    named = {key: str(tmp_path / "secret") if key.endswith("_file") else value for key, value in probe_user.items()}
    settings.write_text(json.dumps({"probe_user": named}))
    return "--settings", settings


def test_a_given_token_is_used_and_never_logged_out(
    cluster: Cluster, verify: Verify, checker: Client, tmp_path: Path
) -> None:
    before = devices(checker)
    arguments = given(tmp_path, checker.token, token_file="")
    seen = verify(cluster.kubeconfig, *arguments)
    others = {id: status for id, status in seen.statuses.items() if status not in (Status.PASSED, Status.ABSENT)}
    assert others == {JOURNEY: Status.WARNED}, seen.output
    assert "login, encrypted messages and logout were not tried" in seen.output
    assert devices(checker) == before
    assert checker.token not in seen.output
    assert not [file for file in seen.reports.iterdir() if checker.token in file.read_text()]


def test_a_given_user_is_logged_in_and_out(cluster: Cluster, verify: Verify, checker: Client, tmp_path: Path) -> None:
    before = devices(checker)
    name = checker.user.removeprefix("@").partition(":")[0]
    arguments = given(tmp_path, "pw", user=name, password_file="")
    verify(cluster.kubeconfig, *arguments, checks="checks/clients").must_be_green()
    assert devices(checker) == before


def test_a_given_user_with_another_password_is_tried_once_and_said(
    cluster: Cluster, verify: Verify, checker: Client, tmp_path: Path
) -> None:
    name = checker.user.removeprefix("@").partition(":")[0]
    arguments = given(tmp_path, "another-password", user=name, password_file="")
    seen = verify(cluster.kubeconfig, *arguments, checks="checks/clients/test_journey.py")
    assert seen.statuses == {JOURNEY: Status.UNKNOWN}, seen.output
    assert f"does not let the given user {name} in" in " ".join(seen.output.split())
