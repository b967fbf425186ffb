"""How many requests each Synapse process has answered, by method, servlet and status.

Source: synapse/http/request_metrics.py, 1.119 and 1.163 (``response_timer``; the latter labels it with server_name too).
A request is counted before its answer leaves the process. A path that a process does not know is counted under the name
of the resource that it ended at (synapse/http/server.py: ``JsonResource`` and what derives from it).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.parts import SynapseProcess
from postflight.probes.metrics import read_metrics

LINE = re.compile(r"^synapse_http_server_response_time_seconds_count\{([^}]*)\}\s+([0-9.e+]+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
UNKNOWN = re.compile(
    r"(ClientRest|AdminRest|MediaRepository|Key|Json|\w*Unrecogni[sz]edRequest)Resource|TransportLayerServer"
)
#: Method, servlet, status.
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """What one process answered in between: requests by method, servlet and status. ``problem`` says why that is not
    known, ``silent`` that nobody could know, as it serves no metrics."""

    process: SynapseProcess
    answered: Mapping[Key, int] = field(default_factory=dict)
    problem: str = ""
    silent: bool = False

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


def totals(text: str) -> Mapping[Key, int]:
    """The counters in the text of a metrics listener, those that differ in other labels added up."""
    found: Counter[Key] = Counter()
    for labels, value in LINE.findall(text):
        named = dict(LABEL.findall(labels))
        code = named.get("code", "")
        if code.isdigit():
            found[(named.get("method", ""), named.get("servlet", ""), int(code))] += int(float(value))
    return found


def between(before: Mapping[Key, int], after: Mapping[Key, int]) -> Mapping[Key, int]:
    """What was counted from one look to the next. A counter that went back began again with its process."""
    moved = {key: count - before.get(key, 0) if count >= before.get(key, 0) else count for key, count in after.items()}
    return {key: count for key, count in moved.items() if count}


def read_all(access: Access, processes: Sequence[SynapseProcess], limit: float) -> list[Mapping[Key, int] | Counted]:
    """The counters of each process now; what says why not, where it could not be asked."""

    def asker(process: SynapseProcess) -> Callable[[], Mapping[Key, int] | Counted]:
        return lambda: _read(access, process)

    found: list[Mapping[Key, int] | Counted] = []
    for process, outcome in zip(processes, in_threads([asker(each) for each in processes], limit), strict=True):
        error = outcome.exception()
        late = Counted(process, problem=str(error) or "no answer in time")
        found.append(late if error else outcome.result())
    return found


def _read(access: Access, process: SynapseProcess) -> Mapping[Key, int] | Counted:
    """Raises OSError or ApiError when it does not answer."""
    text = read_metrics(access, process)
    return Counted(process, problem="it serves no metrics", silent=True) if text is None else totals(text)
