"""The healthy lab as ``tests/record_lab.py`` recorded it: Snapshot, SecretStore, Files, and the model.

A test that wants another lab changes the recording, as text or as JSON, before it is loaded.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from postflight.cluster.files import Files
from postflight.cluster.kinds import LISTED
from postflight.cluster.secrets import SecretObject, SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.build import build, survey
from postflight.deployment.model import Deployment
from postflight.secrets import Secret
from postflight.settings import Settings

FILE = Path(__file__).with_name("data") / "lab.json.gz"
KINDS = {kind.name: kind for kind in LISTED}
Json = dict[str, Any]


@dataclass(frozen=True)
class Recording:
    snapshot: Snapshot
    secrets: SecretStore
    files: Files

    def deployment(self, files: Files | None = None, settings: Settings | None = None) -> Deployment:
        """The model; other ``files`` say what could not be read in the pods."""
        settings = settings or Settings()
        surveyed = survey(self.snapshot, self.secrets, settings)
        return build(surveyed, self.files if files is None else files, settings)


def load(text: str) -> Recording:
    raw = json.loads(text)
    return Recording(
        Snapshot(
            namespaces=tuple(raw["namespaces"]),
            taken=datetime.fromisoformat(raw["taken"]),
            objects={(KINDS[each["kind"]], each["namespace"]): tuple(each["items"]) for each in raw["objects"]},
            served=frozenset(KINDS[name] for name in raw["served"]),
            controllers=tuple(raw["controllers"]),
        ),
        SecretStore({(each["namespace"], each["name"]): _secret(each) for each in raw["secrets"]}, {}),
        Files(
            {
                (each["namespace"], each["pod"], each["container"]): {
                    path: base64.b64decode(body) for path, body in each["content"].items()
                }
                for each in raw["files"]
            },
            {},
        ),
    )


def _secret(raw: Json) -> SecretObject:
    changed = datetime.fromisoformat(raw["changed"]) if raw["changed"] else None
    return SecretObject(raw["namespace"], raw["name"], {k: Secret(v) for k, v in raw["data"].items()}, changed)


@cache
def text() -> str:
    return gzip.decompress(FILE.read_bytes()).decode()


@cache
def healthy() -> Recording:
    return load(text())


@cache
def model() -> Deployment:
    """The model of the healthy lab, built once."""
    return healthy().deployment()


def changed(change: Callable[[Json], object]) -> Recording:
    """The lab after ``change`` to its JSON (``items`` and ``item`` find what to change)."""
    raw = json.loads(text())
    change(raw)
    return load(json.dumps(raw))


def renamed(*pairs: tuple[str, str]) -> Recording:
    """The lab with every occurrence of a text replaced by another, in file contents too."""

    def replace(found: str) -> str:
        for old, new in pairs:
            found = found.replace(old, new)
        return found

    raw = json.loads(text())
    for each in raw["files"]:
        each["content"] = {path: base64.b64decode(body).decode() for path, body in each["content"].items()}
    raw = json.loads(replace(json.dumps(raw)))
    for each in raw["files"]:
        each["content"] = {path: base64.b64encode(body.encode()).decode() for path, body in each["content"].items()}
    return load(json.dumps(raw))


def items(raw: Json, kind: str) -> list[Json]:
    """The objects of a kind in the recording's JSON."""
    found: list[Json] = next(each["items"] for each in raw["objects"] if each["kind"] == kind)
    return found


def item(raw: Json, kind: str, name: str) -> Json:
    """One of them; a name that only begins like this is enough where a hash follows."""
    return next(each for each in items(raw, kind) if each["metadata"]["name"].startswith(name))
