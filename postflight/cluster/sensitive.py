"""What in a Secret, a file or an environment must never be printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

#: Keys whose values are names, not secrets: a report must be able to say them.
PUBLIC_KEY = re.compile(
    r"(?i)(^|[_.-])(host|hostname|port|user|username|name|dbname|database|db|ca\.crt|tls\.crt|crt)$"
)
#: A key that speaks of a secret, and its value: in quotes whole, else its first word and the rest of the line.
NAMED = re.compile(
    r"(?i)[\w.-]*(?:passw(?:or)?d|passwd|secret|token|access_key|api_key|requirepass|masterauth"
    r"|auth-pass\s+\S+)[\w-]*[\"']?\s*(?P<sign>[:= ])\s*"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.)*)\"|'(?P<single>(?:[^'\n]|'')*)'"
    r"|[\"']?(?P<word>[^\s\"',}]+)(?=(?P<rest>[^\n]*)))"
)
SECRET_NAME = re.compile(r"(?i)pass|secret|token|key|credential|dsn|_url$|^url$")
#: An address with nothing in it that could be a secret: no login, no query, no long word. Who names a secret by where it
#: is used calls it a URL too (a webhook's), and so hides it in the path.
PLAIN_URL = re.compile(r"\w+://(?:[\w.-]+|\[[\da-fA-F:]+\])(?::\d+)?(?:/[\w.-]{0,15})*")
#: ``scheme://user:PASSWORD@host``, up to the last @: people do not always encode one. No ``host:port/path``.
IN_URL = re.compile(r"://[^\s:/@]*:(?!\d{1,5}/)(\S+)@")
#: ``password=PASSWORD`` in a connection string, as libpq quotes it, or in the query of a URL.
IN_WORDS = re.compile(r"(?i)\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))")
#: A login in a command (curl's ``-u``): what stands behind the name.
IN_LOGIN = re.compile(
    r"(?:^|[\s\"'=])(?:-u|--user|--proxy-user)(?:\s+|=)"
    r"(?:\"[^\":\n]*:([^\"\n]+)\"|'[^':\n]*:([^'\n]+)'|[^\s\"':]+:([^\s\"']+))",
    re.MULTILINE,
)
#: What a header shows (RFC 9110, 11.6.2); without the header's name one that a sentence would not hold.
IN_HEADER = re.compile(
    r"(?i)authorization[\"']?\s*[:=]?\s*[\"']?(?:bearer|basic)\s+([\w.~+/=-]+)"
    r"|\b(?:bearer|basic)\s+(?=[\w.~+/=-]*\d)([\w.~+/=-]{8,})"
)
#: A placeholder that nobody put anything in for: everyone can read it in the template, so it is no secret.
PLACEHOLDER = re.compile(r"\$\{\w+\}")
#: What stands before the password in a line of libpq's password file.
PASSWORD_FIELD = re.compile(r"^(?:(?:\\.|[^:\\])*:){4}")
WORD = 16
#: Shorter values are not hidden (they would blank the report), only reported where they have a name.
SHORTEST = 8


def of_secret(secret: str, key: str, value: str) -> Iterator[tuple[str, str]]:
    """What to keep from every output of one Secret key, each with the name to report it by if it is
    too weak to hide ("" for parts of it): the whole, its lines, its long words, passwords within it."""
    yield from ((password, f"{secret}/{key}") for password in passwords_within(value))
    if PUBLIC_KEY.search(key):
        return
    yield value.strip(), f"{secret}/{key}" if SECRET_NAME.search(key) else ""
    yield value, ""
    for line in value.splitlines():
        if not line.startswith("-----"):
            yield line.strip(), ""
            yield from ((word, "") for word in line.split() if len(word) >= WORD)


def of_file(path: str, body: bytes) -> Iterator[str]:
    """The same for a configuration file, or for an environment (``/proc/1/environ``)."""
    text = body.decode("utf-8", "replace")
    if path.endswith("/environ"):
        for variable in text.split("\0"):
            name, _, value = variable.partition("=")
            if SECRET_NAME.search(name) and not PUBLIC_KEY.search(name) and not PLAIN_URL.fullmatch(value):
                yield value
            yield from passwords_within(value)
        return
    for match in NAMED.finditer(text):
        yield from dict.fromkeys(each for each in _spellings(text, match) if not PLACEHOLDER.fullmatch(each))
    yield from passwords_within(text)


def of_secret_file(path: str, body: bytes) -> Iterator[str]:
    """A file that holds a secret and nothing else, or a password file of libpq's: the whole, and what each line ends
    with."""
    text = body.decode("utf-8", "replace")
    for line in (text.strip(), *text.splitlines()):
        last = PASSWORD_FIELD.sub("", line)
        yield from dict.fromkeys((line.strip(), last, re.sub(r"\\(.)", r"\1", last)))


def passwords_within(text: str) -> Iterator[str]:
    """The passwords of logins that are written as one value, each as it may be meant."""
    meant: list[str] = []
    for found in IN_URL.findall(text):
        meant += (found, found.partition("@")[0], found.rpartition("@")[0])
    for login in IN_LOGIN.finditer(text):
        meant += [each for each in login.groups() if each and not each.isdigit() and "$" not in each]
    for header in IN_HEADER.finditer(text):
        meant += [each for each in header.groups() if each]
    for quoted, plain in IN_WORDS.findall(text):
        meant += (re.sub(r"\\(.)", r"\1", quoted), plain, plain.partition("&")[0])
    yield from dict.fromkeys(each for found in meant for each in (found, unquote(found)) if each)


def _spellings(text: str, match: re.Match[str]) -> Iterator[str]:
    """A value as it is written and as YAML or JSON reads it."""
    if (double := match["double"]) is not None:
        yield from (double, re.sub(r"\\(.)", r"\1", double))
    elif (single := match["single"]) is not None:
        yield from (single, single.replace("''", "'"))
    else:
        yield match["word"]
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if match["sign"] != " " and not {"{", "["} & set(before):
            yield (match["word"] + match["rest"]).partition(" #")[0].strip()
