"""The file that every scanner takes for a virus: nothing of it stays, and it may be left out."""

from collections.abc import Callable
from pathlib import Path

from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

CHECK = "media.antivirus"
#: Within the file's 68 bytes, and the third of the four parts that MinIO makes of them on its drives; a path that is not
#: there, or may not be read, has none. What is removed from a bucket is no object any more, and lies in MinIO's trash until
#: MinIO has emptied that, some minutes later.
PART = "STANDARD-ANTIVIRU"
SEARCH = f"grep -rlF --exclude-dir=.trash {PART} {{}} 2>/dev/null || true"
PLACES = {"app.kubernetes.io/name=synapse": "/data /tmp", "app.kubernetes.io/name=minio": "/export0 /export1"}


def test_nothing_of_it_is_left_in_any_store_or_in_the_bucket(cluster: Cluster, healthy: Verified) -> None:
    assert healthy.statuses[CHECK] is Status.PASSED
    for labels, folders in PLACES.items():
        pods = cluster.kubectl("get", "pods", "-n", "matrix", "-l", labels, "-o", "name").split()
        # The search finds it where it is.
        control = f"{folders.split()[0]}/postflight-control"
        _sh(cluster, pods[0], f"printf {PART} > {control}")
        try:
            assert _sh(cluster, pods[0], SEARCH.format(folders)).split() == [control]
        finally:
            _sh(cluster, pods[0], f"rm {control}")
        found = {pod: said for pod in pods if (said := _sh(cluster, pod, SEARCH.format(folders)))}
        assert not found


def _sh(cluster: Cluster, pod: str, script: str) -> str:
    return cluster.kubectl("exec", "-n", "matrix", pod, "--", "sh", "-c", script)


def test_without_it_the_rest_is_seen_and_what_is_not_is_said(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("eicar: off\n")
    seen = verify(cluster.kubeconfig, "--settings", settings, checks="checks/media")
    assert seen.code == 0, seen.output
    assert seen.statuses == {
        CHECK: Status.WARNED,
        "media.storage": Status.PASSED,
        "media.workers": Status.PASSED,
    }, seen.output
    assert "was not seen: the settings say eicar: off" in " ".join(seen.output.split())
