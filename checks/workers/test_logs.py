from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from postflight.check import check
from postflight.deployment.federation import SENDING
from postflight.deployment.known_bad import Follows, KnownBad
from postflight.deployment.log_lines import Record
from postflight.deployment.log_meaning import known, strange
from postflight.deployment.log_shapes import exception_of, headline, shape
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, names_of
from postflight.probes.logs import ProcessLog
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: So many kinds of unknown errors are told one by one.
MOST = 5


@check(
    "workers.logs",
    severity=Severity.MAJOR,
    remedy="do what the failure says of the line; read the log of the process that is named around it",
    blind_spots="what was logged before this run began is counted beside what goes on, as far back as an hour, the"
    " process's start or some thousand lines, and judged only where nothing but a restart ends it; what is logged to a"
    " file, or not at the level that is set; what the kubelet has rotated away; a connection to PostgreSQL, Redis or"
    " another homeserver that was lost and made anew",
)
def test_no_synapse_process_logs_what_is_known_to_be_bad(
    deployment: Deployment, process_logs: tuple[ProcessLog, ...], judge: Judge
) -> None:
    """Much that goes wrong between the processes is answered with success and stands in a log only: rows that are not
    written, streams that nobody hears, media that stay on one pod's disk."""
    _not_seen(deployment, process_logs, judge)
    bad: dict[tuple[str, Side, str], _Bad] = {}
    other: dict[tuple[str, str, str], _Lines] = {}
    for log in process_logs:
        for record in (*log.before, *log.records):
            if row := known(record):
                what = _what(row, record)
                found: _Lines = bad.setdefault((row.name, log.process.side, what), _Bad(row=row, what=what))
                found.add(log, record, counts=row.lasting)
            elif strange(record) and log.process.is_up:
                kind = (record.logger, headline(record), exception_of(record))
                other.setdefault(kind, _Lines()).add(log, record)
    for each in bad.values():
        if each.now:
            _say(each, deployment, judge)
    _others([each for each in other.values() if each.now], judge)


@dataclass(slots=True)
class _Lines:
    """Records of one kind: those that count, with their log, and how many more there were before the run, which was
    read as far back as the logs of those that have them."""

    now: list[tuple[ProcessLog, Record]] = field(default_factory=list)
    before: int = 0

    def add(self, log: ProcessLog, record: Record, counts: bool = False) -> None:
        if counts or record.at >= log.since:
            self.now.append((log, record))
        else:
            self.before += 1

    @property
    def processes(self) -> list[SynapseProcess]:
        return list({log.process.id: log.process for log, _ in self.now}.values())

    @property
    def times(self) -> str:
        """How often, within how long, and before that."""
        log, first = self.now[0]
        within = f" in the {(log.read - log.since).total_seconds():.0f} s since this run began" if log.read else ""
        if first.at < log.since:
            within = f" from {first.at:%H:%M:%SZ} on"
        reach = max((log.reach for log, _ in self.now if log.reach), default=None)
        back = f" back to {reach:%H:%M:%SZ}" if reach else ""
        never = f", never before{back}" if back and first.at >= log.since else ""
        return f"{_times(len(self.now))}{within}" + (f", {_times(self.before)} before{back}" if self.before else never)


@dataclass(slots=True, kw_only=True)
class _Bad(_Lines):
    """Records that fit a row of the table."""

    row: KnownBad
    what: str


def _not_seen(deployment: Deployment, logs: Sequence[ProcessLog], judge: Judge) -> None:
    read = {each.process.id for each in logs}
    for process in deployment.synapse:
        if process.id not in read or not process.is_up:
            line = f"{process.workload_name} is not up: what it would log at work is not to be seen"
            judge.unavailable(process.id, line)
    for log in logs:
        name = log.process.name
        if log.problem:
            judge.unknown(log.process.id, f"the log of {name} could not be read: {log.problem}")
            continue
        judge.saw(log.process.id, *([f"log of {name} since {log.reach:%H:%M:%SZ}"] if log.reach else []))
        if not log.process.is_up:
            continue
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
    log, record = found.now[0]
    ids = tuple(each.id for each in found.processes)
    chance = row.again and len(found.now) + found.before < 2
    say = judge.warn if chance else judge.wrong if row.follows is Follows.NOTHING else judge.unavailable
    say(
        log.process.id,
        f"{names_of(found.processes)} {row.says.format(what=found.what)}",
        observed=f"logged {found.times}; {_told(record)}",
        expected="no line that is known to be bad (one of the table of workers.logs)",
        cause=f"{'once it may be chance; else ' if chance else ''}{row.cause} ({row.source})",
        remedy=row.remedy,
        evidence=_evidence(record),
        needs=(*ids, *_beneath(row, deployment)),
        stops=ids if row.stops and not chance else (),
    )


def _beneath(row: KnownBad, deployment: Deployment) -> Iterable[str]:
    """What the line may follow from, beside the processes that log it."""
    if row.follows is Follows.SENDING:
        return (SENDING,)
    if row.follows is Follows.CALLS:
        return tuple(each.id for each in deployment.calls.jwt_services)
    if row.follows is Follows.STORE:
        return tuple(each.id for each in deployment.stores)
    return ()


def _others(kinds: list[_Lines], judge: Judge) -> None:
    kinds.sort(key=lambda each: len(each.now), reverse=True)
    for found in kinds[:MOST]:
        log, record = found.now[0]
        exception = exception_of(record)
        judge.warn(
            log.process.id,
            f"{names_of(found.processes)} logged an error that is in no table: {headline(record)}"
            + (f" ({exception.partition(':')[0]})" if exception else ""),
            observed=f"{found.times}; {_told(record)}",
            expected="no error while the verifier is at work",
            remedy="read what stands around it in the log; look for the line in the issues of element-hq/synapse",
            evidence=_evidence(record),
        )
    if rest := kinds[MOST:]:
        log, record = rest[0].now[0]
        number = sum(len(each.now) for each in rest)
        line = f"{len(rest)} more kinds of errors that are in no table were logged, {_times(number)} in all"
        judge.warn(log.process.id, line, observed=f"the first of them: {_told(record)}")


def _what(row: KnownBad, record: Record) -> str:
    """What the line is about, by the pattern's own group: a part of Synapse or of its database, nobody's words."""
    found: Mapping[str, str | None] = {}
    if match := row.pattern.search(record.text):
        found = match.groupdict()
    return shape(found.get("what") or "")


def _told(record: Record) -> str:
    """When and by whom, and the line without what is anybody's."""
    return f"{record.level.name} by {record.logger or 'an unnamed logger'} at {record.at:%H:%M:%SZ}: {headline(record)}"


def _evidence(record: Record) -> tuple[str, ...]:
    return tuple(filter(None, (headline(record), exception_of(record))))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
