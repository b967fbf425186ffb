"""Single tries of a connection from a pod: whether the other end was reached, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postflight.limits import Limit

#: The environment of every pod says where the API server is (kubelet, 1.34).
API_SERVER = "$KUBERNETES_SERVICE_HOST"
NAME_SERVICE = "the name service"
API_PORT, NAME_PORT = 443, 53
#: A name that every cluster has; what is answered does not matter.
NAME = "kubernetes.default.svc.cluster.local"
#: What a system says of a packet that something on the way forbids.
FORBIDDEN = ("timed out", "unreachable", "No route to host", "prohibited", "not permitted", "Permission denied")


class Met(StrEnum):
    """What came of a try. A refusal comes from the other end, so that was reached; silence is what a policy makes of it."""

    OPEN = "open"
    SHUT = "shut"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Tried:
    """One try from a pod of a workload. ``problem`` is the system's word."""

    workload: str
    pod: str
    host: str
    port: int
    met: Met
    problem: str = ""


def ask(host: str, port: int) -> dict[str, Any]:
    """What the outpost's ``connect`` takes: one try, as short as is still sure."""
    plain = {"host": host, "port": port, "times": 1, "redis": False, "password": "", "once": Limit.SHUT}
    return {**plain, "name": NAME} if host == NAME_SERVICE else plain


def met(said: dict[str, Any]) -> Met:
    if said["seen"]:
        return Met.OPEN
    problem = str(said["problem"])
    if "refused" in problem:
        return Met.OPEN
    return Met.SHUT if any(each in problem for each in FORBIDDEN) else Met.UNCLEAR


def tried(
    workload: str, pod: str, asks: Iterable[dict[str, Any]], answers: Sequence[dict[str, Any]]
) -> tuple[Tried, ...]:
    """The tries, with what the outpost said of each."""
    return tuple(
        Tried(workload, pod, str(each["host"]), int(each["port"]), met(said), str(said["problem"]))
        for each, said in zip(asks, answers, strict=True)
    )
