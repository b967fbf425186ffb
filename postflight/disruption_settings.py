"""The settings for what ``--safety disruptive`` does: how long users may go without, and what may be risked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from postflight.limits import Limit
from postflight.strictyaml import STRICT


@dataclass(frozen=True, slots=True)
class OutageSettings:
    """Seconds that users may go without an answer of some kind while a part is away, by the part. The defaults are what
    a deployment of this kind was seen to need, with room: a new main process reads its code and its database first, a
    failover waits for the Sentinels' ``down-after-milliseconds``, a switchover for every pooled connection to be made
    anew."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    synapse_main: float = 60.0
    redis: float = 30.0
    postgresql: float = 60.0
    proxy: float = 15.0
    storage: float = 15.0
    node: float = 90.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name} must be more than 0 seconds")


@dataclass(frozen=True, slots=True)
class DisruptionSettings:
    """``risk_slots``: PostgreSQL may be switched over although a logical slot hangs on its primary, which stays behind
    there. ``recovery`` are the seconds until everything must be ready and quiet again."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    outage: OutageSettings = OutageSettings()
    risk_slots: bool = False
    recovery: float = 180.0

    def __post_init__(self) -> None:
        if not 0 < self.recovery <= Limit.RECOVERY:
            raise ValueError(f"recovery must be between 0 and {Limit.RECOVERY:g} seconds")
