"""The verifier in the cluster, as deploy/ has it: same verdict as from outside, with the generated rights alone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from lab.homes import CHECKOUT
from postflight import roles
from tests.lab.live import inside
from tests.lab.live.bench import Bench
from tests.lab.live.inside import Inside
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]
Object = dict[str, Any]

DEFECT = "database-password"
LEVELS = (("canary", "postflight"), ("read-only", "postflight-read-only"), ("disruptive", "postflight-disruptive"))


def test_the_rights_in_the_checkout_are_those_of_this_deployment(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for level, account in LEVELS:
        asked = ["--kubeconfig", str(cluster.kubeconfig), "--safety", level, "--account", account]
        assert roles.main(asked) == 0
        assert capsys.readouterr().out == (CHECKOUT / f"deploy/rights/{level}/rights.yaml").read_text()


def test_by_schedule_it_comes_to_the_verdict_of_a_run_from_outside(within: Inside, healthy: Verified) -> None:
    cluster = within.install()
    _schedule(cluster, "* * * * *")
    try:
        pod = inside.ended(cluster, lambda each: "postflight-nightly-" in each["metadata"]["name"])
    finally:
        _schedule(cluster, "30 3 * * *")
    assert healthy.record
    assert inside.message(pod) == inside.said(healthy.record), inside.log(cluster, pod)
    assert inside.terminated(pod)["exitCode"] == 0


def test_each_hour_it_looks_only_and_has_no_right_to_make_anything(within: Inside) -> None:
    cluster = within.install()
    cluster.kubectl("apply", "--server-side", "-k", str(inside.OVERLAYS / "hourly"))
    account = f"system:serviceaccount:{inside.SPACE}:postflight-read-only"
    for right in (("create", "leases"), ("create", "jobs"), ("delete", "jobs"), ("get", "secrets")):
        assert not _may(cluster, account, right), right
    pod = inside.once(cluster, "postflight-hourly", "looking")
    assert inside.terminated(pod)["exitCode"] == 0, inside.log(cluster, pod)
    assert "warned" in inside.message(pod)


def test_a_release_is_signed_with_the_key_of_its_secret(within: Inside, tmp_path: Path) -> None:
    cluster = within.install()
    key = tmp_path / "signoff.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    cluster.kubectl(
        "create", "secret", "generic", "postflight-signoff", "-n", inside.SPACE, f"--from-file=key.pem={key}"
    )
    cluster.kubectl("apply", "--server-side", "-k", str(inside.OVERLAYS / "release"))
    pod = inside.ended(cluster, lambda each: each["metadata"]["name"].startswith("postflight-release-"))
    log = inside.log(cluster, pod)
    assert inside.terminated(pod)["exitCode"] == 0, log
    told = re.search(
        r"^signed  2026\.11\.3 by key [0-9a-f]{64}: signoff\.json, signoff\.html in (\S+)$", log, re.MULTILINE
    )
    assert told, log
    assert told[1] == "/reports/2026.11.3"


def test_with_a_defect_its_job_fails_with_the_cause_as_termination_message(
    within: Inside, bench: Bench, verify: Verify
) -> None:
    within.install()
    cluster = bench.defective(DEFECT)
    outside = verify(cluster.kubeconfig)
    pod = inside.once(cluster, "postflight-nightly", "broken")
    assert outside.record
    assert inside.message(pod).startswith("FAILED database.login: synapse-main and "), inside.log(cluster, pod)
    assert "Secret synapse-secrets/DB_PASSWORD differs from Secret matrix-postgresql-app/password" in inside.message(
        pod
    )
    assert inside.message(pod) == inside.said(outside.record)
    assert inside.terminated(pod)["exitCode"] == outside.code == 1


def _may(cluster: Cluster, account: str, right: tuple[str, str]) -> bool:
    verb, resource = right
    group = {"leases": "coordination.k8s.io", "jobs": "batch"}.get(resource, "")
    attributes = {"verb": verb, "resource": resource, "group": group, "namespace": "matrix"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": attributes},
    }
    _, answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _schedule(cluster: Cluster, schedule: str) -> None:
    patch = json.dumps({"spec": {"schedule": schedule}})
    cluster.kubectl("patch", "cronjob", "postflight-nightly", "-n", inside.SPACE, "--patch", patch)
