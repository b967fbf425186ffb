"""The commands of docs/ci.md, as they stand there: what a pipeline makes of a healthy, a half seen and no cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.cluster import Cluster
from lab.homes import CHECKOUT
from tests.lab.live import kubeconfigs
from tests.lab.live.kubeconfigs import Account

DOCUMENT = CHECKOUT / "docs/ci.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"'''\n(.*?)\n\s*'''", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What one CI system is told to run. ``yellow``: it handles exit code 6 itself, by its configuration."""

    name: str
    install: str
    verify: str
    junit: str
    yellow: bool
    artifacts: str


def pipelines() -> list[Pipeline]:
    github, gitlab, jenkins = (body for _, body in BLOCK.findall(DOCUMENT.read_text()))
    steps: list[dict[str, Any]] = yaml.safe_load(github)["jobs"]["verify"]["steps"]
    install, verify = (each["run"] for each in steps if "run" in each)
    kept = next(each["with"]["path"] for each in steps if "upload-artifact" in each.get("uses", ""))
    job = yaml.safe_load(gitlab)["postflight"]
    # GitLab runs the lines of a script one by one and stops at the first that fails.
    lines: list[str] = job["script"]
    junit = re.search(r"junit '([^']+)'", jenkins)
    archived = re.search(r"archiveArtifacts '([^']+)'", jenkins)
    assert junit
    assert archived
    groovy = [textwrap.dedent(each) for each in SHELL.findall(jenkins)]
    assert "code == 6" in jenkins
    return [
        Pipeline("github", install.strip(), verify, "reports/junit.xml", False, kept),
        Pipeline(
            "gitlab",
            "\n".join(lines[:-1]),
            lines[-1],
            job["artifacts"]["reports"]["junit"],
            job["allow_failure"] == {"exit_codes": [6]},
            *job["artifacts"]["paths"],
        ),
        Pipeline("jenkins", groovy[0], groovy[1], junit[1], True, archived[1]),
    ]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, with what the pipelines install in it, by their own lines."""
    folder = tmp_path_factory.mktemp("ci") / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    (install,) = {each.install for each in pipelines()}
    done = _shell(install, folder, {})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def half_blind(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig that may run no commands in pods."""
    account = Account(cluster, "ci-lacks-exec", ("pods/exec",))
    account.create()
    yield kubeconfigs.with_token(cluster, account.token(), tmp_path / "config")
    account.remove()


@pytest.mark.parametrize("pipeline", pipelines(), ids=lambda each: each.name)
class TestPipeline:
    def test_a_healthy_deployment_is_green_and_its_reports_are_picked_up(
        self, pipeline: Pipeline, checkout: Path, cluster: Cluster
    ) -> None:
        assert _verify(pipeline, checkout, cluster.kubeconfig).returncode == 0
        assert (checkout / pipeline.junit).is_file()
        assert {"junit.xml", "run.json", "verdict.txt"} <= {
            each.name for each in (checkout / pipeline.artifacts).iterdir()
        }

    def test_what_could_not_be_looked_at_is_yellow(self, pipeline: Pipeline, checkout: Path, half_blind: Path) -> None:
        done = _verify(pipeline, checkout, half_blind)
        if pipeline.yellow:
            assert done.returncode == 6, done.stdout
        else:
            assert (done.returncode, "::warning::postflight could not look at everything" in done.stdout) == (0, True)

    def test_no_cluster_is_red_and_its_reports_are_picked_up(
        self, pipeline: Pipeline, checkout: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text("{}")
        assert _verify(pipeline, checkout, tmp_path / "config").returncode == 1
        assert "<error" in (checkout / pipeline.junit).read_text()


def _verify(pipeline: Pipeline, checkout: Path, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    shutil.rmtree(checkout / "reports", ignore_errors=True)
    secret = {"KUBECONFIG": str(kubeconfig), "KUBECONFIG_FILE": kubeconfig.read_text()}
    return _shell(pipeline.verify, checkout, secret)


def _shell(lines: str, folder: Path, secret: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As CI systems do it: bash, which stops at the first command that fails."""
    passed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # Certificates and the index of packages, as the machine is configured for them.
    passed |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    command = ["bash", "-e", "-o", "pipefail", "-c", lines]
    return subprocess.run(command, cwd=folder, env=passed | secret, capture_output=True, text=True, check=False)
