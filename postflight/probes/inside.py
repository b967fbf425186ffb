"""Connections from where the processes stand: by name, through Services and policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.api import Api, ApiError
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.parts import Deployment, SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import EXEC, probe

CONNECTIONS = 6
#: Runs in a Synapse container, whose Python is 3.9 or newer. Reads its questions from stdin.
SCRIPT = """
import json, socket, sys
asks = json.loads(sys.stdin.readline())
out = []
for ask in asks:
    seen, problem = [], ""
    try:
        for _ in range(ask["times"]):
            with socket.create_connection((ask["host"], ask["port"]), timeout=3) as s:
                s.settimeout(3)
                if ask["redis"]:
                    word = ask["password"].encode()
                    if word:
                        s.sendall(b"*2\\r\\n$4\\r\\nAUTH\\r\\n$%d\\r\\n%s\\r\\n" % (len(word), word))
                        answer = s.recv(200)
                        if not answer.startswith(b"+OK"):
                            raise OSError(answer.decode("utf-8", "replace").strip() or "closed without an answer")
                    s.sendall(b"*1\\r\\n$4\\r\\nROLE\\r\\n")
                    answer = s.recv(400)
                    if not answer:
                        raise OSError("closed without an answer")
                    seen.append("master" if b"master" in answer[:30] else "slave" if b"slave" in answer[:30] else "?")
                else:
                    seen.append("connected")
    except OSError as error:
        problem = str(error) or type(error).__name__
    out.append({"seen": seen, "problem": problem})
print(json.dumps(out))
"""


@dataclass(frozen=True, slots=True)
class InsideConnection:
    """What several connections from one process's pod to one address met: the roles of Redis, or
    ``connected``."""

    process: SynapseProcess
    host: str
    port: int
    seen: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class InsideView:
    """``unseen`` says why a process's pod could not be asked, by process id."""

    connections: tuple[InsideConnection, ...]
    unseen: Mapping[str, str]


@probe(limit=Limit.INSIDE, rights=(EXEC,))
def inside_connections(deployment: Deployment, api: Api) -> InsideView:
    """From one running pod of each Synapse workload, connect to its database and to Redis by name."""
    chosen: dict[str, SynapseProcess] = {}
    for process in deployment.synapse:
        status = process.pod.container(process.container) if process.pod else None
        if status and status.running and process.config:
            chosen.setdefault(process.workload, process)
    databases = {use.client: use.login for use in deployment.database_uses}
    addresses = {user: each for each in deployment.redis_endpoints for user in each.users}

    def asks(process: SynapseProcess) -> list[dict[str, object]]:
        asked: list[dict[str, object]] = []
        if login := databases.get(process.id):
            asked.append({"host": login.host, "port": login.port, "times": 1, "redis": False, "password": ""})
        if address := addresses.get(process.id):
            password = address.password.reveal() if address.password else ""
            where = {"host": address.endpoint.host, "port": address.endpoint.port}
            asked.append({**where, "times": CONNECTIONS, "redis": True, "password": password})
        return asked

    def asker(process: SynapseProcess) -> Callable[[], list[InsideConnection]]:
        return lambda: _ask(api, process, asks(process))

    found: list[InsideConnection] = []
    unseen: dict[str, str] = {}
    outcomes = in_threads([asker(each) for each in chosen.values()], Limit.INSIDE - 1)
    for process, outcome in zip(chosen.values(), outcomes, strict=True):
        try:
            found += outcome.result()
        except (ApiError, ValueError, TimeoutError) as error:
            unseen[process.id] = str(error) or "no answer within the time limit"
    return InsideView(tuple(found), unseen)


def _ask(api: Api, process: SynapseProcess, asks: list[dict[str, object]]) -> list[InsideConnection]:
    assert process.pod is not None
    answer = run_in_pod(
        api,
        process.namespace,
        process.pod.name,
        process.container,
        ("python3", "-c", SCRIPT),
        stdin=json.dumps(asks).encode() + b"\n",
        limit=Limit.INSIDE - 2,
    )
    if answer.code != 0:
        raise ValueError(f"python3 in {process.pod.name}: {answer.complaint}")
    return [
        InsideConnection(process, str(ask["host"]), int(str(ask["port"])), tuple(said["seen"]), said["problem"])
        for ask, said in zip(asks, json.loads(answer.stdout), strict=True)
    ]
