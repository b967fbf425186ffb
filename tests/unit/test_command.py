"""The packaged command: the checks as they lie in the wheel and in the image, without a checkout around them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.loopback import closed_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """The package with the checks in it, as pyproject.toml and deploy/image/Dockerfile have it."""
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "postflight", tmp_path / "packages/postflight", ignore=left_out)
    shutil.copytree(ROOT / "checks", tmp_path / "packages/postflight/checks", ignore=left_out)
    return tmp_path / "packages"


def command(packaged: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "postflight", *arguments]
    kubeconfig = packaged.parent / "config"
    environment = {"PYTHONPATH": str(packaged), "PATH": "/usr/bin:/bin", "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(line, cwd=packaged.parent, env=environment, capture_output=True, text=True, check=False)


def test_it_runs_the_checks_that_it_holds_and_writes_reports_where_it_is_called(packaged: Path) -> None:
    server = {"server": f"http://127.0.0.1:{closed_port()}"}
    document = {
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (packaged.parent / "config").write_text(json.dumps(document))
    done = command(packaged)
    assert done.returncode == 1
    assert "own fault" not in done.stdout
    assert "refuses connections: is the cluster up?" in " ".join(done.stdout.split())
    assert {each.name for each in (packaged.parent / "reports").iterdir()} == {"verdict.txt", "run.json", "junit.xml"}


def test_no_check_is_a_module_by_the_name_of_one_of_python(packaged: Path) -> None:
    """pytest names modules by their path below its root: checks/platform/... must not be called platform."""
    done = command(packaged, "--collect-only", "-q")
    places = [line for line in done.stdout.splitlines() if "::" in line]
    assert places
    assert all(line.startswith("checks/") for line in places)


def test_a_word_of_its_own_is_another_command(packaged: Path) -> None:
    done = command(packaged, "roles", "--kubeconfig", "none")
    assert (done.returncode, done.stderr) == (6, "postflight roles: --kubeconfig none: no such file\n")
