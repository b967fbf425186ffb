"""A user of a homeserver of the lab, beside the verifier's own."""

import json
import subprocess
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from lab.cluster import Cluster

#: Run in a homeserver's pod: a user of its own, who does what each line of the standard input asks for.
CLIENT = """
import hashlib, hmac, json, sys, urllib.request, yaml
config = yaml.safe_load(open("/config/homeserver.yaml"))
secret = config.get("registration_shared_secret") or open(config["registration_shared_secret_path"]).read().strip()
token = ""
def ask(method, path, body=None, at="http://localhost:8008"):
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(at + path, data, headers, method=method)
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


class Client:
    """A user of a homeserver, at work in its pod until the end of the block."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str, name: str) -> None:
        kubectl = [str(cluster.kubectl_path), "--kubeconfig", str(cluster.kubeconfig), "exec", "-i", "-n", namespace]
        command = [*kubectl, pod, "-c", "synapse", "--", "python", "-c", CLIENT, name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        made = self._answer()
        self.user: str = made["user_id"]
        self.token: str = made["access_token"]

    def ask(self, method: str, path: str, body: object = None, at: str = "http://localhost:8008") -> Any:
        """The answer of the process at an address; fails where that is no 200."""
        assert self._process.stdin is not None
        print(json.dumps([method, f"/_matrix/client/v3/{path}", body, at]), file=self._process.stdin, flush=True)
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
