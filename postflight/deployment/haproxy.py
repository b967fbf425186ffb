"""HAProxy's configuration as text: its frontends, and the backend that a request for a path goes to.

Source: HAProxy 2.8, Configuration Manual, 4.2 (use_backend) and 7.1 (ACLs). What is not understood makes the
answer unknown, never another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SECTIONS = ("global", "defaults", "frontend", "backend", "listen", "resolvers", "peers", "userlist", "cache", "program")
#: How an ACL compares a path, by its keyword.
MATCHES = {
    "path": "str",
    "path_beg": "beg",
    "path_end": "end",
    "path_sub": "sub",
    "path_reg": "reg",
}
Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Frontend:
    """``acls`` are all tests of a name (any of them suffices); ``rules`` the backends with the words of their
    conditions, in order; ``default`` the backend of all other requests."""

    name: str
    binds: tuple[Bind, ...]
    acls: Mapping[str, tuple[Words, ...]]
    rules: tuple[tuple[str, Words], ...]
    default: str

    def backend(self, path: str) -> str | None:
        """The backend that a request for ``path`` goes to, "" for none; None where its rules do not tell."""
        for backend, condition in self.rules:
            holds = self._holds(condition, path)
            if holds is None or (holds and "%[" in backend):
                return None
            if holds:
                return backend
        return self.default

    def speaks_of(self, path: str) -> bool:
        """Whether a test of this frontend names a path that begins like this."""
        return any(path in word for tests in self.acls.values() for words in tests for word in words[1:])

    def _holds(self, condition: Words, path: str) -> bool | None:
        """``if`` and ``unless``; words are joined by "and", groups of them by "or"."""
        if not condition:
            return True
        groups: list[list[bool | None]] = [[]]
        for word in _terms(condition[1:]):
            if word in (("or",), ("||",)):
                groups.append([])
            else:
                groups[-1].append(self._term(word, path))
        found = _any([_all(group) for group in groups])
        return found if condition[0] == "if" or found is None else not found

    def _term(self, words: Words, path: str) -> bool | None:
        negated = words[0].startswith("!")
        name = words[0].removeprefix("!")
        tests = self.acls.get(name, ()) if len(words) == 1 else ((name, *words[1:]),)
        found = _any([_test(test, path) for test in tests]) if tests else None
        return None if found is None else found != negated


def _terms(words: Words) -> Iterator[Words]:
    """Names of ACLs, and anonymous ones without their braces."""
    inside: list[str] | None = None
    negated = ""
    for word in words:
        if word in ("{", "!{"):
            inside, negated = [], word.removesuffix("{")
        elif word == "}" and inside:
            yield (negated + inside[0], *inside[1:])
            inside = None
        elif inside is None:
            yield (word,)
        else:
            inside.append(word)


def _test(words: Words, path: str) -> bool | None:
    """One test of a path; None for any other criterion."""
    kind = MATCHES.get(words[0])
    if kind is None:
        return None
    patterns = list(words[1:])
    folded = False
    while patterns and patterns[0].startswith("-"):
        flag = patterns.pop(0)
        if flag == "-i":
            folded = True
        elif flag == "-m" and patterns:
            kind = patterns.pop(0)
        elif flag == "--":
            break
        else:
            return None
    return _any([_matches(kind, each, path, folded) for each in patterns])


def _matches(kind: str, pattern: str, path: str, folded: bool) -> bool | None:
    if kind == "reg":
        try:
            return re.search(pattern, path, re.IGNORECASE if folded else 0) is not None
        except re.error:
            return None
    if folded:
        pattern, path = pattern.lower(), path.lower()
    match kind:
        case "str":
            return path == pattern
        case "beg":
            return path.startswith(pattern)
        case "end":
            return path.endswith(pattern)
        case "sub":
            return pattern in path
    return None


def _any(values: Sequence[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def _all(values: Sequence[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def frontends(text: str) -> tuple[Frontend, ...]:
    """Those that speak HTTP, in the order of the file."""
    defaults = "tcp"
    found: list[Frontend] = []
    for kind, name, lines in sections(text):
        mode = next((words[1] for words in lines if words[0] == "mode" and len(words) > 1), defaults)
        if kind == "defaults":
            defaults = mode
        elif kind in ("frontend", "listen") and mode == "http":
            found.append(_frontend(kind, name, lines))
    return tuple(found)


def _frontend(kind: str, name: str, lines: Sequence[Words]) -> Frontend:
    acls: dict[str, tuple[Words, ...]] = {}
    for words in lines:
        if words[0] == "acl" and len(words) > 2:
            acls[words[1]] = (*acls.get(words[1], ()), words[2:])
    rules = tuple((words[1], words[2:]) for words in lines if words[0] == "use_backend" and len(words) > 1)
    default = next((words[1] for words in lines if words[0] == "default_backend" and len(words) > 1), "")
    binds = [bind for words in lines if words[0] == "bind" for bind in binds_of(words)]
    return Frontend(name, tuple(binds), acls, rules, default or (name if kind == "listen" else ""))


def binds_of(words: Words) -> Iterator[Bind]:
    """The ports of a ``bind`` line; a socket in the file system has none."""
    for address in words[1].split(",") if len(words) > 1 else ():
        port = address.rpartition(":")[2]
        if port.isdigit():
            yield Bind(int(port), "ssl" in words)


def servers(text: str) -> dict[str, tuple[tuple[str, int], ...]]:
    """The host and port (0 where an SRV record tells it) of each server, by backend."""
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    for kind, name, lines in sections(text):
        if kind in ("backend", "listen"):
            found[name] = tuple(address for words in lines if (address := address_of(words)))
    return found


def address_of(words: Words) -> tuple[str, int] | None:
    """Host and port of a ``server`` or ``server-template`` line (port 0 where an SRV record tells it), else None."""
    place = {"server": 2, "server-template": 3}.get(words[0], len(words))
    if place >= len(words):
        return None
    host, _, port = words[place].partition(":")
    service = re.sub(r"^_[\w-]+\._(tcp|udp)\.", "", host)
    return service, int(port) if port.isdigit() else 0


def sections(text: str) -> Iterator[tuple[str, str, list[Words]]]:
    """Keyword, name and the words of each line of every section."""
    kind, name = "", ""
    lines: list[Words] = []
    for line in text.splitlines():
        words = tuple(word.replace("\0", " ") for word in re.sub(r"(^|\s)#.*", "", line).replace("\\ ", "\0").split())
        if not words:
            continue
        if words[0] in SECTIONS:
            if kind:
                yield kind, name, lines
            kind, name, lines = words[0], words[1] if len(words) > 1 else "", []
        else:
            lines.append(words)
    if kind:
        yield kind, name, lines
