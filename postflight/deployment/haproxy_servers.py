"""HAProxy's configuration as text: its servers with what finds their addresses, and where it tells of itself.

Source: HAProxy 2.8, Configuration Manual, 5.2 (server and default-server options), 5.3 (resolvers), 4.2 (stats); tried
on 2.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from postflight.deployment.haproxy import Words, address_of, binds_of, sections

DEFAULT_URI = "/haproxy?stats"


@dataclass(frozen=True, slots=True)
class Server:
    """A ``server``, or a ``server-template`` of ``slots``. ``by_record``: an SRV record tells how many there are and
    where. ``resolvers`` is the section that follows its name, "" for none; ``first`` its ``init-addr``; ``disabled``: it takes no requests until somebody enables it."""

    host: str
    slots: int
    by_record: bool
    resolvers: str = ""
    first: str = ""
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class StatsPage:
    """Where HAProxy shows its statistics over HTTP; ``guarded``: it asks for a password."""

    port: int
    tls: bool
    uri: str
    guarded: bool

    @property
    def csv(self) -> str:
        return f"{self.uri};csv"


def backends(text: str) -> Mapping[str, tuple[Server, ...]]:
    """The servers of each backend, in the order of the file."""
    inherited = Server("", 1, by_record=False)
    found: dict[str, tuple[Server, ...]] = {}
    for kind, name, lines in sections(text):
        given = Server("", 1, by_record=False) if kind == "defaults" else inherited
        for words in lines:
            if words[0] == "default-server":
                given = _options(given, words[1:])
        if kind == "defaults":
            inherited = given
        elif kind in ("backend", "listen"):
            found[name] = tuple(_servers(lines, given))
    return found


def resolvers(text: str) -> Mapping[str, tuple[str, ...]]:
    """The name servers of each section, as they stand there; ``parse-resolv-conf`` for the pod's own."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, name, lines in sections(text):
        if kind == "resolvers":
            named = [words[2] for words in lines if words[0] == "nameserver" and len(words) > 2]
            named += [words[0] for words in lines if words[0] == "parse-resolv-conf"]
            found[name] = tuple(named)
    return found


def stats_page(text: str) -> StatsPage | None:
    """The first section with a port that shows statistics."""
    for kind, _, lines in sections(text):
        said = [words[1:] for words in lines if words[0] == "stats" and len(words) > 1]
        binds = [bind for words in lines if words[0] == "bind" for bind in binds_of(words)]
        if kind in ("frontend", "listen") and said and binds:
            uri = next((words[1] for words in said if words[0] == "uri" and len(words) > 1), DEFAULT_URI)
            guarded = any(words[0] == "auth" for words in said)
            return StatsPage(binds[0].port, binds[0].tls, uri, guarded)
    return None


def socket_path(text: str) -> str:
    """The path of a run-time socket in the file system, "" where there is none."""
    for kind, _, lines in sections(text):
        for words in lines if kind == "global" else ():
            if words[:2] == ("stats", "socket") and len(words) > 2:
                path = words[2].removeprefix("unix@")
                if path.startswith("/"):
                    return path
    return ""


def _servers(lines: Sequence[Words], given: Server) -> Iterator[Server]:
    for words in lines:
        address = address_of(words)
        if address is None:
            continue
        template = words[0] == "server-template"
        options = words[4 if template else 3 :]
        slots = _slots(words[2]) if template else 1
        by_record = words[3 if template else 2].startswith("_")
        yield _options(replace(given, host=address[0], slots=slots, by_record=by_record), options)


def _slots(words: str) -> int:
    """``4``, or ``1-4``."""
    first, _, last = words.rpartition("-")
    return (int(last) - (int(first) if first.isdigit() else 1) + 1) if last.isdigit() else 1


def _options(server: Server, words: Words) -> Server:
    for word, after in pairwise((*words, "")):
        if word == "resolvers":
            server = replace(server, resolvers=after)
        elif word == "init-addr":
            server = replace(server, first=after)
        elif word in ("disabled", "enabled"):
            server = replace(server, disabled=word == "disabled")
    return server
