"""Under other names, and without any configuration, the verdict is the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from lab import defects
from lab.cluster import Cluster
from lab.defects import load
from lab.manifests import DEFECTS, DEPLOYMENT, translated
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

NAMES = DEPLOYMENT / "renamed.yaml"
DEFECT = "database-password"


@pytest.fixture
def renamed(bench: Bench, healthy: Verified) -> Cluster:
    # `healthy` first: it is taken on the lab with its own names, and there is one lab at a time.
    return bench.healthy(rename=NAMES)


def test_a_renamed_lab_is_green(renamed: Cluster, healthy: Verified, verify: Verify) -> None:
    seen = verify(renamed.kubeconfig)
    wrong = differences([], healthy.statuses, seen)
    assert not wrong, "\n".join([*wrong, "", seen.output])
    assert seen.record
    assert "matrix" not in seen.record.scene.namespaces


def test_a_renamed_lab_is_red_for_the_same_reason(healthy: Verified, verify: Verify, bench: Bench) -> None:
    # Nobody needs this lab after it: it is not healed.
    with bench.spoiled(rename=NAMES) as cluster:
        defects.break_(cluster, [DEFECT])
        seen = verify(cluster.kubeconfig)
    expected = replace(load(DEFECT), failed=translated(cluster, DEFECTS / DEFECT / "expect.yaml")["failed"])
    wrong = differences([expected], healthy.statuses, seen)
    assert not wrong, "\n".join([*wrong, "", seen.output])
