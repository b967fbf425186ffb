"""What the Synapse processes logged while the verifier was at work, and in the time before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.log_lines import Record, first_of, read
from postflight.deployment.log_meaning import wanted
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import Right, probe

#: How far back before the run is looked, within what a process has logged since it began: of that the last lines.
BEFORE = timedelta(hours=1)
LINES = 4000
BYTES = 2**20
#: Of the run itself more is read: a busy process logs some 10 KiB a second. Of all processes together no more than TOTAL.
BYTES_OF_RUN = 2**22
TOTAL = 2**26


@dataclass(frozen=True, slots=True)
class ProcessLog:
    """What was kept of the log of a process's present container (from WARNING on), told apart by ``since``, when the run
    began: ``before`` are the records of the time before, as far back as ``reach``. It was read at ``read``; ``cut`` is
    the time up to which the run was read where it was more than could be; ``silent``: its standard output holds nothing,
    from its start on; ``understood`` is False where no line is of a form that is known. ``problem`` says why it could not
    be read."""

    process: SynapseProcess
    since: datetime
    records: tuple[Record, ...] = ()
    before: tuple[Record, ...] = ()
    reach: datetime | None = None
    read: datetime | None = None
    cut: datetime | None = None
    silent: bool = False
    understood: bool = True
    problem: str = ""


@probe(limit=Limit.KUBERNETES, rights=(Right("get", "pods/log"),), leaves=True)
def process_logs(api: Api, deployment: Deployment, snapshot: Snapshot) -> tuple[ProcessLog, ...]:
    """Read what every Synapse process that runs has logged since the run began, and up to an hour before."""
    running = [(each, each.pod) for each in deployment.synapse if each.pod and _runs(each, each.pod)]

    most = min(BYTES_OF_RUN, TOTAL // max(1, len(running)))

    def reader(process: SynapseProcess, pod: Pod) -> Callable[[], ProcessLog]:
        return lambda: _log(api, process, pod, snapshot.taken, most)

    found: list[ProcessLog] = []
    outcomes = in_threads([reader(*each) for each in running], Limit.KUBERNETES - 1)
    for (process, _), outcome in zip(running, outcomes, strict=True):
        try:
            found.append(outcome.result())
        except (ApiError, TimeoutError) as error:
            why = str(error) or "no answer within the time limit"
            found.append(ProcessLog(process, snapshot.taken, problem=why))
    return tuple(found)


def _runs(process: SynapseProcess, pod: Pod) -> bool:
    status = pod.container(process.container)
    return status is not None and status.running


def _log(api: Api, process: SynapseProcess, pod: Pod, began: datetime, most: int) -> ProcessLog:
    # The API server gives the oldest first: what does not fit is the newest, so the run is asked for by itself.
    lines, cut = _lines(api, process, pod, began, most)
    run = read(lines, wanted)
    back = max(filter(None, (began - BEFORE, process.started)))
    earlier, short = (
        _lines(api, process, pod, back, min(BYTES, most), tailLines=str(LINES)) if back < began else ([], False)
    )
    past = read(earlier, wanted)
    # Where these are all the lines that were asked for there may be more before them.
    reach = first_of(earlier) if short or len(earlier) >= LINES else back
    return ProcessLog(
        process,
        began,
        tuple(each for each in run.kept if each.at >= began),
        tuple(each for each in past.kept if each.at < began),
        reach=min(reach or began, began),
        read=api.now(),
        cut=run.until if cut else None,
        silent=not lines and not earlier and not _ever(api, process, pod),
        understood=any(each.understood for each, of in ((run, lines), (past, earlier)) if of or not (lines or earlier)),
    )


def _lines(
    api: Api, process: SynapseProcess, pod: Pod, since: datetime, most: int, **query: str
) -> tuple[list[str], bool]:
    """The lines of a process's present container from a moment on, each after its time, and whether there were more than
    so many bytes."""
    moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = {"container": process.container, "timestamps": "true", "sinceTime": moment, "limitBytes": str(most)}
    lines = api.log(POD.path(pod.namespace, pod.name, "log"), **asked, **query)
    size = sum(len(each.encode()) + 1 for each in lines)
    return lines, size >= most - 1


def _ever(api: Api, process: SynapseProcess, pod: Pod) -> bool:
    """Whether it has logged anything to its standard output: Synapse begins with some lines at WARNING."""
    path = POD.path(pod.namespace, pod.name, "log")
    return bool(api.log(path, container=process.container, tailLines="1"))
