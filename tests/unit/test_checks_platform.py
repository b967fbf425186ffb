"""The checks of the platform, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.kinds import CLAIM, CRON_JOB, DEPLOYMENT, JOB, Kind
from postflight.deployment.parts import Login, Side
from postflight.probes.databases import LoginOutcome
from postflight.verdict.blame import resolve
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import CLUSTER, MODEL, ask, not_ready, only
from tests.unit.recorded import Json, item, items
from tests.unit.records import said
from tests.unit.stores import logins
from tests.unit.worlds import container, deployment, pod, snapshot, thing


def without(*kinds: Kind) -> recorded.Recording:
    lab = recorded.healthy()
    unseen = {(kind, "matrix"): f"no right: list {kind.plural}" for kind in kinds}
    left = {key: each for key, each in lab.snapshot.objects.items() if key[0] not in kinds}
    return replace(lab, snapshot=replace(lab.snapshot, objects=left, unseen=unseen))


class TestWhatCouldNotBeListed:
    def test_volume_claims(self) -> None:
        found = only(ask("platform.workloads", without(CLAIM)), Status.UNKNOWN)
        assert found.headline == (
            "whether a volume claim waits for a volume or has lost it was not seen: no right: list persistentvolumeclaims"
        )

    def test_what_cronjobs_name(self) -> None:
        found = only(ask("platform.references", without(CRON_JOB)), Status.UNKNOWN)
        assert found.headline == "what CronJobs name could not be looked up: no right: list cronjobs"


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

    @pytest.mark.parametrize("stated", ["image", "volume", "node"])
    def test_what_the_kubelet_or_scheduler_states_is_not_blamed_on_a_login(self, stated: str) -> None:
        """Two faults at once, and each is named: a wrong password beneath, an image that is not there."""

        def change(raw: Json) -> None:
            name = "synapse-media-repository-0"
            if stated == "image":
                not_ready(raw, name, state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})
            else:
                unscheduled(raw, name)
            if stated == "volume":
                claim = item(raw, "PersistentVolumeClaim", "data-redis-2")
                claim["status"]["phase"] = "Pending"
                volume = {"name": "more", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
                item(raw, "Pod", name)["spec"]["volumes"].append(volume)

        lab = recorded.changed(change)
        model = lab.deployment()

        def outcome(login: Login) -> tuple[LoginOutcome, str]:
            wrong = login == model.database_uses[0].login
            return (LoginOutcome.PASSWORD, "failed") if wrong else (LoginOutcome.ACCEPTED, "")

        pens = {
            "platform.workloads": ask("platform.workloads", lab),
            "database.login": ask("database.login", lab, database_logins=logins(model, outcome)),
        }
        results = resolve([said(id, pen) for id, pen in pens.items()], model.depends).results
        assert [each.status for each in results] == [Status.FAILED, Status.FAILED]

    def test_but_on_the_secret_that_its_pod_names(self) -> None:
        def change(raw: Json) -> None:
            waiting = {"reason": "CreateContainerConfigError", "message": 'secret "gone" not found'}
            not_ready(raw, "key-vault-", state={"waiting": waiting})
            raw["secrets"].remove(next(each for each in raw["secrets"] if each["name"] == "key-vault-secrets"))

        lab = recorded.changed(change)
        pens = [said(id, ask(id, lab)) for id in ("platform.references", "platform.workloads")]
        results = resolve(pens, lab.deployment().depends).results
        assert [each.status for each in results] == [Status.FAILED, Status.BLOCKED]

    def test_of_two_pods_that_are_down_the_one_with_a_stated_cause_is_named(self) -> None:
        def change(raw: Json) -> None:
            not_ready(raw, "redis-0", last=1)
            not_ready(raw, "redis-1", state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline == "redis: 1 of 3 pods ready: redis-1, container redis, waits: ErrImagePull not found"

    def test_a_pod_that_does_not_go_away_is_named(self) -> None:
        def change(raw: Json) -> None:
            item(raw, "Pod", "synapse-main-0")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

        found = only(ask("platform.workloads", recorded.changed(change)))
        node = recorded.model().pods["pod/matrix/synapse-main-0"].node
        assert found.headline == (
            f"synapse-main: 0 of 1 pods ready: synapse-main-0 is Terminating on node {node} and has no successor yet"
        )

    def test_one_image_under_two_names_is_one(self) -> None:
        def change(raw: Json) -> None:
            for number in range(3):
                status = item(raw, "Pod", f"redis-{number}")["status"]["containerStatuses"][0]
                status["imageID"] = f"registry-{number}.test/redis@sha256:aa"

        assert ask("platform.workloads", recorded.changed(change)).failures == []

    def test_two_images_under_one_name_are_two(self) -> None:
        def change(raw: Json) -> None:
            status = item(raw, "Pod", "redis-1")["status"]["containerStatuses"][0]
            status["imageID"] = "docker.io/library/redis@sha256:bb"

        found = only(ask("platform.workloads", recorded.changed(change)))
        assert found.headline.startswith("redis: 2 different images under one name, its workload says redis:7.2")

    @pytest.mark.parametrize("image", ["mirror.test/library/redis:7.2-alpine", "mirror.test/redis@sha256:aa"])
    def test_images_that_admission_rewrote_are_at_most_warned_of(self, image: str) -> None:
        def change(raw: Json) -> None:
            for number in range(3):
                item(raw, "Pod", f"redis-{number}")["spec"]["containers"][0]["image"] = image

        pen = ask("platform.workloads", recorded.changed(change))
        assert only(pen, Status.WARNED).headline == (
            f"redis: all its pods run {image}, its workload says redis:7.2-alpine"
        )

    def test_all_pods_on_another_release_are_a_rollout_that_has_not_ended(self) -> None:
        def change(raw: Json) -> None:
            for number in range(3):
                item(raw, "Pod", f"redis-{number}")["spec"]["containers"][0]["image"] = "redis:6"

        assert only(ask("platform.workloads", recorded.changed(change))).headline == (
            "redis: redis-0, redis-1, redis-2 on redis:6, its workload says redis:7.2-alpine"
        )

    def test_the_two_sides_of_a_deployment_may_run_two_releases(self) -> None:
        workloads = tuple(
            replace(each, images=dict.fromkeys(each.images, "own/li:1")) if "typing" in each.name else each
            for each in MODEL.workloads
        )
        synapse = tuple(
            replace(each, side=Side.LI) if "typing" in each.workload_name else each for each in MODEL.synapse
        )
        pen = ask("platform.workloads", deployment=replace(MODEL, workloads=workloads, synapse=synapse))
        assert not [each for each in pen.failures if each.subject.startswith("release of")]


def unscheduled(raw: Json, name: str) -> None:
    status = item(raw, "Pod", name)["status"]
    message = "pod has unbound immediate PersistentVolumeClaims"
    status["conditions"] = [{"type": "PodScheduled", "status": "False", "message": message}]
    status |= {"phase": "Pending", "containerStatuses": []}
    status.pop("startTime", None)


class TestJobs:
    """A Job may run and end; what it may not is fail, or wait for what never comes."""

    def judged(self, *, job: Json | None = None, more: tuple[Json, ...] = (), **status: Any) -> Judge:
        one = pod("migrate-x", container("c"))
        one["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "migrate", "controller": True}]
        waiting = {"name": "c", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": STARTING}}}
        one["status"] |= {"phase": "Pending", "containerStatuses": [waiting], "conditions": []} | status
        made = thing(JOB, "migrate", spec={"template": {"spec": one["spec"]}}, status={}) | (job or {})
        world = snapshot(one, made, *more)
        return ask("platform.workloads", snapshot=world, deployment=deployment(world))

    def test_that_waits_for_a_node(self) -> None:
        condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        found = only(self.judged(conditions=[condition], containerStatuses=[]))
        assert found.headline == "Job migrate does not start: 0/3 nodes are available"

    def test_that_waits_for_its_containers(self) -> None:
        """The picture of ``snapshot`` is of the second at which the pod was taken."""
        assert self.judged().failures == []
        found = only(self.judged(startTime="2025-12-31T23:00:00Z"))
        assert found.headline == (
            "Job migrate does not start: migrate-x, container c, is ContainerCreating since 2025-12-31 23:00Z"
        )

    def test_that_failed(self) -> None:
        failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "six times"}
        ended = {"name": "c", "ready": False, "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}
        given: Json = {"phase": "Failed", "containerStatuses": [ended]}
        found = only(self.judged(job={"status": {"conditions": [failed]}}, **given))
        assert found.headline == "Job migrate failed: BackoffLimitExceeded: six times"
        assert self.judged(**given).failures == [], "it may be tried again"

    def test_that_failed_and_was_followed_by_another_of_its_cron_job(self) -> None:
        failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}

        def of(name: str, created: str, status: Json) -> Json:
            owner = {"kind": "CronJob", "name": "nightly", "controller": True}
            meta = {"name": name, "namespace": "matrix", "creationTimestamp": created, "ownerReferences": [owner]}
            return {"kind": "Job", "metadata": meta, "spec": {"template": {"spec": {}}}, "status": status}

        first = of("migrate", "2026-01-01T00:00:00Z", failed)
        assert only(self.judged(job=first, phase="Failed")).headline == "Job migrate failed: DeadlineExceeded"
        later = of("nightly-2", "2026-01-02T00:00:00Z", {})
        assert self.judged(job=first, more=(later,), phase="Failed").failures == []


STARTING = "ContainerCreating"


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
        found = only(ask("platform.operators", snapshot=blind, deployment=MODEL), Status.UNKNOWN)
        assert found.headline == "CloudNativePG's operator could not be looked for: no right: deployments"
