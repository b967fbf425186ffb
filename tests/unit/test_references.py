"""Which Secrets, ConfigMaps, keys and ServiceAccounts workloads name, in every field that can."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INGRESS,
    JOB,
    POSTGRES_CLUSTER,
    REPLICA_SET,
    SECRET,
    SERVICE_ACCOUNT,
)
from postflight.cluster.references import Reference, bucket_keys, references, secret_names, template_of
from tests.unit import recorded
from tests.unit.worlds import Json, container, pod, snapshot, thing


def named(**spec: Any) -> list[tuple[str, str, str, bool, str]]:
    """What a Deployment of this pod spec names, without its ServiceAccount."""
    found = references(snapshot(workload(**spec)))
    assert all((each.owner_kind, each.owner, each.namespace) == ("Deployment", "web", "matrix") for each in found)
    return [
        (each.kind.name, each.name, each.key, each.optional, each.where)
        for each in found
        if each.kind is not SERVICE_ACCOUNT
    ]


def workload(**spec: Any) -> Json:
    return thing(DEPLOYMENT, "web", spec={"template": {"spec": {"containers": [container()], **spec}}})


@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_environments_of_containers(place: str) -> None:
    one = container(
        envFrom=[{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "maybe", "optional": True}}],
        env=[
            {"name": "PLAIN", "value": "x"},
            {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": True}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
    )
    assert named(**{place: [one]}) == [
        ("Secret", "all", "", False, "container main, envFrom"),
        ("ConfigMap", "maybe", "", True, "container main, envFrom"),
        ("Secret", "s", "k", False, "container main, env P"),
        ("ConfigMap", "c", "k", True, "container main, env C"),
    ]


def test_volumes_plain_by_items_and_projected() -> None:
    sources = [
        {"secret": {"name": "p", "items": [{"key": "k", "path": "x"}]}},
        {"configMap": {"name": "q"}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    volumes = [
        {"name": "a", "secret": {"secretName": "s"}},
        {"name": "b", "configMap": {"name": "c", "items": [{"key": "k", "path": "x"}, {"key": "l", "path": "y"}]}},
        {"name": "d", "projected": {"sources": sources}},
        {"name": "e", "emptyDir": {}},
    ]
    assert named(volumes=volumes) == [
        ("Secret", "s", "", False, "volume a"),
        ("ConfigMap", "c", "k", False, "volume b"),
        ("ConfigMap", "c", "l", False, "volume b"),
        ("Secret", "p", "k", False, "volume d"),
        ("ConfigMap", "q", "", False, "volume d"),
    ]


def test_a_pull_secret_is_optional_since_the_image_may_be_there() -> None:
    assert named(imagePullSecrets=[{"name": "pull"}]) == [("Secret", "pull", "", True, "imagePullSecrets")]


def test_every_workload_names_a_service_account() -> None:
    assert references(snapshot(workload()))[0].name == "default"
    (found,) = references(snapshot(workload(serviceAccountName="robot")))
    assert found == Reference(SERVICE_ACCOUNT, "matrix", "robot", "", False, "Deployment", "web", "serviceAccountName")


def test_what_is_being_deleted_needs_nothing_any_more() -> None:
    one = pod("one", container(), serviceAccountName="gone")
    assert [each.name for each in references(snapshot(one))] == ["gone"]
    one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert references(snapshot(one)) == ()


def test_what_another_made_is_not_asked_a_second_time() -> None:
    owned = pod("web-1", container(envFrom=[{"secretRef": {"name": "s"}}]))
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web", "controller": True}]
    assert references(snapshot(owned)) == ()
    alone = pod("alone", container(envFrom=[{"secretRef": {"name": "s"}}]))
    assert [each.owner_kind for each in references(snapshot(alone))] == ["Pod", "Pod"]


@pytest.mark.parametrize(("owner", "names"), [("Synapse", ["hs"]), ("Cluster", ["hs"]), ("CronJob", [])])
def test_what_an_operator_made_is_asked_as_its_own(owner: str, names: list[str]) -> None:
    """Only what the owner's own template says already is left out."""
    for kind in (DEPLOYMENT, JOB):
        made = thing(kind, "hs", spec=workload(volumes=[{"name": "a", "secret": {"secretName": "s"}}])["spec"])
        made["metadata"]["ownerReferences"] = [{"kind": owner, "name": "x", "controller": True}]
        found = references(snapshot(made))
        assert list(dict.fromkeys(each.owner for each in found)) == names
        assert secret_names(snapshot(made)) == ((("matrix", "s"),) if names else ())


def test_pods_that_a_foreign_kind_makes_by_a_replica_set_are_asked_themselves() -> None:
    owned = pod("web-1", container(envFrom=[{"secretRef": {"name": "s"}}]))
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-x", "controller": True}]
    for owner, names in (("Rollout", (("matrix", "s"),)), ("Deployment", ())):
        between = thing(REPLICA_SET, "web-x", spec={"replicas": 1})
        between["metadata"]["ownerReferences"] = [{"kind": owner, "name": "web", "controller": True}]
        assert secret_names(snapshot(owned, between)) == names


def test_the_template_of_a_cron_job_lies_one_deeper() -> None:
    spec = {"containers": [container()]}
    assert template_of({"kind": "Job", "spec": {"template": {"spec": spec}}}) == spec
    assert template_of({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}) == spec
    assert template_of({"kind": "Pod", "spec": spec}) == spec
    assert template_of({"kind": "Deployment"}) == {}


def test_secrets_of_a_postgresql_cluster_are_read_too() -> None:
    plain = thing(POSTGRES_CLUSTER, "pg", spec={})
    roles = [{"name": "li", "passwordSecret": {"name": "pg-li"}}, {"name": "nobody"}]
    told = thing(
        POSTGRES_CLUSTER, "pg", spec={"bootstrap": {"initdb": {"secret": {"name": "own"}}}, "managed": {"roles": roles}}
    )
    assert secret_names(snapshot(plain)) == (("matrix", "pg-app"), ("matrix", "pg-server"))
    assert secret_names(snapshot(told)) == (("matrix", "own"), ("matrix", "pg-li"), ("matrix", "pg-server"))


def test_secrets_of_its_bucket_and_of_its_own_certificate_are_read_too() -> None:
    key = {"name": "bucket", "key": "secret"}
    spec = {
        "certificates": {"serverTLSSecret": "pg-tls"},
        "backup": {
            "barmanObjectStore": {"s3Credentials": {"accessKeyId": {**key, "key": "id"}, "secretAccessKey": key}}
        },
    }
    told = thing(POSTGRES_CLUSTER, "pg", spec=spec)
    assert secret_names(snapshot(told)) == (("matrix", "pg-app"), ("matrix", "bucket"), ("matrix", "pg-tls"))
    assert bucket_keys(told) == {"accessKeyId": ("bucket", "id"), "secretAccessKey": ("bucket", "secret")}


def test_secrets_of_certificates_that_ingresses_name_are_read_too() -> None:
    tls = [{"hosts": ["a.test"], "secretName": "a-tls"}, {"hosts": ["b.test"]}]
    assert secret_names(snapshot(thing(INGRESS, "a", spec={"tls": tls}), thing(INGRESS, "b"))) == (("matrix", "a-tls"),)


def test_each_secret_is_read_once_however_often_it_is_named() -> None:
    job = thing(JOB, "once", spec=workload(imagePullSecrets=[{"name": "s"}])["spec"])
    again = workload(containers=[container(envFrom=[{"secretRef": {"name": "s"}}] * 3)])
    assert secret_names(snapshot(again, job)) == (("matrix", "s"),)


def test_everything_that_the_lab_names_exists() -> None:
    lab = recorded.healthy()
    for each in references(lab.snapshot):
        if each.kind is SECRET:
            held = lab.secrets.get(each.namespace, each.name)
            assert held
            assert not each.key or each.key in held.data
        else:
            found = lab.snapshot.get(each.kind, each.namespace, each.name)
            assert found
            assert each.kind is not CONFIG_MAP or not each.key or each.key in found["data"]
    assert set(lab.secrets.found) <= set(secret_names(lab.snapshot))
