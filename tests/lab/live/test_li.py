"""LI that is fed by import, and what it was promised to keep."""

from collections.abc import Callable
from pathlib import Path

from lab import defects
from lab.cluster import Cluster
from lab.conditions import CONDITIONS, Scene
from lab.readiness import wait
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

IMPORT, SECOND = "li-import", "second"
REPLICATION, RETENTION = "li.replication", "li.retention"


def test_li_fed_by_import_is_green_once_a_round_has_brought_what_was_there(
    bench: Bench, healthy: Verified, verify: Verify
) -> None:
    with bench.broken([IMPORT]) as cluster:
        first = verify(cluster.kubeconfig)
        wrong = differences([defects.load(IMPORT)], healthy.statuses, first)
        assert not wrong, "\n".join([*wrong, "", first.output])
        cronjob = "cronjob/synapse-li-database-sync"
        cluster.kubectl("create", "job", SECOND, f"--from={cronjob}", "--namespace=matrix")
        ended = {"path": f"/apis/batch/v1/namespaces/matrix/jobs/{SECOND}", "field": "status.succeeded", "is": 1}
        wait(lambda: CONDITIONS["get"](Scene(cluster, []), ended), 120, "the import does not end")
        verify(cluster.kubeconfig).must_be_green()


def test_a_purge_that_li_was_promised_to_survive(cluster: Cluster, verify: Verify, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("li: {keeps_purged: on}")
    seen = verify(cluster.kubeconfig, "--settings", settings, checks="checks/li")
    others = {id: status for id, status in seen.statuses.items() if status is not Status.PASSED}
    assert others == {RETENTION: Status.FAILED}, seen.output
    assert "a purge on main erases LI's copy too: publication matrix_li_publication" in seen.output.replace("\n", " ")
