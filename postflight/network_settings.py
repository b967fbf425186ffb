"""What the settings say of the network: which isolation was promised, and what may be tried."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from postflight.strictyaml import STRICT


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """``isolated``: NetworkPolicies are part of the deployment (false: isolation is left to whoever runs the cluster).
    ``outside``: a ``host:port`` outside of the deployment that may be tried, to see that LI does not get there.
    ``plaintext_replication``: that replication crosses nodes in plain text is accepted, or is not."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    isolated: bool = True
    outside: str = ""
    plaintext_replication: bool | None = None

    def __post_init__(self) -> None:
        if self.outside and not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]+", self.outside):
            raise ValueError(f"outside must be <host>:<port>, not {self.outside!r}")

    @property
    def beyond(self) -> tuple[str, int] | None:
        """Host and port of ``outside``."""
        host, _, port = self.outside.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None
