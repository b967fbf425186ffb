"""The probe pod starts where little is allowed, and goes, however its run ends."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.cluster import Cluster
from lab.defects import load
from lab.errors import LabError
from tests.lab.live import leftovers
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.verify import Run, Verified

Start = Callable[..., Run]
Verify = Callable[..., Verified]

#: With it no Synapse process runs, and the verifier needs a place of its own.
DEFECT = "database-password"
NAMESPACE = "matrix"
#: More than the deployment has; what matters is that pods must then say what they need.
QUOTA = {
    "requests.cpu": "500",
    "requests.memory": "500Gi",
    "limits.cpu": "500",
    "limits.memory": "500Gi",
    "pods": "200",
}
ENFORCE = "pod-security.kubernetes.io/enforce"
PLAIN_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "plain"},
    "spec": {"containers": [{"name": "c", "image": "lab/all:1"}]},
}


@pytest.fixture(scope="module")
def down(bench: Bench, healthy: Verified) -> Iterator[Cluster]:
    """A lab in which Synapse is down."""
    with bench.broken([DEFECT]) as cluster:
        yield cluster


@contextmanager
def restricted(cluster: Cluster) -> Iterator[None]:
    """Pod Security restricted enforced on the deployment's namespace, and a quota on everything."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": QUOTA}}
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", input=json.dumps(quota))
    cluster.kubectl("label", "namespace", NAMESPACE, f"{ENFORCE}=restricted", "--overwrite")
    try:
        yield
    finally:
        cluster.kubectl("label", "namespace", NAMESPACE, f"{ENFORCE}-")
        cluster.kubectl("delete", "-n", NAMESPACE, "resourcequota", "tight")


def test_the_probe_pod_starts_under_pod_security_restricted_and_a_quota(
    down: Cluster, healthy: Verified, start: Start
) -> None:
    with restricted(down):
        with pytest.raises(LabError, match="violates PodSecurity"):
            down.kubectl("create", "-n", NAMESPACE, "--dry-run=server", "-f", "-", input=json.dumps(PLAIN_POD))
        run = start("checks/", "--kubeconfig", down.kubeconfig)
        _wait_for_pod(run, down)
        seen = run.end()
    wrong = differences([load(DEFECT)], healthy.statuses, seen)
    assert not wrong, "\n".join([*wrong, "", seen.output])
    assert leftovers.everything(down) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_the_probe_pod_of_an_interrupted_run_is_gone_after_the_next(
    number: signal.Signals, down: Cluster, start: Start, verify: Verify
) -> None:
    run = start("checks/", "--kubeconfig", down.kubeconfig)
    _wait_for_pod(run, down)
    run.signal(number)
    run.end()
    following = verify(down.kubeconfig)
    assert following.record
    assert not following.record.trouble, following.output
    assert leftovers.everything(down) == [], following.output


def _wait_for_pod(run: Run, cluster: Cluster) -> None:
    """Until the run's probe pod is Ready. Fails the test when the run ends first."""
    selector = [
        "get",
        "pods",
        "-A",
        "-l",
        leftovers.LABEL,
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].ready}",
    ]
    while "true" not in cluster.kubectl(*selector):
        assert run.under_way, f"it ended without a probe pod:\n{run.end().output}"
        time.sleep(0.02)
