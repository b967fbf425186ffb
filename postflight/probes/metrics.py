"""What Synapse processes say of themselves in numbers."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.exposition import series_in
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import probe

PATH = "/_synapse/metrics"
OK = 200
TRIES = 2
#: What is kept of some hundred thousand bytes. Seen on 1.119 and 1.163, which labels all but the first with
#: server_name; a counter is not there before it first moves.
POOL = "synapse_threadpool_max_threads"
SENT = "synapse_federation_client_sent_transactions_total"
PERSISTED = "synapse_storage_events_persisted_events_total"
SAMPLE = re.compile(rf"^({POOL}|{SENT}|{PERSISTED})(?:\{{([^}}]*)\}})?\s+([0-9.e+]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The samples of one process, by metric: labels and value. ``problem`` says why it could not be asked, and
    ``silent`` that nobody could, as it serves no metrics. ``series`` are the names of all that it serves."""

    samples: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    problem: str = ""
    silent: bool = False
    series: frozenset[str] = frozenset()

    def total(self, metric: str, having: str = "") -> int:
        """The sum over the samples of a metric whose labels hold a text; 0 where there is none."""
        return int(sum(value for labels, value in self.samples.get(metric, ()) if having in labels))


@dataclass(frozen=True, slots=True)
class Count:
    """What a process has counted since it started, None where it could not be asked: ``problem`` says why,
    ``silent`` that nobody could, as it serves no metrics."""

    number: int | None
    problem: str = ""
    silent: bool = False


@probe(limit=Limit.INSIDE, reaches=True)
def process_numbers(deployment: Deployment, access: Access) -> Mapping[str, Numbers]:
    """The numbers that each Synapse process reports of itself, asked once for all who want one. By process id."""
    return numbers_of(deployment, access)


def numbers_of(deployment: Deployment, access: Access) -> Mapping[str, Numbers]:
    """The same, asked now."""
    processes = [each for each in deployment.synapse if each.config is not None]

    def asker(process: SynapseProcess) -> Callable[[], Numbers]:
        return lambda: _ask(access, process)

    outcomes = in_threads([asker(each) for each in processes], Limit.INSIDE - 1)
    found: dict[str, Numbers] = {}
    for process, outcome in zip(processes, outcomes, strict=True):
        error = outcome.exception()
        problem = (str(error) or type(error).__name__) if error else ""
        found[process.id] = Numbers(problem=problem) if error else outcome.result()
    return found


def counts(numbers: Mapping[str, Numbers], metric: str) -> Mapping[str, Count]:
    """One counter of each process, by process id."""
    return {
        id: Count(None, each.problem, each.silent) if each.problem else Count(each.total(metric))
        for id, each in numbers.items()
    }


def _ask(access: Access, process: SynapseProcess) -> Numbers:
    """Raises OSError when it does not answer."""
    text = read_metrics(access, process)
    if text is None:
        return Numbers(problem="it serves no metrics", silent=True)
    samples: dict[str, tuple[tuple[str, float], ...]] = {}
    for metric, labels, value in SAMPLE.findall(text):
        samples[metric] = (*samples.get(metric, ()), (labels, float(value)))
    return Numbers(samples, series=series_in(text))


def read_metrics(access: Access, process: SynapseProcess) -> str | None:
    """The text that a process's metrics listener serves, None where it has none.

    An error is asked for once more: the numbers may have changed while they were read (element-hq/synapse#19961).
    Raises OSError when it does not answer.
    """
    port = port_of(process, "metrics")
    pod = process.pod
    if pod is None or not process.runs:
        raise OSError("it does not run")
    if port is None:
        return None
    with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
        for _ in range(TRIES):
            connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
            try:
                connection.request("GET", PATH, headers={"Host": "localhost"})
                answer = connection.getresponse()
                if answer.status == OK:
                    return answer.read().decode("utf-8", "replace")
            except http.client.HTTPException as error:
                raise OSError(f"its metrics port {port} does not speak HTTP: {type(error).__name__}") from error
            finally:
                connection.close()
        raise OSError(f"its metrics port {port} answers {answer.status}")
