"""Deployments of another kind than the reference are green in their own way, and what the settings say of it counts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import defects
from lab.cluster import Cluster
from lab.readiness import wait
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences, first_of
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

OFF = "federation-off"
DOORS, ONCE = "clients.closed_doors", "federation.exactly_once"


def saying(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return file


def test_the_settings_say_off_and_it_answers_everywhere(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = saying(tmp_path, "federation: off")
    seen = verify(cluster.kubeconfig, "--settings", settings)
    others = {id: status for id, status in seen.statuses.items() if status not in (Status.PASSED, Status.ABSENT)}
    assert others == {DOORS: Status.FAILED}, seen.output
    assert seen.statuses[ONCE] is Status.ABSENT
    heads = [each.failure.headline for each in seen.results[DOORS].judged if each.status is Status.FAILED]
    assert [head.partition(", though federation is off, as the settings say")[0] for head in heads] == [
        "other servers are let in by synapse-main and synapse-generic-worker",
        "haproxy leads other servers to a process that lets them in",
        "haproxy leads other servers to a process that lets them in",
        "Ingress matrix-federation leads other servers to a process that lets them in",
        "synapse-federation-sender sends to other servers",
    ]


def test_federation_off_is_found_and_shown_to_be_shut(
    bench: Bench, healthy: Verified, verify: Verify, tmp_path: Path
) -> None:
    with bench.broken([OFF]) as cluster:
        seen = verify(cluster.kubeconfig)
        wrong = differences([defects.load(OFF)], healthy.statuses, seen)
        assert not wrong, "\n".join([*wrong, "", seen.output])
        assert seen.record
        assert seen.results[ONCE].reason == (
            "federation is off by choice: federation_domain_whitelist of synapse-main is empty"
        )
        assert any(each.startswith("federation is taken to be off, as ") for each in seen.record.notes)
        said = verify(cluster.kubeconfig, "--settings", saying(tmp_path, "federation: off"))
        assert said.statuses == seen.statuses, said.output
        assert said.record
        assert not said.record.notes
        promised = verify(
            cluster.kubeconfig, "--settings", saying(tmp_path, "federation: on"), checks="checks/federation"
        )
    assert promised.statuses == {ONCE: Status.FAILED}, promised.output
    assert "federation is off, though the settings say that it is on" in promised.output


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of deployment, what the settings say of it, why which checks are absent, and one thing that is broken in it
    then: which check that turns red, with which words."""

    kind: str
    breaks: Callable[[Cluster], None]
    checks: str
    red: str
    words: tuple[str, ...]
    settings: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)


OTHER = "q5XzP8cWv2LtY7nKdR4mBgJ6hFsA"
NO_OPERATOR = {
    "database.replication": "no PostgreSQL here is a Cluster of CloudNativePG",
    "platform.operators": "no Cluster of CloudNativePG and nothing named as one",
} | dict.fromkeys(
    ("li.front_door", "li.identity", "li.main_database_rights", "li.replication", "li.retention"),
    "nothing refers to a lawful-intercept homeserver",
)


def patched(cluster: Cluster, what: str, change: object, namespace: str = "matrix", kind: str = "merge") -> None:
    cluster.kubectl("patch", *what.split(), "-n", namespace, f"--type={kind}", "-p", json.dumps(change))


def restarted(cluster: Cluster, what: str, namespace: str = "matrix") -> None:
    cluster.kubectl("rollout", "restart", what, "-n", namespace)
    cluster.kubectl("rollout", "status", what, "-n", namespace, "--timeout=90s")


def more_memory_than_the_container_has(cluster: Cluster) -> None:
    script = 'redis-cli -a "$REDIS_PASSWORD" --no-auth-warning config set maxmemory 1gb'
    cluster.kubectl("exec", "-n", "matrix", "redis-0", "-c", "redis", "--", "sh", "-ec", script)


def another_password_for_the_next_start(cluster: Cluster) -> None:
    patched(cluster, "secret synapse-secrets", {"stringData": {"DB_PASSWORD": OTHER}})


def another_password_for_the_next_start_of_li(cluster: Cluster) -> None:
    patched(cluster, "secret synapse-li-secrets", {"stringData": {"DB_PASSWORD": OTHER}}, "matrix-li")


def another_password_in_the_poolers_list(cluster: Cluster) -> None:
    listed = f'"synapse" "{OTHER}"\n"key_vault" "8hGgeojh23sSLfSvMoqrjaFebULZ"\n'
    patched(cluster, "secret pgbouncer-users", {"stringData": {"userlist.txt": listed}})
    restarted(cluster, "deployment/pgbouncer")


def the_service_of_the_master_for_all(cluster: Cluster) -> None:
    patched(cluster, "service redis-master", {"spec": {"selector": {"app.kubernetes.io/component": None}}})
    path = "/apis/discovery.k8s.io/v1/namespaces/matrix/endpointslices?labelSelector=kubernetes.io/service-name=redis-master"

    def few() -> str:
        slices = cluster.get(path)["items"]
        count = sum(len(each.get("endpoints") or ()) for each in slices)
        return "" if count == 3 else f"{count} endpoints"

    wait(few, 30, "the Service does not lead to the replicas")


def an_image_that_is_nowhere(cluster: Cluster) -> None:
    cluster.kubectl(
        "set", "image", "statefulset/synapse-synchrotron", "worker=matrixdotorg/synapse:none", "-n", "matrix"
    )
    path = "/apis/apps/v1/namespaces/matrix/statefulsets/synapse-synchrotron"
    wait(lambda: "" if cluster.get(path)["status"].get("readyReplicas", 0) < 2 else "2 are ready", 60, "it goes on")


def another_key_pair(cluster: Cluster) -> None:
    patched(cluster, "secret minio-credentials", {"stringData": {"secret-key": OTHER}}, "objects")
    restarted(cluster, "statefulset/minio", "objects")


def another_password_of_the_role(cluster: Cluster) -> None:
    statement = f"ALTER ROLE synapse PASSWORD '{OTHER}'"
    argv = ["psql", "-Xq", "-h", "/tmp", "-U", "postgres", "-c", statement]
    cluster.kubectl("exec", "-n", "databases", "postgresql-0", "--", *argv)


SHAPES = (
    Shape(
        kind="redis-single",
        absent={"redis.replication": "Redis redis is one server, without replicas and Sentinels"},
        breaks=more_memory_than_the_container_has,
        checks="checks/redis",
        red="redis.memory",
        words=("redis-0 may grow to maxmemory 1024 MiB", "128 MiB"),
    ),
    Shape(
        kind="config-paths",
        breaks=another_password_for_the_next_start,
        checks="checks/database",
        red="database.login",
        words=("will not log in after the next restart", "Secret synapse-secrets/DB_PASSWORD was changed"),
    ),
    Shape(
        kind="postgres-pgbouncer",
        absent=NO_OPERATOR,
        breaks=another_password_in_the_poolers_list,
        checks="checks/database",
        red="database.login",
        words=("pgbouncer knows another password of role synapse than PostgreSQL beneath it",),
    ),
    Shape(
        kind="redis-chart",
        breaks=the_service_of_the_master_for_all,
        checks="checks/redis",
        red="redis.endpoint",
        words=("redis-master:6379", "leads to replicas too", "redis-replicas-0", "redis-replicas-1"),
    ),
    Shape(
        kind="workers-statefulsets",
        breaks=an_image_that_is_nowhere,
        checks="checks/platform",
        red="platform.workloads",
        words=("synapse-synchrotron",),
    ),
    Shape(
        kind="s3-external",
        settings="storage: {hosts: [minio.objects.svc.cluster.local]}",
        breaks=another_key_pair,
        checks="checks/media",
        red="media.storage",
        words=("minio.objects.svc.cluster.local:9000 does not take their key pair", "synapse-secrets/S3_SECRET_KEY"),
    ),
    Shape(
        kind="li-namespace",
        breaks=another_password_for_the_next_start_of_li,
        checks="checks/database",
        red="database.login",
        words=(
            "synapse-li will not log in after the next restart",
            "Secret synapse-li-secrets/DB_PASSWORD was changed",
        ),
    ),
    Shape(
        kind="postgres-external",
        absent=NO_OPERATOR,
        breaks=another_password_of_the_role,
        checks="checks/database",
        red="database.login",
        words=("cannot log in to matrix-db: password rejected", "synapse-secrets/DB_PASSWORD"),
    ),
)


@pytest.mark.trial("lab/kinds", "postflight/deployment", "postflight/cluster")
@pytest.mark.parametrize("shape", SHAPES, ids=[each.kind for each in SHAPES])
def test_another_shape_is_green_as_what_it_is_and_red_where_it_is_broken(
    shape: Shape,
    bench: Bench,
    healthy: Verified,
    verify: Verify,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    said = ["--settings", saying(tmp_path, shape.settings)] if shape.settings else []
    with bench.broken([shape.kind]) as cluster:
        seen = verify(cluster.kubeconfig, *said)
        wrong = differences([defects.load(shape.kind)], healthy.statuses, seen)
        assert not wrong, "\n".join([*wrong, "", seen.output])
        reasons = {id: seen.results[id].reason for id in shape.absent}
        assert reasons == dict(shape.absent)
        assert seen.record
        assert not seen.record.notes, seen.output
        shape.breaks(cluster)
        broken = verify(cluster.kubeconfig, *said, checks=shape.checks)
        first = first_of(broken, shape.red, Status.FAILED)
        assert first, broken.output
        text = "\n".join((first.failure.headline, first.failure.cause, first.failure.observed))
        assert not [word for word in shape.words if word not in text], broken.output
        others = [f"{id} absent: {reason}" for id, reason in reasons.items()]
        record_property("seen", "; ".join([*others, f"green else; broken, {shape.red}: {first.failure.headline}"]))
