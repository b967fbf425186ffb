"""Who a homeserver says it is: its name and keys, as its processes publish them."""

from __future__ import annotations

import binascii
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
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
VERSION = "/_matrix/federation/v1/version"


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and the public keys, by key id, that a process publishes; ``problem`` says why it was not heard.
    ``unasked``: it has no listener on which anyone could ask, and its keys could not be had otherwise."""

    process: SynapseProcess
    server_name: str = ""
    keys: Mapping[str, str] | None = None
    problem: str = ""
    unasked: bool = False


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What one process, main or worker, publishes: its public keys by key id, those that ``signed`` the document
    rightly, and the status with which it answers ``VERSION`` (0: not asked, its listener is for keys only). One that
    does not ``listen`` for other servers publishes nothing. ``problem`` says why it was not heard.

    ``configured`` are the public keys by its configuration and the Secret behind it as they are now, None where they
    do not tell; ``origin`` says in words where they have it from.
    """

    process: SynapseProcess
    keys: Mapping[str, str] = field(default_factory=dict)
    signed: tuple[str, ...] = ()
    version: int = 0
    origin: str = ""
    configured: Mapping[str, str] | None = None
    listens: bool = True
    problem: str = ""


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


@probe(limit=Limit.INSIDE, reaches=True)
def worker_identities(
    deployment: Deployment, access: Access, snapshot: Snapshot, secrets: SecretStore
) -> tuple[WorkerIdentity, ...]:
    """Ask every process with a listener for other servers for its keys, and whether it speaks federation; of all others
    their configuration tells.

    Source: synapse/app/generic_worker.py (``_listen_http``), 1.163: both ``federation`` and ``keys`` publish them.
    """
    asked = [each for each in deployment.synapse if each.pod and each.config is not None]

    def asker(process: SynapseProcess) -> Callable[[], WorkerIdentity]:
        return lambda: _ask_worker(access, process, snapshot, secrets)

    found: list[WorkerIdentity] = []
    for process, outcome in zip(asked, in_threads([asker(each) for each in asked], Limit.INSIDE - 1), strict=True):
        try:
            found.append(outcome.result())
        except (OSError, ApiError, TimeoutError) as error:
            found.append(WorkerIdentity(process, problem=str(error) or "no answer within the time limit"))
    return tuple(found)


def _port(process: SynapseProcess) -> int | None:
    return port_of(process, "federation") or port_of(process, "keys")


def _ask_worker(access: Access, process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore) -> WorkerIdentity:
    port, pod = _port(process), process.pod
    own = WorkerIdentity(
        process,
        origin=_origin(process, snapshot, secrets),
        configured=keys_by_configuration(process, snapshot, secrets),
        listens=port is not None,
    )
    status = pod.container(process.container) if pod else None
    if port is None:
        return own
    if pod is None or status is None or not status.running:
        return replace(own, problem="it does not run")
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
        connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
        try:
            answered, said = _get(connection, PATH)
            federates = port_of(process, "federation") is not None
            version = _get(connection, VERSION)[0] if federates else 0
        finally:
            connection.close()
    if answered != 200 or not isinstance(said.get("verify_keys"), dict):
        return replace(own, problem=f"{PATH} was answered with {answered}", version=version)
    keys = {name: str(each["key"]) for name, each in said["verify_keys"].items()}
    return replace(own, keys=keys, signed=signed_by(said, keys), version=version)


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, Mapping[str, Any]]:
    """Status and object of one answer. Raises OSError where it is no HTTP, or no JSON."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        said = json.loads(response.read() or b"{}")
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{path} was answered with {type(error).__name__}") from error
    return response.status, said if isinstance(said, dict) else {}


def signed_by(said: Mapping[str, Any], keys: Mapping[str, str]) -> tuple[str, ...]:
    """The published keys by which the document that publishes them is signed."""
    from signedjson.key import decode_verify_key_base64
    from signedjson.sign import SignatureVerifyException, verify_signed_json

    good: list[str] = []
    for name, key in keys.items():
        algorithm, _, version = name.partition(":")
        try:
            verify = decode_verify_key_base64(algorithm, version, key)
            verify_signed_json(dict(said), str(said.get("server_name")), verify)
        except (SignatureVerifyException, ValueError):  # binascii.Error is a ValueError
            continue
        good.append(name)
    return tuple(good)


def _ask(access: Access, process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore) -> Identity:
    port, pod = _port(process), process.pod
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
    config = process.config or {}
    if given := config.get("signing_key"):
        return str(given)
    path, found = config.get("signing_key_path"), _container(process, snapshot, secrets)
    if not path or found is None:
        return ""
    spec, container = found
    try:
        return spec.file(container, str(path)) or ""
    except Unreadable:
        return ""


def _origin(process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore) -> str:
    """Where a process has its signing key from, by its configuration and spec.

    Source: synapse/config/key.py, 1.163: ``signing_key`` counts before the file; main makes one where there is none.
    """
    config = process.config or {}
    if config.get("signing_key"):
        return "signing_key in its configuration"
    path = str(config.get("signing_key_path") or f"{process.server_name}.signing.key beside its configuration")
    found = _container(process, snapshot, secrets)
    for at, origin, _ in found[0].mounted(found[1]) if found else ():
        if at == path:
            return f"{origin}, as {path}"
    return f"{path}, which comes from no Secret that was read"


def _container(
    process: SynapseProcess, snapshot: Snapshot, secrets: SecretStore
) -> tuple[Spec, Mapping[str, Any]] | None:
    pod = process.pod
    raw = snapshot.get(POD, pod.namespace, pod.name) if pod else None
    if pod is None or raw is None:
        return None
    spec = Spec(snapshot, secrets, pod.namespace, pod.name, pod.ip, raw["spec"])
    return spec, next((each for each in spec.containers() if each["name"] == process.container), {})
