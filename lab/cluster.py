"""The way into a running lab, for everything that applies, breaks, heals or asks."""

import json
import os
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.node import lifecycle, network
from lab.node.spec import Node

__all__ = ["Cluster", "LabError"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab that runs: its folder, the API server's port on 127.0.0.1 and where the built programs are."""

    name: str
    home: Path
    bin: Path
    port: int
    nodes: int = 1

    @property
    def kubeconfig(self) -> Path:
        """As an administrator of a cluster would have it."""
        return self.home / "kubeconfig"

    @property
    def kubectl_path(self) -> Path:
        return self.bin / "kubectl"

    def kubectl(self, *args: str, input: str | None = None, timeout: float = 120) -> str:
        """What kubectl prints. Raises LabError with kubectl's last line."""
        done = self._run([str(self.kubectl_path), "--kubeconfig", str(self.kubeconfig), *args], input, timeout)
        if done.returncode:
            raise LabError(f"kubectl {' '.join(args[:3])}: {_last_line(done.stderr)}")
        return done.stdout

    def get(self, path: str, timeout: float = 5) -> dict[str, Any]:
        """One GET from the API server, some 10 ms. Raises LabError with the status and the server's message."""
        status, body = self.request("GET", path, timeout=timeout)
        if status != 200:
            raise LabError(f"GET {path}: {status} {body.get('message', '')}".strip())
        return body

    def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json", timeout: float = 5
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one call. Raises LabError when the API server does not answer."""
        connection = HTTPSConnection("127.0.0.1", self.port, context=self._tls(), timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException) as error:
            told = f"the API server of lab {self.name} does not answer ({error}): see {self.home}/logs"
            raise LabError(told) from error
        finally:
            connection.close()
        try:
            parsed = json.loads(raw)
        except ValueError:
            parsed = {"message": raw.decode(errors="replace")}
        return answer.status, parsed

    def exec_in_node(self, argv: Sequence[str], node: int = 1, timeout: float = 60) -> str:
        """Output of a command run in a node's namespaces. Raises LabError with its last line."""
        return self._inside(self.node_command(argv, node), argv, timeout)

    def exec_on_internet(self, argv: Sequence[str], timeout: float = 60) -> str:
        """Output of a command run where the lab keeps its "internet". Raises LabError with its last line."""
        return self._inside(self.internet_command(argv), argv, timeout)

    def node_command(self, argv: Sequence[str], node: int = 1) -> list[str]:
        """The command line that runs `argv` in a node, for subprocess."""
        return lifecycle.enter(Node(self.home, node), argv)

    def internet_command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on the "internet", for subprocess."""
        return lifecycle.enter_internet(self.home, argv)

    def cut(self, node: int) -> None:
        """Takes a node off the switch between the nodes, silently; it keeps its way to the internet."""
        self.exec_on_internet(network.switch(Node(self.home, node), network.CUT))

    def rejoin(self, node: int) -> None:
        """Puts a node back on the switch."""
        self.exec_on_internet(network.switch(Node(self.home, node), network.REJOIN))

    def environment(self) -> dict[str, str]:
        """The environment of a shell that is to have kubectl and this lab."""
        path = f"{self.bin}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    def _inside(self, command: list[str], argv: Sequence[str], timeout: float) -> str:
        done = self._run(command, None, timeout)
        if done.returncode:
            raise LabError(f"{' '.join(argv[:3])} in lab {self.name}: {_last_line(done.stderr) or done.returncode}")
        return done.stdout

    def _run(self, command: list[str], given: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{Path(command[0]).name} took longer than {timeout:.0f} s in lab {self.name}") from error
        except OSError as error:
            raise LabError(f"{command[0]} cannot run ({error.strerror}): run `make setup`") from error

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.home / "pki/ca.crt"))
        context.load_cert_chain(self.home / "pki/admin.crt", self.home / "pki/admin.key")
        return context


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
