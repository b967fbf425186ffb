"""What the evaluation of policies says is what connections meet, and it stands in where no pod may be made."""

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from postflight.deployment.policies import Rules, Stand, rule_on, stand_of
from postflight.verdict.status import Nature, Status
from tests.lab.live.bench import Bench
from tests.lab.live.verify import Verified
from tests.unit.policing import Place, some_policy

Verify = Callable[..., Verified]
Json = dict[str, Any]
#: Source, target, port, protocol.
Way = tuple[str, str, int, str]

CHECK = "security.network_policy"
PLACE = Place(("policies-shop", "policies-other"), ("10.244.0.0/16", "10.96.0.0/16", "0.0.0.0/0"), "10.244.0.2/32")
TEAMS = dict(zip(PLACE.namespaces, "ab", strict=True))
ROUNDS, PODS = 20, 6
TCP, UDP = (80, 443, 450), (53,)
#: The plug-in follows within milliseconds, mostly.
SETTLED = 8.0
LISTEN = f"""
import socket, threading
def tcp(port):
    with socket.create_server(("", port)) as server:
        while True: server.accept()[0].close()
for port in {TCP}: threading.Thread(target=tcp, args=(port,)).start()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", {UDP[0]}))
while True:
    data, at = udp.recvfrom(100)
    udp.sendto(data, at)
"""
KNOCK = """
import json, socket, sys, threading
found = {}
def knock(ip, port, protocol):
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(0.8)
        try:
            sock.connect((ip, port))
            if protocol == "UDP":
                sock.send(b"?")
                sock.recv(10)
            found[f"{ip} {port} {protocol}"] = True
        except OSError:
            found[f"{ip} {port} {protocol}"] = False
threads = [threading.Thread(target=knock, args=each) for each in json.loads(sys.argv[1])]
for each in threads: each.start()
for each in threads: each.join()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stands(bench: Bench) -> Iterator[tuple[Cluster, list[Stand]]]:
    """Pods in two namespaces of the test's own, which listen on every port that policies may be about."""
    cluster, dice = bench.healthy(), random.Random(1)
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}}
        for name, team in TEAMS.items()
    ]
    pods = [_pod(dice, number) for number in range(PODS)]
    try:
        cluster.kubectl(
            "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*spaces, *pods]})
        )
        found: list[Stand] = []
        for name in PLACE.namespaces:
            cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", name, "--timeout=60s")
            found += map(stand_of, cluster.get(f"/api/v1/namespaces/{name}/pods")["items"])
        yield cluster, found
    finally:
        for name in PLACE.namespaces:
            cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")


def test_the_evaluation_says_what_connections_meet(stands: tuple[Cluster, list[Stand]]) -> None:
    cluster, pods = stands
    place = replace(PLACE, excepted=f"{pods[0].addresses[0]}/32")
    for seed in range(ROUNDS):
        dice = random.Random(seed)
        policies = [some_policy(dice, number, place) for number in range(dice.randint(1, 5))]
        for name in PLACE.namespaces:
            cluster.kubectl("delete", "networkpolicy", "--all", "-n", name)
        cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": policies}))
        labels = {name: {"team": team, "kubernetes.io/metadata.name": name} for name, team in TEAMS.items()}
        rules = Rules(policies, labels)
        expected = {
            (source.name, target.name, port, protocol): bool(rule_on(rules, source, target, port, protocol).allowed)
            for source in pods
            for target in pods
            for port, protocol in (*((each, "TCP") for each in TCP), *((each, "UDP") for each in UDP))
        }
        deadline = time.monotonic() + SETTLED
        while differing := _differing(cluster, pods, expected):
            assert time.monotonic() < deadline, f"seed {seed}: {differing}\n{json.dumps(policies, indent=1)}"


def test_without_pods_of_its_own_a_run_judges_by_evaluation(bench: Bench, verify: Verify) -> None:
    cluster = bench.healthy()
    seen = verify(cluster.kubeconfig, "--safety", "read-only", checks="checks/security/test_network_policy.py")
    assert seen.statuses[CHECK] is Status.WARNED, seen.output
    judged = [each.failure for each in seen.results[CHECK].judged]
    assert {each.nature for each in judged} == {Nature.UNPROVEN}, seen.output
    assert [each.headline.partition(":")[0] for each in judged] == [
        "what foreign pods reach was judged by the policies alone"
    ]


def test_and_finds_what_is_open_all_the_same(bench: Bench, verify: Verify) -> None:
    with bench.broken(["network-too-wide"]) as cluster:
        seen = verify(cluster.kubeconfig, "--safety", "read-only", checks="checks/security/test_network_policy.py")
    assert seen.statuses[CHECK] is Status.FAILED, seen.output
    first = next(each.failure for each in seen.results[CHECK].judged if each.status is Status.FAILED)
    assert first.headline.startswith("a foreign pod reaches PostgreSQL matrix-postgresql"), seen.output
    assert first.observed.startswith("by the policies"), seen.output


def test_a_host_that_the_settings_name_is_tried_from_li(bench: Bench, verify: Verify, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("network: {outside: '198.51.100.20:443'}\n")
    seen = verify(bench.healthy().kubeconfig, "--settings", settings, checks="checks/security/test_network_policy.py")
    seen.must_be_green()


def _pod(dice: random.Random, number: int) -> Json:
    labels = {key: dice.choice("xy") for key in "ab" if dice.random() < 0.7}
    web = {"name": "web", "containerPort": dice.choice((80, 443))}
    container = {
        "name": "c",
        "image": "matrixdotorg/synapse:v1.163.2",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", LISTEN],
        "ports": [web],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    meta = {"name": f"pod-{number}", "namespace": PLACE.namespaces[number % 2], "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _differing(cluster: Cluster, pods: list[Stand], expected: dict[Way, bool]) -> list[str]:
    """The ways that are not met as they were expected."""
    names = {each.addresses[0]: each.name for each in pods}
    asks = json.dumps(
        [[ip, port, kind] for ip in names for kind, ports in (("TCP", TCP), ("UDP", UDP)) for port in ports]
    )

    def knock(source: Stand) -> dict[Way, bool]:
        argv = ("exec", "-n", source.namespace, source.name, "--", "python3", "-c", KNOCK, asks)
        said: dict[str, bool] = json.loads(cluster.kubectl(*argv))
        found: dict[Way, bool] = {}
        for way, met in said.items():
            ip, port, protocol = way.split()
            found[(source.name, names[ip], int(port), protocol)] = met
        return found

    with ThreadPoolExecutor(3) as threads:
        really = {way: met for each in threads.map(knock, pods) for way, met in each.items()}
    return [f"{way} is {'open' if met else 'shut'}" for way, met in really.items() if met is not expected[way]]
