"""No secret of the lab gets out, at any verbosity, in no report, healthy or broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cluster import Cluster
from tests.lab.live import spoken
from tests.lab.live.bench import Bench
from tests.lab.live.verify import Run, Verified

Start = Callable[..., Run]

#: Everything that makes pytest say more.
LOUD = ("-vv", "-l", "--full-trace", "-rA", "--log-cli-level=DEBUG", "--tb=long", "--durations=0")
CHECK = "tests/loud/loud.py"


def _must_hold_none(secrets: set[str], folder: Path, seen: Verified) -> None:
    assert len(secrets) > 10
    assert seen.record is not None, "no report was written"
    # The output itself is not shown: it may hold a secret.
    assert spoken.leaks(secrets, folder) == []


@pytest.mark.parametrize("capture", ["-s", "--capture=fd"])
def test_nothing_gets_out_of_a_run_that_tries(capture: str, cluster: Cluster, start: Start, tmp_path: Path) -> None:
    secrets = spoken.of(cluster) | spoken.in_effect(cluster)
    junit = tmp_path / "pytest.xml"
    run = start("checks/", CHECK, "--kubeconfig", cluster.kubeconfig, *LOUD, capture, f"--junitxml={junit}")
    _must_hold_none(secrets, tmp_path, run.end())
    assert junit.exists()


def test_nothing_gets_out_when_a_password_is_wrong(bench: Bench, start: Start, tmp_path: Path) -> None:
    with bench.broken(["key-vault-password"]) as cluster:
        secrets = spoken.of(cluster) | spoken.in_effect(cluster)
        junit = tmp_path / "pytest.xml"
        run = start("checks/", CHECK, "--kubeconfig", cluster.kubeconfig, *LOUD, f"--junitxml={junit}")
        _must_hold_none(secrets, tmp_path, run.end())
