"""A sign-off of the lab holds while pods come and go, and ends with the first change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.homes import CHECKOUT
from tests.lab.live.bench import Bench
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

RELEASE = "2026.11.3"
KEY = ("genpkey", "-algorithm", "ed25519")
OPENED = ("rollout", "status", "-n", "matrix", "--timeout=120s")


@dataclass(frozen=True, slots=True)
class Signed:
    """The lab's sign-off and the public key it is checked with."""

    envelope: Path
    key: Path

    def holds(self, cluster: Cluster) -> tuple[int, str]:
        """Exit code and output of ``postflight verify-signoff``."""
        command = [sys.executable, "-m", "postflight", "verify-signoff", str(self.envelope), "--key", str(self.key)]
        command += ["--kubeconfig", str(cluster.kubeconfig)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def signed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """As docs/signoff.md has it: openssl makes the key, a run signs."""
    folder = tmp_path_factory.mktemp("signoff")
    private, public = folder / "signoff.key", folder / "signoff.pub"
    subprocess.run(["openssl", *KEY, "-out", str(private)], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True)
    options = ("--kubeconfig", bench.healthy().kubeconfig, "--signoff", RELEASE, "--signoff-key", private)
    seen = Run(folder / "run", "checks/", *options).end()
    seen.must_be_green()
    assert f"signed  {RELEASE} by key " in seen.output
    assert RELEASE in (seen.reports / "signoff.html").read_text()
    return Signed(seen.reports / "signoff.json", public)


def test_it_holds_after_restarts_and_a_step_of_the_autoscaler_and_ends_with_a_change(
    signed: Signed, bench: Bench
) -> None:
    code, text = signed.holds(bench.healthy())
    assert (code, text.partition(":")[0]) == (0, "as signed"), text
    with bench.spoiled() as cluster:
        cluster.kubectl("rollout", "restart", "-n", "matrix", "deployment/haproxy")
        # As an autoscaler does it, by the scale of the workload: the lab has no metrics to make one step.
        cluster.kubectl("scale", "-n", "matrix", "deployment/synapse-generic-worker", "--replicas=3")
        cluster.kubectl(*OPENED, "deployment/haproxy")
        cluster.kubectl(*OPENED, "deployment/synapse-generic-worker")
        code, text = signed.holds(cluster)
        assert (code, text.partition(":")[0]) == (0, "as signed"), text
        cluster.kubectl("set", "image", "-n", "matrix", "deployment/key-vault", "key-vault=python:3.11")
        cluster.kubectl(*OPENED, "deployment/key-vault")
        patch = '{"data": {"redis.conf": "maxmemory 1mb\\n"}}'
        cluster.kubectl("patch", "configmap", "-n", "matrix", "redis-config", "--patch", patch)
        code, text = signed.holds(cluster)
    assert code == 1
    differing = [line for line in text.splitlines() if line.startswith("differs: ")]
    assert len(differing) == 3, text
    assert differing[0].startswith("differs: deployment/matrix/key-vault container key-vault runs python:3.11 (sha256:")
    assert differing[1:] == [
        "differs: configmap/matrix/redis-config is not as it was signed",
        "differs: deployment/matrix/key-vault is not as it was signed",
    ]


def test_a_changed_byte_ends_it(signed: Signed, cluster: Cluster, tmp_path: Path) -> None:
    data = bytearray(signed.envelope.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "signoff.json").write_bytes(bytes(data))
    code, text = Signed(tmp_path / "signoff.json", signed.key).holds(cluster)
    assert code == 1
    assert text.startswith("not genuine: "), text


def test_a_broken_deployment_is_not_signed(bench: Bench, verify: Verify, tmp_path: Path) -> None:
    key = tmp_path / "signoff.key"
    subprocess.run(["openssl", *KEY, "-out", str(key)], check=True, capture_output=True)
    with bench.broken(["key-vault-password"]) as cluster:
        seen = verify(cluster.kubeconfig, "--signoff", RELEASE, "--signoff-key", key)
    assert seen.code == 1, seen.output
    assert f"sign-off of {RELEASE} refused: failed: database.login" in " ".join(seen.output.split())
    assert {file.name for file in seen.reports.iterdir()} == {"verdict.txt", "run.json", "junit.xml"}
