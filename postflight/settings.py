"""The settings file: what discovery cannot know, and what a deployment promises.

Everything has a default, so that a run needs no file. A key that is not known is an error: a
misspelled promise would otherwise go unchecked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from postflight import strictyaml
from postflight.strictyaml import STRICT, nearest

SettingsError = strictyaml.FileError


def _check_reference(key: str, value: str) -> None:
    if value and len([word for word in value.split("/") if word]) != 2:
        raise ValueError(f"{key} must be <Secret>/<key>, not {value!r}")


@dataclass(frozen=True, slots=True)
class SynapseNames:
    """Names that labels do not tell; empty ones are discovered."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    main: str = ""
    workers: tuple[str, ...] = ()
    client_service: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class PostgresNames:
    """``cluster`` is the CloudNativePG Cluster of the main homeserver, ``li_cluster`` that of LI."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    cluster: str = ""
    li_cluster: str = ""
    app_secret: str = ""


@dataclass(frozen=True, slots=True)
class RedisNames:
    """``password_secret`` is ``name/key``."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workload: str = ""
    service: str = ""
    password_secret: str = ""
    sentinel_master: str = ""

    def __post_init__(self) -> None:
        _check_reference("password_secret", self.password_secret)


@dataclass(frozen=True, slots=True)
class HaproxyNames:
    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workload: str = ""
    client_service: str = ""
    federation_service: str = ""
    stats_service: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """Overrides of names that are otherwise discovered."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    synapse: SynapseNames = SynapseNames()
    postgres: PostgresNames = PostgresNames()
    redis: RedisNames = RedisNames()
    haproxy: HaproxyNames = HaproxyNames()


@dataclass(frozen=True, slots=True)
class Canary:
    """Public names of the canary homeserver behind the user's own Ingress, and its TLS Secret."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    hosts: tuple[str, ...] = ()
    tls_secret: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings.

    ``namespaces`` is empty where the current context decides. ``federation`` is None where the
    homeserver's configuration decides. ``out_of_reach`` maps the id of a check to the reason why the
    one who runs it will never have the right. ``outside_hosts`` are the only hosts outside the
    deployment that may be contacted. ``addresses_reachable`` allows connections without DNS in the
    cluster or a tunnel. ``probe_pod`` is merged into the probe pod's manifest.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    namespaces: tuple[str, ...] = ()
    names: Names = Names()
    expect: tuple[str, ...] = ()
    out_of_reach: Mapping[str, str] = field(default_factory=dict)
    availability: Literal["high", "normal"] = "normal"
    federation: bool | None = None
    eicar: bool = True
    probe_image: str = ""
    probe_pod: Mapping[str, object] = field(default_factory=dict)
    admin_token_secret: str = ""
    canary: Canary = Canary()
    outside_hosts: tuple[str, ...] = ()
    addresses_reachable: bool = False

    def __post_init__(self) -> None:
        _check_reference("admin_token_secret", self.admin_token_secret)


def load(path: Path | None) -> Settings:
    """The settings of a file, the defaults without one. Raises SettingsError, a line per mistake."""
    if path is None:
        return Settings()
    document = strictyaml.read(path)
    return Settings() if document.value is None else strictyaml.parse(document, Settings)


def unknown_names(settings: Settings, checks: Collection[str], parts: Collection[str]) -> tuple[str, ...]:
    """A line for each check in ``out_of_reach`` and each kind of part in ``expect`` that does not exist."""
    strange_checks = [id for id in settings.out_of_reach if id not in checks]
    strange_parts = [part for part in settings.expect if part not in parts]
    return tuple(
        [f"settings: out_of_reach: there is no check {id!r}{nearest(id, checks)}" for id in strange_checks]
        + [f"settings: expect: there is no part {part!r}{nearest(part, parts)}" for part in strange_parts]
    )
