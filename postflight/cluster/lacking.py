"""Whether what is named by a workload, or by an object of an operator's kind, is there."""

from __future__ import annotations

from postflight.cluster.custom_references import NamedKey
from postflight.cluster.kinds import SECRET
from postflight.cluster.references import Reference
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot


def lacking(ref: Reference | NamedKey, snapshot: Snapshot, secrets: SecretStore) -> str:
    """NAME of an object that does not exist, NAME/KEY where it has no such key, else nothing."""
    if ref.kind is SECRET:
        held = secrets.get(ref.namespace, ref.name)
        keys = None if held is None else set(held.data)
    else:
        found = snapshot.get(ref.kind, ref.namespace, ref.name)
        keys = None if found is None else {*(found.get("data") or {}), *(found.get("binaryData") or {})}
    if keys is None:
        return ref.name
    return f"{ref.name}/{ref.key}" if ref.key and ref.key not in keys else ""
