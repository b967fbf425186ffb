"""The ways in which one value may be written in a text, as one pattern over many values."""

from __future__ import annotations

import bisect
import itertools
import json
import re
import string
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus

#: Lines of a multi-line value (a PEM key) are values of their own from this length on.
SHORTEST_LINE: Final = 16


@dataclass(frozen=True, slots=True)
class Spellings:
    """Finds values however they are spelled.

    Group n of ``pattern`` belongs to the value ``owners[n - 1]``. ``beginnings`` are the literal
    spellings, sorted; the ``longest`` of them has that many characters.
    """

    pattern: re.Pattern[str] | None
    owners: tuple[str, ...]
    beginnings: tuple[str, ...]
    longest: int

    @classmethod
    def of(cls, values: Iterable[str]) -> Spellings:
        found: dict[str, tuple[str, str]] = {}
        for value in values:
            for piece in _pieces(value):
                found.setdefault(piece, (value, _any_spelling(piece)))
                for core, end in _base64_cores(piece):
                    found.setdefault(core, (value, _any_spelling(core, base64=True) + end))
        if not found:
            return cls(None, (), (), 0)
        # Grouped by first character, with the second in front of its group, the pattern fails fast at
        # each position of a text that holds no value; longest first within a group, or a value would
        # hide a longer one that begins with it.
        groups: dict[str, list[str]] = {}
        for literal in sorted(found, key=len, reverse=True):
            groups.setdefault(_plain_start(literal, 1), []).append(literal)
        alternatives: list[str] = []
        owners: list[str] = []
        for first, literals in groups.items():
            bodies = []
            for literal in literals:
                start = _plain_start(literal, 2)
                owner, pattern = found[literal]
                bodies.append(f"{start[len(first) :]}({pattern[len(start) :]})")
                owners.append(owner)
            alternatives.append(f"{first}(?:{'|'.join(bodies)})")
        beginnings = sorted({written for literal in found for written in _literals(literal)})
        return cls(re.compile("|".join(alternatives)), tuple(owners), tuple(beginnings), max(map(len, beginnings)))

    def unfinished(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a value."""
        for start in range(max(0, len(text) - self.longest), len(text)):
            tail = text[start:]
            place = bisect.bisect_left(self.beginnings, tail)
            if place < len(self.beginnings) and self.beginnings[place].startswith(tail):
                return len(tail)
        return 0


def _plain_start(literal: str, length: int) -> str:
    """The first characters, as far as they are the same in every spelling and in a pattern."""
    return "".join(itertools.takewhile(_LETTERS.__contains__, literal[:length]))


def _pieces(value: str) -> list[str]:
    """The value, and the lines of it that are secrets by themselves: texts are printed line by line."""
    lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
    return [value] + [
        line
        for line in lines
        if len(line) >= SHORTEST_LINE and " " not in line and not line.startswith("-----") and line[-1] != ":"
    ]


def _base64_cores(value: str) -> list[tuple[str, str]]:
    """What base64 makes of ``value`` at each of the three alignments it can have in a longer text,
    less the characters that its neighbours decide, and a pattern for what may follow."""
    data = value.encode("utf-8", "surrogatepass")
    cores = []
    for before in range(3):
        encoded = b64encode(b"\0" * before + data).decode()
        core = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        cores.append((core, "[A-Za-z0-9+/_-]?={0,2}" if (before + len(data)) % 3 else ""))
    return cores


_LETTERS: Final = frozenset(string.ascii_letters + string.digits)
_PLAIN: Final = _LETTERS | frozenset("._~")
_NAMED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
_SHORT: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def _any_spelling(value: str, base64: bool = False) -> str:
    """A pattern for ``value`` as it stands and as URLs, JSON, ``repr`` and XML write it.

    Which characters an encoder escapes differs from one to the next, so each character may be
    spelled either way; letters, digits and ``-._~`` no encoder touches.
    """
    parts = []
    for run in re.findall(r"\\+|.", value, re.DOTALL):
        char = run[0]
        if char in _PLAIN or (char == "-" and not base64):
            parts.append(re.escape(char))
            continue
        if char == "\\":
            count = len(run)
            parts.append(rf"(?:\\{{{count},{8 * count}}}|(?i:%5c){{{count}}})")
            continue
        parts.append("(?:" + "|".join(_ways_to_write(char, base64)) + ")")
    return "".join(parts)


def _ways_to_write(char: str, base64: bool) -> list[str]:
    code = ord(char)
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    utf16 = char.encode("utf-16-be", "surrogatepass")
    units = [utf16[i : i + 2].hex() for i in range(0, len(utf16), 2)]
    ways = [
        (r"\\{0,7}" if char in "\"'/" else "") + re.escape(char),
        f"(?i:{percent}|&#{code};|&#x0*{code:x};)",
        "".join(rf"\\{{1,8}}u(?i:{unit})" for unit in units),
    ]
    if code < 256:
        ways.append(rf"\\{{1,8}}x(?i:{code:02x})")
    if code > 0xFFFF:
        ways.append(rf"\\{{1,8}}U(?i:{code:08x})")
    if char == " ":
        ways.append(r"\+")
    if char in _NAMED:
        ways.append(_NAMED[char])
    if char in _SHORT:
        ways.append(rf"\\{{1,8}}{_SHORT[char]}")
    if base64:
        ways.append({"+": "-", "/": "_"}.get(char, re.escape(char)))
    return ways


def _literals(value: str) -> set[str]:
    return {
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        value.replace("+", "-").replace("/", "_"),
    }
