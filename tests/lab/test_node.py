"""A node leaves the machine as it was, however it ends, and is a Kubernetes while it runs."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import CHECKOUT
from lab.node import clone, lifecycle
from lab.node.spec import Spec
from tests.lab.bare import Bare

Eventually = Callable[..., None]
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
PODS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  nodeName: {node}
  containers:
    - name: c
      image: lab/all:1
      imagePullPolicy: Never
      command: [redis-server, --bind, 0.0.0.0, --protected-mode, 'no']
      ports: [{{name: redis, containerPort: 6379}}]
"""


@dataclass(frozen=True)
class Machine:
    """What of the machine a lab must not touch."""

    interfaces: frozenset[str]
    rules: str
    mounts: frozenset[str]
    sysctls: tuple[str, ...]
    namespaces: frozenset[str]

    @classmethod
    def now(cls) -> "Machine":
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        return cls(
            frozenset(os.listdir("/sys/class/net")),
            rules,
            frozenset(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
            tuple(Path("/proc/sys", name).read_text() for name in SYSCTLS),
            frozenset(os.listdir("/run/netns")) if Path("/run/netns").exists() else frozenset(),
        )


def processes(home: Path) -> list[str]:
    """Command lines of all processes of a lab: those whose PID namespace is not ours and whose cwd or words name it."""
    found = []
    own = os.readlink("/proc/self/ns/pid")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (entry / "mountinfo").read_text()
            if os.readlink(entry / "ns/pid") != own and str(home) in mounts + words:
                found.append(words)
        except OSError:
            continue
    return found


def cgroups(spec: Spec) -> list[Path]:
    return [p for p in Path("/sys/fs/cgroup").glob(f"**/{spec.cgroup}") if p.is_dir()]


def assert_nothing_left(spec: Spec) -> None:
    assert lifecycle.running(spec.home) is None
    assert processes(spec.home) == []
    assert cgroups(spec) == []


def run_pods(cluster: Cluster, eventually: Eventually, **nodes: str) -> dict[str, str]:
    """Pods by name, each on a node; their addresses."""
    eventually(lambda: cluster.get("/api/v1/namespaces/default/serviceaccounts/default"))
    for name, node in nodes.items():
        cluster.kubectl("apply", "-f", "-", input=PODS.format(name=name, node=node))
    for name in nodes:
        eventually(lambda name=name: answers(cluster, name, "127.0.0.1"))
    eventually(lambda: all(address_of(cluster, name) for name in nodes))
    return {name: address_of(cluster, name) for name in nodes}


def address_of(cluster: Cluster, pod: str) -> str:
    """Empty until the API server knows it, up to a second after the pod runs."""
    return str(cluster.get(f"/api/v1/namespaces/default/pods/{pod}")["status"].get("podIP", ""))


def answers(cluster: Cluster, pod: str, address: str) -> bool:
    """Whether Redis at `address` answers a command run in the pod."""
    try:
        return "PONG" in cluster.kubectl("exec", pod, "--", "timeout", "1", "redis-cli", "-h", address, "ping")
    except LabError:
        return False


def test_the_machine_is_untouched_and_nothing_is_left(bare: Bare) -> None:
    before = Machine.now()
    spec = bare.prepare("machine")
    cluster = bare.start(spec)
    assert processes(spec.home)
    assert cgroups(spec)
    assert Machine.now() == before
    with socket.create_connection(("127.0.0.1", cluster.port), 1):
        pass
    bare.stop(spec.home)
    assert_nothing_left(spec)
    assert Machine.now() == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", cluster.port), 1)


@pytest.mark.parametrize("after", [0.05, 0.3, 0.8, 1.5, 3.0])
def test_killed_while_it_comes_up_then_ended_leaves_nothing(bare: Bare, after: float) -> None:
    before = Machine.now()
    spec = bare.prepare("killed")
    code = f"""
from pathlib import Path
from lab.node import lifecycle
from lab.node.spec import load
home = Path({str(spec.home)!r})
with lifecycle.locked(home):
    lifecycle.start(load(home))
import time; time.sleep(60)
"""
    up = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    time.sleep(after + random.random() * 0.1)
    up.send_signal(signal.SIGKILL)
    up.wait()
    bare.stop(spec.home)
    assert_nothing_left(spec)
    assert Machine.now() == before


def test_a_lab_outlives_the_process_that_started_it(bare: Bare) -> None:
    spec = bare.prepare("orphan")
    code = f"""
from pathlib import Path
from lab.node import lifecycle
from lab.node.spec import load
with lifecycle.locked(Path({str(spec.home)!r})):
    lifecycle.start(load(Path({str(spec.home)!r})))
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, check=True
    )
    time.sleep(0.5)
    assert lifecycle.running(spec.home)


def test_a_crashed_lab_can_be_ended_and_started_again(bare: Bare) -> None:
    spec = bare.prepare("crashed")
    bare.start(spec)
    found = lifecycle.running(spec.home)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    while lifecycle.running(spec.home):
        time.sleep(0.05)
    bare.start(spec)
    bare.stop(spec.home)
    assert_nothing_left(spec)


def test_a_component_that_dies_is_started_again(bare: Bare, eventually: Eventually) -> None:
    cluster = bare.up("component")
    for name in ("kube-scheduler", "kube-apiserver"):
        pid = cluster.exec_in_node(["pidof", name]).strip()
        cluster.exec_in_node(["kill", "-9", pid])
        eventually(lambda name=name, pid=pid: cluster.exec_in_node(["pidof", name]).strip() not in ("", pid))
    eventually(lambda: cluster.get("/api/v1/nodes"))


def test_two_labs_run_side_by_side(bare: Bare) -> None:
    one, two = bare.up("one"), bare.up("two")
    one.kubectl("create", "namespace", "only-in-one")
    assert one.get("/api/v1/namespaces/only-in-one")
    with pytest.raises(LabError, match="404"):
        two.get("/api/v1/namespaces/only-in-one")
    bare.stop(one.home)
    assert two.get("/api/v1/nodes")


def test_a_copy_of_a_running_lab_holds_what_it_held(bare: Bare) -> None:
    cluster = bare.up("source")
    cluster.kubectl("create", "namespace", "remembered")
    target = bare.folder("copy")
    clone.everything(cluster.home, target, lifecycle.frozen(cluster.home))
    assert cluster.get("/api/v1/namespaces/remembered")  # the source runs on
    copy = bare.start(Spec(target, bare.home.bin))
    assert copy.get("/api/v1/namespaces/remembered")


def test_policies_hold_for_pods_of_one_node(bare: Bare, eventually: Eventually) -> None:
    cluster = bare.up("policies")
    address = run_pods(cluster, eventually, a="node1", b="node1")
    assert answers(cluster, "a", address["b"])
    deny(cluster, "b")
    eventually(lambda: not answers(cluster, "a", address["b"]), 3)
    assert answers(cluster, "b", address["a"])
    cluster.kubectl("delete", "networkpolicy", "deny")
    eventually(lambda: answers(cluster, "a", address["b"]), 3)


def test_two_nodes_reach_each_other_and_can_be_cut(bare: Bare, eventually: Eventually) -> None:
    spec = bare.prepare("nodes", nodes=2)
    cluster = bare.start(spec)
    address = run_pods(cluster, eventually, a="node1", b="node2")
    assert answers(cluster, "a", address["b"])
    assert answers(cluster, "b", address["a"])
    deny(cluster, "b")
    eventually(lambda: not answers(cluster, "a", address["b"]), 3)
    cluster.kubectl("delete", "networkpolicy", "deny")
    eventually(lambda: answers(cluster, "a", address["b"]), 3)
    cluster.cut(2)
    assert not answers(cluster, "a", address["b"])
    cluster.rejoin(2)
    eventually(lambda: answers(cluster, "a", address["b"]))
    bare.stop(spec.home)
    assert_nothing_left(spec)


def test_pods_reach_the_internet_under_their_own_address(bare: Bare, eventually: Eventually) -> None:
    cluster = bare.up("internet")
    address = run_pods(cluster, eventually, a="node1")["a"]
    listen = "import socket; s=socket.create_server(('198.51.100.10', 80)); print(s.accept()[1][0])"
    command = cluster.internet_command([sys.executable, "-c", listen])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as out_there:
        connect = ["exec", "a", "--", "nc", "-z", "-w", "1", "198.51.100.10", "80"]
        eventually(lambda: cluster.kubectl(*connect) is not None, 5)
        assert out_there.communicate(timeout=5)[0].strip() == address


def deny(cluster: Cluster, app: str) -> None:
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(policy))
