"""The names of the series in what a metrics endpoint answers.

Source: prometheus, docs/instrumenting/exposition_formats.md (text format 0.0.4), and OpenMetrics 1.0.
"""

from __future__ import annotations

import re

SAMPLE = re.compile(
    r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^\n]*\})?[ \t]+[-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|NaN|Inf)\b", re.MULTILINE
)
TYPE = re.compile(r"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (\w+)", re.MULTILINE)
#: What the samples of a family are called besides. A family may have none yet: a counter with labels has no sample before
#: it first moves, and is announced all the same.
SUFFIXES = {
    "counter": ("", "_total"),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
}


def series_in(text: str) -> frozenset[str]:
    """Every name that has a sample, or may get one. Empty where the text is no metrics."""
    announced = {name + end for name, kind in TYPE.findall(text) for end in SUFFIXES.get(kind, ("",))}
    return frozenset(announced.union(SAMPLE.findall(text)))
