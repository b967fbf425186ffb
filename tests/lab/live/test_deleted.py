"""A part that is referred to and was deleted whole is red, not absent."""

from collections.abc import Callable

import pytest

from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

#: What goes, and the checks of which none may be green or absent then.
DELETED = {
    "redis": (
        ["statefulset/redis", "service/redis", "service/redis-headless", "configmap/redis-config"],
        {"redis.replication", "redis.endpoint", "redis.memory"},
    ),
    # HAProxy still leads downloads to it.
    "scanner": (
        ["deployment/content-scanner", "service/content-scanner", "daemonset/clamav", "service/clamav"],
        {"media.antivirus"},
    ),
    # Last: what it held is gone, and no heal brings it back.
    "postgresql": (
        ["clusters.postgresql.cnpg.io/matrix-postgresql"],
        # The operator would make it again if somebody still asked for it: that is the finding, the others wait.
        {
            "platform.operators",
            "database.login",
            "database.names",
            "database.connections",
            "database.replication",
            "platform.backups",
        },
    ),
}


@pytest.mark.parametrize("part", DELETED)
def test_a_part_that_was_deleted_whole_is_red(part: str, bench: Bench, verify: Verify) -> None:
    objects, checks = DELETED[part]
    with bench.spoiled() as cluster:
        cluster.kubectl("delete", "-n", "matrix", *objects, "--ignore-not-found", "--wait=true", "--cascade=foreground")
        seen = verify(cluster.kubeconfig)
    assert seen.code == 1, seen.output
    assert not {seen.statuses[check] for check in checks} & {Status.PASSED, Status.WARNED, Status.ABSENT}, seen.output
    # One thing stands for it; the rest is blamed on that.
    assert Status.FAILED in seen.statuses.values(), seen.output
    must_be_plain(seen)
