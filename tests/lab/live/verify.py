"""One run of the verifier, as a process of its own, and everything that can be seen of it from outside."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.homes import CHECKOUT
from postflight.reports import run_json
from postflight.verdict.record import CheckResult, RunRecord
from postflight.verdict.status import Status

MARK = "POSTFLIGHT_TEST_RUN"
#: No run takes longer, whatever is broken: the longest single limit is the wait for another run's Lease.
LONGEST = 120.0
#: Bytecode is kept, as a user's Python keeps it: without, each run compiles the verifier anew.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Verified:
    """A run that has ended. `peak` is in MiB; `record` is None where no report was written."""

    code: int
    output: str
    seconds: float
    peak: float
    folder: Path
    mark: str
    record: RunRecord | None

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    @property
    def results(self) -> Mapping[str, CheckResult]:
        return {each.check.id: each for each in self.record.results} if self.record else {}

    @property
    def statuses(self) -> Mapping[str, Status]:
        return {check: result.status for check, result in self.results.items()}

    def must_be_green(self) -> None:
        """Fails the test with the whole output unless every check passed or is absent, and nothing else is said."""
        assert self.code == 0, self.output
        assert self.record is not None, self.output
        others = {k: v for k, v in self.statuses.items() if v not in (Status.PASSED, Status.ABSENT)}
        assert not others, self.output
        assert not self.record.trouble, self.output

    def left_behind(self) -> list[str]:
        """Processes of the run that still live, and files that it left beside its reports."""
        left = [f"process {pid}" for pid in _marked(self.mark)]
        kept = {"verdict.txt", "run.json", "junit.xml"}
        for file in self.folder.rglob("*"):
            if (
                file.is_file()
                and file != self.folder / "output"
                and not (file.parent == self.reports and file.name in kept)
            ):
                left.append(str(file.relative_to(self.folder)))
        return left


class Run:
    """A run under way. Its home and its temporary folder are its own, so that what it leaves there is seen."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        for made in ("home", "tmp"):
            (folder / made).mkdir(parents=True)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), MARK: self.mark}
        command = [sys.executable, "-m", "pytest", *map(str, arguments), "--report-dir", str(folder / "reports")]
        self._output = (folder / "output").open("w+b")
        self._began = time.monotonic()
        # In a group of its own, as a shell would start it: a signal reaches it and no one else.
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            process_group=0,
            # Whoever runs the tests in the background has them ignore SIGINT, and would hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    @property
    def under_way(self) -> bool:
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def end(self, longest: float = LONGEST) -> Verified:
        """Waits for it. Fails the test when it takes longer than any run may."""
        while self.under_way:
            if time.monotonic() - self._began > longest:
                self.signal(signal.SIGKILL)
                os.waitpid(self.process.pid, 0)
                raise AssertionError(f"no verdict after {longest:.0f} s:\n{(self.folder / 'output').read_text()}")
            time.sleep(0.01)
        seconds = time.monotonic() - self._began
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._output.close()
        report = self.folder / "reports/run.json"
        return Verified(
            code=self.process.returncode,
            output=(self.folder / "output").read_text(encoding="utf-8", errors="replace"),
            seconds=seconds,
            peak=usage.ru_maxrss / 1024,
            folder=self.folder,
            mark=self.mark,
            record=run_json.load(report.read_text(encoding="utf-8")) if report.exists() else None,
        )


def _marked(mark: str) -> list[int]:
    """The processes of this machine that carry the mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
