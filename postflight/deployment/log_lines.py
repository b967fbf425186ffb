"""What a Synapse process logs, as records: a line with its level, and what follows it (a traceback).

Read are the form of Synapse's default and example configurations (synapse/config/logger.py and docs/sample_log_config.yaml,
1.119 and 1.163: ``time - logger - line - LEVEL - request - message``, before 1.140 without the last blank), its three
structured ones (synapse/logging/_terse_json.py: ``level``, ``namespace``, ``log``, or Google's ``severity``, ``logger``,
``message``), and, where a log has none of these, any line that holds the name of a level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

#: Of a traceback the beginning and the end tell most; what lies between is cut from here on.
LINES_KEPT = 200
LONG_AGO = datetime.min.replace(tzinfo=UTC)
FORM = re.compile(
    r".{0,80}?(?P<logger>[\w.]+) - \d+ - (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) - (?P<request>\S*?) ?- (?P<message>.*)"
)
LOOSE = re.compile(r"(?=\S).{0,120}?\b(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[\W_]*(?P<message>.*)")
LOGGER = re.compile(r"\b(?:synapse|twisted)(?:\.\w+)*\b")
#: What is printed to standard error, as the metrics listener does with its tracebacks, Synapse logs line by line, each as
#: a record of Twisted's (synapse/app/_base.py, redirect_stdio_to_logs; seen on 1.163).
PRINTED, MOMENT = "twisted", timedelta(seconds=1)
TRACEBACK = "Traceback (most recent call last):"
LINKS = ("During handling of the above exception", "The above exception was the direct cause")
#: The end of an access line: "METHOD path protocol" "user agent" [events] (synapse/http/site.py, 1.119 and 1.163).
AGENT = re.compile(r'Processed request: .*" "(?P<agent>[^"]*)" \[')


class Level(IntEnum):
    """As Python numbers them."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was logged. ``at`` is by the clock of the pod's node (UTC); ``request`` is Synapse's name for what
    it was doing, unique within the process; ``text`` is the message and what follows it, or the exception as
    ``Type: value``; ``agent`` is who asked for the request (User-Agent), None where no access line tells."""

    at: datetime
    level: Level
    logger: str
    request: str
    text: str
    agent: str | None = None

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def last_line(self) -> str:
        """The exception, where a traceback follows."""
        return self.text.rstrip().rpartition("\n")[2].strip()


@dataclass(frozen=True, slots=True)
class Records:
    """What was kept of some lines. ``understood`` is False where there were lines and none began a record; ``until`` is
    the time of the last line."""

    kept: tuple[Record, ...] = ()
    understood: bool = True
    until: datetime | None = None


def read(lines: Iterable[str], wanted: Callable[[str], bool]) -> Records:
    """The records of the lines that the API server gives with ``timestamps=true``: those from WARNING on, and below that
    those whose text is ``wanted``."""
    stamped = [line.partition(" ") for line in lines]
    if not stamped:
        return Records()
    # The last line may be cut within its time.
    until = next((at for stamp, _, _ in reversed(stamped) if (at := _instant(stamp)) > LONG_AGO), None)
    for form in (_of_synapse, _loose):
        found = _records([(stamp, line) for stamp, _, line in stamped], form, wanted)
        if found is not None:
            return Records(found, True, until)
    return Records((), False, until)


def first_of(lines: Iterable[str]) -> datetime | None:
    """The time of the first line that has one."""
    return next((at for line in lines if (at := _instant(line.partition(" ")[0])) > LONG_AGO), None)


Form = Callable[[str], tuple[Level, str, str, str] | None]


def _records(stamped: list[tuple[str, str]], form: Form, wanted: Callable[[str], bool]) -> tuple[Record, ...] | None:
    """None when no line is of that form."""
    begun: list[tuple[str, Level, str, str, list[str]]] = []
    agents: dict[str, str] = {}
    printed: tuple[datetime, list[str]] = (LONG_AGO, [])
    any_read, following = False, False
    for stamp, line in stamped:
        head = form(line)
        if head is None:
            if following and len(begun[-1][4]) < 2 * LINES_KEPT:
                begun[-1][4].append(line)
            elif following:
                # The end of a long traceback names the exception.
                begun[-1][4][LINES_KEPT:] = [*begun[-1][4][LINES_KEPT + 1 :], line]
            continue
        any_read = True
        level, logger, request, text = head
        if logger.startswith("synapse.access") and request and (said := AGENT.search(text)):
            agents[request] = said["agent"]
        following = level >= Level.WARNING or wanted(text)
        if following and logger == PRINTED and printed[1]:
            began, lines = printed
            if _instant(stamp) - began < MOMENT and _goes_on(lines, text):
                lines.append(text)
                following = False
                continue
        if following:
            begun.append((stamp, level, logger, request, [text]))
        if following and logger == PRINTED:
            printed = (_instant(stamp), begun[-1][4] if text == TRACEBACK else [])
    if not any_read:
        return None
    found = [
        Record(_instant(stamp), level, logger, request, "\n".join(text))
        for stamp, level, logger, request, text in begun
    ]
    return tuple(replace(each, agent=agents.get(each.request)) for each in found)


def _goes_on(traceback: list[str], line: str) -> bool:
    """Whether a line that was printed by itself belongs to the traceback before it: all of it is indented but its first
    line, its exception, and what leads to the next."""
    last = traceback[-1]
    if line == TRACEBACK:
        return not last or last.startswith(LINKS)
    return not line or line.startswith((" ", *LINKS)) or last.startswith((" ", TRACEBACK))


def _of_synapse(line: str) -> tuple[Level, str, str, str] | None:
    if line.startswith("{"):
        return _structured(line)
    if " - " not in line or not (found := FORM.match(line)):
        return None
    return Level[found["level"]], found["logger"], found["request"], found["message"]


def _structured(line: str) -> tuple[Level, str, str, str] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    level = str(said.get("level") or said.get("severity") or "").upper() if isinstance(said, dict) else ""
    if level not in Level.__members__:
        return None
    logger = str(said.get("namespace") or said.get("logger") or "")
    return Level[level], logger, str(said.get("request") or ""), _message(said)


def _message(said: Mapping[str, Any]) -> str:
    message = str(said.get("log") or said.get("message") or "")
    if said.get("exc_type"):
        value = str(said.get("exc_value") or "")
        message += f"\n{said['exc_type']}{f': {value}' if value else ''}"
    return message


def _loose(line: str) -> tuple[Level, str, str, str] | None:
    found = LOOSE.match(line)
    if not found:
        return None
    logger = LOGGER.search(line)
    return Level[found["level"]], logger[0] if logger else "", "", found["message"]


def _instant(stamp: str) -> datetime:
    """A time of the container runtime (RFC 3339, to the nanosecond); long ago where it is none."""
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return LONG_AGO
