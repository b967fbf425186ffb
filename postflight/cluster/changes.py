"""When the data of an object last changed, as the API server keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: Where a Secret's and a ConfigMap's own content stands.
DATA = ("f:data", "f:stringData", "f:binaryData")


def last_change(raw: Mapping[str, Any], key: str = "") -> datetime | None:
    """When one ``key`` of a Secret or ConfigMap, or any, was last written, by managedFields; None where they do not
    tell. Whoever holds a key may have changed another one then: the key itself was not written later."""
    times = [
        str(entry["time"])
        for entry in raw["metadata"].get("managedFields") or ()
        if "time" in entry and _holds(entry.get("fieldsV1") or {}, key)
    ]
    newest = max(times, default=None)
    return datetime.strptime(newest, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if newest else None


def _holds(fields: Mapping[str, Any], key: str) -> bool:
    held = [fields[each] for each in DATA if each in fields]
    return any(not key or f"f:{key}" in each for each in held)
