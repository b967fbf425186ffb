from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.writers import EVENTS, MAP, SETTING, Writers, writers_of
from postflight.probes.canary_user import Hindered
from postflight.probes.metrics import Count
from postflight.probes.persister_rooms import PersistedEvents, Persisting
from postflight.probes.persisters import LATELY, PersistedRows, has_written
from postflight.probes.probe import BarredBy, NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

LIST = f"{SETTING}.{EVENTS}"
SAME = f"name every persister in {LIST} and in {MAP}, in the configuration that all processes share, and restart them"


@check(
    "workers.event_persisters",
    severity=Severity.CRITICAL,
    finding="2.5",
    remedy=SAME,
    blind_spots="a persister that wrote within the last 10 minutes, by the rows of users' events, and would not write now;"
    " who wrote before the newest 5000 events; how fast a persister writes",
)
def test_every_event_persister_persists_events_and_nobody_else_does(
    deployment: Deployment,
    persisted_events: PersistedEvents | Hindered | NotTried,
    persisted_rows: PersistedRows | NotTried,
    persisted_counters: Mapping[str, Count] | NotTried,
    judge: Judge,
) -> None:
    """A persister that is in no list takes no load off main; one that is listed and does not write holds up every
    message of the rooms that fall to it."""
    for process in deployment.unread:
        if process.side is Side.MAIN and (process.is_main or process.runs):
            why = process.config_problem
            judge.unknown(process.id, f"whether {process.workload_name} persists events is not known: {why}")
    writers = writers_of(deployment)
    rows = PersistedRows(unseen=persisted_rows.reason) if isinstance(persisted_rows, NotTried) else persisted_rows
    counters: Mapping[str, Count] = {} if isinstance(persisted_counters, NotTried) else persisted_counters
    unmapped = _unmapped(writers, judge)
    for main in (each for each in writers.processes if each.is_main):
        listed = writers.persisters(main)
        _unused(listed, writers, main, rows, judge)
        for name in listed:
            if name not in unmapped:
                _writes(name, writers, persisted_events, rows, counters, judge)
    _others(writers, rows, counters, judge)
    _unseen(writers, rows, persisted_counters, judge)


def _unmapped(writers: Writers, judge: Judge) -> set[str]:
    """Persisters that some process cannot find: it does not start (synapse/config/workers.py). Returns those whom main
    cannot find, so that nobody can."""
    found: dict[str, list[SynapseProcess]] = {}
    for process in writers.processes:
        for refusal in writers.refusals.get(process.id, ()):
            if refusal.unmapped and refusal.stream == EVENTS:
                found.setdefault(refusal.unmapped, []).append(process)
    for name, processes in found.items():
        down = [each for each in processes if not each.is_up]
        not_start = "does not start" if len(processes) == 1 else "do not start"
        judge.wrong(
            processes[0].id,
            f"{name} is to persist events and is not in {MAP}: {_who(processes)} {not_start if down else 'will not start again'}",
            observed=f"{LIST} names {name}, {MAP} does not, in {_who(processes)}",
            expected=f"every persister that is listed has an address in {MAP}",
            cause=f"{name} is missing from {MAP}; Synapse refuses to start with that",
            remedy=f"add {name} with its host and port to {MAP}, then restart {_and(dict.fromkeys(each.workload_name for each in processes))}",
            stops=tuple(dict.fromkeys(part for each in down for part in (each.id, each.workload))),
        )
    return {name for name, processes in found.items() if any(each.is_main for each in processes)}


def _unused(listed: Sequence[str], writers: Writers, main: SynapseProcess, rows: PersistedRows, judge: Judge) -> None:
    """Processes that are there to persist events, and that no list names."""
    idle = [each for each in writers.meant() if each.instance not in listed]
    if not idle:
        return
    who = _and(each.instance for each in idle)
    written = [f"{each.events} of the newest events by {each.instance}" for each in rows.rows]
    judge.wrong(
        idle[0].id,
        f"{who} {'is' if len(idle) == 1 else 'are'} there to persist events and {'persists' if len(idle) == 1 else 'persist'}"
        f" none: {LIST} names {_and(listed)}",
        observed="; ".join(written) or f"{LIST} of {main.instance}: {', '.join(listed)}",
        expected="every persister that is deployed has its share of the rooms",
        cause=f"by {LIST} as {main.workload_name} has it, every room falls to {_and(listed)}",
        remedy=SAME,
    )


def _writes(
    name: str,
    writers: Writers,
    seen: PersistedEvents | Hindered | NotTried,
    rows: PersistedRows,
    counters: Mapping[str, Count],
    judge: Judge,
) -> None:
    """That one listed persister writes."""
    found = writers.called(name)
    subject = found[0].id if found else name
    judge.saw(subject)
    tried = seen.tried.get(name) if isinstance(seen, PersistedEvents) else None
    if not found or not found[0].is_up:
        judge.unavailable(subject, f"{name}, which persists events, {'is not up' if found else 'does not exist'}")
    elif tried and tried.problem:
        judge.unavailable(
            subject,
            f"{name} does not persist an event in a room that falls to it: {tried.problem}"
            if tried.room_id
            else f"whether {name} persists events was not seen: no room could be made: {tried.problem}",
            observed=tried.problem,
            expected="an event that is sent is persisted by the one its room falls to",
            remedy=f"read the log of {name}; compare {LIST} in every process",
        )
    elif tried and tried.wrote and tried.wrote != (name,):
        judge.wrong(
            subject,
            f"{_and(each for each in tried.wrote if each != name)} persisted an event that falls to {name}",
            observed=f"instance_name of the row: {', '.join(tried.wrote)}",
            expected=f"{name}, by the hash of the room's id over {LIST}",
            cause="the processes have different lists, or another order",
            remedy=SAME,
        )
    elif not (tried and tried.room_id and not tried.unseen) and not _wrote(found, rows, counters, LATELY):
        _not_seen(name, subject, seen, tried, judge, once=_wrote(found, rows, counters))


def _wrote(
    found: Iterable[SynapseProcess],
    rows: PersistedRows,
    counters: Mapping[str, Count],
    within: timedelta | None = None,
) -> bool:
    return any(has_written(each, rows, counters, within) for each in found)


def _not_seen(
    name: str,
    subject: str,
    seen: PersistedEvents | Hindered | NotTried,
    tried: Persisting | None,
    judge: Judge,
    *,
    once: bool,
) -> None:
    """Neither an event of ours nor one of the users' lately. ``once``: one since the process started, whenever that was."""
    if once:
        minutes = LATELY.total_seconds() / 60
        line = f"{name} has persisted events since it started, and none was seen within the last {minutes:.0f} minutes"
        judge.unproven(subject, f"{line}: {_why_none(seen, tried)}")
        return
    line = f"{name} was not seen to persist an event since it started"
    if isinstance(seen, NotTried):
        if seen.barred_by is BarredBy.RIGHT:
            judge.unknown(subject, f"{line}: {seen.reason}")
        else:
            judge.unproven(subject, f"{line}; none is sent to it: {seen.reason}")
    elif isinstance(seen, Hindered):
        judge.unknown(subject, f"{line}: {seen.problem}", needs=tuple(filter(None, (subject, seen.where))))
    elif tried and tried.unseen:
        judge.unknown(subject, f"{line}: {tried.unseen}")
    else:
        why = "no room of the probe user falls to it yet" if tried and tried.roomless else "nothing fell to it"
        judge.unproven(subject, f"{line}: {why}", remedy="run again: each run makes a few rooms until one does")


def _why_none(seen: PersistedEvents | Hindered | NotTried, tried: Persisting | None) -> str:
    """Why no event of ours was persisted by it."""
    if isinstance(seen, NotTried):
        return seen.reason
    if isinstance(seen, Hindered):
        return seen.problem
    if tried and tried.roomless:
        return "no room of the probe user falls to it yet"
    return (tried.unseen if tried else "") or "nothing fell to it"


def _others(writers: Writers, rows: PersistedRows, counters: Mapping[str, Count], judge: Judge) -> None:
    """Who persists and by its own configuration must not, or is no process of this deployment at all."""
    known = {each.instance for each in writers.processes}
    for process in writers.processes:
        if process.instance in writers.lists[process.id][EVENTS] or not process.runs:
            continue
        row, counted = rows.of(process.instance), counters.get(process.id)
        by_rows = row and process.started and row.newest > process.started
        if by_rows or (counted and counted.number):
            judge.wrong(
                process.id,
                f"{process.instance} persists events and is not in {LIST}",
                observed=f"{row.events} of the newest rows, the last at {row.newest:%Y-%m-%d %H:%M:%SZ}"
                if row and by_rows
                else f"{counted.number if counted else 0} events since it started",
                expected="only the persisters that are listed write",
                cause=f"{process.instance} was started with another {LIST} than its file holds now",
                remedy="restart every Synapse process after a change of the list",
            )
    started = [each.started for each in writers.processes if each.runs]
    if not started or None in started:
        return
    newest = max(each for each in started if each)
    for row in rows.rows:
        if row.instance not in known and row.newest > newest:
            judge.wrong(
                row.instance,
                f"{row.instance} persists events and is no process of this deployment",
                observed=f"{row.events} of the newest rows, the last at {row.newest:%Y-%m-%d %H:%M:%SZ}",
                expected="only the persisters that are listed write",
                cause="another Synapse works on the same database",
                remedy=f"stop whatever calls itself {row.instance}",
            )


def _unseen(writers: Writers, rows: PersistedRows, counters: Mapping[str, Count] | NotTried, judge: Judge) -> None:
    """That nobody else writes is seen by rows or by counters: one of them is enough."""
    if not rows.problem and not rows.unseen:
        return
    why = rows.problem or rows.unseen
    if isinstance(counters, NotTried):
        judge.unknown("who persists", f"whether anybody else persists events was not seen: {counters.reason}")
    elif blind := _uncounted(writers, counters):
        judge.unproven("who persists", f"whether {blind[0]} persists events was not seen: {why}; {blind[1]}")


def _uncounted(writers: Writers, counters: Mapping[str, Count]) -> tuple[str, str] | None:
    """The first process that is up whose counter is not known, and why."""
    for process in writers.processes:
        counted = counters.get(process.id)
        if process.is_up and (counted is None or counted.number is None):
            return process.instance, counted.problem if counted else "it was not asked"
    return None


def _who(processes: Sequence[SynapseProcess]) -> str:
    return several(each.instance for each in processes)


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
