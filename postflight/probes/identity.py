"""Who a homeserver says it is: its name and keys, as its main process publishes them."""

from __future__ import annotations

import binascii
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.kinds import POD
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.rendering import Spec, Unreadable
from postflight.limits import Limit
from postflight.probes.probe import probe

PATH = "/_matrix/key/v2/server"


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and the public keys, by key id, that a process publishes; ``problem`` says why it was not heard.
    ``unasked``: it has no listener on which anyone could ask, and its keys could not be had otherwise."""

    process: SynapseProcess
    server_name: str = ""
    keys: Mapping[str, str] | None = None
    problem: str = ""
    unasked: bool = False


@probe(limit=Limit.INSIDE, reaches=True)
def identities(
    deployment: Deployment, access: Access, snapshot: Snapshot, secrets: SecretStore
) -> tuple[Identity, ...]:
    """Ask each main process, on its federation listener, for its name and keys; where it has none, its
    configuration tells."""
    mains = [each for each in deployment.synapse if each.is_main]

    def asker(process: SynapseProcess) -> Callable[[], Identity]:
        return lambda: _ask(access, process, snapshot, secrets)

    found: list[Identity] = []
    for process, outcome in zip(mains, in_threads([asker(each) for each in mains], Limit.INSIDE - 1), strict=True):
        try:
            found.append(outcome.result())
        except (OSError, TimeoutError) as error:
            found.append(Identity(process, problem=str(error) or "no answer within the time limit"))
    return tuple(found)


def _ask(access: Access, process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore) -> Identity:
    port, pod = port_of(process, "federation") or port_of(process, "keys"), process.pod
    status = pod.container(process.container) if pod else None
    if pod is None or status is None or not status.running:
        return Identity(process, problem="it does not run")
    if port is None:
        if found := keys_by_configuration(process, snapshot, secrets):
            return Identity(process, process.server_name, found)
        return Identity(process, problem="it has no federation listener", unasked=True)
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


def keys_by_configuration(
    process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore
) -> Mapping[str, str] | None:
    """The public keys that a process would publish, by the signing keys in its configuration, or in the mounted file
    that this names; None where they are not to be had."""
    from signedjson.key import encode_verify_key_base64, get_verify_key, read_signing_keys

    text = _signing_keys(process, snapshot, secrets)
    try:
        found = read_signing_keys(text.splitlines())
    except (ValueError, binascii.Error):
        return None
    return {f"{each.alg}:{each.version}": encode_verify_key_base64(get_verify_key(each)) for each in found} or None


def _signing_keys(process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore) -> str:
    config, pod = process.config or {}, process.pod
    if given := config.get("signing_key"):
        return str(given)
    path = config.get("signing_key_path")
    raw = snapshot.get(POD, pod.namespace, pod.name) if pod else None
    if not path or pod is None or raw is None:
        return ""
    spec = Spec(snapshot, secrets, pod.namespace, pod.name, pod.ip, raw["spec"])
    container = next((each for each in spec.containers() if each["name"] == process.container), {})
    try:
        return spec.file(container, str(path)) or ""
    except Unreadable:
        return ""
