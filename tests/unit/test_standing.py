"""What a signature is about: which of a cluster's objects and images count, and what does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from postflight.cluster.kinds import CONFIG_MAP, SERVICE, STATEFUL_SET
from postflight.signoff.configuration import hashes
from postflight.signoff.standing import Image, Standing, differences, standing
from tests.unit import recorded, worlds

Json = dict[str, Any]


class TestConfiguration:
    def test_every_object_that_people_wrote_has_a_hash(self) -> None:
        found = hashes(recorded.healthy().snapshot)
        assert {
            "statefulset/matrix/redis",
            "deployment/matrix/haproxy",
            "configmap/matrix/synapse-config",
            "service/matrix/redis",
            "cluster/matrix/matrix-postgresql",
            "horizontalpodautoscaler/matrix/synapse-synchrotron",
        } <= set(found)

    def test_what_controllers_made_has_none(self) -> None:
        found = hashes(recorded.healthy().snapshot)
        made = {"configmap/matrix/kube-root-ca.crt", "service/matrix/matrix-postgresql-rw"}
        assert not made & set(found)
        assert not [name for name in found if name.split("/")[0] in ("pod", "replicaset", "secret", "event", "lease")]

    @pytest.mark.parametrize(
        "change",
        [
            lambda raw: recorded.item(raw, "Deployment", "haproxy")["status"].update(readyReplicas=1),
            lambda raw: recorded.item(raw, "Deployment", "haproxy")["metadata"].update(generation=9, uid="x"),
            lambda raw: recorded.item(raw, "Deployment", "haproxy")["metadata"]["annotations"].update(
                {"deployment.kubernetes.io/revision": "7", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
            ),
            lambda raw: recorded.item(raw, "Deployment", "haproxy")["spec"]["template"]["metadata"].update(
                annotations={"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z", "checksum/secret": "abc"}
            ),
            lambda raw: recorded.item(raw, "Deployment", "haproxy")["spec"]["template"]["spec"]["containers"][0][
                "env"
            ].append({"name": "STAKATER_REDIS_PASSWORD_SECRET", "value": "abc"}),
            lambda raw: recorded.item(raw, "Deployment", "synapse-synchrotron")["spec"].update(replicas=9),
            lambda raw: recorded.item(raw, "StatefulSet", "synapse-media-repository")["spec"].update(replicas=5),
            lambda raw: recorded.item(raw, "Cluster", "matrix-postgresql").update(status={"phase": "switching over"}),
            lambda raw: recorded.item(raw, "Service", "redis")["spec"].update(clusterIP="10.96.0.1", clusterIPs=[]),
            lambda raw: recorded.item(raw, "ConfigMap", "kube-root-ca.crt")["data"].update({"ca.crt": "another"}),
            lambda raw: recorded.item(raw, "Service", "matrix-postgresql-rw")["spec"].update(selector={}),
            lambda raw: recorded.items(raw, "Pod").clear(),
            lambda raw: raw["secrets"].clear(),
        ],
    )
    def test_what_changes_by_itself_does_not_count(self, change: Callable[[Json], object]) -> None:
        assert hashes(recorded.changed(change).snapshot) == hashes(recorded.healthy().snapshot)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("deployment/matrix/haproxy", lambda each: each["spec"].update(replicas=1)),
            (
                "statefulset/matrix/redis",
                lambda each: each["spec"]["template"]["spec"]["containers"][0].update(image="x"),
            ),
            ("configmap/matrix/haproxy-config", lambda each: each["data"].update({"haproxy.cfg": "global\n"})),
            ("service/matrix/redis", lambda each: each["spec"]["selector"].update(app="other")),
            ("service/matrix/redis-headless", lambda each: each["spec"].update(clusterIP="10.96.0.1")),
            ("service/matrix/redis", lambda each: each["metadata"].update(annotations={"lb.example/internal": "no"})),
            ("cluster/matrix/matrix-postgresql", lambda each: each["spec"].update(instances=1)),
            ("horizontalpodautoscaler/matrix/synapse-synchrotron", lambda each: each["spec"].update(maxReplicas=99)),
            ("statefulset/matrix/redis", lambda each: each["metadata"]["labels"].update(tier="cache")),
        ],
    )
    def test_what_people_change_is_named(self, name: str, change: Callable[[Json], object]) -> None:
        kinds = {kind.lower(): kind for kind in recorded.KINDS}
        kind, _, short = name.split("/")

        def apply(raw: Json) -> None:
            change(next(each for each in recorded.items(raw, kinds[kind]) if each["metadata"]["name"] == short))

        before, after = standing(recorded.healthy().snapshot), standing(recorded.changed(apply).snapshot)
        assert f"{name} is not as it was signed" in differences(before, after)
        assert before.configuration != after.configuration

    def test_what_a_run_makes_and_what_tools_keep_is_left_out(self) -> None:
        ours = {"app.kubernetes.io/managed-by": "postflight"}
        leader = {"control-plane.alpha.kubernetes.io/leader": "{}"}
        made = [
            worlds.thing(CONFIG_MAP, "run", data={}),
            worlds.thing(CONFIG_MAP, "leader", data={}),
            worlds.thing(CONFIG_MAP, "release", data={}),
            worlds.thing(STATEFUL_SET, "of-an-operator", spec={}),
            worlds.thing(SERVICE, "of-a-cluster", spec={}),
        ]
        made[0]["metadata"]["labels"] = ours
        made[1]["metadata"]["annotations"] = leader
        made[2]["metadata"]["labels"] = {"owner": "helm"}
        made[3]["metadata"]["ownerReferences"] = [{"kind": "RedisFailover", "name": "redis"}]
        made[4]["metadata"]["ownerReferences"] = [{"kind": "Cluster", "name": "db"}]
        # What a kind makes that is not in the picture must count itself: nothing else says what it is.
        assert set(hashes(worlds.snapshot(*made))) == {"statefulset/matrix/of-an-operator"}


class TestStanding:
    def test_images_are_named_by_workload_and_container(self) -> None:
        images = standing(recorded.healthy().snapshot).images
        (image,) = images["statefulset/matrix/redis container sentinel"]
        assert image.name == "redis:7.2-alpine"
        assert list(image.digest) == ["sha256"]
        assert "cluster/matrix/matrix-postgresql container postgres" in images
        assert "deployment/matrix/haproxy container haproxy" in images

    @pytest.mark.parametrize(
        ("id", "digest"),
        [
            ("docker.io/library/redis@sha256:" + "a" * 64, {"sha256": "a" * 64}),
            ("docker-pullable://redis@sha256:" + "b" * 64, {"sha256": "b" * 64}),
            ("sha256:" + "c" * 64, {"sha256": "c" * 64}),
            ("d" * 64, {"sha256": "d" * 64}),
            ("sha512:" + "e" * 128, {"sha512": "e" * 128}),
            ("redis:7", {}),
        ],
    )
    def test_a_digest_is_read_from_whatever_a_kubelet_says(self, id: str, digest: dict[str, str]) -> None:
        assert Image("x", id).digest == digest

    def test_a_changed_image_is_named_with_its_workload(self) -> None:
        def change(raw: Json) -> None:
            recorded.item(raw, "Pod", "redis-1")["status"]["containerStatuses"][0]["imageID"] = "sha256:" + "f" * 64

        (line,) = differences(standing(recorded.healthy().snapshot), standing(recorded.changed(change).snapshot))
        assert line.startswith(f"statefulset/matrix/redis container redis runs redis:7.2-alpine (sha256:{'f' * 64});")
        assert "signed was redis:7.2-alpine (sha256:" in line

    def test_pods_that_come_and_go_make_no_difference(self) -> None:
        def change(raw: Json) -> None:
            pods = recorded.items(raw, "Pod")
            more = copy.deepcopy(recorded.item(raw, "Pod", "synapse-synchrotron-"))
            more["metadata"]["name"] += "2"
            pods.append(more)
            starting = recorded.item(raw, "Pod", "synapse-main-0")
            starting["status"] = {"phase": "Pending"}
            job = worlds.pod("purge-1", worlds.container())
            job["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "purge", "controller": True}]
            job["status"]["containerStatuses"][0]["imageID"] = "sha256:" + "1" * 64
            pods.append(job)

        assert differences(standing(recorded.healthy().snapshot), standing(recorded.changed(change).snapshot)) == ()

    def test_a_container_that_nobody_signed_is_a_difference(self) -> None:
        def change(raw: Json) -> None:
            pod = worlds.pod("miner", worlds.container())
            pod["status"]["containerStatuses"][0]["imageID"] = "sha256:" + "1" * 64
            recorded.items(raw, "Pod").append(pod)

        (line,) = differences(standing(recorded.healthy().snapshot), standing(recorded.changed(change).snapshot))
        assert line.startswith("pod/matrix/miner container main runs registry.test/thing:1")
        assert line.endswith("nothing was signed there")

    def test_what_is_gone_or_new_is_named(self) -> None:
        before = Standing(("m",), {"a": "1", "b": "2"}, {})
        now = Standing(("m",), {"b": "2", "c": "3"}, {})
        assert differences(before, now) == ("a is gone", "c was not there when it was signed")
