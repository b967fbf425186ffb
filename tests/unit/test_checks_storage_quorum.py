"""What servers of MinIO say of their quorum, and what the check makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.store_health import ServerHealth
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded, worlds
from tests.unit.budgeting import MINIO, budget, health, servers, tenant, with_budgets, with_servers
from tests.unit.observations import MODEL, ask, only

ID = "storage.quorum"
BUCKET = "bucket/matrix/synapse-media"


def judged(there: int = 4, of: int = 4, group: Any = None, **said: Any) -> Judge:
    group = group or servers(of, there)
    return ask(ID, deployment=with_servers(MODEL, group), store_health=health(group, **said))


def test_four_servers_that_can_do_without_any_one_are_green() -> None:
    pen = judged()
    assert (pen.failures, pen.seen) == ([], ["minio/matrix/matrix-minio"])


def test_one_lost_is_warned_of_with_what_the_next_one_would_leave() -> None:
    found = only(judged(3, spared=False), Status.WARNED)
    assert found.headline == (
        "1 of 4 servers of MinIO matrix-minio is lost: it takes writes, writes would end with the next"
    )
    assert found.cause == (
        "1 lost leaves 6 drives (reads and writes), 2 lost leaves 4 drives (reads only); a write takes 5"
    )
    assert found.observed.endswith("1 without a pod; its Tenant says green, 0 drives offline: a stale status")


def test_one_that_does_not_answer_is_lost_too() -> None:
    group = servers()
    said = list(health(group)[group.id])
    said[3] = ServerHealth(said[3].pod, problem="refused")
    pen = ask(ID, deployment=with_servers(MODEL, group), store_health={group.id: tuple(said)})
    assert "is lost (matrix-minio-pool-0-3): it takes writes, one more may be lost" in only(pen, Status.WARNED).headline


def test_two_lost_stop_writes_and_what_is_stored_there() -> None:
    found = only(judged(2, writes=False, spared=False))
    assert found.headline == (
        "MinIO matrix-minio takes no writes: 2 of 4 servers answer, 4 of 8 drives where a write takes 5"
    )
    assert found.nature is Nature.UNAVAILABLE
    assert BUCKET in found.stops
    assert "missing/statefulset/matrix/matrix-minio-pool-0" in found.needs
    assert found.cause.startswith("2 servers are lost: 1 lost leaves 6 drives")


def test_without_a_read_quorum_nothing_is_given_out_either() -> None:
    found = only(judged(1, writes=False, reads=False, spared=False))
    assert found.headline.startswith("MinIO matrix-minio takes no writes and gives no reads: 1 of 4 servers answer")


def test_one_that_sees_no_others_is_told_apart_from_those_that_do() -> None:
    group = servers()
    said = list(health(group)[group.id])
    said[0] = replace(said[0], writes=False)
    found = only(ask(ID, deployment=with_servers(MODEL, group), store_health={group.id: tuple(said)}))
    assert found.headline.startswith("matrix-minio-pool-0-0 takes no writes: 4 of 4 servers answer")
    assert found.cause == "servers do not see each other's drives"


def test_a_server_that_is_starting_says_so() -> None:
    said: dict[str, Any] = {"writes": False, "reads": False, "write_quorum": 0, "read_quorum": 0, "state": "offline"}
    assert only(judged(**said)).headline.endswith("4 of 4 servers answer (offline)")


@pytest.mark.parametrize("there", [0, 4])
def test_nobody_answers(there: int) -> None:
    found = only(judged(there, problem="it does not run"))
    assert found.headline.startswith("no server of MinIO matrix-minio answers: ")
    assert BUCKET in found.stops


def test_healing_is_told_apart_from_loss() -> None:
    found = only(judged(spared=False, healing=2), Status.WARNED)
    assert found.headline == "MinIO matrix-minio is healing 2 drives: until it has, no server may be lost"


def test_drives_that_are_away_elsewhere() -> None:
    found = only(judged(spared=False), Status.WARNED)
    assert found.headline.startswith("MinIO matrix-minio cannot do without matrix-minio-pool-0-0 and 3 more")


def test_a_single_server_is_a_limit_worth_knowing() -> None:
    group = servers(1, 1, drives=1)
    found = only(judged(group=group, spared=False, write_quorum=1), Status.WARNED)
    assert found.headline == "MinIO matrix-minio is one server: its loss ends everything"


def test_a_tenants_status_that_no_server_confirms_is_stale() -> None:
    found = only(judged(group=servers(tenant=tenant("yellow", 2))), Status.WARNED)
    assert found.headline == (
        "Tenant matrix-minio tells of trouble that no server of it sees; its Tenant says yellow, 2 drives offline"
    )


def test_a_budget_that_lets_the_quorum_go() -> None:
    world = with_budgets(recorded.healthy().snapshot, budget("matrix-minio-pdb", MINIO, 4, 2))
    found = only(ask(ID, snapshot=world))
    assert found.headline == (
        "budget matrix-minio-pdb lets 2 of 4 servers of MinIO matrix-minio go at once:"
        " 4 of 8 drives would be left, a write takes 5"
    )
    assert found.remedy == "set minAvailable: 3 in matrix-minio-pdb"


def test_no_budget_is_warned_of() -> None:
    assert only(ask(ID, snapshot=recorded.healthy().snapshot), Status.WARNED).headline.startswith("no budget keeps")


def test_no_minio_here() -> None:
    assert ask(ID, deployment=MODEL).absence == "no configuration names an object store, and no MinIO runs here"
    assert ask(ID, deployment=worlds.deployment(worlds.snapshot())).absence
