"""What each process has sent to other homeservers since it started: who sends that must not, and the weaker way where no canary
can stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.metrics import read_metrics
from postflight.probes.probe import probe

#: Not there before the first transaction; 1.163 labels it with server_name. Seen on 1.119 and 1.163.
SENT = re.compile(r"^synapse_federation_client_sent_transactions_total(?:\{[^}]*\})?\s+([0-9.e+]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sent:
    """Transactions since the process started, None where it could not be asked: ``problem`` says why, ``silent``
    that nobody could, as it serves no metrics."""

    transactions: int | None
    problem: str = ""
    silent: bool = False


@probe(limit=Limit.INSIDE, reaches=True)
def federation_counters(deployment: Deployment, access: Access) -> Mapping[str, Sent]:
    """The transactions that each Synapse process has sent, by its own metrics. By process id."""
    return counters_of(deployment, access)


def counters_of(deployment: Deployment, access: Access) -> Mapping[str, Sent]:
    processes = [each for each in deployment.synapse if each.config is not None]

    def asker(process: SynapseProcess) -> Callable[[], Sent]:
        return lambda: _ask(access, process)

    outcomes = in_threads([asker(each) for each in processes], Limit.INSIDE - 1)
    found: dict[str, Sent] = {}
    for process, outcome in zip(processes, outcomes, strict=True):
        error = outcome.exception()
        found[process.id] = Sent(None, str(error) or type(error).__name__) if error else outcome.result()
    return found


def _ask(access: Access, process: SynapseProcess) -> Sent:
    """Raises OSError when it does not answer."""
    text = read_metrics(access, process)
    if text is None:
        return Sent(None, "it serves no metrics", silent=True)
    return Sent(int(sum(map(float, SENT.findall(text)))))
