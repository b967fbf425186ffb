"""What a template leaves in a configuration that was not wholly rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: ``${NAME}`` and ``${NAME:-default}`` (envsubst, shells), ``{{ .Values.name }}`` and ``{{ $name }}`` (Go templates; one
#: that begins otherwise may be Jinja, which Synapse itself renders), and what a Go template makes of nothing.
MARKER = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?:[:?+=-][^{}]*)?\}|\{\{-?\s*[.$][^{}]*\}\}|<no value>|%!\w\(<nil>\)")


@dataclass(frozen=True, slots=True)
class Unrendered:
    """A marker that stands in a configuration. ``setting`` is where (``database.args.password``), ``marker`` the text
    as it stands there and nothing beside it, ``variable`` the name in it, "" where it has none."""

    setting: str
    marker: str
    variable: str = ""


def unrendered(config: Any) -> tuple[Unrendered, ...]:
    """All that a template left in the keys and values of a configuration, in its order."""
    return tuple(_within(config, ""))


def _within(value: Any, where: str) -> Iterator[Unrendered]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _within(str(key), where)
            yield from _within(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _within(inner, f"{where}[{number}]")
    elif isinstance(value, str):
        for match in MARKER.finditer(value):
            yield Unrendered(where or match[0], match[0], match["name"] or "")
