"""The checks of one pytest session: what they need, what they said, what it comes to."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postflight import __version__, options
from postflight.check import meta_of
from postflight.deployment.model import Deployment
from postflight.probes.probe import BarredBy, NotTried, Probe, Unseen
from postflight.probes.registry import all_probes
from postflight.probes.runner import closure
from postflight.run import Run
from postflight.secrets import Redactor
from postflight.settings import unknown_names
from postflight.verdict import exitcode, waivers
from postflight.verdict.blame import resolve
from postflight.verdict.doubts import doubted
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import CheckMeta, CheckResult, RunRecord, Statement
from postflight.verdict.status import Nature, Status
from postflight.verdict.waivers import WaiverError, Waivers

if TYPE_CHECKING:
    from postflight.signoff.signing import Request

#: The inputs of probes that are no probes, and so fixtures too.
INPUTS = (
    *("api", "snapshot", "secrets", "deployment", "access", "settings", "traces", "safety", "redactor", "account"),
    "credential",
)
IDENTITY = re.compile(r"^@check\(\s*\"([^\"]+)\"", re.MULTILINE)
#: What ``expect`` in the settings may name, and which checks are about it.
PART_KINDS = {
    "postgresql": ("database.",),
    "redis": ("redis.",),
    "calls": ("calls.matrixrtc", "calls.candidates"),
    "turn": ("calls.turn",),
    "li": ("li.",),
    "antivirus": ("media.antivirus",),
}
OPERATED = {"postgresql": ("platform.operators",)}
Report = Callable[[str, int, int], None]


@dataclass(slots=True)
class Session:
    """Held in pytest's stash for the length of one run."""

    run: Run
    items: Sequence[pytest.Item]
    report_dir: Path
    fail_on: str
    waivers: Waivers
    partial: str
    signoff: Request | None = None
    said: dict[str, Statement] = field(default_factory=dict)
    protocols: dict[str, list[pytest.TestReport]] = field(default_factory=dict)
    stumbles: dict[str, BaseException] = field(default_factory=dict)
    record: RunRecord | None = None
    signed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, config: pytest.Config, items: Sequence[pytest.Item]) -> Session:
        """Check everything that was given, before anything is touched."""
        first = Path(items[0].path)
        checks = next((folder for folder in first.parents if folder.name == "checks"), first.parent)
        known = all_ids(checks)
        try:
            given = waivers.load(options.waiver_file(config), known)
        except WaiverError as error:
            raise pytest.UsageError(str(error)) from error
        run = Run(options.parse(config), all_probes(), Redactor())
        run.trouble += unknown_names(run.options.settings, known, PART_KINDS)
        folder = options.report_dir(config)
        here = {meta(item).id for item in items}
        partial = options.partial(config, checks, config.stash.get(DESELECTED, 0), known, here)
        request = options.signoff(config, partial)
        if request:
            request.clear(folder)
        return cls(
            run=run,
            items=items,
            report_dir=folder,
            fail_on=config.getoption("--fail-on"),
            waivers=given,
            partial=partial,
            signoff=request,
        )

    def look(self, report: Report) -> None:
        needed = self._needed()
        self.run.notes += [
            f"{of.id} was judged without {name}, which no check of this run asks for"
            for of in map(meta, self.items)
            for name in of.beside
            if name not in needed and of.id not in self.run.options.settings.out_of_reach
        ]
        self.run.look(needed, report)

    def disrupt(self, item: pytest.Item, report: Report) -> None:
        """Take away what one check is about, as far as what was judged so far allows."""
        names = {name for name in _fixtures(item) if name in self._needed()}
        self.run.disrupt(names, self._so_far(self.run.deployment), report)

    def leave(self, report: Report) -> None:
        self.run.leave(self._needed(), report)

    def clean_up(self) -> None:
        self.run.trouble += self.run.traces.close()

    def by_phase(self) -> tuple[list[pytest.Item], list[pytest.Item], list[pytest.Item]]:
        """The items judged after the look phase, those that take something away, and those judged after clean-up."""
        leaving = {name for name, each in self.run.probes.items() if each.leaves}
        taking = {name for name, each in self.run.probes.items() if each.disrupts}
        late = [item for item in self.items if leaving & set(_fixtures(item))]
        disrupting = [item for item in self.items if item not in late and taking & set(_fixtures(item))]
        return [item for item in self.items if item not in (*disrupting, *late)], disrupting, late

    def cannot_judge(self, item: pytest.Function, judge: Judge) -> bool | None:
        """True when the check was answered for: a probe it cannot do without was not tried.

        Raises :class:`Unseen` when a right is missing, for a probe or for a kind of object.
        """
        function: Any = item.function
        if why := self.run.why_unseen(function.__check__.kinds):
            raise Unseen(why)
        for name, value in item.funcargs.items():
            if isinstance(value, NotTried) and "NotTried" not in str(inspect.signature(function).parameters[name]):
                if value.barred_by is BarredBy.SAFETY:
                    judge.absent(value.reason)
                    return True
                if value.barred_by is BarredBy.FOUNDATION:
                    judge.unknown(function.__check__.id, value.reason, needs=value.parts)
                    return True
                raise Unseen(value.reason)
        return None

    def stumbled(self, item: pytest.Item, error: BaseException) -> None:
        self.stumbles.setdefault(item.nodeid, error)

    def keep(self, item: pytest.Item, reports: list[pytest.TestReport], judge: Judge) -> None:
        """Take down what a check said; one that could not get its observations is unknown."""
        check, failures = meta(item), list(judge.failures)
        error = self.stumbles.get(item.nodeid)
        if isinstance(error, Unseen):
            failures.append(_unknown(check, str(error)))
        elif error is not None:
            line = f"check {check.id} crashed, the verifier's own fault: {type(error).__name__}: {error}"
            self.run.trouble.append(line)
            failures.append(_unknown(check, line))
        own = sum(each.duration for each in reports)
        chains = {each.name: each.chain for each in self.run.times}
        probes = closure(_fixtures(item), self.run.probes)
        seconds = max((chains.get(each.name, 0.0) for each in probes), default=0.0) + own
        self.protocols[item.nodeid] = reports
        self.said[item.nodeid] = Statement(check, tuple(judge.seen), tuple(failures), judge.absence, round(seconds, 3))

    def resolve(self) -> None:
        """Blame, waivers and exit code, once, over everything that was said."""
        model = self.run.deployment
        statements = self._doubted(self._so_far(model), model)
        statements.sort(key=lambda each: not each.check.id.startswith("platform."))
        verdict = resolve(statements, model.depends if model else {}, self.waivers)
        trouble = (*((self.run.dead,) if self.run.dead else ()), *verdict.trouble, *self.run.trouble)
        self.record = RunRecord(
            run_id=self.run.run_id,
            version=__version__,
            started=self.run.started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.run.began, 3),
            scene=self.run.scene(),
            results=verdict.results,
            probes=tuple(self.run.times),
            trouble=trouble,
            notes=tuple(self.run.notes),
            partial=self.partial,
            exit_code=exitcode.exit_code(verdict.results, trouble, self.fail_on),
        )
        if self.signoff:
            self._sign(self.record, self.signoff)

    def _so_far(self, model: Deployment | None) -> list[Statement]:
        """What was said, by what the settings say of it too."""
        given = self.run.options.settings
        said = [self.said[item.nodeid] for item in self.items if item.nodeid in self.said]
        reached = [_reached(_beyond(each, model), given.out_of_reach) for each in said]
        return [_expected(each, given.expect, model) for each in reached]

    def _doubted(self, statements: list[Statement], model: Deployment | None) -> list[Statement]:
        """Unknown where the way, or what was asked, was not there throughout; looked up only where something failed."""
        probes = {meta(item).id: closure(_fixtures(item), self.run.probes) for item in self.items}
        # What a disruption replaces is its own doing.
        looked = {
            id
            for id, those in probes.items()
            if any(map(_asks_pods, those)) and not any(each.disrupts for each in those)
        }
        failed = {each.check.id for each in statements if any(one.status is Status.FAILED for one in each.failures)}
        if model is None or not failed & looked:
            return statements
        return doubted(statements, self.run.doubts(), model.depends, looked)

    def _sign(self, record: RunRecord, request: Request) -> None:
        """Sign the run, or have its record say why not."""
        from postflight.signoff import refusal, signing

        snapshot = self.run.given.get("snapshot")
        reasons = refusal.refusals(record, snapshot)
        if snapshot is None or reasons:
            self.record = refusal.refused(record, request.release, reasons)
        else:
            self.signed = signing.files(self.run.redactor.scrub(record), snapshot, request)

    def result_of(self, item: pytest.Item) -> CheckResult | None:
        found = self.record.results if self.record else ()
        return next((each for each in found if each.check.id == meta(item).id), None)

    def _needed(self) -> set[str]:
        """What the checks read, save those that the settings put out of reach: nothing is tried for them."""
        beyond = self.run.options.settings.out_of_reach
        asked = [(meta(item), _fixtures(item)) for item in self.items]
        return {name for of, names in asked if of.id not in beyond for name in names if name not in of.beside}


def meta(item: pytest.Item) -> CheckMeta:
    found = meta_of(getattr(item, "function", None))
    assert found is not None
    return found


DESELECTED = pytest.StashKey[int]()


def all_ids(checks: Path) -> frozenset[str]:
    """The ids of all checks there are, selected for this run or not."""
    return frozenset(
        found for file in checks.rglob("test_*.py") for found in IDENTITY.findall(file.read_text(encoding="utf-8"))
    )


def _fixtures(item: pytest.Item) -> Sequence[str]:
    names: Any = getattr(item, "fixturenames", ())
    return tuple(names)


def _asks_pods(probe: Probe) -> bool:
    return probe.reaches or any(right.resource.startswith("pods/") for right in probe.rights)


def _unknown(check: CheckMeta, line: str) -> Failure:
    return Failure(Status.UNKNOWN, Nature.UNAVAILABLE, check.id, line)


def _expected(statement: Statement, expect: Sequence[str], model: Deployment | None) -> Statement:
    """A part that the settings promise is not absent when it is not found: it is missing. Where it is there, a check is
    absent that its kind has no object for."""
    there = {"postgresql": model.postgres, "redis": model.redis_endpoints} if model else {}
    for part in (each for each in expect if not there.get(each)):
        if statement.absence and statement.check.id.startswith(PART_KINDS.get(part, ())):
            line = f"{part} is expected by the settings and is not part of what stands here: {statement.absence}"
            missing = Failure(Status.FAILED, Nature.WRONG, part, line)
            return Statement(statement.check, statement.seen, (*statement.failures, missing), "", statement.seconds)
    return statement


def _beyond(statement: Statement, model: Deployment | None) -> Statement:
    """A part that stands in a namespace that is not looked at is not absent: nobody has looked."""
    silent = statement.absence or not (statement.seen or statement.failures)
    for part, endpoint in model.beyond() if model and silent else ():
        if statement.check.id.startswith((*PART_KINDS[part], *OPERATED.get(part, ()))):
            line = _unknown(statement.check, f"{endpoint.host}: {endpoint.problem}")
            return replace(statement, failures=(line,), absence="")
    return statement


def _reached(statement: Statement, out_of_reach: Any) -> Statement:
    reason = out_of_reach.get(statement.check.id)
    if not reason:
        return statement
    return Statement(statement.check, (), (), f"out of reach: {reason}", statement.seconds)
