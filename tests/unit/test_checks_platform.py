"""The checks of the platform, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postflight.cluster.kinds import CONFIG_MAP, DEPLOYMENT
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import (
    CLUSTER,
    ask,
    not_ready,
    only,
)
from tests.unit.recorded import Json, item, items


class TestWorkloads:
    def test_a_crash_loop(self) -> None:
        def change(raw: Json) -> None:
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
            not_ready(raw, "synapse-main-0", state=waiting, restarts=4, last=1)

        words = {"pod/matrix/synapse-main-0": ("ConfigError: no such module",)}
        found = only(ask("platform.workloads", recorded.changed(change), last_words=words))
        assert found.headline == (
            "synapse-main: 0 of 1 pods ready: synapse-main-0, container synapse,"
            " keeps crashing (CrashLoopBackOff, exit code 1, 4 restarts)"
        )
        assert (found.nature, found.evidence) == (Nature.UNAVAILABLE, words["pod/matrix/synapse-main-0"])
        assert set(found.stops) == {"statefulset/matrix/synapse-main", "pod/matrix/synapse-main-0"}

    def test_one_of_two_stops_only_itself(self) -> None:
        found = only(
            ask("platform.workloads", recorded.changed(lambda raw: not_ready(raw, "synapse-event-persister-1")))
        )
        assert found.headline.startswith("synapse-event-persister: 1 of 2 pods ready: ")
        assert found.stops == ("pod/matrix/synapse-event-persister-1",)

    def test_an_image_that_cannot_be_pulled(self) -> None:
        def change(raw: Json) -> None:
            not_ready(raw, "redis-1", state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.endswith("redis-1, container redis, waits: ErrImagePull not found")

    def test_a_pod_that_does_not_exist(self) -> None:
        def change(raw: Json) -> None:
            items(raw, "Pod").remove(item(raw, "Pod", "synapse-typing-writer-0"))

        lab = recorded.changed(change)
        found = only(ask("platform.workloads", lab))
        assert found.headline == "synapse-typing-writer: 0 of 1 pods ready: 1 of 1 pods do not exist"
        assert found.evidence, "its events are kept"

    def test_a_replica_on_another_image(self) -> None:
        def change(raw: Json) -> None:
            container = item(raw, "Pod", "synapse-federation-sender-1")["spec"]["containers"][0]
            container["image"] = "matrixdotorg/synapse:v1.162.0"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline == (
            "synapse-federation-sender: synapse-federation-sender-0 on matrixdotorg/synapse:v1.163.2;"
            " synapse-federation-sender-1 on matrixdotorg/synapse:v1.162.0,"
            " its workload says matrixdotorg/synapse:v1.163.2"
        )

    def test_a_workload_on_another_release(self) -> None:
        def change(raw: Json) -> None:
            specs = [item(raw, "StatefulSet", "synapse-typing-writer")["spec"]["template"]["spec"]]
            specs.append(item(raw, "Pod", "synapse-typing-writer-0")["spec"])
            for spec in specs:
                spec["containers"][0]["image"] = "matrixdotorg/synapse:v1.162.0"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.startswith("synapse-typing-writer runs matrixdotorg/synapse:v1.162.0, the other Synapse")

    def test_a_volume_that_stays_pending(self) -> None:
        def change(raw: Json) -> None:
            not_ready(raw, "redis-2", state={"waiting": {"reason": "ContainerCreating"}})
            claim = item(raw, "PersistentVolumeClaim", "data-redis-2")
            claim["status"]["phase"] = "Pending"
            claim["spec"]["storageClassName"] = "fast-ssd"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.endswith("volume claim data-redis-2 stays Pending (storage class fast-ssd)")

    def test_a_volume_that_is_lost(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "PersistentVolumeClaim", "data-redis-2")["status"]["phase"] = "Lost"

        assert only(ask("platform.workloads", recorded.changed(change))).headline == (
            "volume claim data-redis-2 has lost its volume"
        )

    def test_a_container_that_was_restarted_often_is_warned_of(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Pod", "redis-0")["status"]["containerStatuses"][0]["restartCount"] = 9

        pen = ask("platform.workloads", recorded.changed(change))
        assert only(pen, Status.WARNED).headline == "redis-0: container redis runs now but was restarted 9 times"


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

    def test_config_maps_that_could_not_be_listed_are_unknown(self) -> None:
        lab = recorded.healthy()
        blind = replace(lab.snapshot, unseen={(CONFIG_MAP, "matrix"): "no right: configmaps"})
        pen = ask("platform.references", snapshot=blind)
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}


class TestOperators:
    def operator(self, raw: Json) -> Json:
        found: Json = next(each for each in raw["controllers"] if "cnpg" in each["metadata"]["name"])
        return found

    def test_an_operator_that_is_scaled_to_0(self) -> None:
        def change(raw: Json) -> None:
            self.operator(raw)["spec"]["replicas"] = 0
            self.operator(raw)["status"] = {}

        found = only(ask("platform.operators", recorded.changed(change)))
        assert "is scaled to 0: nobody looks after matrix-postgresql" in found.headline

    def test_an_operator_that_is_not_there(self) -> None:
        lab = recorded.changed(lambda raw: raw["controllers"].remove(self.operator(raw)))
        found = only(ask("platform.operators", lab))
        assert found.headline == "CloudNativePG's operator is not installed: nobody looks after matrix-postgresql"

    def test_a_crd_that_is_not_there_stops_whoever_is_named_as_its_cluster(self) -> None:
        def change(raw: Json) -> None:
            raw["served"] = []
            for kind in ("Cluster", "Service", "EndpointSlice"):
                found = items(raw, kind)
                found[:] = [each for each in found if not each["metadata"]["name"].startswith("matrix-postgresql")]

        found = only(ask("platform.operators", recorded.changed(change)))
        assert found.headline.startswith(
            "CloudNativePG is not installed: no CRD clusters.postgresql.cnpg.io, so nobody"
        )
        assert found.stops == (CLUSTER.id,)

    def test_a_cluster_that_is_not_healthy(self) -> None:
        def change(raw: Json) -> None:
            status = item(raw, "Cluster", "matrix-postgresql")["status"]
            status |= {"phase": "Failing over", "readyInstances": 1, "targetPrimary": "matrix-postgresql-2"}

        found = only(ask("platform.operators", recorded.changed(change)))
        assert found.headline == "Cluster matrix-postgresql is not whole: Failing over, 1 of 2 instances ready"
        assert (found.nature, found.stops) == (Nature.UNAVAILABLE, ())

    def test_an_operator_that_could_not_be_looked_for_is_unknown(self) -> None:
        lab = recorded.healthy()
        blind = replace(lab.snapshot, unseen={(DEPLOYMENT, ""): "no right: deployments"}, controllers=())
        found = only(ask("platform.operators", snapshot=blind), Status.UNKNOWN)
        assert found.headline == "CloudNativePG's operator could not be looked for: no right: deployments"
