"""Who a homeserver says it is: its name and keys, as its main process publishes them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import probe

PATH = "/_matrix/key/v2/server"


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and the public keys, by key id, that a process publishes; ``problem`` says why it was not heard."""

    process: SynapseProcess
    server_name: str = ""
    keys: Mapping[str, str] | None = None
    problem: str = ""


@probe(limit=Limit.INSIDE, reaches=True)
def identities(deployment: Deployment, access: Access) -> tuple[Identity, ...]:
    """Ask each main process, on its federation listener, for its name and keys."""
    mains = [each for each in deployment.synapse if each.is_main]

    def asker(process: SynapseProcess) -> Callable[[], Identity]:
        return lambda: _ask(access, process)

    found: list[Identity] = []
    for process, outcome in zip(mains, in_threads([asker(each) for each in mains], Limit.INSIDE - 1), strict=True):
        try:
            found.append(outcome.result())
        except (OSError, TimeoutError) as error:
            found.append(Identity(process, problem=str(error) or "no answer within the time limit"))
    return tuple(found)


def _ask(access: Access, process: SynapseProcess) -> Identity:
    port, pod = port_of(process, "federation") or port_of(process, "keys"), process.pod
    status = pod.container(process.container) if pod else None
    if pod is None or status is None or not status.running:
        return Identity(process, problem="it does not run")
    if port is None:
        return Identity(process, problem="it has no federation listener")
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
        connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
        try:
            connection.request("GET", PATH)
            response = connection.getresponse()
            body = response.read()
            said = json.loads(body) if response.status == 200 else {}
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{PATH} was answered with {type(error).__name__}") from error
        finally:
            connection.close()
    if not said:
        return Identity(process, problem=f"{PATH} was answered with {response.status}")
    keys = {name: str(each["key"]) for name, each in said.get("verify_keys", {}).items()}
    return Identity(process, str(said.get("server_name")), keys)
