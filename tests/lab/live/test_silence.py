"""A database or a Redis that accepts and never answers holds nobody up, and is never green."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.cluster import Cluster
from postflight.limits import Limit
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

RED = {Status.FAILED, Status.UNKNOWN, Status.BLOCKED}


@contextmanager
def stopped(cluster: Cluster, program: str) -> Iterator[None]:
    """All processes of a program in the lab stand still: the kernel takes connections for them, and that is all."""
    pids = cluster.exec_in_node(["pidof", program]).split()
    cluster.exec_in_node(["kill", "-STOP", *pids])
    try:
        yield
    finally:
        cluster.exec_in_node(["kill", "-CONT", *pids])


def test_a_redis_that_accepts_and_never_answers(bench: Bench, verify: Verify) -> None:
    with bench.spoiled() as cluster, stopped(cluster, "redis-server"):
        seen = verify(cluster.kubeconfig)
    _must_be_red(seen, {"redis.replication", "redis.endpoint", "redis.memory"}, "redis", Limit.REDIS)
    # The way of a user's message leads by Redis: it is no finding of its own.
    assert seen.statuses["clients.journey"] is not Status.FAILED, seen.output


def test_a_black_holed_database(bench: Bench, verify: Verify) -> None:
    # The operator takes the replica for the primary meanwhile, and LI's slot is lost with that: nothing heals it.
    with bench.thrown_away() as cluster, stopped(cluster, "postgres"):
        seen = verify(cluster.kubeconfig)
    _must_be_red(
        seen,
        {"database.login", "database.names", "database.connections", "database.replication"},
        "database",
        Limit.DATABASE,
    )


def _must_be_red(seen: Verified, checks: set[str], area: str, limit: float) -> None:
    assert seen.code in (1, 6), seen.output
    assert seen.record is not None, seen.output
    assert not seen.record.trouble, seen.output
    green = {check for check in checks if seen.statuses[check] not in RED}
    assert not green, seen.output
    # Something of it stands for itself: not all can be blamed on one another.
    assert any(seen.statuses[check] in (Status.FAILED, Status.UNKNOWN) for check in checks), seen.output
    late = [each for each in seen.record.probes if each.name.startswith(area) and each.seconds > limit + 1]
    assert not late, late
    assert seen.seconds <= 2 * limit + 10 + Limit.AGAIN, seen.output
    must_be_plain(seen)
