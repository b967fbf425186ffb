import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from postflight.check import check
from postflight.deployment.federation import SENDING
from postflight.deployment.known_bad import Follows, KnownBad, known, strange
from postflight.deployment.log_lines import Record
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.logs import ProcessLog
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: So many kinds of unknown errors are told one by one.
MOST = 6
LENGTH = 240
#: What differs from one line to the next of the same kind: ids of Matrix, addresses in memory, numbers.
VARIES = re.compile(r"0x[0-9a-f]+|(?<!\w)[$!@#][\w.=/+-]+(?::[\w.-]+(?::\d+)?)?|\b[0-9a-f]{8,}\b|\d+")
REQUEST = re.compile(r"<\w*Request at .*?method='(\w+)' uri='([^'?]*)[^>]*>?")


@check(
    "workers.logs",
    severity=Severity.MAJOR,
    remedy="do what the failure says of the line; read the log of the process that is named around it",
    blind_spots="what was logged before this run began, but for what only a restart ends; what is logged to a file, or"
    " not at the level that is set; a connection to PostgreSQL or Redis that was lost and made anew",
)
def test_no_synapse_process_logs_what_is_known_to_be_bad(
    deployment: Deployment, process_logs: tuple[ProcessLog, ...], judge: Judge
) -> None:
    """Much that goes wrong between the processes is answered with success and stands in a log only: rows that are not
    written, streams that nobody hears, media that stay on one pod's disk."""
    _not_seen(deployment, process_logs, judge)
    bad: dict[tuple[str, Side, str], _Bad] = {}
    other: dict[tuple[str, str, str], list[tuple[SynapseProcess, Record]]] = {}
    for log in process_logs:
        for record in (*log.before, *log.records):
            now = record.at >= log.since
            if row := known(record):
                what = _what(row, record)
                found = bad.setdefault((row.name, log.process.side, _same(what)), _Bad(row, what))
                (found.now if now or row.lasting else found.before).append((log.process, record))
            elif now and strange(record) and log.process.is_up:
                kind = (record.logger, _same(record.first_line), _same(record.last_line))
                other.setdefault(kind, []).append((log.process, record))
    for found in bad.values():
        if found.now:
            _say(found, deployment, judge)
    _others(list(other.values()), judge)


@dataclass(slots=True)
class _Bad:
    """A row of the table and the records that fit it: those that count, and those of before the run."""

    row: KnownBad
    what: str
    now: list[tuple[SynapseProcess, Record]] = field(default_factory=list)
    before: list[tuple[SynapseProcess, Record]] = field(default_factory=list)


def _not_seen(deployment: Deployment, logs: Sequence[ProcessLog], judge: Judge) -> None:
    read = {each.process.id for each in logs}
    for process in deployment.synapse:
        if process.id not in read or not process.is_up:
            line = f"{process.workload_name} is not up: what it would log at work is not to be seen"
            judge.unavailable(process.id, line)
    for log in logs:
        name = log.process.pod.name if log.process.pod else log.process.workload_name
        if log.problem:
            judge.unknown(log.process.id, f"the log of {name} could not be read: {log.problem}")
            continue
        judge.saw(log.process.id)
        if log.silent:
            line = f"{name} logs nothing to its standard output: what it logs elsewhere was not seen"
            judge.unproven(log.process.id, line, remedy="let its log_config have a handler for the console")
        elif not log.understood:
            line = f"no line in the log of {name} names its level: what is an error there was not seen"
            judge.unproven(log.process.id, line, remedy="let its log_config name %(levelname)s and %(name)s")
        elif log.cut:
            line = f"{name} logs more than is read: of this run it was seen up to {log.cut:%H:%M:%SZ} only"
            judge.unproven(log.process.id, line, remedy="set its log level to INFO or above")


def _say(found: _Bad, deployment: Deployment, judge: Judge) -> None:
    row = found.row
    process, record = found.now[0]
    ids = tuple(dict.fromkeys(each.id for each, _ in found.now))
    earlier = f", and {_times(len(found.before))} in the minutes before" if found.before else ""
    say = judge.wrong if row.follows is Follows.NOTHING else judge.unavailable
    say(
        process.id,
        f"{_who(found.now)} {row.says.format(what=found.what)}",
        observed=f"logged {_times(len(found.now))}{earlier}, by {record.logger or 'an unnamed logger'}"
        f" at {record.at:%H:%M:%SZ}: {_short(record.first_line)}",
        expected="no line that is known to be bad (one of the table of workers.logs)",
        cause=f"{row.cause} ({row.source})",
        remedy=row.remedy,
        evidence=_evidence(record),
        needs=(*ids, *_beneath(row, deployment)),
        stops=ids if row.stops else (),
    )


def _beneath(row: KnownBad, deployment: Deployment) -> Iterable[str]:
    """What the line may follow from, beside the processes that log it."""
    if row.follows is Follows.SENDING:
        return (SENDING,)
    if row.follows is Follows.CALLS:
        return tuple(each.id for each in deployment.calls.jwt_services)
    return ()


def _others(kinds: list[list[tuple[SynapseProcess, Record]]], judge: Judge) -> None:
    kinds.sort(key=len, reverse=True)
    for found in kinds[:MOST]:
        process, record = found[0]
        judge.warn(
            process.id,
            f"{_who(found)} logged an error that is in no table: {_short(_plain(record.first_line))}",
            observed=f"{_times(len(found))} since this run began, by {record.logger or 'an unnamed logger'}"
            f" at {record.at:%H:%M:%SZ}{_ending(record)}",
            expected="no error while the verifier is at work",
            remedy="read what stands around it in the log; look for the line in the issues of element-hq/synapse",
            evidence=_evidence(record),
        )
    if rest := kinds[MOST:]:
        process, record = rest[0][0]
        number = sum(map(len, rest))
        line = f"{len(rest)} more kinds of errors that are in no table were logged, {_times(number)} in all"
        judge.warn(process.id, line, observed=f"the first of them: {_short(record.first_line)}")


def _what(row: KnownBad, record: Record) -> str:
    found: Mapping[str, str | None] = {}
    if match := row.pattern.search(record.text):
        found = match.groupdict()
    return _short(found.get("what") or "")


def _evidence(record: Record) -> tuple[str, ...]:
    lines = (record.first_line, record.last_line)
    return tuple(dict.fromkeys(_short(each) for each in lines if each))


def _ending(record: Record) -> str:
    return f", and ended with {_short(record.last_line)}" if record.last_line != record.first_line.strip() else ""


def _who(found: Sequence[tuple[SynapseProcess, Record]]) -> str:
    names = list(dict.fromkeys(each.pod.name if each.pod else each.workload_name for each, _ in found))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _plain(line: str) -> str:
    """With a request as its method and path."""
    return REQUEST.sub(r"\1 \2", line)


def _same(line: str) -> str:
    """What lines of one kind have in common."""
    return VARIES.sub("#", _plain(line))


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"
