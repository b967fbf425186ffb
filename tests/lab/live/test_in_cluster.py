"""The verifier in the cluster, as deploy/ has it: same verdict as from outside, with the generated rights alone."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import verifier
from lab.cluster import Cluster
from lab.homes import CHECKOUT, home
from postflight import roles
from postflight.reports import termination
from postflight.verdict.record import RunRecord
from tests.lab.live.bench import Bench
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]
Object = dict[str, Any]

SPACE = "postflight"
HERE = Path(__file__).parent / "in_cluster"
MADE = (
    ("namespace", SPACE),
    *((kind, each) for each in ("postflight", "postflight-read-only") for kind in ("role", "rolebinding")),
    *(
        (kind, f"{each}-operators")
        for each in ("postflight", "postflight-read-only")
        for kind in ("clusterrole", "clusterrolebinding")
    ),
)
#: From the minute in which a schedule is due to the verdict.
LONGEST = 180.0
DEFECT = "database-password"


@pytest.fixture(scope="module")
def inside(bench: Bench) -> Iterator[Callable[[], Cluster]]:
    """Gives the lab with the verifier in it, healthy or broken as it stands."""
    found: list[Cluster] = []

    def install() -> Cluster:
        cluster = bench.healthy()
        if cluster not in found:
            verifier.load(home(), cluster)
            cluster.kubectl("apply", "--server-side", "-k", str(HERE))
            found.append(cluster)
        return cluster

    yield install
    for cluster in found[-1:]:
        for kind, name in MADE:
            cluster.kubectl("delete", kind, name, "-n", "matrix", "--ignore-not-found")


def test_the_rights_in_the_checkout_are_those_of_this_deployment(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for level, account in (("canary", "postflight"), ("read-only", "postflight-read-only")):
        asked = ["--kubeconfig", str(cluster.kubeconfig), "--safety", level, "--account", account]
        assert roles.main(asked) == 0
        assert capsys.readouterr().out == (CHECKOUT / f"deploy/rights/{level}/rights.yaml").read_text()


def test_by_schedule_it_comes_to_the_verdict_of_a_run_from_outside(
    inside: Callable[[], Cluster], healthy: Verified
) -> None:
    cluster = inside()
    _schedule(cluster, "* * * * *")
    try:
        pod = _ended(cluster, lambda each: "postflight-nightly-" in each["metadata"]["name"])
    finally:
        _schedule(cluster, "30 3 * * *")
    assert healthy.record
    assert _message(pod) == _said(healthy.record), _log(cluster, pod)
    assert _terminated(pod)["exitCode"] == 0


def test_with_a_defect_its_job_fails_with_the_cause_as_termination_message(
    inside: Callable[[], Cluster], bench: Bench, verify: Verify
) -> None:
    inside()
    with bench.broken([DEFECT]) as cluster:
        outside = verify(cluster.kubeconfig)
        pod = _once(cluster, "postflight-nightly", "broken")
    assert outside.record
    assert _message(pod).startswith("FAILED database.login: synapse-main and "), _log(cluster, pod)
    assert "Secret synapse-secrets/DB_PASSWORD differs from Secret matrix-postgresql-app/password" in _message(pod)
    assert _message(pod) == _said(outside.record)
    assert _terminated(pod)["exitCode"] == outside.code == 1


def test_each_hour_it_looks_only_and_has_no_right_to_make_anything(inside: Callable[[], Cluster]) -> None:
    cluster = inside()
    cluster.kubectl("apply", "--server-side", "-k", str(HERE / "hourly"))
    account = f"system:serviceaccount:{SPACE}:postflight-read-only"
    for right in (("create", "leases"), ("create", "jobs"), ("delete", "jobs"), ("get", "secrets")):
        assert not _may(cluster, account, right), right
    pod = _once(cluster, "postflight-hourly", "looking")
    assert _terminated(pod)["exitCode"] == 0, _log(cluster, pod)
    assert "warned" in _message(pod)


def test_a_release_is_signed_with_the_key_of_its_secret(inside: Callable[[], Cluster], tmp_path: Path) -> None:
    cluster = inside()
    key = tmp_path / "signoff.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    cluster.kubectl("create", "secret", "generic", "postflight-signoff", "-n", SPACE, f"--from-file=key.pem={key}")
    cluster.kubectl("apply", "--server-side", "-k", str(HERE / "release"))
    pod = _ended(cluster, lambda each: each["metadata"]["name"].startswith("postflight-release-"))
    log = _log(cluster, pod)
    assert _terminated(pod)["exitCode"] == 0, log
    told = re.search(
        r"^signed  2026\.11\.3 by key [0-9a-f]{64}: signoff\.json, signoff\.html in (\S+)$", log, re.MULTILINE
    )
    assert told, log
    assert told[1] == "/reports/2026.11.3"


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
    cluster.kubectl("patch", "cronjob", "postflight-nightly", "-n", SPACE, "--patch", patch)


def _once(cluster: Cluster, cronjob: str, name: str) -> Object:
    """The pod of a Job made of the CronJob's template, once it has ended."""
    cluster.kubectl("create", "job", name, f"--from=cronjob/{cronjob}", "-n", SPACE)
    try:
        return _ended(cluster, lambda each: each["metadata"]["labels"].get("batch.kubernetes.io/job-name") == name)
    finally:
        cluster.kubectl("delete", "job", name, "-n", SPACE, "--wait=false")


def _ended(cluster: Cluster, wanted: Callable[[Object], bool]) -> Object:
    last = time.monotonic() + LONGEST
    while True:
        pods: list[Object] = cluster.get(f"/api/v1/namespaces/{SPACE}/pods")["items"]
        for pod in pods:
            if wanted(pod) and pod["status"]["phase"] in ("Succeeded", "Failed"):
                return pod
        told = [(pod["metadata"]["name"], pod["status"]["phase"]) for pod in pods]
        assert time.monotonic() < last, f"no verdict after {LONGEST:.0f} s: {told}"
        time.sleep(0.5)


def _terminated(pod: Object) -> Object:
    found: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return found


def _message(pod: Object) -> str:
    return _plain(_terminated(pod).get("message", ""))


def _said(record: RunRecord) -> str:
    return _plain(termination.render(record))


def _plain(text: str) -> str:
    """Without which token stands for which secret: that goes by first appearance."""
    return re.sub(r"<[a-z]+>", "<secret>", text)


def _log(cluster: Cluster, pod: Object) -> str:
    return cluster.kubectl("logs", pod["metadata"]["name"], "-n", SPACE)
