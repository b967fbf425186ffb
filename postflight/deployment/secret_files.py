"""Secrets that a configuration keeps in files of their own, put where they stand in other configurations.

Source: synapse/config/registration.py, voip.py and redis.py, 1.163 (a file's text without the blanks around it); libpq, The
Password File, 15 (the first line that fits; ``*`` fits all, a backslash is before ``:`` and itself).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
#: The text of a file by its path; None where it is not to be had.
TextOf = Callable[[str], str | None]
TOP = ("registration_shared_secret", "turn_shared_secret")
FIELD = re.compile(r"(?:\\.|[^:\\])*")
PORT = "5432"


def filled(config: Config | None, text_of: TextOf) -> Config | None:
    """The configuration with the secrets of such files in it, as far as their text is to be had; what stands there
    itself stays."""
    if not config:
        return config
    found = dict(config)
    for name in TOP:
        _put(found, name, f"{name}_path", text_of)
    if isinstance(redis := found.get("redis"), dict):
        found["redis"] = _put(dict(redis), "password", "password_path", text_of)
    if isinstance(one := found.get("database"), dict):
        found["database"] = _database(one, text_of)
    if isinstance(several := found.get("databases"), dict):
        found["databases"] = {
            key: _database(each, text_of) if isinstance(each, dict) else each for key, each in several.items()
        }
    return found


def password_in(text: str, host: str, port: str, database: str, user: str) -> str:
    """The password that libpq takes from a password file; "" where no line fits."""
    wanted = (host, port, database, user)
    for line in text.splitlines():
        fields = [re.sub(r"\\(.)", r"\1", each) for each in _fields(line)]
        if (
            len(fields) == 5
            and not line.startswith("#")
            and all(have in ("*", want) for have, want in zip(fields, wanted, strict=False))
        ):
            return fields[4]
    return ""


def _fields(line: str) -> list[str]:
    found: list[str] = []
    at = 0
    while len(found) < 5 and (match := FIELD.match(line, at)):
        found.append(match[0])
        at = match.end() + 1
        if at > len(line):
            break
    return found


def _put(held: dict[str, Any], name: str, named: str, text_of: TextOf) -> dict[str, Any]:
    path = str(held.get(named) or "")
    if path and not held.get(name) and (text := text_of(path)):
        held[name] = text.strip()
    return held


def _database(held: Config, text_of: TextOf) -> Config:
    args = held.get("args")
    path = str(args.get("passfile") or "") if isinstance(args, dict) else ""
    if not isinstance(args, dict) or not path or args.get("password") or not (text := text_of(path)):
        return held
    user = str(args.get("user") or "")
    name = str(args.get("dbname") or args.get("database") or user)
    password = password_in(text, str(args.get("host") or "localhost"), str(args.get("port") or PORT), name, user)
    return {**held, "args": {**args, "password": password}} if password else held
