"""What may be shown of a log line: its shape, without whom or what it speaks of.

A Synapse log holds Matrix ids, addresses of people, other servers' names, and in tracebacks whatever was at hand: event
content, request bodies, tokens. None of that tells an operator which fault it is, so none of it leaves the verifier: a
quoted word stays only where it names a part of Synapse or of its database. What stays is also what two lines of one
kind have in common.
"""

from __future__ import annotations

import re

from postflight.deployment.log_lines import Record

#: Of a line so many characters are looked at, and so many shown.
LOOKED_AT = 2000
SHOWN = 160
#: Words that stay whole stand meanwhile for one character each of Unicode's private use area.
FIRST, LAST = 0xE000, 0xF8FF
PRIVATE = f"[{chr(FIRST)}-{chr(LAST)}]"
PACKAGES = (
    "synapse|twisted|psycopg2?|txredisapi|builtins|asyncio|jsonschema|signedjson|canonicaljson|prometheus_client"
    "|botocore|boto3|s3transfer|treq|urllib3|requests|OpenSSL|service_identity|pymacaroons|authlib|jinja2|yaml|PIL"
    "|socket|ssl|json|http|concurrent"
)
#: What a name in quotes is of, before it or after it, so that it is no person's.
NAMED = (
    "process|via|update|stream|relation|table|column|constraint|index|sequence|role|function|type|extension|attribute"
)
AFTERWARDS = r"(?= object has no attribute| not in 'instance_map'| config\b)"
QUOTED = r"""(?<!\w)[bru]?'(?:[^'\\]|\\.)*'|(?<!\w)[bru]?"(?:[^"\\]|\\.)*"|(?<!\w)[bru]?['"].*"""

#: What stays, each as it is found, before anything else is replaced.
KEPT: tuple[re.Pattern[str], ...] = (
    re.compile(rf"(?<=\b)(?:{NAMED}):? (?P<kept>'[\w.-]{{1,80}}'|\"[\w.-]{{1,80}}\")"),
    re.compile(rf"(?P<kept>'[\w.-]{{1,80}}'){AFTERWARDS}"),
    re.compile(r"(?P<kept>'instance_map')"),
    re.compile(rf"(?P<kept>\b(?:{PACKAGES})(?:\.\w+)+)"),
    re.compile(r"(?P<kept>^\[TXN [A-Z]+\] \{\w+)"),
)
REQUEST = re.compile(r"<\w*Request at .*?method='(?P<method>\w+)' uri='(?P<path>[^'?]*)[^']*'[^>]*>")
#: An object as Python writes it.
OBJECT = re.compile(r"<(?:class ')?(?:\w+\.)*(?P<name>[A-Za-z_]\w*)\b[^<>]*>")
#: A word of the API in a path; all else there is somebody's.
API_WORD = re.compile(r"|v\d+|r0|_?[a-zA-Z][a-z_]{1,24}|m\.[a-z._]+|org\.matrix\.[a-z0-9._]+")
REPLACED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b\w+://\S+"), "<url>"),
    (re.compile(QUOTED), "…"),
    (re.compile(r"\{.*\}|\{.*"), "{…}"),
    (re.compile(r"\[.*\]|\[.*"), "[…]"),
    (re.compile(r"=\(.*\)|=\(.*"), "=(…)"),
    (re.compile(r"(?<![\w/])([@!$#+])[\w.=/+-]+(?::[\w.-]+(?::\d+)?)?"), r"\1…"),
    (re.compile(r"\S+@\S+"), "<address>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])"), "<ip>"),
    (re.compile(r"(?<![\w<…])(?:/[^\s/,;:()]+){2,}/?"), "<path>"),
    (re.compile(r"(?<![\w./])(?:[\w-]+\.)+[a-zA-Z][\w-]*(?::\d+)?(?![\w(])"), "<host>"),
    # A token, a digest, an id without its sigil.
    (re.compile(r"\b(?=[\w+/=-]*\d)[\w+/=-]{12,}"), "#"),
    (re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\b[0-9a-f]*\d[0-9a-f]*\b|\d+"), "#"),
)
#: How the line of an exception begins, and what PostgreSQL adds below it.
EXCEPTION = re.compile(r"(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?")
ADDED = re.compile(r"(DETAIL|HINT|CONTEXT|LINE \d+|QUERY|STATEMENT)\b")
#: Exceptions whose message speaks of the code or of a connection; any other's may quote whoever provoked it.
PLAIN = re.compile(
    r"psycopg2?\..*|twisted\.(internet\.error|web\._newclient)\..*|txredisapi\..*|OpenSSL\..*|(builtins\.)?"
    r"(Attribute|Type|Name|Import|ModuleNotFound|OS|Connection\w*|Permission|FileNotFound|Timeout|Assertion|Runtime)Error"
)


def shape(line: str, most: int = SHOWN) -> str:
    """A line with all that varies or that is somebody's replaced, at most so long."""
    kept: list[str] = []
    return _cut(_restored(_replaced(line, kept), kept), most)


def headline(record: Record) -> str:
    """The shape of a record's first line. What follows the first colon is an argument, and may be anybody's words: of
    that only stays what is known to be a name."""
    kept: list[str] = []
    before, colon, after = _replaced(record.first_line, kept).partition(": ")
    rest = " ".join(re.findall(PRIVATE, after)) or ("…" if after else "")
    return _cut(_restored(f"{before}{colon}{rest}", kept), SHOWN)


def exception_of(record: Record) -> str:
    """The exception that ends a record, as its type and, where it is not anybody's words, the shape of its message; ""
    where no traceback follows."""
    for line in reversed(record.text.splitlines()[1:]):
        match = EXCEPTION.fullmatch(line.rstrip())
        if match and not ADDED.match(line) and ("." in match["type"] or match["type"].endswith(("Error", "Exception"))):
            message = match["message"] or ""
            return f"{match['type']}: {shape(message)}" if message and PLAIN.fullmatch(match["type"]) else match["type"]
    return ""


def _replaced(line: str, kept: list[str]) -> str:
    text = " ".join(re.sub(PRIVATE, "", line[:LOOKED_AT]).split())

    def keep(word: str) -> str:
        if len(kept) > LAST - FIRST:
            return "…"
        kept.append(word)
        return chr(FIRST + len(kept) - 1)

    def request(match: re.Match[str]) -> str:
        words = (each if API_WORD.fullmatch(each) else "…" for each in match["path"].split("/"))
        return keep(f"{match['method']} {'/'.join(words)}")

    def whole(match: re.Match[str]) -> str:
        begin, end = (each - match.start() for each in match.span("kept"))
        return match[0][:begin] + keep(match["kept"]) + match[0][end:]

    text = REQUEST.sub(request, text)
    for pattern in KEPT:
        text = pattern.sub(whole, text)
    text = OBJECT.sub(lambda match: keep(f"<{match['name']}>"), text)
    for pattern, instead in REPLACED:
        text = pattern.sub(instead, text)
    return text


def _restored(text: str, kept: list[str]) -> str:
    return re.sub(PRIVATE, lambda match: kept[ord(match[0]) - FIRST], text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
