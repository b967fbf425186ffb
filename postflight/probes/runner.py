"""Runs the probes that are needed, each in a thread as soon as its inputs are there."""

from __future__ import annotations

import queue
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from postflight.cluster import cuts, silences
from postflight.cluster.connection import ClusterError
from postflight.cluster.threads import spawn
from postflight.limits import Limit
from postflight.probes.probe import BarredBy, NotTried, Probe, Safety, Unseen
from postflight.verdict.record import ProbeTime

#: How many probes begin at once, and the seconds after which one counts as begun, where there are more than a FEW: what
#: all of them ask at once, a small cluster answers none of in time.
ABREAST, BEGUN = 2, 0.5
FEW = 24


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe came to: an observation, or one line that says why there is none. ``crash`` is
    the traceback where that is the verifier's own fault; ``barred_by`` is set where it was not tried;
    ``silent`` where somebody who was asked said nothing in time, or the way there was ``cut``; ``no_way`` are the pods
    that no way led to, with the reason."""

    value: Any = None
    unseen: str = ""
    crash: str = ""
    barred_by: BarredBy | None = None
    silent: bool = False
    cut: bool = False
    no_way: Mapping[cuts.PodName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    outcomes: Mapping[str, Outcome]
    times: tuple[ProbeTime, ...]


def closure(needed: Iterable[str], probes: Mapping[str, Probe]) -> tuple[Probe, ...]:
    """The probes needed, with those whose observations they take."""
    found: dict[str, Probe] = {}

    def add(name: str) -> None:
        if name in probes and name not in found:
            for each in probes[name].inputs:
                add(each)
            found[name] = probes[name]

    for name in needed:
        add(name)
    return tuple(found.values())


def run(
    wanted: Iterable[Probe],
    given: Mapping[str, Any],
    refused: Mapping[str, NotTried],
    report: Callable[[str, int, int], None] = lambda name, done, total: None,
    before: ProbeTime | None = None,
) -> Looked:
    """Run them side by side, begun a few at a time, those first from which the longest way leads on. ``given`` are the
    inputs that are no probes; ``refused`` says why a probe must not be run. ``before`` is what had to end before any of
    them could begin. A probe past its time limit is left behind and counts as unseen."""
    pending = {each.name: each for each in _longest_first(wanted)}
    total = len(pending)
    abreast = ABREAST if total > FEW else FEW
    outcomes: dict[str, Outcome] = {}
    times: dict[str, ProbeTime] = {}
    running: dict[str, tuple[float, float]] = {}
    done: queue.Queue[tuple[str, Outcome]] = queue.Queue()
    offset = before.chain if before else 0.0
    origin = time.monotonic()

    def finish(name: str, outcome: Outcome, began: float, inputs: Iterable[str]) -> None:
        seconds = time.monotonic() - origin - began
        earlier = max((times[each].chain for each in inputs if each in times), default=offset)
        state = "crashed" if outcome.crash else "unseen" if outcome.unseen else "seen"
        outcomes[name] = outcome
        times[name] = ProbeTime(
            name,
            round(offset + began, 3),
            round(seconds, 3),
            round(earlier + seconds, 3),
            state,
            tuple(each for each in inputs if each in times) or ((before.name,) if before else ()),
        )
        report(name, len(outcomes), total)

    inputs_of = {each.name: each.inputs for each in pending.values()}
    while pending or running:
        now = time.monotonic() - origin
        wake: list[float] = []
        for each in list(pending.values()):
            if any(name in inputs_of and name not in outcomes for name in each.inputs):
                continue
            blind = next((outcomes[n] for n in each.inputs if n in outcomes and outcomes[n].unseen), None)
            barred = refused.get(each.name)
            beginning = [began for began, _ in running.values() if now - began < BEGUN]
            if barred is not None:
                finish(each.name, Outcome(unseen=barred.reason, barred_by=barred.barred_by), now, each.inputs)
            elif blind is not None:
                finish(each.name, Outcome(unseen=blind.unseen, barred_by=blind.barred_by), now, each.inputs)
            elif len(beginning) >= abreast:
                wake.append(min(beginning) + BEGUN)
                continue
            else:
                values = {n: outcomes[n].value if n in outcomes else given[n] for n in each.inputs}
                running[each.name] = (now, now + each.limit)
                spawn(_body(each, values, done), f"probe {each.name}")
            del pending[each.name]
        if not running:
            continue
        nearest = min([*wake, *(deadline for _, deadline in running.values())])
        try:
            name, outcome = done.get(timeout=max(0.0, nearest - (time.monotonic() - origin)))
            if name in running:
                finish(name, outcome, running.pop(name)[0], inputs_of[name])
        except queue.Empty:
            pass
        now = time.monotonic() - origin
        for name, (began, deadline) in list(running.items()):
            if now >= deadline and name not in outcomes and done.empty():
                del running[name]
                why = f"{name} did not end within its time limit of {deadline - began:g} s"
                finish(name, Outcome(unseen=why, silent=True), began, inputs_of[name])
    return Looked(outcomes, tuple(times.values()))


def _longest_first(wanted: Iterable[Probe]) -> list[Probe]:
    """By the limits of each and of what takes its observation, added up along the longest way."""
    probes = tuple(wanted)
    followers: dict[str, list[Probe]] = {each.name: [] for each in probes}
    for each in probes:
        for name in each.inputs:
            if name in followers:
                followers[name].append(each)

    @cache
    def way(name: str, limit: float) -> float:
        return limit + max((way(each.name, each.limit) for each in followers[name]), default=0.0)

    return sorted(probes, key=lambda each: -way(each.name, each.limit))


def once_more(wanted: Iterable[Probe], outcomes: Mapping[str, Outcome]) -> tuple[Probe, ...]:
    """Those that only read and met silence, and all that only read and take what they saw, or were not tried for want
    of it: what a second look in quiet is worth. It is a short one, but for what the way was cut from, or from beneath:
    that has not looked yet."""
    found: dict[str, Probe] = {}
    cut: set[str] = set()
    for each in wanted:
        outcome = outcomes[each.name]
        if outcome.crash or outcome.barred_by:
            continue
        if any(name not in found and name in outcomes and outcomes[name].unseen for name in each.inputs):
            continue
        later = any(name in found for name in each.inputs)
        blind = later and outcome.unseen and not outcome.silent
        if (outcome.silent or later) and (each.safety is Safety.READ_ONLY or blind):
            if outcome.cut or (blind and cut & set(each.inputs)):
                cut.add(each.name)
            found[each.name] = each if each.name in cut else replace(each, limit=min(each.limit, Limit.AGAIN))
    return tuple(found.values())


def _body(each: Probe, values: Mapping[str, Any], done: queue.Queue[tuple[str, Outcome]]) -> Callable[[], None]:
    def body() -> None:
        with silences.noted() as heard, cuts.noted() as way:
            try:
                outcome = Outcome(each.function(**values))
            except (Unseen, ClusterError) as error:
                outcome = Outcome(unseen=str(error))
            except Exception as error:
                line = f"{each.name} crashed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                outcome = Outcome(unseen=line, crash=traceback.format_exc())
        cut = bool(way.met)
        told = replace(_believed(outcome, way), silent=cut or bool(heard.met), cut=cut, no_way=dict(way.pods))
        done.put((each.name, told))

    return body


def _believed(outcome: Outcome, way: cuts.Cuts) -> Outcome:
    """What was seen while the way was cut is not believed: who asked may have taken the end of the way for an answer, or
    have stumbled over it."""
    if not way.met or (outcome.unseen and not outcome.crash):
        return outcome
    return Outcome(unseen=f"{cuts.CUT} in the middle of it: {way.met[0]}")
