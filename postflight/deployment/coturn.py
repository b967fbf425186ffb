"""What a coturn goes by: its configuration file, then its command line.

Source: coturn 4.6 (README.turnserver, src/apps/relay/mainrelay.c: the file first, then the command line; what may be given
several times adds up).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from postflight.cluster.files import ENVIRONMENT, Files, Wanted
from postflight.deployment.clients import parse_environment
from postflight.deployment.commands import words_of
from postflight.deployment.places import Place
from postflight.deployment.rendering import PLACEHOLDER, REFERENCE, Unreadable
from postflight.deployment.turn_parts import TurnServer

PROGRAM = "turnserver"
IMAGE = re.compile(r"(^|/)(coturn|turnserver)([:@]|$)")
#: Where coturn looks for its file: Debian's package, its own image, its sources' default.
PATHS = ("/etc/turnserver.conf", "/etc/coturn/turnserver.conf", "/usr/local/etc/turnserver.conf")
LINE = re.compile(r"([a-z][\w-]*)(?:\s*[=\s]\s*(.*))?")
SHORT = {"-p": "listening-port", "-X": "external-ip", "-c": "config"}
SECRET = "static-auth-secret"
Options = Mapping[str, tuple[str, ...]]


def find(places: Iterable[Place], named: Collection[str]) -> tuple[Place, ...]:
    """The containers that run coturn: by their command, by their image where that runs its own, or by the settings."""
    found = []
    for each in places:
        programs = {word.rpartition("/")[2] for word in words_of(each.container)}
        own = not each.container.get("command") and bool(IMAGE.search(each.container.get("image") or ""))
        if PROGRAM in programs or own or each.is_among(named):
            found.append(each)
    return tuple(found)


def wanted_files(found: Sequence[Place]) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (ENVIRONMENT, *_paths(each, _by_spec(each))))
        for each in found
        if (pod := each.running_pod)
    )


def _by_spec(place: Place) -> Mapping[str, str]:
    return {name: each.value for name, each in place.spec.environment(place.container).items()}


def _paths(place: Place, environment: Mapping[str, str]) -> tuple[str, ...]:
    given = _of_words(place, environment).get("config", ())
    return given[-1:] or PATHS


def options_of(place: Place, files: Files) -> tuple[Options, str]:
    """What coturn goes by in its pod, else by its spec; and why its file is not known."""
    read = files.of(place.pod.namespace, place.pod.name, place.name) if place.pod else None
    frozen = read.get(ENVIRONMENT) if read else None
    environment = parse_environment(frozen) if frozen else _by_spec(place)
    paths = _paths(place, environment)
    text = next((read[each].decode("utf-8", "replace") for each in paths if read and each in read), None)
    problem = ""
    if text is None:
        text, problem = _derived(place, paths)
    return _merged(text or "", _of_words(place, environment)), problem


def secrets_later(place: Place) -> tuple[str, ...]:
    """The secrets that coturn would take if it started now."""
    environment = _by_spec(place)
    text, _ = _derived(place, _paths(place, environment))
    return _merged(text or "", _of_words(place, environment)).get(SECRET, ())


def _derived(place: Place, paths: Sequence[str]) -> tuple[str | None, str]:
    for path in paths:
        try:
            text = place.spec.file(place.container, path)
        except Unreadable as error:
            return None, str(error)
        if text is not None:
            return text, ""
    return None, "" if _of_words(place, _by_spec(place)) else f"{paths[0]} is not to be had from the pod's spec"


def _merged(text: str, words: Options) -> Options:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := LINE.fullmatch(line.strip()):
            found.setdefault(match[1], []).append((match[2] or "").strip("\"'"))
    for name, values in words.items():
        found.setdefault(name, []).extend(values)
    return {name: tuple(values) for name, values in found.items()}


def _of_words(place: Place, environment: Mapping[str, str]) -> Options:
    """The options of a command line, with the variables in them; those that only a shell knows are left out."""
    found: dict[str, list[str]] = {}
    words = words_of(place.container)
    # What stands before the program is a shell's.
    begins = [index for index, word in enumerate(words) if word.rpartition("/")[2] == PROGRAM]
    words = words[begins[-1] + 1 :] if begins else words
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name.startswith("--"):
            name = name[2:]
        elif name in SHORT:
            name, sign = SHORT[name], ""
        else:
            continue
        if not sign:
            follows = words[index + 1] if index + 1 < len(words) else ""
            value = "" if follows.startswith("-") else follows
        value = REFERENCE.sub(lambda match: environment.get(match[1] or "", match[0]), value)
        value = PLACEHOLDER.sub(lambda match: environment.get(match[1] or match[2], match[0]), value).strip("\"'")
        if "$" not in value:
            found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def is_denied(address: str, server: TurnServer) -> str:
    """The range by which a server's configuration keeps its clients from a peer, "" where none does: what is allowed is
    allowed whatever is denied (coturn, src/server/ns_turn_server.c: good_peer_addr)."""
    if any(_within(address, each) for each in server.allowed):
        return ""
    return next((each for each in server.denied if _within(address, each)), "")


def _within(address: str, ranged: str) -> bool:
    first, _, last = ranged.partition("-")
    try:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address((last or first).strip())
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return False
    return wanted.version == low.version == high.version and int(low) <= int(wanted) <= int(high)
