"""Who sends to other homeservers, by the configuration in effect in each Synapse process.

Source: synapse/config/workers.py (``_worker_names_performing_this_duty``) and synapse/config/_base.py
(``ShardedWorkerHandlingConfig``), 1.119 and 1.163.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess

LIST = "federation_sender_instances"
MASTER = "master"
LEGACY_APP = "synapse.app.federation_sender"
SENDER = re.compile(r"federation[-_ ]?sender", re.IGNORECASE)
#: A part that is no object: who sends to other homeservers, as all processes together hold it.
SENDING = "sending/to other homeservers"


@dataclass(frozen=True, slots=True)
class Federation:
    """The processes of the homeserver that users meet, and whom each takes to be the senders.

    ``senders`` maps a process id to instance names in the order of its configuration;
    ``refused`` says why a process does not start with its configuration.
    """

    processes: tuple[SynapseProcess, ...]
    senders: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, str]

    def sends(self, process: SynapseProcess, destination: str) -> bool:
        """Whether a process holds itself to be the one that sends to a server name."""
        listed = self.senders.get(process.id, ())
        return process.id not in self.refused and bool(listed) and shard(listed, destination) == process.instance

    def senders_of(self, destination: str) -> tuple[SynapseProcess, ...]:
        return tuple(each for each in self.processes if self.sends(each, destination))

    @property
    def lists(self) -> tuple[tuple[str, ...], ...]:
        """Each distinct list of senders that is in effect somewhere."""
        return tuple(dict.fromkeys(self.senders[each.id] for each in self.processes if self.senders.get(each.id)))

    @property
    def effective(self) -> tuple[tuple[str, ...], ...]:
        """Each distinct list by which somebody sends: a process that runs finds itself in it."""
        return tuple(dict.fromkeys(self.senders[each.id] for each in self.processes if self._takes_part(each)))

    @property
    def meant(self) -> tuple[SynapseProcess, ...]:
        """The processes that are there for sending: by their app, their name, their workload's name or their list."""
        return tuple(
            each
            for each in self.processes
            if meant_to_send(each) or (each.instance != MASTER and self._takes_part(each))
        )

    def _takes_part(self, process: SynapseProcess) -> bool:
        return process.id not in self.refused and process.instance in self.senders.get(process.id, ())


def federation_of(deployment: Deployment) -> Federation:
    """Of the homeserver that users meet; processes whose configuration is not known are left out."""
    processes = tuple(each for each in deployment.synapse if each.side is Side.MAIN and each.config is not None)
    senders = {each.id: senders_by(each) for each in processes}
    refused = {each.id: why for each in processes if (why := _refusal(each, each.config or {}))}
    return Federation(processes, senders, refused)


def shard(instances: Sequence[str], destination: str) -> str:
    """The instance of a list that a server name falls to."""
    number = int.from_bytes(sha256(destination.encode()).digest(), "little")
    return instances[number % len(instances)]


def covering(lists: Iterable[Sequence[str]], names: Iterable[str]) -> tuple[str, ...]:
    """The fewest of the names, in order, by which every place in every list is met that any of them meets."""
    wanted: set[tuple[int, str]] = set()
    chosen: list[str] = []
    given = [each for each in lists if each]
    for name in names:
        met = {(number, shard(each, name)) for number, each in enumerate(given)}
        if met - wanted or not chosen:
            wanted |= met
            chosen.append(name)
    return tuple(chosen)


def nobody(name: str, federation: Federation) -> tuple[str, str]:
    """The headline and the cause where no process holds itself to be the sender."""
    ghosts = {listed for each in federation.lists for listed in each} - {each.instance for each in federation.processes}
    hit = [shard(each, name) for each in federation.lists if shard(each, name) in ghosts]
    if hit:
        headline = f"{hit[0]} is a sender that does not exist: what falls to it is sent by nobody"
        return headline, f"{LIST} names {hit[0]}, and no process is called that; {name} falls to it"
    refused = [f"{_of(federation, id).instance}: {why}" for id, why in federation.refused.items()]
    if refused:
        return f"nothing is sent to other homeservers: {refused[0]}", refused[0]
    if not federation.lists:
        headline = f"nothing is sent to other homeservers: send_federation is off and {LIST} is not set"
        return headline, "no process holds itself to be a sender"
    lists = "; ".join(", ".join(each) for each in federation.lists)
    return f"nobody sends to {name}: the processes disagree who does", f"{LIST} in effect: {lists}"


def why_twice(expected: tuple[SynapseProcess, ...], name: str, federation: Federation) -> str:
    if len(expected) < 2:
        return "by its configuration one process sends there; see the senders"
    said = "; ".join(
        f"{each.instance} takes the senders to be {' and '.join(federation.senders[each.id])}" for each in expected
    )
    return f"each holds itself to be the sender to {name}: {said}"


def why_idle(process: SynapseProcess, federation: Federation) -> str:
    """Why a process that is there for sending has nothing to send, "" where it has its share."""
    if refused := federation.refused.get(process.id):
        return refused
    if process.instance in federation.senders.get(process.id, ()):
        return ""
    is_set = (process.config or {}).get(LIST) is not None
    return f"{LIST} {'does not name it' if is_set else 'is not set'}"


def _of(federation: Federation, identity: str) -> SynapseProcess:
    return next(each for each in federation.processes if each.id == identity)


def is_sender(process: SynapseProcess) -> bool:
    """Whether a process takes itself to be one that sends to other homeservers."""
    return process.instance in senders_by(process)


def meant_to_send(process: SynapseProcess) -> bool:
    """Whether a process is there for sending, by its app, its name or its workload's name."""
    return process.app == LEGACY_APP or bool(SENDER.search(f"{process.instance} {process.workload_name}"))


def senders_by(process: SynapseProcess) -> tuple[str, ...]:
    """The instances that a process takes to be the senders, in the order of its configuration."""
    config = process.config or {}
    listed = config.get(LIST)
    if listed is not None:
        return tuple(map(str, listed))
    if process.app == LEGACY_APP:
        return (process.instance,)
    return (MASTER,) if config.get("send_federation", True) else ()


def _refusal(process: SynapseProcess, config: Mapping[str, Any]) -> str:
    legacy = process.app == LEGACY_APP and config.get(LIST) is None
    if legacy and config.get("send_federation", True):
        return f"{LEGACY_APP} refuses to start while send_federation is on"
    return ""
