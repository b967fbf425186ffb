"""Values that somebody meant to replace: in Secrets, in what containers have mounted and in their environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from postflight.cluster.files import ENVIRONMENT, Files
from postflight.cluster.secrets import SecretStore
from postflight.deployment.places import Place

#: As people spell them in templates. ``change_me`` is the beginning of an ordinary word too (change_membership); the
#: endings are those of tools that put a Secret in their place. example.com is nobody's (RFC 2606).
MARK = re.compile(
    r"(?i:change[-_]?me)(?![a-z])|CHANGE_TO_|[A-Z0-9]_FROM_SECRET\b|[A-Z0-9]_PLACEHOLDER\b|PLACEHOLDER_[A-Z0-9]"
    r"|(?i:(?<![\w-])(?:[\w-]+\.)*example\.com(?![\w.-]*\w))"
)
SPELLED = (
    (re.compile(r"(?i)change_me|change-me"), "CHANGE_ME"),
    (re.compile(r"(?i)changeme"), "CHANGEME"),
    (re.compile("CHANGE_TO_"), "CHANGE_TO_"),
    (re.compile("_FROM_SECRET"), "_FROM_SECRET"),
    (re.compile("PLACEHOLDER"), "PLACEHOLDER"),
)
#: Files that are no configuration: programs and pages may speak of placeholders.
CONFIGURATION = re.compile(r"(^|/)[^/.]+$|\.(ya?ml|json|conf|cfg|ini|toml|env|properties)$")
COMMENT = re.compile(r"^\s*(#|;|//|<!--|--\s).*$|\s(#|//)\s.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where one stands, never what stands around it. ``subject`` is the part that it is of, ``spelling`` one of a few
    known words, ``pods`` the names of those that run with it, as far as it was seen there."""

    subject: str
    where: str
    spelling: str
    pods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placeholders:
    """``looked`` are the Secrets and containers that were looked at, ``unread`` the pods whose files and environment could
    not be read as they are."""

    found: tuple[Placeholder, ...] = ()
    looked: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(slots=True)
class _Finds:
    """Each by where it stands, with its pods; and the texts that are known, so that what is made of them is not told
    again."""

    found: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)
    known: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, subject: str, where: str, text: str, pod: str = "", *, first: bool = False) -> None:
        """``first``: nothing else can be where it comes from, though it may be spelled alike."""
        for line in text.splitlines():
            if spelling := spelled(line):
                key = (not first and self._origin(line)) or (subject, where, spelling)
                self.known.setdefault(line.strip(), key)
                pods = self.found.setdefault(key, {})
                if pod:
                    pods[pod] = None

    def _origin(self, line: str) -> tuple[str, str, str] | None:
        return next((key for text, key in self.known.items() if text in line), None)


def spelled(text: str) -> str:
    """The word that a placeholder is known by, "" where there is none."""
    match = MARK.search(text)
    if match is None:
        return ""
    return next((word for pattern, word in SPELLED if pattern.search(match[0])), "example.com")


def find(places: Sequence[Place], secrets: SecretStore, files: Files) -> Placeholders:
    """Secrets first: what stands in a container's environment or file may come from there, and is told once."""
    finds = _Finds()
    looked: dict[str, None] = {}
    for (namespace, name), held in secrets.found.items():
        looked[f"secret/{namespace}/{name}"] = None
        for key, value in held.data.items():
            finds.add(f"secret/{namespace}/{name}", f"Secret {name}/{key}", _bare(value.reveal()), first=True)
    for place in places:
        looked[place.pod.id if place.pod else place.workload.id] = None
        for where, text in _by_spec(place):
            finds.add(place.workload.id, where, text, place.pod.name if place.pod else "")
    for place in places:
        read = files.of(place.pod.namespace, place.pod.name, place.name) if place.pod else None
        for path, body in (read or {}).items():
            for where, text in _as_read(path, body.decode("utf-8", "replace")):
                finds.add(
                    place.workload.id, f"{where} of {place.workload.name}", text, place.pod.name if place.pod else ""
                )
    # One that is not ready may have crashed meanwhile.
    steady = {(p.pod.namespace, p.pod.name, p.name): p.pod.id for p in places if p.pod and p.pod.ready}
    unread = dict.fromkeys(steady[each] for each in files.unseen if each in steady)
    found = tuple(Placeholder(*key, tuple(pods)) for key, pods in finds.found.items())
    return Placeholders(found, tuple(looked), tuple(unread))


def _by_spec(place: Place) -> Iterator[tuple[str, str]]:
    """What a container is given that is no Secret: values that stand in its spec, and ConfigMaps."""
    for name, variable in place.spec.environment(place.container).items():
        if not variable.secret and not variable.origin.startswith("Secret "):
            origin = (
                variable.origin if variable.origin.startswith("ConfigMap ") else f"the spec of {place.workload.name}"
            )
            yield f"{name} in {origin}", variable.value
    for path, origin, text in place.spec.mounted(place.container):
        if origin.startswith("ConfigMap ") and CONFIGURATION.search(path):
            yield origin, _bare(text)


def _as_read(path: str, text: str) -> Iterable[tuple[str, str]]:
    if path == ENVIRONMENT:
        for variable in text.split("\0"):
            name, _, value = variable.partition("=")
            yield f"{name} in the environment", value
    elif CONFIGURATION.search(path):
        yield path, _bare(text)


def _bare(text: str) -> str:
    """Without comments, which may well speak of placeholders."""
    return COMMENT.sub("", text)
