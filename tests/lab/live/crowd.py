"""Other tenants of the lab's cluster: what they have, made by the raw API over connections that stay open."""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from itertools import islice

from lab.cluster import Cluster
from lab.errors import LabError

TENANTS = 20
THREADS = 8
#: Bytes of a Secret, and of each pod's environment: about what those of a Helm chart have.
SECRET, VARIABLE = 1500, 200
Made = tuple[str, dict[str, object]]


def settle(cluster: Cluster, pods: int, secrets: int) -> None:
    """Makes as many pods and Secrets in namespaces of their own. No pod is ever bound to a node: a scheduling gate holds
    it (Kubernetes 1.30). Raises LabError."""
    spaces = [f"tenant-{number}" for number in range(TENANTS)]
    for space in spaces:
        _send(_connection(cluster), "/api/v1/namespaces", {"metadata": {"name": space}})
    for space in spaces:
        _wait_for_account(cluster, space)
    waiting = [
        *(_pod(spaces[n % TENANTS], n) for n in range(pods)),
        *(_secret(spaces[n % TENANTS], n) for n in range(secrets)),
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        shares = [islice(waiting, start, None, THREADS) for start in range(THREADS)]
        for share in [pool.submit(_make, cluster, each) for each in shares]:
            share.result()


def _make(cluster: Cluster, share: Iterator[Made]) -> None:
    connection = _connection(cluster)
    for path, body in share:
        _send(connection, path, body)
    connection.close()


def _send(connection: HTTPSConnection, path: str, body: dict[str, object]) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status not in (201, 409):
        raise LabError(f"POST {path}: {answer.status} {said[:200].decode(errors='replace')}")


def _connection(cluster: Cluster) -> HTTPSConnection:
    context = ssl.create_default_context(cafile=str(cluster.home / "pki/ca.crt"))
    context.load_cert_chain(cluster.home / "pki/admin.crt", cluster.home / "pki/admin.key")
    return HTTPSConnection("127.0.0.1", cluster.port, context=context, timeout=60)


def _pod(space: str, number: int) -> Made:
    container = {
        "name": "main",
        "image": "registry.example/tenant/app:1",
        "env": [{"name": f"VARIABLE_{each}", "value": "x" * VARIABLE} for each in range(5)],
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    spec = {
        "schedulingGates": [{"name": "postflight.lab/crowd"}],
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    labels = {"app.kubernetes.io/name": "app", "app.kubernetes.io/instance": f"app-{number % 100}"}
    return f"/api/v1/namespaces/{space}/pods", {"metadata": {"name": f"app-{number}", "labels": labels}, "spec": spec}


def _secret(space: str, number: int) -> Made:
    data = {"value": base64.b64encode(b"x" * SECRET).decode()}
    return f"/api/v1/namespaces/{space}/secrets", {"metadata": {"name": f"secret-{number}"}, "data": data}


def _wait_for_account(cluster: Cluster, space: str) -> None:
    """A pod is refused until its namespace has this."""
    deadline = time.monotonic() + 60
    while cluster.request("GET", f"/api/v1/namespaces/{space}/serviceaccounts/default")[0] != 200:
        if time.monotonic() > deadline:
            raise LabError(f"namespace {space} has no ServiceAccount after 60 s")
        time.sleep(0.1)
