"""Who writes which stream, by the configuration in effect in each Synapse process.

Source: synapse/config/workers.py (``WriterLocations``, ``WorkerConfig.read_config``), 1.119 and 1.163.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.cluster.kinds import AUTOSCALER
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.listeners import public_ports
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, workload_id

SETTING = "stream_writers"
MAP = "instance_map"
MASTER = "master"
#: What main is called in instance_map; Synapse calls it ``MASTER`` everywhere else.
MAIN = "main"
EVENTS = "events"
#: All that have writers; 1.119 has the first seven.
STREAMS = (
    EVENTS,
    "typing",
    "to_device",
    "account_data",
    "receipts",
    "presence",
    "push_rules",
    "device_lists",
    "thread_subscriptions",
    "quarantined_media_changes",
)
#: Of which Synapse takes one writer and refuses to start with more.
SINGLE = frozenset({"typing", "to_device", "account_data", "presence", "push_rules"})
#: Settings that name processes for other work than writing a stream.
DUTIES = (
    "federation_sender_instances",
    "pusher_instances",
    "run_background_tasks_on",
    "notify_appservices_from_worker",
    "update_user_directory_from_worker",
    "media_instance_running_background_jobs",
    "outbound_federation_restricted_to",
)
PERSISTER = re.compile(r"event[-_ ]?(persister|writer)", re.IGNORECASE)

Lists = Mapping[str, tuple[str, ...]]
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process takes replication requests, by instance_map."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def same(self, other: Address) -> bool:
        """Whether both may mean one place: a name may be given with its domain or without."""
        short, long = sorted((self.host.rstrip("."), other.host.rstrip(".")), key=len)
        return self.port == other.port and (short == long or long.startswith(f"{short}."))


@dataclass(frozen=True, slots=True)
class WritersRefusal:
    """Why a process does not start with the writers that it is told of. ``unmapped`` names the writer that is missing from
    instance_map, "" where it is something else."""

    stream: str
    why: str
    unmapped: str = ""


@dataclass(frozen=True, slots=True)
class Writers:
    """The processes of the homeserver that users meet, and whom each takes to be the writers.

    By process id: ``lists`` has the instances of every stream in their order, ``addresses`` those of instance_map
    (main as ``master``), ``refusals`` why a process does not start with what is in effect.
    """

    processes: tuple[SynapseProcess, ...]
    lists: Mapping[str, Lists]
    addresses: Mapping[str, Mapping[str, Address]]
    refusals: Mapping[str, tuple[WritersRefusal, ...]]

    @property
    def sound(self) -> tuple[SynapseProcess, ...]:
        """The processes that start with what they take the writers to be, whether they are up or not."""
        return tuple(each for each in self.processes if not self.refusals.get(each.id))

    def listed(self) -> dict[str, tuple[str, ...]]:
        """Every instance that some sound process takes for a writer, with the streams it writes."""
        found: dict[str, dict[str, None]] = {}
        for process in self.sound:
            for stream, names in self.lists[process.id].items():
                for name in names:
                    found.setdefault(name, {})[stream] = None
        return {name: tuple(streams) for name, streams in found.items()}

    def distinct(self, stream: str) -> dict[tuple[str, ...], list[SynapseProcess]]:
        """Each list of a stream's writers that is in effect in a sound process, and in which ones."""
        found: dict[tuple[str, ...], list[SynapseProcess]] = {}
        for process in self.sound:
            found.setdefault(self.lists[process.id][stream], []).append(process)
        return found

    def called(self, instance: str) -> tuple[SynapseProcess, ...]:
        return tuple(each for each in self.processes if each.instance == instance)

    def persisters(self, main: SynapseProcess) -> tuple[str, ...]:
        """Those that main takes to persist events, each once: by the list every request goes by."""
        return tuple(dict.fromkeys(self.lists[main.id][EVENTS]))

    def meant(self) -> tuple[SynapseProcess, ...]:
        """The processes that are there to persist events: by their name, or because other processes are told where
        they take requests, and they have no other work and answer no client (docs/workers.md, 1.163: the writers of
        other streams do)."""
        listed, mapped = self.listed(), {name for each in self.addresses.values() for name in each}
        return tuple(
            each
            for each in self.processes
            if not each.is_main
            and (
                PERSISTER.search(f"{each.instance} {each.workload_name}")
                or (each.instance in mapped - set(listed) and not self._works(each))
            )
        )

    def _works(self, process: SynapseProcess) -> bool:
        if public_ports(process):
            return True
        return any(
            process.instance in _names((each.config or {}).get(duty)) for each in self.processes for duty in DUTIES
        )


def writers_of(deployment: Deployment) -> Writers:
    """Of the homeserver that users meet; processes whose configuration is not known are left out."""
    processes = tuple(each for each in deployment.synapse if each.side is Side.MAIN and each.config is not None)
    return Writers(
        processes,
        {each.id: lists_of(each.config or {}) for each in processes},
        {each.id: addresses_of(each.config or {}) for each in processes},
        {each.id: found for each in processes if (found := refusals_of(each, each.config))},
    )


def lists_of(config: Config) -> Lists:
    """The writers of each stream, in their order; who is not said is main."""
    given = config.get(SETTING)
    named: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    return {stream: _names(named[stream]) if stream in named else (MASTER,) for stream in STREAMS}


def addresses_of(config: Config) -> Mapping[str, Address]:
    """Where each instance takes replication requests; those on a unix socket have no address."""
    given = config.get(MAP)
    found: dict[str, Address] = {}
    for name, each in (given if isinstance(given, Mapping) else {}).items():
        if isinstance(each, Mapping) and each.get("host") and str(each.get("port") or "").isdigit():
            found[MASTER if name == MAIN else str(name)] = Address(str(each["host"]), int(each["port"]))
    return found


def refusals_of(process: SynapseProcess, config: Config | None) -> tuple[WritersRefusal, ...]:
    """Why Synapse does not start a process with these writers (ConfigError, exit 1); nothing where they are not known."""
    if config is None:
        return ()
    given = config.get(MAP)
    mapped = {str(each) for each in given} if isinstance(given, Mapping) else set()
    found: list[WritersRefusal] = []
    if not process.is_main and MAIN not in mapped:
        found.append(WritersRefusal("", f"{MAP} does not say where main is"))
    for stream, names in lists_of(config).items():
        missing = [name for name in dict.fromkeys(names) if name != MASTER and name not in mapped]
        found += [WritersRefusal(stream, f"{name} is to write {stream} and is not in {MAP}", name) for name in missing]
        if not names:
            found.append(WritersRefusal(stream, f"{SETTING}.{stream} names nobody"))
        if len(names) > 1 and stream in SINGLE:
            found.append(
                WritersRefusal(stream, f"{SETTING}.{stream} names {' and '.join(names)}, and may name one only")
            )
    return tuple(found)


def changed(process: SynapseProcess) -> tuple[str, ...]:
    """The streams whose writers a restart would take otherwise than they are in effect, and ``instance_map``
    where that holds for an address; none where the spec does not tell what a restart would take."""
    if process.next_config is None or process.config is None:
        return ()
    now, then = lists_of(process.config), lists_of(process.next_config)
    found = [f"{SETTING}.{stream}" for stream in STREAMS if now[stream] != then[stream]]
    if addresses_of(process.config) != addresses_of(process.next_config):
        found.append(MAP)
    return tuple(found)


def unsure(process: SynapseProcess) -> bool:
    """Whether a file of the configuration came under the process after it had started: it may hold another list."""
    return bool(process.refreshed and process.started and process.refreshed > process.started)


@dataclass(frozen=True, slots=True)
class Scaled:
    """An autoscaler whose target holds writers, by instance, and the number of pods that it may make of it."""

    autoscaler: str
    workload: str
    workload_name: str
    writers: tuple[SynapseProcess, ...]
    minimum: int
    maximum: int


def scaled(snapshot: Snapshot, writers: Writers) -> Iterator[Scaled]:
    """The autoscalers that may change the number of a workload's pods, of which some are writers."""
    listed = writers.listed()
    for each in snapshot.all(AUTOSCALER):
        target, meta = each["spec"]["scaleTargetRef"], each["metadata"]
        workload = workload_id(meta["namespace"], target["kind"], target["name"])
        mine = tuple(one for one in writers.processes if one.workload == workload and one.instance in listed)
        least, most = int(each["spec"].get("minReplicas") or 1), int(each["spec"]["maxReplicas"])
        if mine and least != most:
            yield Scaled(meta["name"], workload, target["name"], mine, least, most)


def _names(given: Any) -> tuple[str, ...]:
    """One name or a list of them, as Synapse takes both."""
    if isinstance(given, list | tuple):
        return tuple(map(str, given))
    return (str(given),) if given else ()
