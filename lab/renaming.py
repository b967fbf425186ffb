"""The same deployment under other names: what is written in the manifests is the reference, a map says the rest."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError

Object = dict[str, Any]

# Where a plain word such as `redis` is a name and not a keyword: in front of the rest of a cluster address.
IN_ADDRESS = r"(?=(?:-(?:\d+|\$\w+))?(?:\.[\w-]+)*\.svc\b)"


@dataclass(frozen=True, slots=True)
class Renaming:
    """Other names for the namespace, for objects, and for the values of labels."""

    spaces: dict[str, str]
    names: dict[str, str]
    labels: dict[str, dict[str, str]]
    pattern: re.Pattern[str]

    @classmethod
    def read(cls, path: Path) -> "Renaming":
        """From a YAML file with `namespaces`, `names` and `labels`. Raises LabError when it holds anything else."""
        try:
            given = yaml.safe_load(path.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise LabError(f"{path} cannot be read: {error}") from error
        if unknown := set(given) - {"namespaces", "names", "labels"}:
            raise LabError(f"{path}: unknown {', '.join(sorted(unknown))}; known are namespaces, names, labels")
        names = given.get("names", {})
        # A name of several words is one wherever it stands; a single word only in an address. The longest comes first.
        parts = [
            re.escape(n) + (r"(?![A-Za-z0-9])" if "-" in n else IN_ADDRESS)
            for n in sorted(names, key=len, reverse=True)
        ]
        pattern = re.compile(rf"(?<![A-Za-z0-9-])({'|'.join(parts)})" if parts else r"(?!)")
        return cls(given.get("namespaces", {}), names, given.get("labels", {}), pattern)

    def object(self, o: Object) -> Object:
        """An object under its new names."""
        new = self._value(o)
        if new["kind"] == "Namespace":
            new["metadata"]["name"] = self.spaces.get(o["metadata"]["name"], o["metadata"]["name"])
        return dict(new)

    def value(self, value: Any) -> Any:
        """Any YAML value with the names in it replaced."""
        return self._value(value)

    def _text(self, text: str) -> str:
        for old, new in self.spaces.items():
            text = re.sub(rf"\.{re.escape(old)}\.svc\b", f".{new}.svc", text)
        return self.pattern.sub(lambda found: self.names[found[1]], text)

    def _value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: self._value(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self._value(v, key) for v in value]
        if not isinstance(value, str):
            return value
        if key in ("command", "args"):
            return self._text(value)  # `haproxy` is a program here, and a name elsewhere
        if key == "image":
            return value  # what runs is the same
        if key == "namespace":
            return self.spaces.get(value, value)
        if key.endswith("-secret") and value.partition("/")[0] in self.spaces:  # an annotation: <namespace>/<name>
            space, _, name = value.partition("/")
            return f"{self.spaces[space]}/{self.names.get(name, name)}"
        if key in self.labels:
            return self.labels[key].get(value, value)
        if (pod := re.fullmatch(r"(.+)(-\d+)", value)) and pod[1] in self.names:
            return self.names[pod[1]] + pod[2]
        return self.names.get(value) or self._text(value)
