"""What the Synapse processes logged while the verifier was at work, and in the minutes before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.known_bad import wanted
from postflight.deployment.log_lines import Record, Records, read
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import Right, probe

#: How far back before the run is looked, where that is not more than so many bytes.
BEFORE = timedelta(minutes=5)
BYTES = 2**20
#: Of the run itself more is read: a busy process logs some 10 KiB a second.
BYTES_OF_RUN = 2**22


@dataclass(frozen=True, slots=True)
class ProcessLog:
    """What was kept of a process's log (from WARNING on), told apart by ``since``, when the run began: ``before`` are the
    records of the minutes before. ``cut`` is the time up to which the run was read where it was more than could be;
    ``silent``: its standard output holds nothing, from its start on; ``understood`` is False where no line is of a form
    that is known. ``problem`` says why it could not be read."""

    process: SynapseProcess
    since: datetime
    records: tuple[Record, ...] = ()
    before: tuple[Record, ...] = ()
    cut: datetime | None = None
    silent: bool = False
    understood: bool = True
    problem: str = ""


@probe(limit=Limit.KUBERNETES, rights=(Right("get", "pods/log"),), leaves=True)
def process_logs(api: Api, deployment: Deployment, snapshot: Snapshot) -> tuple[ProcessLog, ...]:
    """Read what every Synapse process that runs has logged since the run began, and shortly before."""
    running = [(each, each.pod) for each in deployment.synapse if each.pod and _runs(each, each.pod)]

    def reader(process: SynapseProcess, pod: Pod) -> Callable[[], ProcessLog]:
        return lambda: _log(api, process, pod, snapshot.taken)

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


def _log(api: Api, process: SynapseProcess, pod: Pod, began: datetime) -> ProcessLog:
    # The API server gives the oldest first: what does not fit is the newest, so the run comes before what was.
    lines, cut = _lines(api, process, pod, began - BEFORE, BYTES)
    if cut:
        lines, cut = _lines(api, process, pod, began, BYTES_OF_RUN)
    seen: Records = read(lines, wanted)
    return ProcessLog(
        process,
        began,
        tuple(each for each in seen.kept if each.at >= began),
        tuple(each for each in seen.kept if each.at < began),
        cut=seen.until if cut else None,
        silent=not lines and not _ever(api, process, pod),
        understood=seen.understood,
    )


def _lines(api: Api, process: SynapseProcess, pod: Pod, since: datetime, most: int) -> tuple[list[str], bool]:
    """The lines of a process from a moment on, each after its time, and whether there were more than so many bytes."""
    moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = POD.path(pod.namespace, pod.name, "log")
    lines = api.log(path, container=process.container, timestamps="true", sinceTime=moment, limitBytes=str(most))
    size = sum(len(each.encode()) + 1 for each in lines)
    return lines, size >= most - 1


def _ever(api: Api, process: SynapseProcess, pod: Pod) -> bool:
    """Whether it has logged anything to its standard output: Synapse begins with some lines at WARNING."""
    path = POD.path(pod.namespace, pod.name, "log")
    return bool(api.log(path, container=process.container, tailLines="1"))
