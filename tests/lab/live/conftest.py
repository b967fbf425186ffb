"""The lab for the tests of this folder, and the order that spares it most."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import home
from tests.lab.live import trials
from tests.lab.live.bench import Bench, alone
from tests.lab.live.inside import Inside
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

#: First what leaves the lab as it was, then what is healed, last what costs a lab; next to each other what shares a defect.
ORDER = (
    "test_batches",
    "test_bounds",
    "test_healthy",
    "test_eicar",
    "test_network_policy",
    "test_requests",
    "test_unreachable",
    "test_rights",
    "test_federation",
    "test_account",
    "test_elsewhere",
    "test_trouble",
    "test_interrupted",
    "test_secrets",
    "test_signoff",
    "test_ci",
    "test_in_cluster",
    "test_probe_pod",
    "test_li",
    "test_kinds",
    "test_disruptive",
    "test_defects",
    "test_findings",
    "test_crowded",
    "test_silence",
    "test_deleted",
    "test_two_nodes",
    "test_older_synapse",
    "test_renamed",
    "test_nodes",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--each", action="store_true", help="try every defect alone, and write all of docs/defects.md")
    parser.addoption("--defect", action="append", default=[], help="try the groups of these defects, and no other")
    parser.addoption("--inside", action="store_true", help="try each defect from inside the cluster too, in a Job")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: _place(item) if item.path.is_relative_to(here) else -1)
    rows = {} if config.getoption("--each") else trials.read()
    fresh = [item for item in items if trials.is_fresh(item, rows)]
    if fresh:
        config.hook.pytest_deselected(items=fresh)
        items[:] = [item for item in items if item not in fresh]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when == "call" and report.passed:
        trials.keep(item, call.duration)
    return report


def _place(item: pytest.Item) -> int:
    return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The lab's keeper; what it does is shown at once."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", end="", flush=True)

    if os.geteuid() != 0:
        pytest.skip("a lab needs root: sudo make test")
    with alone(home()):
        keeper = Bench(home(), tell)
        yield keeper
        keeper.close()


@pytest.fixture
def cluster(bench: Bench) -> Cluster:
    """A healthy lab, to be left as it is."""
    try:
        return bench.healthy()
    except LabError as error:
        pytest.fail(f"no healthy lab: {error}", pytrace=False)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Run]:
    """Starts pytest with these arguments, without waiting for it."""
    started: list[Run] = []

    def run(*arguments: str | Path) -> Run:
        started.append(Run(tmp_path / f"run{len(started) + 1}", *arguments))
        return started[-1]

    return run


@pytest.fixture
def verify(start: Callable[..., Run]) -> Verify:
    """Runs all checks with a kubeconfig, and further arguments, to the end."""

    def run(kubeconfig: Path, *arguments: str | Path, checks: str = "checks/") -> Verified:
        verified: Verified = start(checks, "--kubeconfig", kubeconfig, *arguments).end()
        return verified

    return run


@pytest.fixture(scope="module")
def within(bench: Bench) -> Iterator[Inside]:
    """Puts the verifier into the lab's cluster."""
    found = Inside(bench)
    yield found
    found.remove()


@pytest.fixture(scope="session")
def without_federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for runs that are about something else: federation takes most of a run."""
    file = tmp_path_factory.mktemp("settings") / "settings.yaml"
    file.write_text("out_of_reach: {federation.exactly_once: this run is about something else}\n")
    return file


@pytest.fixture(scope="session")
def healthy(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """What a run says about the healthy lab."""
    run = Run(tmp_path_factory.mktemp("healthy") / "run", "checks/", "--kubeconfig", bench.healthy().kubeconfig)
    verified = run.end()
    verified.must_be_green()
    return verified
