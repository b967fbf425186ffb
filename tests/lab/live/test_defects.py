"""Every defect turns its own check red, names the cause in the first line, blocks what depends on it, and nothing else."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from lab.cluster import Cluster
from lab.defects import Defect, load, names
from postflight.verdict.status import Status
from tests.lab.live import batches, content, inside, table
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences, first_of
from tests.lab.live.inside import Inside
from tests.lab.live.table import Row
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "group" in metafunc.fixturenames:
        # Those that need more nodes have a lab of their own (test_two_nodes).
        known = [each for each in names() if each.nodes == 1]
        if metafunc.config.getoption("--each", default=False):
            groups: list[tuple[str, ...]] = [(each.name,) for each in known]
        else:
            groups = batches.to_try(known, table.read(), batches.declared())
        if only := metafunc.config.getoption("--defect", default=[]):
            # The whole of a group: one of it alone would cost as much.
            groups = batches.holding(known, batches.declared(), only)
        metafunc.parametrize("group", groups, ids=["+".join(group) for group in groups])


def test_the_cause_is_red_and_nothing_else(
    group: tuple[str, ...],
    bench: Bench,
    within: Inside,
    healthy: Verified,
    verify: Verify,
    request: pytest.FixtureRequest,
) -> None:
    defects = [load(name) for name in group]
    if from_inside := request.config.getoption("--inside", default=False):
        within.install()
    began = time.monotonic()
    with bench.broken(group) as cluster:
        red = verify(cluster.kubeconfig)
        seconds = time.monotonic() - began
        wrong = differences(defects, healthy.statuses, red)
        assert not wrong, "\n".join([*wrong, "", red.output])
        if from_inside:
            _says_the_same(cluster, red)
    if each := request.config.getoption("--each", default=False):
        _must_be_as_healthy(verify(bench.healthy().kubeconfig), healthy)
    keep(defects, red, seconds, always=each)


def test_healed_all_is_green_again(bench: Bench, healthy: Verified, verify: Verify) -> None:
    # What a group left behind, the run with the next group in it would have shown; what the last one left, this one.
    _must_be_as_healthy(verify(bench.healthy().kubeconfig), healthy)


def _must_be_as_healthy(seen: Verified, healthy: Verified) -> None:
    wrong = differences([], healthy.statuses, seen)
    assert not wrong, "\n".join(["healed:", *wrong, "", seen.output])


def test_no_row_of_the_table_is_stale() -> None:
    known = names()
    rows = table.read()
    assert batches.stale(known, rows) == []
    assert sorted(rows) == [each.name for each in known]


def _says_the_same(cluster: Cluster, red: Verified) -> None:
    """The Job in the cluster ends as the run from outside did, with the same first cause."""
    pod = inside.once(cluster, "postflight-nightly", "broken")
    assert red.record
    log = inside.log(cluster, pod)
    assert inside.terminated(pod)["exitCode"] == red.code, log
    first = inside.said(red.record).splitlines()[0]
    assert inside.message(pod).splitlines()[0] == first, log


def keep(defects: Sequence[Defect], seen: Verified, seconds: float, always: bool) -> None:
    """Writes the rows of defects that were just proven; rows of defects that no longer exist go."""
    known = {each.name for each in names()}
    rows = {name: row for name, row in table.read().items() if name in known}
    for each in defects:
        row = _row(each, seen, seconds)
        # Without need a row keeps its date: a test run does not change the checkout.
        if always or not row.says_the_same(rows.get(each.name)):
            rows[each.name] = row
    table.write(rows)


def _row(defect: Defect, seen: Verified, seconds: float) -> Row:
    status = seen.statuses[defect.check]
    first = first_of(seen, defect.check, status)
    blocked = [check for check in defect.blocked if seen.statuses.get(check) is Status.BLOCKED]
    return Row(
        defect=defect.name,
        check=defect.check,
        variant=defect.variant,
        verdict=status.value,
        blocked=", ".join(sorted(blocked)) or "-",
        first_line=first.failure.headline if first else "-",
        seconds=f"{seconds:.1f}",
        date=datetime.now(UTC).date().isoformat(),
        hash=content.digest(defect),
    )
