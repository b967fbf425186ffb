"""A small API server that keeps objects and takes patches, for what changes a cluster."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.unit.loopback import Refused, Reply, Request

Json = dict[str, Any]


@dataclass
class Server:
    """``objects`` by API path; ``lists`` are the kinds of the collections; ``busy`` are pods whose budget says not now,
    for so many tries. ``evicted`` and ``patched`` are what was asked for."""

    objects: dict[str, Json] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    evicted: list[str] = field(default_factory=list)
    patched: list[tuple[str, Json]] = field(default_factory=list)
    dry: list[str] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        path = asked.path
        if path.endswith("/eviction"):
            return self._evict(path.removesuffix("/eviction"), asked.body)
        if path in self.lists and asked.method == "GET":
            return 200, {"kind": f"{self.lists[path]}List", "items": self._listed(path, asked.query)}
        if path in self.lists and asked.method == "POST":
            self.objects[f"{path}/{asked.body['metadata']['name']}"] = asked.body
            return 201, asked.body
        held = path.removesuffix("/status")
        if held not in self.objects:
            raise Refused(404, f"{path} not found")
        match asked.method:
            case "DELETE":
                return 200, self.objects.pop(held)
            case "PATCH":
                self.patched.append((path, asked.body))
                self.objects[held] = merged(self.objects[held], asked.body)
        return 200, self.objects[held]

    def _listed(self, path: str, query: Any) -> list[Json]:
        node = query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        wanted = dict(each.split("=", 1) for each in query.get("labelSelector", "").split(",") if each)
        found = [each for key, each in self.objects.items() if key.rpartition("/")[0] == path]
        return [
            each
            for each in found
            if (not node or each["spec"].get("nodeName") == node)
            and wanted.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def _evict(self, path: str, body: Json) -> Reply:
        name = body["metadata"]["name"]
        if "dryRun" in body["deleteOptions"]:
            self.dry.append(name)
            if self.busy.get(name):
                raise Refused(429, "Cannot evict pod as it would violate the pod's disruption budget.")
            return 201, {}
        if self.busy.get(name):
            self.busy[name] -= 1
            raise Refused(429, "Cannot evict pod as it would violate the pod's disruption budget.")
        self.evicted.append(name)
        del self.objects[path]
        return 201, {}


def merged(old: Json, patch: Json) -> Json:
    """A JSON merge patch (RFC 7386)."""
    found = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            found[key] = merged(found.get(key) or {}, value)
        else:
            found[key] = value
    return found
