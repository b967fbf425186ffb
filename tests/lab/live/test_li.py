"""LI that is fed by import, and what it was promised to keep."""

from collections.abc import Callable
from pathlib import Path

from lab import defects
from lab.cluster import Cluster
from lab.readiness import wait
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

IMPORT, SECOND = "li-import", "second"
REPLICATION, RETENTION, FRONT_DOOR = "li.replication", "li.retention", "li.front_door"


def test_li_fed_by_import_is_green_once_a_round_has_brought_what_was_there(
    bench: Bench, healthy: Verified, verify: Verify
) -> None:
    with bench.broken([IMPORT]) as cluster:
        first = verify(cluster.kubeconfig)
        wrong = differences([defects.load(IMPORT)], healthy.statuses, first)
        assert not wrong, "\n".join([*wrong, "", first.output])
        cronjob = "cronjob/synapse-li-database-sync"
        cluster.kubectl("create", "job", SECOND, f"--from={cronjob}", "--namespace=matrix")
        job = f"/apis/batch/v1/namespaces/matrix/jobs/{SECOND}"
        wait(lambda: "" if cluster.get(job)["status"].get("succeeded") else "it runs", 120, "the import does not end")
        seen = verify(cluster.kubeconfig)
        others = {id: status for id, status in seen.statuses.items() if status not in (Status.PASSED, Status.ABSENT)}
        # The token that main makes for a run comes with a later round.
        assert others == {FRONT_DOOR: Status.WARNED}, seen.output


def test_a_purge_that_li_was_promised_to_survive(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("li: {keeps_purged: on}")
    seen = verify(cluster.kubeconfig, "--settings", settings, checks="checks/li")
    others = {id: status for id, status in seen.statuses.items() if status is not Status.PASSED}
    assert others == {RETENTION: Status.FAILED}, seen.output
    assert "a purge on main erases LI's copy too: publication matrix_li_publication" in seen.output.replace("\n", " ")
