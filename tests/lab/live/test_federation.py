"""The canary homeserver where things are not as they usually are."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import elsewhere, public_tls
from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live import sql
from tests.lab.live.client import Client
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

CHECKS = "checks/federation"
ID = "federation.exactly_once"
NAMESPACE = "matrix"
FRONT, NODE_PORT = "198.51.100.10:443", 30443
HOSTS = tuple(f"canary-{number}.wan.example:443" for number in range(1, 7))
WRITER = "http://synapse-todevice-writer-0.synapse-todevice-writer:8008"
WAITING = """select count(distinct destination) from device_federation_outbox
where destination like 'postflight-canary%'"""


def test_a_destination_in_backoff_is_fetched_back(cluster: Cluster, verify: Verify) -> None:
    names = [f"postflight-canary.{NAMESPACE}.svc:{port}" for port in range(18448, 18456)]
    # To canaries of which none stands, until Synapse keeps a distance from them.
    with Client(cluster, NAMESPACE, "synapse-main-0", f"distant-{time.time():.0f}") as distant:
        for name in names:
            messages = {f"@postflight:{name}": {"*": {"n": 1}}}
            transaction = name.replace(":", "")
            distant.ask("PUT", f"sendToDevice/test.fail/{transaction}", {"messages": messages}, at=WRITER)
    _wait(lambda: sql.ask(cluster, WAITING) == [str(len(names))], "nothing waits for the canaries")
    # By then it has failed more than once, and tries at long intervals.
    time.sleep(10)
    verify(cluster.kubeconfig, checks=CHECKS).must_be_green()


def test_by_public_names_through_the_deployments_own_front(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps({"canary": {"hosts": HOSTS, "tls_secret": "public-canary-tls"}}))
    with _front(cluster):
        seen = verify(cluster.kubeconfig, "--settings", settings, checks=CHECKS)
    seen.must_be_green()
    assert any("wan.example" in subject for subject in seen.results[ID].seen)


@pytest.mark.parametrize("removed", ["service", "secret"])
def test_an_unprepared_deployment_is_warned_and_never_green(
    removed: str, cluster: Cluster, verify: Verify, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps({"canary": {"service" if removed == "service" else "ca_secret": "not-there"}}))
    seen = verify(cluster.kubeconfig, "--settings", settings, checks=CHECKS)
    assert seen.statuses == {ID: Status.WARNED}, seen.output
    assert "postflight prepare" in seen.output


@contextmanager
def _front(cluster: Cluster) -> Iterator[None]:
    """A node port for the canary, a certificate of public names, and a load balancer on the internet: an Ingress'
    part, played by what the lab has."""
    objects: list[dict[str, Any]] = [_node_port(), public_tls.secret(cluster, "public-canary-tls", ["*.wan.example"])]
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", input=yaml.safe_dump_all(objects))
    try:
        with elsewhere.load_balancer(cluster, FRONT, NODE_PORT):
            yield
    finally:
        for each in objects:
            cluster.kubectl("delete", "-n", NAMESPACE, each["kind"], each["metadata"]["name"])


def _node_port() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "public-canary"},
        "spec": {
            "type": "NodePort",
            "publishNotReadyAddresses": True,
            "selector": {"app.kubernetes.io/name": "postflight-canary"},
            "ports": [{"port": 443, "targetPort": 18448, "nodePort": NODE_PORT}],
        },
    }


def _wait(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
