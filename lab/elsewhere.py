"""Another homeserver on the lab's internet, a real one, and a TLS front of both: there while somebody asks for it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from lab import manifests, public_tls, readiness
from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import CHECKOUT
from lab.node.spec import API_ADDRESS

NAMESPACE = "elsewhere"
SERVER_NAME = "elsewhere.wan.example:443"
#: The host of the internet that the names lead to, and where the node takes its connections.
HOST, NODE_PORT = "198.51.100.10", 30444
_FOLDER = manifests.DEPLOYMENT / "elsewhere"
_NAMES = ("elsewhere.wan.example", "matrix.lab.test")
_READY_TIMEOUT = 120.0


@contextmanager
def there(cluster: Cluster) -> Iterator[None]:
    """The second homeserver, Ready and found by its public name; gone afterwards. Raises LabError."""
    text = cluster.kubectl("kustomize", str(_FOLDER))
    objects = [each for each in yaml.safe_load_all(text) if each]
    secret = public_tls.secret(cluster, "public-tls", _NAMES)
    secret["metadata"]["namespace"] = NAMESPACE
    try:
        manifests.apply(cluster, [*objects, secret])
        readiness.wait(lambda: readiness.unready(cluster, objects), _READY_TIMEOUT, "elsewhere is not Ready")
        with load_balancer(cluster, f"{HOST}:443", NODE_PORT):
            yield
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")


@contextmanager
def load_balancer(cluster: Cluster, address: str, node_port: int) -> Iterator[None]:
    """HOST:PORT of the internet leads to a node port, while inside. Raises LabError when it does not start."""
    # In the lab's namespaces the folder that this is run in is another; what enters them hands no signal on.
    program = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "env",
        f"PYTHONPATH={CHECKOUT}",
        sys.executable,
        "-m",
        "lab.node.forward",
    ]
    balancer = subprocess.Popen(cluster.internet_command([*program, address, f"{API_ADDRESS}:{node_port}"]))
    try:
        readiness.wait(lambda: _deaf(cluster, address, balancer), 10, f"{address} is not listened on")
        yield
    finally:
        balancer.terminate()
        balancer.wait()


def _deaf(cluster: Cluster, address: str, balancer: subprocess.Popen[bytes]) -> str:
    if balancer.poll() is not None:
        return f"the load balancer ended with {balancer.returncode}"
    host, port = address.split(":")
    ask = f"import socket; socket.create_connection(({host!r}, {port}), 1)"
    try:
        cluster.exec_on_internet([sys.executable, "-c", ask], timeout=5)
    except LabError as error:
        return str(error)
    return ""
