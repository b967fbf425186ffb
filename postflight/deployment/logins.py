"""The logins to PostgreSQL that an environment names, in the spellings that programs take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from postflight.deployment.parts import Login
from postflight.deployment.pods import number
from postflight.secrets import Secret

PORT = 5432
#: PREFIX_HOST, with PREFIX_USER and PREFIX_PASSWORD beside it, where the prefix speaks of a database.
HOST = re.compile(r"^((?:\w*_)?(?:DB|DATABASE|PG|POSTGRES(?:QL)?|POSTGRES_DB)_?)HOST$|^(PG)HOST$")
USER, PASSWORD, DATABASE = ("USER", "USERNAME"), ("PASSWORD", "PASS", "PASSWD"), ("NAME", "DATABASE", "DB", "DBNAME")
URL = re.compile(r"^(?:jdbc:)?(postgres(?:ql)?(?:\+\w+)?://.*)", re.DOTALL)
URL_IN_TEXT = re.compile(r"\bpostgres(?:ql)?(?:\+\w+)?://[^\s\"'<>]+")
#: Something that is yet to be put in: a template, not a login.
PLACEHOLDER = re.compile(r"\$[({]|\{\{|%\(|\$[A-Z_]{2,}")
#: One ``key=value`` of a connection string, as libpq reads it.
WORD = re.compile(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))")


def logins_of(environment: Mapping[str, str]) -> Iterator[tuple[str, Login]]:
    """Each login that an environment names, with the variable that holds its password."""
    yield from ((name, found) for name, found in _named(environment) if isinstance(found, Login))


def unclear_of(environment: Mapping[str, str]) -> Iterator[str]:
    """What speaks of a login to PostgreSQL and is none that could be tried: the variable, and what it
    lacks."""
    yield from (f"{name} {found}" for name, found in _named(environment) if isinstance(found, str))


def logins_in(text: str) -> Iterator[Login]:
    """Each login that stands as a URL in the text of a file."""
    for url in URL_IN_TEXT.findall(text) if "postgres" in text else ():
        if not PLACEHOLDER.search(url) and isinstance(found := _of_url(url), Login):
            yield found


def _named(environment: Mapping[str, str]) -> Iterator[tuple[str, Login | str]]:
    for name, value in environment.items():
        if match := HOST.match(name):
            yield from _beside(environment, name, match[1] or match[2])
        elif match := URL.match(value):
            yield name, _of_url(match[1])
        elif {"host", "user"} <= (words := _words(value)).keys():
            yield name, _login(words["host"], words.get("port"), words.get("dbname"), words["user"], words)


def _beside(environment: Mapping[str, str], name: str, prefix: str) -> Iterator[tuple[str, Login | str]]:
    def get(ends: tuple[str, ...]) -> str:
        return next((prefix + end for end in ends if environment.get(prefix + end)), "")

    user, password, database = (environment.get(get(ends), "") for ends in (USER, PASSWORD, DATABASE))
    host, port = environment[name], environment.get(f"{prefix}PORT")
    if host and (user or password):
        found = _login(host, port, database, user, {"password": password})
        yield (get(PASSWORD) or name, found)


def _login(host: str, port: str | None, database: str | None, user: str, held: Mapping[str, str]) -> Login | str:
    if not (user and held.get("password")):
        return f"names {host} without a {'password' if user else 'user'}"
    return Login(host, number(port, PORT), database or user, user, Secret(held["password"]))


def _of_url(url: str) -> Login | str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        unread = "@" in url and "@" not in parts.netloc
    except ValueError:
        unread = True
    if unread:
        return "cannot be read as a URL (what is special in a password must be encoded)"
    if not host:
        return "names no host"
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    user = unquote(parts.username or "") or query.get("user", "")
    password = unquote(parts.password or "") or query.get("password", "")
    return _login(host, str(port or PORT), unquote(parts.path.lstrip("/")), user, {"password": password})


def _words(value: str) -> dict[str, str]:
    """A connection string; nothing for any other value."""
    found = WORD.findall(value) if "host" in value else []
    return {key: re.sub(r"\\(.)", r"\1", quoted) or plain for key, quoted, plain in found}
