"""A key vault and the module that speaks to it for the small deployment with LI, and what the probes would observe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Side, SynapseProcess
from postflight.deployment.vault_parts import ApiKey, KeyVault, Requests
from postflight.probes.key_vault import VaultAnswers, VaultRecord, VaultSaid
from postflight.probes.li import Said
from postflight.probes.module_imports import ModuleImports
from postflight.probes.retention import EVIDENCE, Censored, Ours, Redacted
from postflight.secrets import Secret

MODULE = "synapse_recovery_key_storage.RecoveryKeyStorageModule"
HOST = "key-vault.matrix.svc.cluster.local"
URL = f"http://{HOST}:8000"
KEY = "an-api-key-of-the-vault"
ID = "key-vault/matrix/key-vault"
WORKLOAD = "deployment/matrix/key-vault"
ORIGIN, OWN = "Secret synapse-secrets/KEY_VAULT_API_KEY", "Secret key-vault-secrets/API_KEY"
REQUESTS = Requests(
    "X-Api-Key", "PUT /records/{id}", "GET /records/{id}", "DELETE /records/{id}", "{record}", "the settings"
)
OK, NONE, REFUSED = VaultSaid(200), VaultSaid(404), VaultSaid(401)
FACTS: Mapping[str, Any] = {"count": 0, "newest": None, "since": 0}
CENSORED = Censored(Said({**FACTS, "deletes": {"pub": [*EVIDENCE]}}), Said({**FACTS, "guards": []}))


def ours(event: str = "$event", age: float = 1.0, body: str | None = "postflight li-abc", *, held: bool = True) -> Ours:
    return Ours(event, age, held, body)


REDACTED = Redacted("$event", {"$event": ours()}, {"$event": ours()}, 0.2)


def modules(key: str = KEY, url: str = URL, name: str = MODULE) -> list[dict[str, Any]]:
    """As homeserver.yaml has them."""
    return [{"module": name, "config": {"backend_url": url, "api_key": key}}]


def users_of(model: Deployment) -> tuple[SynapseProcess, ...]:
    return tuple(each for each in model.synapse if each.side is Side.MAIN)


def vault(model: Deployment, **rest: Any) -> KeyVault:
    users = tuple(each.id for each in users_of(model))
    common: dict[str, Any] = {
        "id": ID,
        "namespace": "matrix",
        "name": "key-vault",
        "endpoint": Endpoint(HOST, 8000, "matrix", "key-vault", ()),
        "keys": (ApiKey(Secret(KEY), ORIGIN, users),),
        "workloads": (WORKLOAD,),
        "own": ApiKey(Secret(KEY), OWN),
        "requests": REQUESTS,
    }
    return KeyVault(**(common | rest))


def with_vault(model: Deployment, **rest: Any) -> Deployment:
    """The deployment with the module in every process of main's."""
    named = {each.id for each in users_of(model)}

    def given(each: SynapseProcess) -> SynapseProcess:
        return replace(each, config={**(each.config or {}), "modules": modules()}) if each.id in named else each

    return replace(model, synapse=tuple(map(given, model.synapse)), vaults=(vault(model, **rest),))


def imports(model: Deployment, **rest: Any) -> tuple[ModuleImports, ...]:
    users = users_of(model)
    return (ModuleImports(users[0], users, (MODULE,), **rest),)


def answers(model: Deployment, **rest: Any) -> tuple[VaultAnswers, ...]:
    (one,) = model.vaults
    common: dict[str, Any] = {"health": OK, "stranger": REFUSED, "known": tuple((key, NONE) for key in one.keys)}
    return (VaultAnswers(one, **(common | rest)),)


def records(model: Deployment, **rest: Any) -> tuple[VaultRecord, ...]:
    (one,) = model.vaults
    common: dict[str, Any] = {"stored": OK, "fetched": OK, "same": True, "removed": OK, "stranger": REFUSED}
    return (VaultRecord(one, **(common | rest)),)


def observations(model: Deployment) -> dict[str, Any]:
    """All of it, of a key vault that does as it should."""
    found = with_vault(model)
    return {
        "deployment": found,
        "module_imports": imports(found),
        "key_vaults": answers(found),
        "key_vault_records": records(found),
    }
