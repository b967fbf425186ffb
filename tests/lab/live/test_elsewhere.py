"""A real homeserver on the internet: what the canary says of federation is what another Synapse sees of it."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pytest

from lab import elsewhere
from lab.cluster import Cluster
from tests.lab.live.bench import Bench
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

#: As many as a user may send at once here.
MESSAGES = 8
#: Run in a homeserver's pod: a user of its own, who does what each line of the standard input asks for.
CLIENT = """
import hashlib, hmac, json, sys, urllib.request, yaml
config = yaml.safe_load(open("/config/homeserver.yaml"))
secret = config.get("registration_shared_secret") or open(config["registration_shared_secret_path"]).read().strip()
token = ""
def ask(method, path, body=None):
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request("http://localhost:8008" + path, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)
register = "/_synapse/admin/v1/register"
nonce = ask("GET", register)["nonce"]
mac = hmac.new(secret.encode(), b"\\0".join([nonce.encode(), sys.argv[1].encode(), b"pw", b"notadmin"]), hashlib.sha1)
user = {"nonce": nonce, "username": sys.argv[1], "password": "pw", "admin": False, "mac": mac.hexdigest()}
made = ask("POST", register, user)
token = made["access_token"]
print(json.dumps(made), flush=True)
for line in sys.stdin:
    print(json.dumps(ask(*json.loads(line))), flush=True)
"""
RECEIVED = re.compile(r"Received txn \S+ from matrix\.lab\.test\. \(PDUs: (\d+), EDUs: \d+\)")


class Client:
    """A user of a homeserver, at work in its pod until the end of the block."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str, name: str) -> None:
        kubectl = [str(cluster.kubectl_path), "--kubeconfig", str(cluster.kubeconfig), "exec", "-i", "-n", namespace]
        command = [*kubectl, pod, "-c", "synapse", "--", "python", "-c", CLIENT, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.user: str = self._answer()["user_id"]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        assert self._process.stdin is not None
        print(json.dumps([method, f"/_matrix/client/v3/{path}", body]), file=self._process.stdin, flush=True)
        return self._answer()

    def send(self, room: str, text: str) -> None:
        content = {"msgtype": "m.text", "body": text}
        self.ask("PUT", f"rooms/{quote(room)}/send/m.room.message/{quote(text)}", content)

    def read(self, room: str) -> list[str]:
        """The texts in the room, in order of their age."""
        found = self.ask("GET", f"rooms/{quote(room)}/messages?dir=b&limit=50")["chunk"]
        return [each["content"]["body"] for each in reversed(found) if each["type"] == "m.room.message"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the homeserver refused"
        return json.loads(line)


@pytest.fixture(scope="module")
def second(bench: Bench) -> Iterator[Cluster]:
    """The healthy lab, with a second homeserver out there."""
    cluster = bench.healthy()
    with elsewhere.there(cluster):
        yield cluster


def test_another_homeserver_gets_everything_once_and_the_verdict_says_so(second: Cluster, verify: Verify) -> None:
    stamp = f"{time.time():.0f}"
    with (
        Client(second, "matrix", "synapse-main-0", f"here-{stamp}") as here,
        Client(second, elsewhere.NAMESPACE, "deploy/homeserver", "there") as there,
    ):
        room = here.ask("POST", "createRoom", {"preset": "private_chat", "invite": [there.user]})["room_id"]
        there.ask("POST", f"join/{quote(room)}", {})
        sent = [f"{stamp} {number}" for number in range(MESSAGES)]
        for text in sent:
            here.send(room, text)
        _wait(lambda: there.read(room) == sent, "not all messages have come")
        there.send(room, "thanks")
        _wait(lambda: here.read(room) == [*sent, "thanks"], "the answer has not come")
        # While both are members, main has somebody else to send to, and the canary is told apart from it.
        verify(second.kubeconfig, "--namespace", "matrix").must_be_green()
        log = second.kubectl("logs", "-n", elsewhere.NAMESPACE, "deploy/homeserver")
        for each in (there, here):
            each.ask("POST", f"rooms/{quote(room)}/leave", {})
    # Events sent twice would be dropped there unseen: it is what came in that counts.
    assert sum(map(int, RECEIVED.findall(log))) == MESSAGES, log


def test_two_deployments_in_one_cluster_are_never_taken_for_one(second: Cluster, verify: Verify) -> None:
    seen = verify(second.kubeconfig)
    assert seen.code != 0
    assert "matrix.lab.test in namespace matrix; say which one with --namespace" in seen.output
    must_be_plain(seen)


def _wait(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
