"""What of a configuration makes Synapse forget what users wrote.

Source: synapse/config/server.py and retention.py, storage/databases/main/censor_events.py, handlers/pagination.py and
handlers/message.py, 1.119 and 1.163. Only ``null`` keeps what was redacted: a key that is not set means seven days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REDACTIONS = "redaction_retention_period"
FORGOTTEN = "forgotten_room_retention_period"
DEFAULT = "7d"


@dataclass(frozen=True, slots=True)
class Loss:
    """A setting by which something is lost: what it is set to, what Synapse does by it (as several do), and what keeps
    it."""

    setting: str
    value: str
    effect: str
    keeps: str

    @property
    def does(self) -> str:
        """The same, as one does."""
        verb, _, rest = self.effect.partition(" ")
        return f"{verb}s {rest}"


def losses(config: Mapping[str, Any]) -> Iterator[Loss]:
    """Every setting in a configuration by which events lose their content or go."""
    if config.get(REDACTIONS, DEFAULT) is not None:
        given = f"{config[REDACTIONS]}" if REDACTIONS in config else f"not set, which means {DEFAULT}"
        yield Loss(REDACTIONS, given, "take the content out of what was redacted", f"{REDACTIONS}: null")
    if config.get(FORGOTTEN) is not None:
        effect = "purge rooms that all local users have forgotten"
        yield Loss(FORGOTTEN, f"{config[FORGOTTEN]}", effect, f"{FORGOTTEN}: null")
    retention = config.get("retention")
    if isinstance(retention, Mapping) and retention.get("enabled"):
        effect = "purge messages by age, as the policy or a room's own says"
        yield Loss("retention.enabled", "true", effect, "retention: {enabled: false}")
    if config.get("enable_ephemeral_messages"):
        effect = "take the content out of messages that expire"
        yield Loss("enable_ephemeral_messages", "true", effect, "enable_ephemeral_messages: false")


def media_loss(config: Mapping[str, Any]) -> str:
    """How long files are kept, by ``media_retention``; "" where for ever."""
    given = config.get("media_retention")
    kept = given if isinstance(given, Mapping) else {}
    return ", ".join(
        f"{key}: {kept[key]}" for key in ("local_media_lifetime", "remote_media_lifetime") if kept.get(key)
    )
