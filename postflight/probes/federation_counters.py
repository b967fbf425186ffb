"""What each process has sent to other homeservers since it started: who sends that must not, and the weaker way where no canary
can stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes.metrics import SENT, Numbers, counts, numbers_of
from postflight.probes.probe import probe


@dataclass(frozen=True, slots=True)
class Sent:
    """Transactions since the process started, None where it could not be asked: ``problem`` says why, ``silent``
    that nobody could, as it serves no metrics."""

    transactions: int | None
    problem: str = ""
    silent: bool = False


@probe(limit=Limit.INSIDE)
def federation_counters(process_numbers: Mapping[str, Numbers]) -> Mapping[str, Sent]:
    """The transactions that each Synapse process has sent, by its own metrics. By process id."""
    return _sent(process_numbers)


def counters_of(deployment: Deployment, access: Access) -> Mapping[str, Sent]:
    """The same, asked now."""
    return _sent(numbers_of(deployment, access))


def _sent(numbers: Mapping[str, Numbers]) -> Mapping[str, Sent]:
    return {id: Sent(each.number, each.problem, each.silent) for id, each in counts(numbers, SENT).items()}
