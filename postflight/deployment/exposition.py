"""The names of the series in what a metrics endpoint answers.

Source: prometheus, docs/instrumenting/exposition_formats.md (text format 0.0.4), and OpenMetrics 1.0.
"""

from __future__ import annotations

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SAMPLE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})?[ \t]+[-+]?(\d[\d.]*([eE][-+]?\d+)?|NaN|Inf)\b")
TYPE = re.compile(r"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (\w+)", re.MULTILINE)
#: What the samples of a family are called besides. A family may have none yet: a counter with labels has no sample before
#: it first moves, and is announced all the same.
SUFFIXES = {
    "counter": ("", "_total"),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
}


def series_in(text: str) -> frozenset[str]:
    """Every name that has a sample, or may get one. Empty where the text is no metrics: where its first line that is no
    comment is no sample."""
    lines = text.splitlines()
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if first and not SAMPLE.match(first):
        return frozenset()
    found = {name + end for name, kind in TYPE.findall(text) for end in SUFFIXES.get(kind, ("",))}
    # Not by a pattern for each line: a page of Synapse's has five thousand.
    found |= {line.split("{", 1)[0].split(" ", 1)[0] for line in lines}
    return frozenset(filter(NAME.fullmatch, found))
