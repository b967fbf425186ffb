"""YAML files that people write, read strictly: every mistake is one line that says where and what instead."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
Step = str | int
TAG: Final = "tag:yaml.org,2002:"


class FileError(ValueError):
    """A file that cannot be used; ``lines`` are complete messages, one for each mistake."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A parsed file that knows on which line each of its values stands."""

    path: Path
    value: object
    root: Any

    def line(self, steps: Sequence[Step]) -> int:
        """The line (from 1) of the value at ``steps``, or of the nearest thing around it."""
        node = self.root
        line = node.start_mark.line if node else 0
        for step in steps:
            found = next((pair for pair in _children(node) if pair[0] == step), None)
            if found is None:
                break
            _, line, node = found
        return int(line) + 1


def read(path: Path) -> Document:
    """Raises FileError for a file that is not there or is no YAML, and for a key that stands twice."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is not None:
                _check_nodes(root)
            value = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError([f"{path}: {getattr(error, 'strerror', None) or error}"]) from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise FileError([f"{path}{line}: {error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise FileError([f"{path}: {' '.join(str(error).split())}"]) from error
    return Document(path, value, root)


def parse(document: Document, shape: type[T]) -> T:
    """``document`` as ``shape``, built of dataclasses whose ``__pydantic_config__`` is :data:`STRICT`.

    Raises FileError with one line for each unknown key, missing key and wrong type.
    """
    import json

    import pydantic

    try:
        # JSON is the mode in which pydantic is strict about types and yet takes a list for a tuple.
        plain = json.dumps(document.value, default=repr)
    except ValueError as error:
        raise FileError([f"{document.path}: an alias leads back to itself"]) from error
    try:
        return pydantic.TypeAdapter(shape).validate_json(plain, strict=True)
    except pydantic.ValidationError as error:
        lines = [_explain(document, shape, detail) for detail in error.errors()]
        raise FileError(lines) from error


#: What a dataclass declares as ``__pydantic_config__`` to be read strictly; plain data, no import.
STRICT: Mapping[str, object] = {"extra": "forbid", "str_min_length": 1}


def nearest(word: str, valid: Iterable[str]) -> str:
    """``; nearest is 'x'`` where something valid is like ``word``; else all there is, if that is short."""
    choice = sorted(set(valid))
    if found := difflib.get_close_matches(word, choice, n=1, cutoff=0.5):
        return f"; nearest is {found[0]!r}"
    return f"; there are {', '.join(choice)}" if 0 < len(choice) <= 8 else ""


def place(steps: Sequence[Step]) -> str:
    """``names.redis.workload``; an item of a list at the top is ``entry 2``, counted from 1."""
    first, rest = (f"entry {steps[0] + 1}", steps[1:]) if steps and isinstance(steps[0], int) else ("", steps)
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest).lstrip(".")
    return ": ".join(filter(None, (first, dotted)))


_IN_WORDS: Final = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "bool_type": "must be on or off, without quotes",
    "int_type": "must be a whole number",
    "dict_type": "must be keys with values",
    "mapping_type": "must be keys with values",
    "dataclass_type": "must be keys with values",
}


def _explain(document: Document, shape: object, detail: Mapping[str, Any]) -> str:
    steps: tuple[Step, ...] = tuple(step for step in detail["loc"] if step != "[key]")
    kind = detail["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        problem = f"unknown key {steps[-1]!r}{nearest(str(steps[-1]), _keys(shape, steps[:-1]))}"
        where = place(steps[:-1])
    elif kind in ("missing", "missing_argument"):
        problem, where = f"{steps[-1]!r} is missing", place(steps[:-1])
    else:
        message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
        problem, where = _IN_WORDS.get(kind, message), place(steps)
        if isinstance(detail["input"], bool | int | float):
            problem += f", not {detail['input']!r}"
    return ": ".join(filter(None, (f"{document.path}:{document.line(steps)}", where, problem)))


def _keys(shape: object, steps: Sequence[Step]) -> list[str]:
    """The keys that may stand at ``steps`` within ``shape``."""
    if isinstance(shape, type) and dataclasses.is_dataclass(shape):
        hints = typing.get_type_hints(shape)
        if not steps:
            return [field.name for field in dataclasses.fields(shape)]
        return _keys(hints[str(steps[0])], steps[1:]) if str(steps[0]) in hints else []
    inner = [part for part in typing.get_args(shape) if part is not types.NoneType and part is not ...]
    if typing.get_origin(shape) in (typing.Union, types.UnionType):
        return [key for part in inner for key in _keys(part, steps)]
    return _keys(inner[-1], steps[1:]) if inner and steps else []


def _children(node: Any) -> Iterable[tuple[Step, int, Any]]:
    """(key or index, its line, its value's node) of what stands directly in ``node``."""
    if node is None or isinstance(node.value, str):
        return []
    if node.id == "mapping":
        return [(key.value, key.start_mark.line, value) for key, value in node.value]
    return [(index, item.start_mark.line, item) for index, item in enumerate(node.value)]


def _check_nodes(root: Any) -> None:
    """Let a key be text and stand once, and a date be text: YAML itself is laxer than people expect."""
    from yaml.constructor import ConstructorError

    waiting = [root]
    done: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if node.tag == f"{TAG}timestamp":
            node.tag = f"{TAG}str"
        if node.id == "mapping":
            keys: set[str] = set()
            for key, _ in node.value:
                if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                    written = key.value if isinstance(key.value, str) else "here"
                    raise ConstructorError(None, None, f"the key {written} is no text: quote it", key.start_mark)
                if key.value in keys:
                    raise ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
                keys.add(key.value)
        waiting.extend(child for _, _, child in _children(node))
