"""With one right missing nothing is green that rests on it, and the line names the right."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from postflight.verdict.status import Status
from tests.lab.live import content, kubeconfigs
from tests.lab.live.kubeconfigs import Account
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

THROUGH_TUNNELS = {
    "database.login",
    "redis.replication",
    "redis.endpoint",
    "redis.memory",
    "li.replication",
    "li.main_database_rights",
    "li.identity",
    "calls.candidates",
    "li.recovery_keys",
    "li.retention",
    "calls.matrixrtc",
    "calls.turn",
    "workers.background",
    "workers.event_persisters",
    "workers.signing_key",
    "media.workers",
    "media.storage",
    "media.antivirus",
    "security.replication_listener",
    "clients.closed_doors",
    "clients.journey",
    "routing.backends",
    "routing.public",
    "clients.element_config",
    "li.front_door",
    "platform.monitoring",
    "platform.certificates",
    "storage.quorum",
}
FEDERATION = "federation.exactly_once"
#: What is lacking, and the checks that must not be green without it.
LACKING = {
    "pods": {"platform.workloads", "redis.replication", "database.replication", "database.login"},
    "services": {"database.login", "redis.endpoint"},
    "endpointslices": {"database.login", "redis.endpoint"},
    "configmaps": {"platform.references"},
    "secrets": {"platform.references", "database.login"},
    "cronjobs": {"platform.references", "coverage"},
    "persistentvolumeclaims": {"platform.workloads"},
    "clusters": {"platform.operators", "database.replication"},
    "pods/log": {"workers.logs"},
    "horizontalpodautoscalers": {"database.connections", "workers.stream_writers", "autoscaling.workers"},
    "poddisruptionbudgets": {"availability.budgets", "storage.quorum"},
    "tenants": {"platform.operators"},
    "ingresses": {
        *("li.identity", "clients.closed_doors", "clients.journey", "routing.backends", "routing.public"),
        *("clients.element_config", "li.front_door", "media.antivirus", "platform.certificates"),
    },
    "networkpolicies": {"security.network_policy"},
    "pods/exec": {"database.replication"},
    "pods/portforward": THROUGH_TUNNELS,
    # A stream is opened by a GET: either verb alone is worth nothing to some version of Kubernetes.
    "get pods/exec": {"database.replication"},
    "get pods/portforward": THROUGH_TUNNELS,
    "create pods/portforward": THROUGH_TUNNELS,
    "create jobs": {FEDERATION},
}
#: What the model itself is made of: without it any check may be blind.
FOR_ALL = ("pods", "services", "endpointslices", "configmaps", "secrets", "clusters")
#: What is taken away at once: of each, the checks that lack it are others.
TOGETHER = (
    *((each,) for each in FOR_ALL),
    ("cronjobs", "pods/log", "horizontalpodautoscalers", "tenants", "networkpolicies", "create jobs"),
    ("persistentvolumeclaims", "poddisruptionbudgets", "pods/exec"),
    ("ingresses", "get pods/exec"),
    ("pods/portforward",),
    ("get pods/portforward",),
    ("create pods/portforward",),
)


@pytest.fixture
def account(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Account]:
    lacks: tuple[str, ...] = request.param
    made = Account(cluster, f"verifier-lacks-{re.sub('[/ ]', '-', lacks[0]) if lacks else 'nothing'}", lacks)
    made.create()
    yield made
    made.remove()


def test_what_is_taken_away_at_once_is_told_apart() -> None:
    assert sorted(each for lacks in TOGETHER for each in lacks) == sorted(LACKING)
    for lacks in TOGETHER:
        meant = [check for each in lacks for check in LACKING[each]]
        assert len(meant) == len(set(meant)), lacks


@pytest.mark.parametrize("account", [()], indirect=True, ids=["nothing"])
def test_the_rights_that_a_run_asks_for_are_enough(account: Account, tmp_path: Path, verify: Verify) -> None:
    verify(kubeconfigs.with_token(account.cluster, account.token(), tmp_path / "config")).must_be_green()


@pytest.mark.parametrize("account", TOGETHER, indirect=True, ids="+".join)
def test_a_right_that_is_missing_is_never_green(
    account: Account, tmp_path: Path, verify: Verify, without_federation: Path
) -> None:
    meant = {check for each in account.lacks for check in LACKING[each]}
    options = () if FEDERATION in meant else ("--settings", without_federation)
    seen = verify(kubeconfigs.with_token(account.cluster, account.token(), tmp_path / "config"), *options)
    assert seen.code in (1, 6), seen.output
    blind = {Status.UNKNOWN, Status.BLOCKED}
    for check in meant:
        assert seen.statuses[check] in blind, f"{check} is {seen.statuses[check]}\n{seen.output}"
    if account.lacks[0] not in FOR_ALL:
        strangers = {check for check, status in seen.statuses.items() if status in blind} - meant
        strangers -= {check for each in account.lacks for check in content.needing(each.rpartition(" ")[2])}
        assert not strangers, seen.output
    # What cannot be seen is no finding.
    assert Status.FAILED not in seen.statuses.values(), seen.output
    said = [line for line in _statements(seen) if "no right" in line]
    for each in account.lacks:
        assert any(each.rpartition("/")[2] in line for line in said), f"{each}\n{seen.output}"
    must_be_plain(seen)


def _statements(seen: Verified) -> list[str]:
    lines = [each.failure.headline for result in seen.results.values() for each in result.judged]
    return [*lines, *(seen.record.trouble if seen.record else ())]
