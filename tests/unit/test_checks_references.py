"""What `platform.references` says of Secrets, ConfigMaps and ServiceAccounts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postflight.cluster.kinds import CONFIG_MAP
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import MODEL, ask, only
from tests.unit.recorded import Json, item, items


class TestReferences:
    @pytest.mark.parametrize(
        ("secret", "key", "said"),
        [
            ("key-vault-secrets", "", "Secret key-vault-secrets does not exist; Deployment key-vault names it"),
            ("synapse-secrets", "signing.key", "Secret synapse-secrets/signing.key does not exist; "),
        ],
    )
    def test_a_secret_or_a_key_of_it_is_missing(self, secret: str, key: str, said: str) -> None:
        def change(raw: Json) -> None:
            held = next(each for each in raw["secrets"] if each["name"] == secret)
            if key:
                del held["data"][key]
            else:
                raw["secrets"].remove(held)

        pen = ask("platform.references", recorded.changed(change))
        assert pen.failures[0].headline.startswith(said)
        assert {each.nature for each in pen.failures} == {Nature.WRONG}

    def test_a_config_map_is_missing(self) -> None:
        def change(raw: Json) -> None:
            items(raw, "ConfigMap").remove(item(raw, "ConfigMap", "haproxy-config"))

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("ConfigMap haproxy-config does not exist; Deployment haproxy names it")
        assert "deployment/matrix/haproxy" in found.stops

    def test_a_service_account_is_missing(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Deployment", "key-vault")["spec"]["template"]["spec"]["serviceAccountName"] = "vault"

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("ServiceAccount vault does not exist; Deployment key-vault names it")

    def test_the_superusers_secret_names_the_switch_that_makes_it(self) -> None:
        def change(raw: Json) -> None:
            source = {
                "name": "P",
                "valueFrom": {"secretKeyRef": {"name": "matrix-postgresql-superuser", "key": "password"}},
            }
            spec = item(raw, "Deployment", "key-vault")["spec"]["template"]["spec"]
            spec["containers"][0].setdefault("env", []).append(source)

        found = only(ask("platform.references", recorded.changed(change)))
        assert found.headline.startswith("Secret matrix-postgresql-superuser does not exist; ")
        assert "enableSuperuserAccess, which is off in Cluster matrix-postgresql" in found.cause
        assert "do without a superuser" in found.remedy

    def test_a_secret_that_could_not_be_read_is_unknown(self) -> None:
        lab = recorded.healthy()
        name = ("matrix", "key-vault-secrets")
        held = {key: value for key, value in lab.secrets.found.items() if key != name}
        pen = ask("platform.references", secrets=replace(lab.secrets, found=held, unseen={name: "no right"}))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}

    @pytest.mark.parametrize(
        ("message", "what"),
        [
            ('secret "synapse-secrets" not found', "synapse-secrets"),
            ("couldn't find key signing.key in Secret matrix/synapse-secrets", "synapse-secrets/signing.key"),
        ],
    )
    def test_a_secret_that_may_not_be_read_and_that_the_kubelet_waits_for_is_missing(
        self, message: str, what: str
    ) -> None:
        lab, name = recorded.healthy(), ("matrix", "synapse-secrets")
        held = {key: value for key, value in lab.secrets.found.items() if key != name}
        pod = next(each for each in MODEL.pods.values() if each.name == "synapse-main-0")
        stuck = replace(pod, containers=tuple(replace(each, message=message) for each in pod.containers))
        pen = ask(
            "platform.references",
            secrets=replace(lab.secrets, found=held, unseen={name: "no right"}),
            deployment=replace(MODEL, pods={**MODEL.pods, pod.id: stuck}),
        )
        failed = [each for each in pen.failures if each.status is Status.FAILED]
        assert failed
        assert all(f"Secret {what}" in each.headline for each in failed)

    def test_config_maps_that_could_not_be_listed_are_unknown(self) -> None:
        lab = recorded.healthy()
        blind = replace(lab.snapshot, unseen={(CONFIG_MAP, "matrix"): "no right: configmaps"})
        pen = ask("platform.references", snapshot=blind)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
