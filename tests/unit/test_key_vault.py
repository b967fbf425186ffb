"""Key vaults as a configuration, or a workload, tells of them, and a record's way into one, on servers of loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml

from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint
from postflight.deployment.vault_parts import KeyVault, Requests
from postflight.probes import key_vault as probes
from postflight.probes.key_vault import VaultAnswers, VaultRecord, VaultSaid
from postflight.probes.own import Turn
from postflight.secrets import Secret
from postflight.settings import KeyVaultNames, KeyVaultSettings, Names, Settings
from postflight.traces import Traces
from tests.unit import li_world, vaulting
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL as LAB
from tests.unit.worlds import (
    KINDS,
    NO_FILES,
    Json,
    config_map,
    container,
    deployment,
    endpoints,
    pod,
    secrets,
    service,
    snapshot,
    thing,
)

HELD = secrets(
    synapse_secrets={"KEY_VAULT_API_KEY": vaulting.KEY, "OTHER": "x"}, key_vault_secrets={"API_KEY": vaulting.KEY}
)
HOW = {"header": "X-Key", "store": "PUT /r/{id}", "fetch": "GET /r/{id}"}
OWN = {"app": "vault"}


# The model ------------------------------------------------------------------------------------------


def synapse(*modules: Json) -> tuple[Json, ...]:
    text = yaml.safe_dump({"server_name": "hs.test", "modules": [*modules]})
    words = ["python", "-m", "synapse.app.homeserver", "--config-path", "/c/homeserver.yaml"]
    mounts = [{"name": "c", "mountPath": "/c"}]
    box = container(command=words, volumeMounts=mounts, envFrom=[{"secretRef": {"name": "synapse-secrets"}}])
    volumes = [{"name": "c", "configMap": {"name": "synapse"}}]
    return config_map("synapse", homeserver__yaml=text), pod("hs", box, volumes=volumes)


def owned(made: Json, name: str = "key-vault") -> Json:
    made["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": name, "controller": True}]
    return made


def vault(
    name: str = "key-vault", *, pods: bool = True, annotation: str = "", image: str = "x/thing:1"
) -> tuple[Json, ...]:
    served = service(name, 8000)
    served["spec"]["selector"] = OWN
    if annotation:
        served["metadata"]["annotations"] = {"postflight/key-vault": annotation}
    box = container("app", image=image, envFrom=[{"secretRef": {"name": "key-vault-secrets"}}])
    template: Json = {"metadata": {"labels": OWN}, "spec": {"containers": [box]}}
    owner = thing(KINDS["StatefulSet"], name, spec={"replicas": 1, "template": template}, status={})
    if not pods:
        return served, owner
    return served, owner, owned(pod(f"{name}-0", box, labels=OWN), name), endpoints(name, f"{name}-0", port=8000)


def found(*objects: Json, settings: Settings | None = None) -> tuple[KeyVault, ...]:
    return model(*objects, settings=settings).vaults


def model(*objects: Json, settings: Settings | None = None) -> Deployment:
    return deployment(snapshot(*objects), HELD, NO_FILES, settings)


MODULE = vaulting.modules()[0]


class TestTheModel:
    def test_the_one_that_a_module_speaks_to(self) -> None:
        (one,) = found(*synapse(MODULE), *vault())
        assert (one.id, one.where, one.workloads) == (
            vaulting.ID,
            f"{vaulting.HOST}:8000",
            ("statefulset/matrix/key-vault",),
        )
        (key,) = one.keys
        assert (key.secret, key.origin, key.users) == (Secret(vaulting.KEY), vaulting.ORIGIN, ("pod/matrix/hs",))
        assert one.own
        assert (one.own.secret, one.own.origin) == (Secret(vaulting.KEY), vaulting.OWN)
        assert [each.name for each, _ in one.endpoint.pods] == ["key-vault-0"]
        assert one.requests is None

    def test_by_another_name_the_module_tells(self) -> None:
        named = {**MODULE, "config": {"url": "https://safe:8443/api/", "auth": {"token": "a-token-of-the-safe"}}}
        (one,) = found(*synapse(named), *vault("safe"))
        assert (one.name, one.tls, one.base) == ("safe", True, "/api")
        assert one.keys[0].secret == Secret("a-token-of-the-safe")

    def test_by_another_module_the_vault_tells(self) -> None:
        other = {"module": "ours.Module", "config": {"at": "http://key-vault:8000"}}
        (one,) = found(*synapse(other), *vault())
        assert one.keys[0].hidden == "the configuration of module ours.Module has no API key"

    def test_a_module_that_speaks_to_something_else_is_none(self) -> None:
        other = {"module": "antispam.Module", "config": {"base_url": "http://spam:80", "api_key": "k" * 20}}
        assert found(*synapse(other), *vault("spam")) == ()

    @pytest.mark.parametrize("pods", [True, False])
    def test_one_that_no_module_names(self, pods: bool) -> None:
        (one,) = found(*synapse(), *vault(pods=pods))
        assert (one.id, one.keys) == (vaulting.ID, ())
        assert one.workloads == ("statefulset/matrix/key-vault",)
        assert one.own

    def test_one_that_the_settings_name(self) -> None:
        settings = Settings(names=Names(key_vault=KeyVaultNames(workloads=("safe",))))
        assert [each.name for each in found(*synapse(), *vault("safe"), settings=settings)] == ["safe"]
        assert found(*synapse(), *vault("safe")) == ()
        assert [each.name for each in found(*synapse(), *vault("safe", image="x/key_vault:2"))] == ["safe"]

    def test_one_without_pods_is_still_the_same(self) -> None:
        (one,) = found(*synapse(MODULE), *vault(pods=False))
        assert one.endpoint.problem == "Service key-vault has no ready pod behind it"
        assert one.workloads == ("statefulset/matrix/key-vault",)

    def test_it_leans_on_its_pods_and_its_keys_are_never_printed(self) -> None:
        seen = model(*synapse(MODULE), *vault())
        assert set(seen.depends[vaulting.ID]) == {"statefulset/matrix/key-vault", "pod/matrix/key-vault-0"}
        assert (Secret(vaulting.KEY), "the API key of key-vault") in list(seen.passwords())

    def test_the_settings_come_before_what_its_service_says(self) -> None:
        said = yaml.safe_dump(HOW)
        (one,) = found(*synapse(MODULE), *vault(annotation=said))
        assert one.requests == Requests(
            "X-Key",
            "PUT /r/{id}",
            "GET /r/{id}",
            "",
            "{record}",
            "annotation postflight/key-vault of Service key-vault",
        )
        given = Settings(key_vault=KeyVaultSettings(fetch="GET /keys/{id}"))
        (one,) = found(*synapse(MODULE), *vault(annotation=said), settings=given)
        assert one.requests == Requests("X-Api-Key", "", "GET /keys/{id}", "", "{record}", "the settings")

    @pytest.mark.parametrize("said", ["[", "word", "fetch: DELETE /r", "unknown: x", "store: PUT /r"])
    def test_an_annotation_that_is_none(self, said: str) -> None:
        (one,) = found(*synapse(MODULE), *vault(annotation=said))
        assert one.requests is None


# The probes -----------------------------------------------------------------------------------------


class Vault:
    """What a key vault does, over HTTP, with one way to be wrong."""

    def __init__(self, **wrong: Any) -> None:
        self.records: dict[str, Any] = {}
        self.wrong = wrong

    def __call__(self, asked: Request) -> Reply:
        if asked.path == "/health":
            return self.wrong.get("health", 200), {}
        if asked.authorization != f"Bearer {vaulting.KEY}" and not self.wrong.get("open"):
            return self.wrong.get("strange", 401), {}
        if asked.method == "PUT":
            self.records[asked.path] = asked.body
            return self.wrong.get("store", 201), {}
        if asked.method == "DELETE":
            self.records.pop(asked.path, None)
            return self.wrong.get("remove", 204), b""
        if asked.path not in self.records:
            return 404, {}
        held = self.wrong.get("other") or self.records[asked.path]
        return 200, held if isinstance(held, dict) else held.encode() if isinstance(held, str) else held


REQUESTS = replace(vaulting.REQUESTS, header="Authorization: Bearer {key}")


@contextmanager
def served(
    answer: Callable[[Request], Reply], requests: Requests | None = REQUESTS
) -> Iterator[tuple[Deployment, Access]]:
    with answering(answer) as (port, _):
        here = replace(LAB.postgres[0].pods[0], ip="127.0.0.1")
        endpoint = Endpoint("key-vault", port, "matrix", "key-vault", ((here, port),))
        yield (
            vaulting.with_vault(li_world.model(), endpoint=endpoint, requests=requests),
            Access(api_to(closed_port()), Way.DIRECT),
        )


def said(answer: Callable[[Request], Reply], requests: Requests | None = REQUESTS) -> VaultAnswers:
    with served(answer, requests) as (of, access):
        (one,) = probes.key_vaults(of, access)
    return one


def stored(answer: Callable[[Request], Reply], requests: Requests = REQUESTS) -> tuple[VaultRecord, list[str]]:
    """What came of a record, and what could not be removed at the end."""
    traces = Traces("abc")
    with served(answer, requests) as (of, access):
        seen = probes.key_vault_records(access, probes.key_vaults(of, access), traces, Turn(()))
        troubles = traces.close()
    return seen[0], troubles


class TestAnswers:
    def test_it_takes_its_key_and_no_other(self) -> None:
        seen = said(Vault())
        assert (seen.health.status, seen.stranger and seen.stranger.status) == (200, 401)
        assert [each.status for _, each in seen.known] == [404]

    def test_one_that_is_open(self) -> None:
        seen = said(Vault(open=True))
        assert seen.stranger
        assert seen.stranger.status == 404

    def test_nobody_says_how_it_is_asked(self) -> None:
        seen = said(Vault(), None)
        assert (seen.health.status, seen.stranger, seen.known) == (200, None, ())

    def test_one_without_a_pod(self) -> None:
        endpoint = Endpoint("key-vault", 8000, "matrix", "key-vault", (), problem="Service key-vault has no ready pod")
        of = vaulting.with_vault(li_world.model(), endpoint=endpoint)
        (seen,) = probes.key_vaults(of, Access(api_to(closed_port()), Way.DIRECT))
        assert seen.health == VaultSaid(problem="Service key-vault has no ready pod")

    def test_one_outside_the_cluster_is_not_asked(self) -> None:
        endpoint = Endpoint("vault.example.com", 443, "", "", (), external=True)
        of = vaulting.with_vault(li_world.model(), endpoint=endpoint)
        (seen,) = probes.key_vaults(of, Access(api_to(closed_port()), Way.DIRECT))
        assert seen.unasked == "vault.example.com is outside the cluster"

    def test_nothing_that_it_says_is_printed(self) -> None:
        assert "hunter2" not in repr(VaultSaid(200, text="hunter2"))


class TestRecord:
    def test_it_comes_back_and_is_removed(self) -> None:
        answer = Vault()
        seen, troubles = stored(answer)
        assert (seen.same, troubles, answer.records) == (True, [], {})
        assert [each.status for each in (seen.stored, seen.fetched, seen.removed) if each] == [201, 200, 204]

    def test_one_within_something_else(self) -> None:
        answer = Vault()
        seen, _ = stored(answer, replace(REQUESTS, body='{"name": "{id}", "key": "{record}"}', remove=""))
        assert (seen.same, seen.removed) == (True, None)
        assert answer.records["/records/postflight"]["name"] == "postflight"

    def test_it_comes_back_as_another(self) -> None:
        seen, _ = stored(Vault(other="another"))
        assert not seen.same

    def test_it_is_not_taken(self) -> None:
        seen, _ = stored(Vault(store=507))
        assert (seen.stored and seen.stored.status, seen.fetched, seen.same) == (507, None, False)

    def test_one_that_cannot_be_removed_is_told(self) -> None:
        seen, troubles = stored(Vault(remove=500))
        assert seen.same
        assert troubles == ["record postflight in key-vault could not be removed: removing it was answered with 500"]

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_stranger_who_asks_while_it_is_there_gets_nothing(self, status: int) -> None:
        seen, _ = stored(Vault(strange=status))
        assert (seen.stranger and seen.stranger.status, seen.given) == (status, False)

    def test_a_stranger_gets_it(self) -> None:
        seen, _ = stored(Vault(open=True))
        assert (seen.stranger and seen.stranger.status, seen.given) == (200, True)

    @pytest.mark.parametrize("answer", [{"health": 503}, {"fetch": 503}])
    def test_one_that_is_not_well_is_given_nothing(self, answer: dict[str, int]) -> None:
        def ill(asked: Request) -> Reply:
            return answer.get("health", 200) if asked.path == "/health" else answer.get("fetch", 404), {}

        with served(ill) as (of, access):
            traces = Traces("abc")
            assert probes.key_vault_records(access, probes.key_vaults(of, access), traces, Turn(())) == ()
            assert traces.close() == []

    def test_where_the_key_is_refused_nothing_is_stored(self) -> None:
        def refuse(asked: Request) -> Reply:
            return (200 if asked.path == "/health" else 403), {}

        with served(refuse) as (of, access):
            assert probes.key_vault_records(access, probes.key_vaults(of, access), Traces("abc"), Turn(())) == ()
