"""The run record: everything that a report may say, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from postflight.verdict.failure import Failure
from postflight.verdict.status import Severity, Status


@dataclass(frozen=True, slots=True)
class CheckMeta:
    """What is known of a check before it runs.

    ``finding`` is its number in the review ("1.2"), empty beyond the review; ``sentence`` is true
    when the check is green; ``why`` is the docstring; ``blind_spots`` says what it cannot see.
    """

    id: str
    sentence: str
    why: str
    severity: Severity
    finding: str = ""
    remedy: str = ""
    blind_spots: str = ""
    kinds: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """What one check said, before blame and waivers."""

    check: CheckMeta
    seen: tuple[str, ...]
    failures: tuple[Failure, ...]
    absence: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiver:
    """Someone answers for a failure through a date (ISO), and for at most ``count`` subjects.

    ``subject`` is a subject or a shell pattern over subjects; ``origin`` is where the waiver stands
    ("waivers.yaml:12, entry 2").
    """

    check: str
    subject: str
    owner: str
    reason: str
    ticket: str
    expires: str
    count: int = 1
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A failure after blame and waivers.

    BLOCKED ones name the checks that block them, FAILED ones the checks that are blocked by them,
    WAIVED ones the waiver that covers them.
    """

    failure: Failure
    status: Status
    blocked_by: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    waiver: Waiver | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The verdict on one check. ``seconds`` is what the check and its probes' chain took; ``reason``
    is the one line behind a verdict that no failure explains (absent, blocked, waived)."""

    check: CheckMeta
    status: Status
    judged: tuple[Judged, ...] = ()
    seen: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    @property
    def waivers(self) -> tuple[Waiver, ...]:
        """The waivers that cover something of this check."""
        return tuple(dict.fromkeys(judged.waiver for judged in self.judged if judged.waiver))


@dataclass(frozen=True, slots=True)
class ProbeTime:
    """``began`` and ``seconds`` are relative to the start of the look phase; ``chain`` is the
    seconds from that start to this probe's end, counted along the inputs it waited for; ``inputs``
    are the probes among those."""

    name: str
    began: float
    seconds: float
    chain: float
    outcome: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the run looked: names, never addresses with secrets in them."""

    cluster: str
    namespaces: tuple[str, ...]
    summary: str
    safety: str
    access: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. ``trouble`` are lines about the verifier's own trouble or a red that belongs to no
    check (nothing collected, stale waiver); ``partial`` says why the run is not the whole."""

    run_id: str
    version: str
    started: str
    seconds: float
    scene: Scene
    results: tuple[CheckResult, ...]
    probes: tuple[ProbeTime, ...]
    trouble: tuple[str, ...]
    notes: tuple[str, ...]
    partial: str
    exit_code: int
