"""The probe pod's manifest: what Pod Security asks for, what it takes over, what a patch may change."""

from __future__ import annotations

import copy
import json
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from postflight.cluster.kinds import POD
from postflight.cluster.probe_pod import CONTAINER, DEADLINE, NoProbePod, job, remove_others, start_probe_pod
from postflight.settings import Settings
from postflight.traces import Traces
from tests.unit import recorded
from tests.unit.loopback import Reply, Request, answering, api_to

LABELS = {"app.kubernetes.io/managed-by": "postflight", "postflight/run": "abc"}
DIGEST = "registry.test/synapse@sha256:" + "0" * 64


def synapse_pod() -> dict[str, Any]:
    found = recorded.healthy().snapshot.get(POD, "matrix", "synapse-main-0")
    assert found
    copied: dict[str, Any] = copy.deepcopy(dict(found))
    return copied


def made(like: dict[str, Any] | None = None, image: str = "", patch: dict[str, Any] | None = None) -> dict[str, Any]:
    return job("postflight-abc", LABELS, like or synapse_pod(), image, patch or {})


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def only(manifest: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(manifest)["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("theirs", [{}, {"runAsUser": 0}, {"runAsUser": 991, "runAsGroup": 991}, None])
class TestPodSecurityRestricted:
    """Rule by rule: kubernetes.io/docs/concepts/security/pod-security-standards."""

    def test_host_namespaces_and_ports_and_volumes(self, theirs: dict[str, Any] | None) -> None:
        like = synapse_pod()
        like["spec"] |= {"hostNetwork": True, "hostPID": True, "hostIPC": True}
        spec = pod_of(made(like | {"spec": like["spec"] | {"securityContext": theirs}}))
        assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers", "ephemeralContainers"} & set(spec)
        assert "ports" not in spec["containers"][0]

    def test_privileges_and_capabilities(self, theirs: dict[str, Any] | None) -> None:
        like = synapse_pod()
        context = only(made(like | {"spec": like["spec"] | {"securityContext": theirs}}))["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not {"privileged", "procMount", "seLinuxOptions"} & set(context)

    def test_user_and_seccomp(self, theirs: dict[str, Any] | None) -> None:
        like = synapse_pod()
        context = pod_of(made(like | {"spec": like["spec"] | {"securityContext": theirs}}))["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["runAsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"sysctls", "seLinuxOptions", "windowsOptions", "supplementalGroups"} & set(context)


def test_it_runs_as_the_user_of_the_synapse_pod() -> None:
    assert pod_of(made())["securityContext"]["runAsUser"] == 991


def test_a_quota_finds_requests_and_limits() -> None:
    resources = only(made())["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_it_ends_by_itself_and_is_not_tried_twice() -> None:
    manifest = made()
    assert manifest["spec"]["backoffLimit"] == 0
    assert 0 < manifest["spec"]["activeDeadlineSeconds"] <= DEADLINE
    assert 0 <= manifest["spec"]["ttlSecondsAfterFinished"] <= 60
    assert pod_of(manifest)["restartPolicy"] == "Never"


def test_it_holds_no_token_and_no_mesh_takes_it_in() -> None:
    manifest = made()
    assert pod_of(manifest)["automountServiceAccountToken"] is False
    annotations = manifest["spec"]["template"]["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/inject"] == "false"
    assert annotations["linkerd.io/inject"] == "disabled"


def test_job_and_pod_carry_the_runs_labels_and_none_of_the_deployments() -> None:
    manifest = made()
    assert manifest["metadata"]["labels"] == LABELS
    assert manifest["spec"]["template"]["metadata"]["labels"] == LABELS
    assert (manifest["metadata"]["name"], manifest["metadata"]["namespace"]) == ("postflight-abc", "matrix")


def test_it_runs_where_and_as_the_synapse_pod_may() -> None:
    like = synapse_pod()
    taken = {
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "matrix", "operator": "Exists"}],
        "runtimeClassName": "gvisor",
    }
    like["spec"] |= taken
    spec = pod_of(made(like))
    assert {key: spec[key] for key in taken} == taken
    assert "nodeName" not in spec


class TestImage:
    def test_is_the_one_on_the_node_by_digest(self) -> None:
        like = synapse_pod()
        for each in like["status"]["containerStatuses"]:
            each["imageID"] = f"docker-pullable://{DIGEST}"
        assert only(made(like))["image"] == DIGEST

    def test_is_named_as_the_pod_names_it_where_the_kubelet_knows_no_registry(self) -> None:
        like = synapse_pod()
        assert only(made(like))["image"] == like["spec"]["containers"][0]["image"]
        del like["status"]
        assert only(made(like))["image"] == like["spec"]["containers"][0]["image"]

    def test_of_the_settings_comes_first(self) -> None:
        assert only(made(image="registry.test/probe:1"))["image"] == "registry.test/probe:1"

    def test_is_not_pulled_again(self) -> None:
        assert only(made())["imagePullPolicy"] == "IfNotPresent"


class TestPatch:
    def test_is_merged_key_by_key(self) -> None:
        patch = {
            "metadata": {"labels": {"team": "matrix"}, "annotations": {"a": "b"}},
            "spec": {"priorityClassName": "low", "securityContext": {"fsGroup": 1}},
        }
        manifest = made(patch=patch)
        meta = manifest["spec"]["template"]["metadata"]
        assert meta["labels"] == {**LABELS, "team": "matrix"}
        assert meta["annotations"]["a"] == "b"
        assert meta["annotations"]["linkerd.io/inject"] == "disabled"
        assert pod_of(manifest)["priorityClassName"] == "low"
        assert pod_of(manifest)["securityContext"] == {
            **pod_of(made())["securityContext"],
            "fsGroup": 1,
        }

    def test_takes_a_key_away_by_null(self) -> None:
        pod = pod_of(
            made(patch={"spec": {"terminationGracePeriodSeconds": None, "securityContext": {"runAsUser": None}}})
        )
        assert "terminationGracePeriodSeconds" not in pod
        assert "runAsUser" not in pod["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"]

    def test_replaces_what_is_no_mapping(self) -> None:
        assert pod_of(made(patch={"spec": {"tolerations": [{"key": "a"}]}}))["tolerations"] == [{"key": "a"}]

    def test_changes_a_container_by_its_name(self) -> None:
        patch = {"spec": {"containers": [{"name": CONTAINER, "resources": {"limits": {"cpu": "1"}}}]}}
        container = only(made(patch=patch))
        assert container["resources"]["limits"] == {"cpu": "1", "memory": "96Mi"}
        assert container["image"]

    def test_leaves_the_next_manifest_alone(self) -> None:
        before = json.dumps(made())
        made(patch={"metadata": {"labels": {"x": "y"}}, "spec": {"containers": []}})
        assert json.dumps(made()) == before


def test_pods_of_runs_that_were_killed_are_gone_before_another_stands() -> None:
    def carrying(run: str) -> dict[str, Any]:
        labels = {"postflight/run": run, "batch.kubernetes.io/job-name": f"postflight-{run}-canary"}
        return {"metadata": {"name": f"postflight-{run}-canary-x", "labels": labels}}

    standing = {run: carrying(run) for run in ("abc", "dead")}

    def answer(asked: Request) -> Reply:
        if asked.method == "DELETE":
            standing.pop("dead", None)
            return 200, {}
        return 200, {"items": list(standing.values())}

    with answering(answer) as (port, seen):
        remove_others(api_to(port), Traces("abc"), "matrix", {"one": "two"}, limit=5)
    assert [each.path for each in seen if each.method == "DELETE"] == [
        "/apis/batch/v1/namespaces/matrix/jobs/postflight-dead-canary"
    ]
    assert seen[0].query["labelSelector"] == "one=two,app.kubernetes.io/managed-by=postflight"
    assert list(standing) == ["abc"]


def test_what_is_being_made_when_all_is_removed_is_removed_after_it() -> None:
    arrived, order = threading.Event(), []

    def answer(asked: Request) -> Reply:
        if asked.method == "POST":
            arrived.set()
            time.sleep(0.3)
        order.append(asked.method)
        return 200, {"items": []}

    traces = Traces("abc")
    with answering(answer) as (port, _):
        api = api_to(port)

        def start() -> None:
            with suppress(NoProbePod):
                start_probe_pod(api, traces, synapse_pod(), Settings(), "canary", limit=0.1)

        starting = threading.Thread(target=start)
        starting.start()
        assert arrived.wait(5)
        assert traces.close() == []
        starting.join()
    assert order.index("POST") < order.index("DELETE")
