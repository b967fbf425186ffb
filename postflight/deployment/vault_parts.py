"""The key vault, as a part of the model: the service that keeps users' recovery keys."""

from __future__ import annotations

from dataclasses import dataclass

from postflight.deployment.parts import Endpoint
from postflight.secrets import Secret


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The API key by which some processes ask a key vault, or that it was started with. ``users`` are ids of processes;
    ``origin`` is where it comes from, ``hidden`` says why it is not known."""

    secret: Secret | None
    origin: str = ""
    users: tuple[str, ...] = ()
    hidden: str = ""


@dataclass(frozen=True, slots=True)
class Requests:
    """How a key vault is asked, each as method and path (:class:`postflight.settings.KeyVaultSettings`); ``origin`` says
    who says so."""

    header: str
    store: str
    fetch: str
    remove: str
    body: str
    origin: str

    def named(self, key: Secret) -> tuple[str, str]:
        """The header that carries a key, and its value."""
        name, colon, form = self.header.partition(":")
        return name.strip(), (form.strip() if colon else "{key}").replace("{key}", key.reveal())

    def of(self, request: str, record: str) -> tuple[str, str]:
        """Method and path of one of the requests, about a record."""
        method, _, path = request.partition(" ")
        return method, path.replace("{id}", record)


@dataclass(frozen=True, slots=True)
class KeyVault:
    """A key vault, found by the module of Synapse's that speaks to it, or by what its workload is.

    ``keys`` are the API keys that Synapse's processes have in effect, each once; empty where no module names it. ``base``
    is what stands before every path. ``own`` is the key that it was started with, where its specs tell. ``requests`` is
    None where nobody says how it is asked.
    """

    id: str
    namespace: str
    name: str
    endpoint: Endpoint
    keys: tuple[ApiKey, ...]
    tls: bool = False
    base: str = ""
    workloads: tuple[str, ...] = ()
    own: ApiKey | None = None
    requests: Requests | None = None

    @property
    def where(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}"
