"""The pytest side: options, fixtures, phases, and the hand-over between rooms. No logic of its own."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Generator
from types import ModuleType
from typing import Any

import pytest

from postflight import options, present
from postflight.check import meta_of
from postflight.probes.probe import NotTried, Unseen
from postflight.probes.registry import all_probes
from postflight.session import DESELECTED, INPUTS, Session
from postflight.verdict.judge import Judge

SESSION = pytest.StashKey[Session]()
JUDGE = pytest.StashKey[Judge]()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "-n is refused: every worker would run every canary; the probes run side by side anyway"
        )
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # A pod that is deleted, a job that is cancelled: the run cleans up as after Ctrl-C. As process 1 of a container
        # it would not even hear of it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # They log every URL that is asked, and userinfo and LiveKit take a token in theirs. The file of --log-file
    # passes no redactor of ours.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    config.pluginmanager.register(_fixture_source(), "postflight-observations")


def _fixture_source() -> object:
    """An object that carries a session fixture for each probe and each input of probes."""

    def observation(name: str) -> Any:
        def fixture(request: pytest.FixtureRequest) -> Any:
            outcome = request.config.stash[SESSION].run.value(name)
            if outcome.barred_by:
                return NotTried(outcome.unseen, outcome.barred_by, outcome.parts)
            if outcome.unseen:
                raise Unseen(outcome.unseen)
            return outcome.value

        return pytest.fixture(scope="session", name=name)(fixture)

    source = ModuleType("postflight-observations")
    vars(source).update({f"observe_{name}": observation(name) for name in (*all_probes(), *INPUTS)})
    return source


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """The pen of a check."""
    pen: Judge = request.node.stash.setdefault(JUDGE, Judge())
    return pen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        asked = getattr(item, "_fixtureinfo", None)
        if _is_check(item) and asked and "request" in asked.argnames:
            raise pytest.UsageError(f"{item.nodeid}: a check states its needs by parameter name, not by request")


def pytest_deselected(items: list[pytest.Item]) -> None:
    if items:
        stash = items[0].config.stash
        stash[DESELECTED] = stash.get(DESELECTED, 0) + sum(map(_is_check, items))


def _is_check(item: pytest.Item) -> bool:
    return meta_of(getattr(item, "function", None)) is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    checks = [item for item in session.items if _is_check(item)]
    if config.option.collectonly or not checks:
        return None
    broken = session.testsfailed
    if broken and not config.option.continue_on_collection_errors:
        return None  # pytest's own loop says so and stops
    if config.getoption("--list-checks") or config.getoption("--explain"):
        present.explain(config, checks)
        return True
    state = Session.begin(config, checks)
    config.stash[SESSION] = state
    present.take_over(config, state)
    try:
        with present.live_line(config) as report:
            state.look(report)
        early, disrupting, late = state.by_phase()
        _run(state, early)
        for item in disrupting:
            with present.live_line(config) as report:
                state.disrupt(item, report)
            _run(state, [item])
        with present.live_line(config) as report:
            state.leave(report)
        _run(state, late)
    finally:
        state.clean_up()
    if broken:
        state.run.trouble.append(f"{broken} of the files did not import: their checks are not in this run")
    for item in session.items:
        if not _is_check(item):
            _run_plain(state, item)
    state.resolve()
    for item, reports in present.reports(state):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report_ in reports:
            item.ihook.pytest_runtest_logreport(report=report_)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    for report_ in present.reports_of_the_run(state):
        config.hook.pytest_runtest_logreport(report=report_)
    return True


def _run_plain(state: Session, item: pytest.Item) -> None:
    """A test that is no check, as pytest would; its failure is the run's."""
    from _pytest.runner import runtestprotocol

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, nextitem=None):
        if report.failed:
            why = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or str(report.longrepr)
            line = " ".join(why.partition("\n")[0].split())
            state.run.trouble.append(f"{item.nodeid}, which is no check, failed: {line}")
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _run(state: Session, items: list[pytest.Item]) -> None:
    from _pytest.runner import runtestprotocol

    for position, item in enumerate(items):
        following = items[position + 1] if position + 1 < len(items) else None
        state.keep(item, runtestprotocol(item, log=False, nextitem=following), item.stash.get(JUDGE, Judge()))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Keep a check from judging what was not looked at; true when it has nothing to judge."""
    if not _is_check(pyfuncitem) or SESSION not in pyfuncitem.config.stash:
        return None
    return pyfuncitem.config.stash[SESSION].cannot_judge(pyfuncitem, pyfuncitem.stash.setdefault(JUDGE, Judge()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None and _is_check(item) and SESSION in item.config.stash:
        item.config.stash[SESSION].stumbled(item, call.excinfo.value)
    return (yield)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return present.test_status(report)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (state := config.stash.get(SESSION, None)) and config.getoption("durations", None) is not None:
        present.durations(terminalreporter, state)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    state = session.config.stash.get(SESSION, None)
    if state and state.record:
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            session.exitstatus = state.record.exit_code
        # All that lives now lives to the end: pytest and the interpreter need not search it for
        # cycles, six times over, before they let go (0.3 s of a run, seen with pytest 9.2).
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if state := config.stash.get(SESSION, None):
        present.verdict(config, state)
