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
TRIES = 6
READY = ("get", "pods", "-A", "-l", leftovers.LABEL, "-o", "jsonpath={.items[*].status.containerStatuses[*].ready}")
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


@pytest.fixture
def down(healthy: Verified, bench: Bench) -> Cluster:
    """A lab in which Synapse is down."""
    return bench.defective(DEFECT)


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
        seen = _with_probe_pod(start, down).end()
    wrong = differences([load(DEFECT)], healthy.statuses, seen)
    assert not wrong, "\n".join([*wrong, "", seen.output])
    assert leftovers.everything(down) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_the_probe_pod_of_an_interrupted_run_is_gone_after_the_next(
    number: signal.Signals, down: Cluster, start: Start, verify: Verify
) -> None:
    run = _with_probe_pod(start, down)
    run.signal(number)
    run.end()
    following = verify(down.kubeconfig)
    assert following.record
    assert not following.record.trouble, following.output
    assert leftovers.everything(down) == [], following.output


def _with_probe_pod(start: Start, cluster: Cluster) -> Run:
    """A run under way whose probe pod is Ready.

    While Synapse's main process is up for a moment between two crashes, a run asks that one and needs no probe pod.
    """
    for _ in range(TRIES):
        run = start("checks/", "--kubeconfig", cluster.kubeconfig)
        while run.under_way:
            if "true" in cluster.kubectl(*READY):
                return run
            time.sleep(0.02)
        ended = run.end()
    pytest.fail(f"none of {TRIES} runs had a probe pod:\n{ended.output}", pytrace=False)
