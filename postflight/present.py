"""What pytest shows of a run: the live line, one report per check, and the verdict block at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postflight.reports import console, junit, termination, write_all
from postflight.reports import durations as durations_report
from postflight.secrets import RedactedWriter
from postflight.session import Session, meta
from postflight.verdict.record import CheckResult
from postflight.verdict.status import Status

#: Stands for a status in a report that belongs to no check.
OF_THE_RUN = "run"
#: Where pytest must see a red for its JUnit to call it so.
PHASES = {"error": "setup", "failure": "call"}
SKIPPED = frozenset({Status.BLOCKED, Status.WAIVED, Status.ABSENT})
LETTERS = {
    Status.PASSED: ".",
    Status.WARNED: "w",
    Status.FAILED: "F",
    Status.UNKNOWN: "?",
    Status.BLOCKED: "b",
    Status.WAIVED: "v",
    Status.ABSENT: "-",
}


def take_over(config: pytest.Config, state: Session) -> None:
    """Redact at the writers, and leave the last word to the verdict block."""
    writer: Any = config.get_terminal_writer()
    writer._file = RedactedWriter(writer._file, state.run.redactor)
    for name in ("stdout", "stderr"):
        stream = RedactedWriter(getattr(sys, name), state.run.redactor)
        setattr(sys, name, stream)
        config.add_cleanup(partial(_give_back, name, stream))
    config.option.tbstyle = "no"
    if reporter := config.pluginmanager.get_plugin("terminalreporter"):
        reporter.reportchars = ""


def _give_back(name: str, stream: RedactedWriter) -> None:
    setattr(sys, name, stream.release())


@contextmanager
def live_line(config: pytest.Config) -> Generator[Callable[[str, int, int], None]]:
    """A line that shows which probe ended last, where someone is looking."""
    shown = sys.stderr.isatty() and config.getoption("verbose") >= 0

    def report(name: str, done: int, total: int) -> None:
        if shown:
            sys.stderr.write(f"\r\033[Kprobes {done}/{total}: {name}")
            sys.stderr.flush()

    yield report
    if shown:
        sys.stderr.write("\r\033[K")


def reports(state: Session) -> Iterator[tuple[pytest.Item, list[pytest.TestReport]]]:
    """The held reports of each check, turned into what its verdict is."""
    for item in state.items:
        result = state.result_of(item)
        if result is None:
            continue
        yield item, [_redacted(each, state) for each in _shaped(item, result, state.protocols[item.nodeid])]


def _shaped(item: pytest.Item, result: CheckResult, held: Sequence[pytest.TestReport]) -> list[pytest.TestReport]:
    setup, last = held[0], held[-1]
    middle = next((each for each in held if each.when == "call"), None)
    setup.outcome, setup.longrepr = "passed", None
    last.outcome, last.longrepr = "passed", None
    shaped = [setup, last]
    if result.status is Status.UNKNOWN:
        setup.outcome, setup.longrepr = "failed", console.check(result)
    elif result.status in SKIPPED:
        path, line, _ = item.location
        setup.outcome = "skipped"
        setup.longrepr = (str(path), line or 0, _reason(result))
    else:
        call = middle or _call_like(setup)
        call.outcome = "failed" if result.status is Status.FAILED else "passed"
        call.longrepr = console.check(result) if result.status is Status.FAILED else None
        shaped = [setup, call, last]
    properties: list[tuple[str, object]] = [
        ("id", result.check.id),
        ("severity", result.check.severity.value),
        ("finding", result.check.finding),
        ("status", result.status.value),
    ]
    if result.blocked_by:
        properties.append(("blocked_by", ", ".join(result.blocked_by)))
    for each in shaped:
        each.user_properties = list(properties)
    return shaped


def _call_like(setup: pytest.TestReport) -> pytest.TestReport:
    return pytest.TestReport(setup.nodeid, setup.location, dict(setup.keywords), "passed", None, "call")


def reports_of_the_run(state: Session) -> Iterator[pytest.TestReport]:
    """What makes a run red and belongs to no check: for whoever reads pytest's reports alone."""
    if state.record is None:
        return
    for name, outcome, line in junit.of_the_run(state.record):
        about = ("postflight", None, name)
        said: Any = {"keywords": {}, "user_properties": [("status", OF_THE_RUN)]}
        phase: Any = PHASES[outcome]
        failed = pytest.TestReport(f"postflight::{name}", about, outcome="failed", longrepr=line, when=phase, **said)
        last = pytest.TestReport(failed.nodeid, about, outcome="passed", longrepr=None, when="teardown", **said)
        yield _redacted(failed, state)
        yield last


def _reason(result: CheckResult) -> str:
    if result.status is Status.BLOCKED:
        return f"blocked by {', '.join(result.blocked_by)}"
    if result.status is Status.WAIVED:
        return "; ".join(f"waived until {w.expires} by {w.owner}: {w.reason}" for w in result.waivers)
    return f"absent: {result.reason}"


def _redacted(report: pytest.TestReport, state: Session) -> pytest.TestReport:
    redact = state.run.redactor.redact
    report.sections = [(title, redact(text)) for title, text in report.sections]
    if isinstance(report.longrepr, tuple):
        path, line, why = report.longrepr
        report.longrepr = (path, line, redact(why))
    elif report.longrepr is not None:
        report.longrepr = redact(str(report.longrepr))
    return report


def test_status(report: pytest.TestReport) -> tuple[str, str, str] | None:
    status = dict(getattr(report, "user_properties", ())).get("status")
    if status is None:
        return None
    if status == OF_THE_RUN:
        return "", "", ""  # the verdict block says it
    kind = Status(str(status))
    shown = {Status.UNKNOWN: "setup", **dict.fromkeys(SKIPPED, "setup")}.get(kind, "call")
    if report.when != shown:
        return "", "", ""
    return kind.value, LETTERS[kind], kind.value.upper()


def durations(terminalreporter: Any, state: Session) -> None:
    if state.record:
        terminalreporter.section("probes")
        terminalreporter.write_line(durations_report.render(state.record))


def verdict(config: pytest.Config, state: Session) -> None:
    """Write the reports, then close the run with the verdict block."""
    writer = config.get_terminal_writer()
    writer.line("")
    if state.record is None:
        writer.line("postflight was interrupted: no verdict")
        return
    write_all(state.record, state.report_dir, state.run.redactor, state.signed)
    clean = state.run.redactor.scrub(state.record)
    if file := config.getoption("--termination-log"):
        with suppress(OSError):
            Path(file).write_text(termination.render(clean), encoding="utf-8", errors="backslashreplace")
    writer.line(console.render(clean))
    if state.signed and state.signoff:
        names = ", ".join(state.signed)
        writer.line(f"signed  {state.signoff.release} by key {state.signoff.keyid}: {names} in {state.report_dir}")
    for line in state.run.redactor.weak:
        writer.line(line)
    redacted: Any = writer
    if isinstance(redacted._file, RedactedWriter):
        redacted._file = redacted._file.release()


def explain(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """List the checks, or say all there is to say about one."""
    from postflight.explain import listing, page

    writer = config.get_terminal_writer()
    writer.line("")
    wanted = config.getoption("--explain")
    if not wanted:
        writer.line(listing([meta(item) for item in items]))
        return
    chosen = [item for item in items if meta(item).id == wanted]
    if not chosen:
        import difflib

        near = difflib.get_close_matches(wanted, [meta(item).id for item in items], 1)
        hint = f": do you mean {near[0]}?" if near else "; --list-checks names them"
        raise pytest.UsageError(f"--explain {wanted}: no such check{hint}")
    from postflight.probes.registry import all_probes
    from postflight.probes.runner import closure

    probes = closure(list(getattr(chosen[0], "fixturenames", ())), all_probes())
    writer.line(page(meta(chosen[0]), probes))
