"""The settings file: what discovery cannot know, and what a deployment promises.

Everything has a default, so that a run needs no file. A key that is not known is an error: a
misspelled promise would otherwise go unchecked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

from postflight import strictyaml
from postflight.network_settings import NetworkSettings
from postflight.strictyaml import STRICT, nearest

SettingsError = strictyaml.FileError


def _check_reference(key: str, value: str) -> None:
    if value and len([word for word in value.split("/") if word]) != 2:
        raise ValueError(f"{key} must be <Secret>/<key>, not {value!r}")


@dataclass(frozen=True, slots=True)
class SynapseNames:
    """``workloads`` that run Synapse although neither their command nor their image says so:
    ``<workload>`` (its first container) or ``<workload>/<container>``; ``li`` are those of the
    lawful-intercept homeserver, where neither labels nor databases tell."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workloads: tuple[str, ...] = ()
    li: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostgresNames:
    """``app_secret`` holds the login that CloudNativePG made, where it is not NAME-app."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    app_secret: str = ""


@dataclass(frozen=True, slots=True)
class RedisNames:
    """``workloads`` that run Redis although neither their command nor their image says so;
    ``password_secret`` is ``<Secret>/<key>``; ``sentinel_master`` is the name that Sentinels watch."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workloads: tuple[str, ...] = ()
    password_secret: str = ""
    sentinel_master: str = ""

    def __post_init__(self) -> None:
        _check_reference("password_secret", self.password_secret)


@dataclass(frozen=True, slots=True)
class ProxyNames:
    """``workloads`` that run HAProxy although neither their command nor their image says so."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsNames:
    """Workloads that run LiveKit, its JWT service, or coturn, where nothing about them says so."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    sfu_workloads: tuple[str, ...] = ()
    jwt_workloads: tuple[str, ...] = ()
    turn_workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngressNames:
    """``workloads`` are the ingress controllers that the public names lead to, ``<namespace>/<workload>``, where their
    images do not tell, or tell of too many."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workloads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.workloads:
            if not re.fullmatch(r"[^/]+/[^/]+", each):
                raise ValueError(f"workloads must be <namespace>/<workload>, not {each!r}")


@dataclass(frozen=True, slots=True)
class AntivirusNames:
    """Workloads that run a content scanner, and those that run ClamAV's daemon, where nothing about them says so:
    ``<workload>`` (its first container) or ``<workload>/<container>``."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    scanner_workloads: tuple[str, ...] = ()
    clamd_workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageNames:
    """Workloads that serve Element Web, and those that serve an admin page, where their images do not say so."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    element_workloads: tuple[str, ...] = ()
    admin_workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyVaultNames:
    """``workloads`` that run the key vault, where neither a module of Synapse's nor anything about them says so."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    workloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """What discovery cannot tell by images, commands, ports and labels."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    synapse: SynapseNames = SynapseNames()
    postgres: PostgresNames = PostgresNames()
    redis: RedisNames = RedisNames()
    proxy: ProxyNames = ProxyNames()
    calls: CallsNames = CallsNames()
    ingress: IngressNames = IngressNames()
    antivirus: AntivirusNames = AntivirusNames()
    pages: PageNames = PageNames()
    key_vault: KeyVaultNames = KeyVaultNames()


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """What was made by the lines that ``postflight prepare`` prints: the Service that leads to a canary
    homeserver, and the Secret with the certificate authority that Synapse trusts.

    ``hosts``: public names instead, ``host:port``, that an Ingress of the deployment's own leads to that
    Service, with their certificate in ``tls_secret``.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    service: str = "postflight-canary"
    ca_secret: str = "postflight-canary-ca"
    hosts: tuple[str, ...] = ()
    tls_secret: str = ""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not re.fullmatch(r"[a-z0-9.-]+:[0-9]+", host):
                raise ValueError(
                    f"hosts must be <name>:<port> (a port keeps Synapse from looking for another), not {host!r}"
                )
        if self.hosts and not self.tls_secret:
            raise ValueError("hosts need tls_secret, the Secret with their certificate")


@dataclass(frozen=True, slots=True)
class ProbeUserSettings:
    """The account to act by where none can be registered: its access token, or its name (``user``) and password. The
    secret itself never stands here, but the file or the environment variable that holds it."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    token_file: str = ""
    token_env: str = ""
    user: str = ""
    password_file: str = ""
    password_env: str = ""

    def __post_init__(self) -> None:
        token, password = (self.token_file, self.token_env), (self.password_file, self.password_env)
        if all(token) or all(password):
            raise ValueError("name a file or an environment variable, not both")
        if any(token) and (self.user or any(password)):
            raise ValueError("name a token, or a user with a password, not both")
        if bool(self.user) != any(password):
            raise ValueError("a user needs password_file or password_env, and a password needs user")


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """``hosts`` are object stores outside the cluster, by the host names that Synapse's configuration or a Cluster of
    PostgreSQL has, that may be asked with the key pair that these have."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """``hosts`` are TURN servers outside of what stands here, by the host names that Synapse's configuration has, that may
    be asked for relays."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsSettings:
    """``addresses`` are those at which clients reach what media go to, LiveKit and TURN, where the cluster does not know
    them (a router, a load balancer outside)."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.addresses:
            try:
                ipaddress.ip_address(each)
            except ValueError:
                raise ValueError(f"addresses must be IP addresses, not {each!r}") from None


@dataclass(frozen=True, slots=True)
class PublicSettings:
    """``ca_file``: a file of certificate authorities (PEM) that clients here trust, beside the machine's own. ``ask``: the
    public names may be asked at whatever addresses DNS gives them, also where nothing in the cluster knows these."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    ca_file: str = ""
    ask: bool = False

    def __post_init__(self) -> None:
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"ca_file {self.ca_file} is no file")


@dataclass(frozen=True, slots=True)
class ElementSettings:
    """``allowed_hosts`` are hosts outside the deployment that Element's configuration may name: ``maps.example.org``, or
    ``*.example.org`` for all below it."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiCredentialSettings:
    """What opens LI's front door: ``secret``, a Secret beside LI with a client certificate (tls.crt, tls.key), or with
    username and password; or, where it is not to be in the cluster, a file with a certificate and its key (PEM), and
    the name and password of a ``user``. The secret itself never stands here."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    secret: str = "postflight-li"
    certificate_file: str = ""
    user: str = ""
    password_file: str = ""
    password_env: str = ""

    def __post_init__(self) -> None:
        password = (self.password_file, self.password_env)
        if all(password):
            raise ValueError("name a file or an environment variable, not both")
        if bool(self.user) != any(password):
            raise ValueError("a user needs password_file or password_env, and a password needs user")


@dataclass(frozen=True, slots=True)
class KeyVaultSettings:
    """How the key vault is asked: ``<method> <path>`` to ``store``, ``fetch`` and ``remove`` a record, with ``{id}`` in the
    path; the ``header`` that carries the API key (``X-Api-Key``, or ``Authorization: Bearer {key}``); the ``body`` that
    stores, with ``{record}`` and, where it must, ``{id}``. Without them, what the Service's annotation proposes."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    header: str = ""
    store: str = ""
    fetch: str = ""
    remove: str = ""
    body: str = ""

    def __post_init__(self) -> None:
        for name in ("store", "fetch", "remove"):
            value = getattr(self, name)
            if value and not re.fullmatch(r"[A-Z]+ /\S*", value):
                raise ValueError(f"{name} must be <METHOD> /<path>, not {value!r}")
        if self.fetch and not self.fetch.startswith("GET "):
            raise ValueError("fetch must be a GET: what is asked with a wrong key must change nothing")
        if self.body and "{record}" not in self.body:
            raise ValueError("body must hold {record}")


@dataclass(frozen=True, slots=True)
class LiSettings:
    """Lawful intercept: what opens its front door, and what was promised of it: ``keeps_purged``, that LI keeps what is
    purged on main; ``retention_since``, the day (``2026-01-31``) from which on nothing that was redacted is to have lost
    its content."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    credential: LiCredentialSettings = LiCredentialSettings()
    keeps_purged: bool = False
    retention_since: str = ""

    def __post_init__(self) -> None:
        if self.retention_since:
            try:
                date.fromisoformat(self.retention_since)
            except ValueError:
                raise ValueError(
                    f"retention_since must be a day such as 2026-01-31, not {self.retention_since!r}"
                ) from None

    @property
    def since(self) -> date | None:
        return date.fromisoformat(self.retention_since) if self.retention_since else None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings.

    ``namespaces`` is empty where those that hold a homeserver are meant. ``expect`` lists the kinds
    of part that must be there. ``federation`` says whether the deployment federates, None where what is found is to tell.
    ``availability: high`` promises that the front door outlasts the loss of any one pod and node.
    ``eicar`` says whether the file that every scanner takes for a virus may be uploaded.
    ``out_of_reach`` maps the id of a check to the reason why the one who
    runs it will never have the right. ``probe_image`` is the image of the probe pod (that of a Synapse
    pod when empty), ``probe_pod`` is merged into its manifest.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    namespaces: tuple[str, ...] = ()
    names: Names = Names()
    expect: tuple[str, ...] = ()
    federation: bool | None = None
    availability: Literal["", "high"] = ""
    eicar: bool = True
    probe_user: ProbeUserSettings = ProbeUserSettings()
    out_of_reach: Mapping[str, str] = field(default_factory=dict)
    canary: CanarySettings = CanarySettings()
    storage: StorageSettings = StorageSettings()
    turn: TurnSettings = TurnSettings()
    public: PublicSettings = PublicSettings()
    element: ElementSettings = ElementSettings()
    li: LiSettings = LiSettings()
    calls: CallsSettings = CallsSettings()
    key_vault: KeyVaultSettings = KeyVaultSettings()
    network: NetworkSettings = field(default_factory=NetworkSettings)
    probe_image: str = ""
    probe_pod: Mapping[str, object] = field(default_factory=dict)


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
