"""Where the Ingresses in scope lead a host and a path.

Source: Kubernetes 1.34, documentation of Ingress (path types, wildcards in host names). What the annotations of a
controller do to a path is told by their names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Endpoint, Pod
from postflight.deployment.services import resolve

#: Annotations by which a controller may change the path before it hands a request on.
REWRITING = re.compile(r"rewrite|strip|middleware|snippet|transform|plugin")
#: nginx takes a path for a regular expression where it holds one of these.
PATTERN = re.compile(r"[()*^$|\\]")
TLS_PORTS = (443, 8443)
#: The ends of annotations by which a controller asks for something before it leads anybody in: a login, a certificate, an
#: address of some network.
ASKING = ("auth-type", "auth-url", "auth-tls-secret", "whitelist-source-range", "allowlist-source-range")


@dataclass(frozen=True, slots=True)
class Route:
    """One path of an Ingress. ``rewrites``: something may change the path on the way; ``tls``: to the pods too."""

    id: str
    name: str
    endpoint: Endpoint
    rewrites: bool
    tls: bool

    @property
    def words(self) -> str:
        return f"Ingress {self.name} leads to {self.target}"

    @property
    def target(self) -> str:
        return f"Service {self.endpoint.service}" if self.endpoint.service else "no Service"


def claims(snapshot: Snapshot, host: str) -> bool:
    """Whether a rule of some Ingress has this host."""
    return any(_rank(rule, host) > 0 for _, rule in _rules(snapshot))


def route(snapshot: Snapshot, pods: Mapping[str, Pod], host: str, path: str, *, known: bool = True) -> Route | None:
    """The path that a controller takes: of the rules with the nearest host, the longest. A rule without a host
    speaks for every name that leads to the controller: it counts where ``known`` says that this one does."""
    found: list[tuple[tuple[int, int, bool], Object, Mapping[str, Any]]] = []
    for ingress, rule in _rules(snapshot):
        rank = _rank(rule, host)
        if rank < 0 or (rank == 0 and not known):
            continue
        for each in (rule.get("http") or {}).get("paths") or ():
            if _matches(each, path):
                place = (rank, len(each.get("path") or "/"), each.get("pathType") == "Exact")
                found.append((place, ingress, each))
    if not found:
        return None
    _, ingress, best = max(found, key=lambda each: each[0])
    meta = ingress["metadata"]
    notes: Mapping[str, str] = meta.get("annotations") or {}
    endpoint = _endpoint(snapshot, pods, meta["namespace"], (best.get("backend") or {}).get("service") or {})
    secure = any(key.endswith("backend-protocol") and "HTTPS" in str(value).upper() for key, value in notes.items())
    return Route(
        id=f"ingress/{meta['namespace']}/{meta['name']}",
        name=meta["name"],
        endpoint=endpoint,
        rewrites=any(REWRITING.search(key) for key in notes),
        tls=secure or endpoint.port in TLS_PORTS,
    )


def annotation(snapshot: Snapshot, found: Route, ending: str) -> str | None:
    """What the annotations of a path's Ingress say under a name of this ending; None where they say nothing."""
    _, namespace, name = found.id.split("/")
    ingress = snapshot.get(INGRESS, namespace, name)
    notes: Mapping[str, str] = (ingress["metadata"].get("annotations") if ingress else None) or {}
    return next((str(value) for key, value in notes.items() if key.endswith(f"/{ending}")), None)


def _rules(snapshot: Snapshot) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    for ingress in snapshot.all(INGRESS):
        yield from ((ingress, rule) for rule in ingress["spec"].get("rules") or ())


def _rank(rule: Mapping[str, Any], host: str) -> int:
    """How near a rule's host is to this one: 2 the same, 1 a wildcard for it, 0 none at all, -1 another."""
    own = str(rule.get("host") or "").lower()
    if not own:
        return 0
    if own == host:
        return 2
    return 1 if own.startswith("*.") and host.partition(".")[2] == own[2:] else -1


def _matches(each: Mapping[str, Any], path: str) -> bool:
    own = str(each.get("path") or "/")
    if each.get("pathType") == "Exact":
        return path == own
    if PATTERN.search(own):
        try:
            return re.match(own, path) is not None
        except re.error:
            return False
    whole = own.rstrip("/")
    return path == whole or path.startswith(f"{whole}/")


def _endpoint(snapshot: Snapshot, pods: Mapping[str, Pod], namespace: str, backend: Mapping[str, Any]) -> Endpoint:
    name, asked = str(backend.get("name") or ""), backend.get("port") or {}
    if not name:
        return Endpoint("", 0, namespace, "", (), external=True)
    service = snapshot.get(SERVICE, namespace, name)
    ports = (service["spec"].get("ports") if service else None) or ()
    by_name = next((each["port"] for each in ports if asked.get("name") and each.get("name") == asked["name"]), 0)
    return resolve(snapshot, pods, f"{name}.{namespace}.svc", int(asked.get("number") or by_name), namespace)
