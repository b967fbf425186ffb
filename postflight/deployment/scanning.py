"""Content scanners, the ClamAV daemons behind them, and what leads clients to them.

Sources: matrix-content-scanner 1.4.1 (mcs.py, config.py, httpserver.py: its paths); ClamAV 1.4 (clamd.conf(5)).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from postflight.cluster.files import Files, Wanted
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Proxy
from postflight.deployment.commands import words_of
from postflight.deployment.modules import modules_of
from postflight.deployment.parts import Endpoint, Pod, Side, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.pods import number
from postflight.deployment.scan_parts import Antivirus, Clamd, Scanner
from postflight.deployment.services import out_of_scope
from postflight.settings import AntivirusNames

#: Beneath it stands all that the scanner has for clients.
BASE = "/_matrix/media_proxy"
SCANNER_IMAGE = re.compile(r"(^|/)matrix-content-scanner(-python)?([:@]|$)")
CLAMD_IMAGE = re.compile(r"(^|/)(clamav|clamav-debian|clamd)([:@]|$)")
MODULE = re.compile(r"matrix[_-]content[_-]scanner(\.mcs)?")
#: What people call its Service.
NAME = re.compile(r"content[-_]?scanner")
#: A module of Synapse's that has a say about media (check_media_file_for_spam), as far as a name tells.
SCANNING_MODULE = re.compile(r"(?i)virus|malware|clam|scan|media|spam")
PORT, CLAMD_PORT = 8080, 3310
DEFAULT_PATH = "/data/config.yaml"
CLAMD_DEFAULT = "/etc/clamav/clamd.conf"


@dataclass(frozen=True, slots=True)
class Configured(Place):
    """A container, and the path of its configuration in it."""

    config_path: str


@dataclass(frozen=True, slots=True)
class Found:
    """The containers that run a content scanner, and those that run clamd."""

    scanners: tuple[Configured, ...]
    clamds: tuple[Configured, ...]


def find(places: Iterable[Place], names: AntivirusNames) -> Found:
    scanners: list[Configured] = []
    clamds: list[Configured] = []
    for each in places:
        programs = {word.rpartition("/")[2] for word in words_of(each.container)}
        if _is(each, any(map(MODULE.fullmatch, programs)), SCANNER_IMAGE, names.scanner_workloads):
            scanners.append(_configured(each, _given(each, ("-c",)) or DEFAULT_PATH))
        elif _is(each, "clamd" in programs, CLAMD_IMAGE, names.clamd_workloads):
            clamds.append(_configured(each, _given(each, ("--config-file", "-c")) or CLAMD_DEFAULT))
    return Found(tuple(scanners), tuple(clamds))


def _is(place: Place, runs: bool, image: re.Pattern[str], named: Collection[str]) -> bool:
    """By its command, by its image where that runs its own command, or by the settings."""
    own = not place.container.get("command") and bool(image.search(place.container.get("image") or ""))
    return runs or own or place.is_among(named)


def wanted_files(found: Found) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (each.config_path,))
        for each in (*found.scanners, *found.clamds)
        if (pod := each.running_pod)
    )


def _configured(place: Place, path: str) -> Configured:
    return Configured(place.workload, place.pod, place.spec, place.container, place.first, path)


def read_antivirus(
    found: Found,
    files: Files,
    snapshot: Snapshot,
    processes: Iterable[SynapseProcess],
    proxies: Sequence[Proxy],
) -> Antivirus:
    own = [each for each in processes if each.side is Side.MAIN]
    return Antivirus(
        scanners=tuple(_scanner(group, files) for group in _by_workload(found.scanners)),
        clamds=tuple(_clamd(group, files) for group in _by_workload(found.clamds)),
        announced=tuple(_announced(snapshot, own, proxies)),
        elsewhere=tuple(_elsewhere(snapshot, proxies)),
        modules=tuple(dict.fromkeys(name for each in own for name in _modules(each.config))),
    )


def edges(antivirus: Antivirus) -> Iterator[tuple[str, str]]:
    """A scanner scans nothing without a clamd; both are their workloads' pods."""
    yield from ((each.id, each.workload) for each in antivirus.clamds)
    for scanner in antivirus.scanners:
        yield scanner.id, scanner.workload
        yield from ((scanner.id, each.id) for each in antivirus.clamds if each.namespace == scanner.namespace)


def _by_workload(places: Iterable[Configured]) -> Iterator[Sequence[Configured]]:
    groups: dict[str, list[Configured]] = {}
    for each in places:
        groups.setdefault(each.workload.id, []).append(each)
    yield from groups.values()


def _given(place: Place, flags: Sequence[str]) -> str:
    """The last: the first may be a shell's."""
    words = words_of(place.container)
    found = [after for word, after in pairwise(words) if word in flags]
    found += [word.partition("=")[2] for word in words if word.startswith(tuple(f"{flag}=" for flag in flags))]
    return found[-1] if found else ""


def _text(group: Sequence[Configured], files: Files) -> str:
    """The configuration of the first that shows it: as it is in its container, else by spec."""
    for each in group:
        read = files.of(each.pod.namespace, each.pod.name, each.name) if each.pod else None
        if read and each.config_path in read:
            return read[each.config_path].decode("utf-8", "replace")
        if text := each.spec.file(each.container, each.config_path):
            return text
    return ""


def _scanner(group: Sequence[Configured], files: Files) -> Scanner:
    workload = group[0].workload
    config = _mapping(_text(group, files))
    return Scanner(
        id=f"scanner/{workload.namespace}/{workload.name}",
        namespace=workload.namespace,
        name=workload.name,
        workload=workload.id,
        pods=_pods(group),
        port=number(_inner(config, "web").get("port"), PORT),
        script=str(_inner(config, "scan").get("script") or ""),
        homeserver=str(_inner(config, "download").get("base_homeserver_url") or ""),
    )


def _clamd(group: Sequence[Configured], files: Files) -> Clamd:
    workload = group[0].workload
    port = re.search(r"^\s*TCPSocket\s+(\d+)", _text(group, files), re.MULTILINE)
    return Clamd(
        id=f"clamd/{workload.namespace}/{workload.name}",
        namespace=workload.namespace,
        name=workload.name,
        workload=workload.id,
        pods=_pods(group),
        port=int(port[1]) if port else CLAMD_PORT,
    )


def _pods(group: Sequence[Configured]) -> tuple[Pod, ...]:
    return tuple(each.pod for each in group if each.pod)


def _announced(snapshot: Snapshot, processes: Iterable[SynapseProcess], proxies: Iterable[Proxy]) -> Iterator[str]:
    for proxy in proxies:
        if BASE in proxy.config or any(_is_named(each) for servers in proxy.backends.values() for each in servers):
            yield f"the configuration of {proxy.name}"
    for ingress in snapshot.all(INGRESS):
        notes = (ingress["metadata"].get("annotations") or {}).values()
        paths = list(_paths(ingress))
        named = any(BASE in path or NAME.search(service) for path, service in paths)
        if named or any(BASE in str(each) for each in notes):
            yield f"Ingress {ingress['metadata']['name']}"
    for process in processes:
        content = (process.config or {}).get("extra_well_known_client_content")
        if process.is_main and isinstance(content, dict):
            yield from (f"{key} in the well-known file of {process.workload_name}" for key in content if _tells(key))


def _paths(ingress: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The paths of an Ingress, and the Service that each names."""
    for rule in ingress["spec"].get("rules") or ():
        for each in (rule.get("http") or {}).get("paths") or ():
            service = (each.get("backend") or {}).get("service") or {}
            yield str(each.get("path") or ""), str(service.get("name") or "")


def _is_named(server: Endpoint) -> bool:
    return bool(NAME.search(server.service or server.host))


def _elsewhere(snapshot: Snapshot, proxies: Iterable[Proxy]) -> Iterator[tuple[str, str]]:
    """Who leads to a scanner in a namespace that is not looked at, and that namespace."""
    for proxy in proxies:
        own = {each.backend(f"{BASE}/unstable/public_key") for each in proxy.frontends if each.speaks_of(BASE)}
        for name, servers in proxy.backends.items():
            for each in servers:
                if (name in own or _is_named(each)) and (where := out_of_scope(snapshot, each)):
                    yield f"the configuration of {proxy.name}", where
    for ingress in snapshot.all(INGRESS):
        meta = ingress["metadata"]
        for path, name in _paths(ingress):
            told = name and (BASE in path or NAME.search(name)) and snapshot.get(SERVICE, meta["namespace"], name)
            if told and (where := out_of_scope(snapshot, Endpoint(name, 0, meta["namespace"], name, ()))):
                yield f"Ingress {meta['name']}", where


def _modules(config: Mapping[str, Any] | None) -> Iterator[str]:
    """Of a configuration, those that may scan."""
    older = (config or {}).get("spam_checker") or ()
    listed = {"modules": older if isinstance(older, list) else [older]}
    for each in (*modules_of(config), *modules_of(listed)):
        if SCANNING_MODULE.search(each.name) or "check_media_file_for_spam" in str(each.config):
            yield each.name


def _tells(key: object) -> bool:
    return "scanner" in str(key).lower()


def _inner(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    held = config.get(name)
    return held if isinstance(held, dict) else {}


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
