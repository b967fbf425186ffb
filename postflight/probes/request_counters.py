"""How many requests each Synapse process has taken in and answered, by method, servlet and status.

Source: synapse/http/site.py and request_metrics.py, 1.119 and 1.163. ``requests_received`` moves as a request arrives,
``response_time_seconds`` once its answer is written, in the same turn of the reactor: before the answer leaves the
process, as a rule. The latter is left out where the logging context has changed meanwhile ("Context have unexpectedly
changed"). Both begin at nothing with each process, and a counter is not there before it first moves. A path that a
process does not know is counted under the name of the resource that it ended at (synapse/http/server.py:
``JsonResource`` and what derives from it). ``process_start_time_seconds`` is prometheus_client's own, on Linux.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.parts import SynapseProcess
from postflight.probes.metrics import read_metrics

LINE = re.compile(
    r"^synapse_http_server_(response_time_seconds_count|requests_received_total)\{([^}]*)\}\s+([0-9.e+]+)", re.MULTILINE
)
ANSWERED = "response_time_seconds_count"
BEGAN = re.compile(r"^process_start_time_seconds\s+([0-9.e+]+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
UNKNOWN = re.compile(
    r"(ClientRest|AdminRest|MediaRepository|Key|Json|\w*Unrecogni[sz]edRequest)Resource|TransportLayerServer"
)
LATE = "no answer in time"
#: Method, servlet, status.
Key = tuple[str, str, int]
#: Method, servlet.
Kind = tuple[str, str]
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Look:
    """What a process has counted since it ``began`` (seconds since 1970, None where it does not say)."""

    answered: Mapping[Key, int] = field(default_factory=dict)
    received: Mapping[Kind, int] = field(default_factory=dict)
    began: float | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What one process counted between two looks: requests ``answered``, by method, servlet and status, and
    ``received``; ``known`` are the requests that it has ever counted. ``problem`` says why that is not known, ``silent``
    that nobody could know, as it serves no metrics; ``restarted``: what it counted before it began anew is lost."""

    process: SynapseProcess
    answered: Mapping[Key, int] = field(default_factory=dict)
    received: Mapping[Kind, int] = field(default_factory=dict)
    known: frozenset[Kind] = frozenset()
    problem: str = ""
    silent: bool = False
    restarted: bool = False

    def of(self, method: str, servlet: str, statuses: Sequence[int]) -> int:
        """The requests for one servlet that were answered with one of these."""
        return sum(self.answered.get((method, servlet, status), 0) for status in statuses)

    def unknown(self, method: str) -> int:
        """The requests that it did not know."""
        return sum(
            count
            for (how, servlet, status), count in self.answered.items()
            if how == method and status in (404, 405) and UNKNOWN.fullmatch(servlet)
        )


def totals(text: str) -> Look:
    """The counters in the text of a metrics listener, those that differ in other labels added up."""
    answered: Counter[Key] = Counter()
    received: Counter[Kind] = Counter()
    for which, labels, value in LINE.findall(text):
        named = dict(LABEL.findall(labels))
        kind, code = (named.get("method", ""), named.get("servlet", "")), named.get("code", "")
        if which != ANSWERED:
            received[kind] += int(float(value))
        elif code.isdigit():
            answered[(*kind, int(code))] += int(float(value))
    began = BEGAN.search(text)
    return Look(answered, received, float(began[1]) if began else None)


def between(process: SynapseProcess, first: Look, last: Look) -> Counted:
    """What was counted from one look to the next. Of a process that began anew in between only what came after that is
    known: its counters went back, or it says so itself."""
    begun = (first.began, last.began)
    anew = None not in begun and begun[0] != begun[1]
    anew = anew or any(count > last.answered.get(key, 0) for key, count in first.answered.items())
    earlier = Look() if anew else first
    return Counted(
        process,
        _moved(earlier.answered, last.answered),
        _moved(earlier.received, last.received),
        frozenset({(method, servlet) for method, servlet, _ in last.answered} | set(last.received)),
        problem="it began anew meanwhile" if anew else "",
        restarted=anew,
    )


def counted(process: SynapseProcess, first: Look | Counted, last: Look | Counted) -> Counted:
    """The same of two looks of which either may have failed."""
    if isinstance(first, Counted):
        return first
    return last if isinstance(last, Counted) else between(process, first, last)


def _moved(before: Mapping[K, int], after: Mapping[K, int]) -> Mapping[K, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


def read_all(access: Access, processes: Sequence[SynapseProcess], limit: float) -> list[Look | Counted]:
    """The counters of each process now; what says why not, where it could not be asked."""

    def asker(process: SynapseProcess) -> Callable[[], Look | Counted]:
        return lambda: _read(access, process)

    found: list[Look | Counted] = []
    for process, outcome in zip(processes, in_threads([asker(each) for each in processes], limit), strict=True):
        error = outcome.exception()
        late = Counted(process, problem=str(error) or LATE)
        found.append(late if error else outcome.result())
    return found


def _read(access: Access, process: SynapseProcess) -> Look | Counted:
    """Raises OSError or ApiError when it does not answer."""
    text = read_metrics(access, process)
    return Counted(process, problem="it serves no metrics", silent=True) if text is None else totals(text)
