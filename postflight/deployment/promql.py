"""The names of the series that an expression of Prometheus asks for.

Source: prometheus 3.x, promql/parser/lex.go and generated_parser.y; docs/querying/basics.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<number>(?:\d[\d_]*\.?|\.\d)[\d_]*(?:[eE][+-]?\d+)?\w*)
    |(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<sign>=~|!~|==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)
#: Operators over the labels that follow in parentheses.
GROUPING = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
KEYWORDS = frozenset(("and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"))
AGGREGATORS = frozenset(
    (
        *("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values"),
        *("quantile", "limitk", "limit_ratio"),
    )
)
NAME = "__name__"


@dataclass(frozen=True, slots=True)
class Asked:
    """``names`` are in their order; ``either``: the expression makes do with one of several (``or``)."""

    names: tuple[str, ...]
    either: bool = False


def asked_for(expression: str) -> Asked:
    """The series that an expression names. One that is picked by a pattern (``{__name__=~"..."}``) has no name."""
    tokens = [(match.lastgroup or "", match[0]) for match in TOKEN.finditer(expression) if match.lastgroup != "space"]
    either = any(kind == "word" and text.lower() == "or" for kind, text in tokens)
    return Asked(tuple(dict.fromkeys(_names(tokens))), either)


def _names(tokens: list[tuple[str, str]]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if text == "{":
            end = _end(tokens, at, "}")
            yield from _matched(tokens[at + 1 : end])
            at = end
        elif text == "[":
            # A range, or a range and a step: no names in it.
            at = _end(tokens, at, "]")
        elif kind == "word":
            word = text.lower()
            if word in GROUPING:
                at = _end(tokens, at + 1, ")") if following == "(" else at
            elif following != "(" and word not in KEYWORDS | AGGREGATORS:
                yield text
        at += 1


def _matched(tokens: list[tuple[str, str]]) -> Iterator[str]:
    """The names within braces: ``__name__="x"``, or a string by itself (since 3.0)."""
    for at, (kind, text) in enumerate(tokens):
        before = [each for _, each in tokens[max(0, at - 2) : at]]
        after = tokens[at + 1][1] if at + 1 < len(tokens) else ","
        if kind == "string" and (before[-2:] == [NAME, "="] or (before[-1:] in ([], [","]) and after == ",")):
            yield text[1:-1]


def _end(tokens: list[tuple[str, str]], at: int, closing: str) -> int:
    """Where the bracket closes that opens at a place; the last token where it does not."""
    return next((place for place in range(at, len(tokens)) if tokens[place][1] == closing), len(tokens) - 1)
