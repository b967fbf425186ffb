"""Web pages of the deployment: Element Web and Synapse's admin page, where they are served, and for which homeserver.

Sources: the images as element-web and synapse-admin publish them (docker.io/vectorim/element-web,
ghcr.io/element-hq/element-web, awesometechnologies/synapse-admin, ghcr.io/etkecc/synapse-admin).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postflight.cluster.kinds import SERVICE
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses, element_config
from postflight.deployment.addresses import Led
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side
from postflight.deployment.places import Place, places
from postflight.deployment.routes import selects
from postflight.deployment.synapse import LI_LABELS
from postflight.settings import PageNames


class PageKind(StrEnum):
    """What a page is."""

    ELEMENT = "Element"
    ADMIN = "admin page"


IMAGES = {
    PageKind.ELEMENT: re.compile(r"(^|/)(element-web|riot-web)[^/:@]*([:@]|$)"),
    PageKind.ADMIN: re.compile(r"(^|/)synapse-admin[^/:@]*([:@]|$)"),
}
#: A page too, and none of these: Element opens it for a call.
CALL_PAGE = re.compile(r"(^|/)element-call[^/:@]*([:@]|$)")
CONFIG = re.compile(r"/config(\.[^/]+)?\.json$")
DEFAULT_PORT = 80
NO_NAMES = PageNames()
MAIN_LABELS = {(key, Side.MAIN.value) for key, _ in LI_LABELS}


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page as a workload serves it on ``port`` of its pods. ``paths`` are those of Ingresses that lead to it;
    ``origin`` names the ConfigMap key of its configuration file, "" where the spec does not tell."""

    kind: PageKind
    namespace: str
    name: str
    workload: str
    pods: tuple[Pod, ...]
    port: int
    paths: tuple[Led, ...]
    side: Side
    origin: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.host for each in self.paths if each.host))

    @property
    def address(self) -> str:
        """How a person calls it: by its address, else by its workload."""
        return self.hosts[0] if self.hosts else self.name


def find(
    deployment: Deployment, snapshot: Snapshot, secrets: SecretStore, names: PageNames = NO_NAMES
) -> tuple[WebPage, ...]:
    """All of them, by image, by the configuration file that is mounted, or as the settings name them."""
    paths = addresses.led(deployment, snapshot)
    sides = addresses.hosts(deployment.li, paths)
    members: dict[tuple[str, PageKind], list[Place]] = {}
    for each in places(snapshot, secrets, deployment.workloads):
        if each.lasts and (kind := _kind(each, names)):
            members.setdefault((each.workload.id, kind), []).append(each)
    found: list[WebPage] = []
    for (_, kind), group in members.items():
        first = group[0]
        pods = tuple(each.pod for each in group if each.pod)
        own = tuple(_paths_to(snapshot, paths, pods))
        origin, text = next(_configurations(first), ("", ""))
        found.append(
            WebPage(
                kind=kind,
                namespace=first.workload.namespace,
                name=first.workload.name,
                workload=first.workload.id,
                pods=pods,
                port=_port(first.container),
                paths=own,
                side=_side(pods, own, sides, text),
                origin=origin,
            )
        )
    return tuple(found)


def _kind(place: Place, names: PageNames) -> PageKind | None:
    if place.is_among(names.element_workloads):
        return PageKind.ELEMENT
    if place.is_among(names.admin_workloads):
        return PageKind.ADMIN
    image = str(place.container.get("image") or "")
    for kind, pattern in IMAGES.items():
        if pattern.search(image):
            return kind
    if not CALL_PAGE.search(image) and any(element_config.is_one(text) for _, text in _configurations(place)):
        return PageKind.ELEMENT
    return None


def _configurations(place: Place) -> Iterator[tuple[str, str]]:
    """Where a mounted file called as Element's configuration is comes from, and its text."""
    for path, origin, text in place.spec.mounted(place.container):
        if CONFIG.search(path):
            yield origin, text


def _port(container: Mapping[str, Any]) -> int:
    ports: Sequence[Mapping[str, Any]] = container.get("ports") or ()
    named = next((each["containerPort"] for each in ports if each.get("name") in ("http", "web")), None)
    return int(named or next((each["containerPort"] for each in ports), DEFAULT_PORT))


def _paths_to(snapshot: Snapshot, paths: Sequence[Led], pods: Collection[Pod]) -> Iterator[Led]:
    for each in paths:
        service = snapshot.get(SERVICE, each.ingress["metadata"]["namespace"], each.service)
        if service and any(selects(service, pod) for pod in pods):
            yield each


def _side(pods: Sequence[Pod], own: Sequence[Led], sides: Mapping[str, Side], text: str) -> Side:
    """By labels, its own, then its Ingresses'; else by whose host it is served at; else by the homeserver that its
    configuration names."""
    labels = {label for pod in pods for label in pod.labels.items()}
    if LI_LABELS & labels or any(each.is_labelled_li for each in own):
        return Side.LI
    if MAIN_LABELS & labels:
        return Side.MAIN
    if told := next((sides[each.host] for each in own if each.host in sides), None):
        return told
    config, _ = element_config.read(text)
    named = addresses.host_of(element_config.homeserver(config).base_url) if config else ""
    return sides.get(named, Side.MAIN)
