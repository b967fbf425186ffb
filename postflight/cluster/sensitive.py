"""What in a Secret, a file or an environment must never be printed."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Keys whose values are names, not secrets: a report must be able to say them.
PUBLIC_KEY = re.compile(
    r"(?i)(^|[_.-])(host|hostname|port|user|username|name|dbname|database|db|ca\.crt|tls\.crt|crt)$"
)
NAMED = re.compile(
    r"(?i)[\w.-]*(?:passw(?:or)?d|passwd|secret|token|access_key|api_key|requirepass|masterauth"
    r"|auth-pass\s+\S+)[\w-]*[\"']?\s*[:= ]\s*[\"']?([^\s\"',}]+)"
)
SECRET_NAME = re.compile(r"(?i)pass|secret|token|key|credential|dsn|_url$|^url$")
WORD = 16
#: Shorter values are not hidden (they would blank the report), only reported where they have a name.
SHORTEST = 8


def of_secret(secret: str, key: str, value: str) -> Iterator[tuple[str, str]]:
    """What to keep from every output of one Secret key, each with the name to report it by if it is
    too weak to hide ("" for parts of it): the whole, its lines, its long words."""
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
            if SECRET_NAME.search(name) and not PUBLIC_KEY.search(name):
                yield value
        return
    yield from NAMED.findall(text)
