"""All probes there are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from postflight.probes.probe import Probe

MODULES = (
    "databases",
    "redis",
    "inside",
    "workloads",
    "own",
    "background",
    "metrics",
    "persisters",
    "persister_rooms",
    "calls",
    "calls_chain",
    "turn_credentials",
    "turn_relays",
    "calls_media",
    "sfu_candidates",
    "canary_user",
    "canary_homeserver",
    "federation",
    "federation_counters",
    "identity",
    "li",
    "li_import",
    "retention",
    "module_imports",
    "key_vault",
    "logs",
    "media_doors",
    "object_stores",
    "stored_media",
    "clamds",
    "scanned_media",
    "closed_doors",
    "server_doors",
    "arrival",
    "journey",
    "front_door",
    "haproxy",
    "rendering",
    "known_settings",
    "public",
    "public_address",
    "public_places",
    "web",
    "li_credential",
    "li_front",
    "pages",
    "element_addresses",
    "looks",
    "node_clocks",
    "monitors",
    "placeholder_logins",
    "custom_schemas",
    "certificates",
    "backup_buckets",
    "store_health",
    "autoscalers",
    "network",
    "replication_listeners",
)


def all_probes() -> Mapping[str, Probe]:
    """Every probe by its name. Raises ValueError when two share one."""
    found: dict[str, Probe] = {}
    for module in MODULES:
        loaded = importlib.import_module(f"postflight.probes.{module}")
        for value in vars(loaded).values():
            declared = getattr(value, "__probe__", None)
            if isinstance(declared, Probe) and value.__module__ == loaded.__name__:
                if declared.name in found:
                    raise ValueError(f"two probes are called {declared.name}")
                found[declared.name] = declared
    return found
