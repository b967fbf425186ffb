"""Key vaults: by the modules in the configuration in effect of each Synapse process, else by what their workloads are.

There is no public one: what its requests are stands in the settings, or in an annotation of its Service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import yaml

from postflight.cluster.api import Object
from postflight.cluster.kinds import SERVICE, WORKLOADS, Kind
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.commands import words_of
from postflight.deployment.modules import Module, modules_of, texts_of
from postflight.deployment.parts import Endpoint, Pod, SynapseProcess, Workload
from postflight.deployment.places import Place
from postflight.deployment.rendering import Spec
from postflight.deployment.services import resolve
from postflight.deployment.vault_parts import ApiKey, KeyVault, Requests
from postflight.secrets import Secret
from postflight.settings import KeyVaultSettings, Settings

#: A module that stores recovery keys, by its name.
MODULE = re.compile(r"recovery|key_?vault|key_?(storage|store|backup)", re.IGNORECASE)
#: A key vault, by its image, its command or its workload's name.
VAULT = re.compile(r"(^|[/._-])key[-_]?vault([/:@._-]|$)")
URL = re.compile(r"^https?://\S+$")
#: The key within a module's configuration, and the variable that a vault has its own from.
KEY = re.compile(r"^(.*_)?(api_?key|token)$", re.IGNORECASE)
OWN = re.compile(r"^(.*_)?API_(KEY|TOKEN)S?$")
PORT = 8000
#: On the Service: what the settings would say under ``key_vault``, in YAML.
ANNOTATION = "postflight/key-vault"


def find_vaults(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    synapse: Mapping[str, Spec],
    places: Sequence[Place],
    settings: Settings,
) -> tuple[KeyVault, ...]:
    """``synapse`` are the specs of the processes by their ids, ``places`` every container there is."""
    running = [each for each in places if _is_vault(each, settings)]
    found = [
        replace(each, workloads=_workloads(_behind(snapshot, each.endpoint, places)))
        for each in _by_modules(snapshot, pods, processes, synapse, running)
    ]
    known = {each for vault in found for each in vault.workloads}
    found += [
        _of_workload(snapshot, pods, group) for group in _by_workload(running) if group[0].workload.id not in known
    ]
    vaults: list[KeyVault] = []
    for vault in found:
        mine = [each for each in places if each.workload.id in vault.workloads]
        own = next(filter(None, map(_own_key, mine)), None)
        vaults.append(replace(vault, own=own, requests=_requests(snapshot, vault.endpoint, settings.key_vault)))
    return tuple(vaults)


def _workloads(places: Iterable[Place]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.workload.id for each in places))


def edges(vaults: Iterable[KeyVault]) -> Iterator[tuple[str, str]]:
    """A key vault is there as long as its pods are, and they as long as what they log in to."""
    for vault in vaults:
        yield from ((vault.id, each) for each in vault.workloads)
        yield from ((vault.id, pod.id) for pod, _ in vault.endpoint.pods)


def _by_modules(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    processes: Iterable[SynapseProcess],
    synapse: Mapping[str, Spec],
    running: Sequence[Place],
) -> Iterator[KeyVault]:
    """One for each address that a module speaks to, with the keys that the processes have for it."""
    mine = {each.pod.id for each in running if each.pod}
    vaults: dict[tuple[str, str], tuple[Endpoint, str, bool, dict[Secret | None, ApiKey]]] = {}
    for process in processes:
        for module in modules_of(process.config):
            url = next((text for _, text in texts_of(module.config) if URL.match(text)), "")
            host, port, tls, base = _address(url)
            if not host:
                continue
            endpoint = resolve(snapshot, pods, host, port, process.namespace)
            named = VAULT.search(host) or mine & {pod.id for pod, _ in endpoint.pods}
            if MODULE.search(module.name) or named:
                keys = vaults.setdefault((process.namespace, url), (endpoint, base, tls, {}))[3]
                _add(keys, _key(module, synapse.get(process.id)), process)
    for (namespace, _), (endpoint, base, tls, keys) in vaults.items():
        name = endpoint.service or endpoint.host
        identity = f"key-vault/{endpoint.namespace or namespace}/{name}"
        yield KeyVault(identity, endpoint.namespace or namespace, name, endpoint, tuple(keys.values()), tls, base)


def _add(keys: dict[Secret | None, ApiKey], key: ApiKey, process: SynapseProcess) -> None:
    known = keys.get(key.secret, key)
    keys[key.secret] = replace(known, users=(*known.users, process.id))


def _key(module: Module, spec: Spec | None) -> ApiKey:
    held = next((text for key, text in texts_of(module.config) if KEY.match(key) and text), "")
    if not held:
        return ApiKey(None, hidden=f"the configuration of module {module.name} has no API key")
    return ApiKey(Secret(held), _origin(spec, held))


def _origin(spec: Spec | None, value: str) -> str:
    """The variable of one of the pod's containers that holds it, by where that comes from."""
    for container in spec.containers() if spec else ():
        for variable in spec.environment(container).values() if spec else ():
            if variable.origin.startswith("Secret ") and variable.value == value:
                return variable.origin
    return "its configuration"


def _is_vault(place: Place, settings: Settings) -> bool:
    if place.is_among(settings.names.key_vault.workloads):
        return True
    container = place.container
    programs = (word.rpartition("/")[2] for word in words_of(container))
    said = (str(container.get("image") or ""), place.workload.name, *programs)
    return place.lasts and any(VAULT.search(each) for each in said)


def _by_workload(places: Iterable[Place]) -> Iterator[Sequence[Place]]:
    groups: dict[str, list[Place]] = {}
    for each in places:
        groups.setdefault(each.workload.id, []).append(each)
    yield from groups.values()


def _of_workload(snapshot: Snapshot, pods: Mapping[str, Pod], group: Sequence[Place]) -> KeyVault:
    """One that no module names: by its Service, else by its pods."""
    workload, first = group[0].workload, group[0]
    ports = [int(each["containerPort"]) for each in first.container.get("ports") or () if each.get("containerPort")]
    port = ports[0] if ports else PORT
    endpoint = Endpoint(
        workload.name,
        port,
        workload.namespace,
        "",
        tuple((each.pod, port) for each in group if each.running_pod and each.pod),
    )
    for service in snapshot.all(SERVICE, workload.namespace):
        name, spec = service["metadata"]["name"], service["spec"]
        if _selects(snapshot, spec, first) and (listed := spec.get("ports")):
            endpoint = resolve(
                snapshot, pods, f"{name}.{workload.namespace}.svc", int(listed[0]["port"]), workload.namespace
            )
            break
    identity = f"key-vault/{workload.namespace}/{endpoint.service or workload.name}"
    return KeyVault(
        identity, workload.namespace, endpoint.service or workload.name, endpoint, (), workloads=(workload.id,)
    )


def _selects(snapshot: Snapshot, spec: Mapping[str, Any], place: Place) -> bool:
    """Whether a Service means the pods of a workload, those that it is yet to have too."""
    wanted = spec.get("selector") or {}
    return bool(wanted) and wanted.items() <= _labels(snapshot, place).items()


def _labels(snapshot: Snapshot, place: Place) -> Mapping[str, str]:
    if place.pod:
        return place.pod.labels
    workload = place.workload
    raw = next((each for kind in WORKLOADS if (each := _raw(snapshot, kind, workload))), None)
    template: Mapping[str, Any] = (raw["spec"].get("template") or {}) if raw else {}
    return (template.get("metadata") or {}).get("labels") or {}


def _raw(snapshot: Snapshot, kind: Kind, workload: Workload) -> Object | None:
    return snapshot.get(kind, workload.namespace, workload.name) if kind.name == workload.kind else None


def _behind(snapshot: Snapshot, endpoint: Endpoint, places: Iterable[Place]) -> list[Place]:
    """The containers of the pods that an address leads to, or that its Service means where none of them is ready."""
    pods = {pod.id for pod, _ in endpoint.pods}
    service = snapshot.get(SERVICE, endpoint.namespace, endpoint.service) if endpoint.service else None
    meant = service["spec"] if service and not pods else {}
    return [
        each
        for each in places
        if (each.pod and each.pod.id in pods)
        or (each.workload.namespace == endpoint.namespace and _selects(snapshot, meant, each))
    ]


def _own_key(place: Place) -> ApiKey | None:
    for name, variable in place.spec.environment(place.container).items():
        if OWN.match(name) and variable.value and variable.origin.startswith("Secret "):
            return ApiKey(Secret(variable.value), variable.origin)
    return None


def _requests(snapshot: Snapshot, endpoint: Endpoint, given: KeyVaultSettings) -> Requests | None:
    if given.fetch or given.store:
        return _made(given, "the settings")
    service = snapshot.get(SERVICE, endpoint.namespace, endpoint.service) if endpoint.service else None
    text = ((service["metadata"].get("annotations") or {}) if service else {}).get(ANNOTATION, "")
    try:
        said = yaml.safe_load(text) if text else None
        known = said if isinstance(said, dict) else {}
        proposed = KeyVaultSettings(**{key: str(value) for key, value in known.items()})
    except (yaml.YAMLError, TypeError, ValueError):
        return None
    return _made(proposed, f"annotation {ANNOTATION} of Service {endpoint.service}") if proposed.fetch else None


def _made(given: KeyVaultSettings, origin: str) -> Requests:
    header, body = given.header or "X-Api-Key", given.body or "{record}"
    return Requests(header, given.store, given.fetch, given.remove, body, origin)


def _address(url: str) -> tuple[str, int, bool, str]:
    """Host, port, whether by TLS, and the path before every other; no host where it is no address."""
    try:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return parts.hostname or "", parts.port or (443 if tls else 80), tls, parts.path.rstrip("/")
    except ValueError:
        return "", 0, False, ""
