"""HAProxy in front of Synapse: where it runs, and where it leads requests."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from postflight.cluster.files import Files, Wanted
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import haproxy
from postflight.deployment.call_parts import Proxy
from postflight.deployment.commands import words_of
from postflight.deployment.parts import Endpoint, Pod
from postflight.deployment.places import Place
from postflight.deployment.services import resolve

IMAGE = re.compile(r"(^|/)haproxy(-alpine)?([:@]|$)")
DEFAULT_PATH = "/usr/local/etc/haproxy/haproxy.cfg"


@dataclass(frozen=True, slots=True)
class Found(Place):
    """A container that runs HAProxy, and its configuration file."""

    config_path: str


def is_haproxy(container: Mapping[str, Any]) -> bool:
    words = words_of(container)
    if "haproxy" in {word.rpartition("/")[2] for word in words}:
        return True
    return not container.get("command") and bool(IMAGE.search(container.get("image") or ""))


def find(places: Iterable[Place], named: Collection[str] = ()) -> tuple[Found, ...]:
    """All containers that run HAProxy. In the workloads ``named`` the first container does, whatever it looks like."""
    return tuple(
        Found(each.workload, each.pod, each.spec, each.container, each.first, _config_path(each.container))
        for each in places
        if is_haproxy(each.container) or (each.first and each.workload.name in named)
    )


def wanted_files(found: Sequence[Found]) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (each.config_path,)) for each in found if (pod := each.running_pod)
    )


def read_proxies(
    found: Sequence[Found], files: Files, snapshot: Snapshot, pods: Mapping[str, Pod]
) -> tuple[Proxy, ...]:
    """One proxy per workload. Its pods share one configuration: that of the first that shows it."""
    members: dict[str, list[Found]] = {}
    for each in found:
        members.setdefault(each.workload.id, []).append(each)
    proxies: list[Proxy] = []
    for group in members.values():
        workload = group[0].workload
        text = next((text for each in group if (text := _config(each, files))), "")

        def led(host: str, port: int, namespace: str = workload.namespace) -> Endpoint:
            return resolve(snapshot, pods, host, port, namespace)

        proxies.append(
            Proxy(
                id=f"proxy/{workload.namespace}/{workload.name}",
                namespace=workload.namespace,
                name=workload.name,
                pods=tuple(each.pod for each in group if each.pod),
                frontends=haproxy.frontends(text),
                backends={
                    name: tuple(led(*address) for address in addresses)
                    for name, addresses in haproxy.servers(text).items()
                },
                config=text,
            )
        )
    return tuple(proxies)


def _config_path(container: Mapping[str, Any]) -> str:
    words = words_of(container)
    given = [after for word, after in pairwise(words) if word == "-f"]
    return next(iter(given), DEFAULT_PATH)


def _config(found: Found, files: Files) -> str:
    read = files.of(found.pod.namespace, found.pod.name, found.name) if found.pod else None
    if read and found.config_path in read:
        return read[found.config_path].decode("utf-8", "replace")
    return found.spec.file(found.container, found.config_path) or ""
