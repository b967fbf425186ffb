"""What Redis servers and Sentinels say of themselves, and which of them belong together by that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from postflight.deployment.parts import RedisEndpoint, RedisGroup, RedisNode


@dataclass(frozen=True, slots=True)
class RedisAnswer:
    """What one Redis server says. ``problem`` is set, and the rest empty, when it could not be asked:
    ``refused`` when it answered with a refusal, ``unseen`` when that says nothing of the server.
    ``info`` is INFO's answer; ``evicting`` how many keys it evicted in the second after that, where it ever did;
    ``subscribers`` counts those of each server name's replication channel."""

    node: RedisNode
    role: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    subscribers: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    refused: bool = False
    unseen: bool = False
    evicting: int = 0


@dataclass(frozen=True, slots=True)
class SentinelAnswer:
    """What one Sentinel says of a master that it watches. ``state`` is SENTINEL MASTER's answer."""

    node: RedisNode
    state: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    refused: bool = False
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class RedisObservation:
    """``group`` is what was seen to belong together, which may be the nodes of several workloads."""

    group: RedisGroup
    answers: tuple[RedisAnswer, ...]
    sentinels: tuple[SentinelAnswer, ...]

    @property
    def masters(self) -> tuple[RedisAnswer, ...]:
        return tuple(each for each in self.answers if each.role == "master")

    @property
    def runs(self) -> set[str]:
        """The run ids of its servers."""
        return {str(each.info["run_id"]) for each in self.answers if each.info.get("run_id")}


def joined(seen: Mapping[str, RedisObservation]) -> Mapping[str, RedisObservation]:
    """What belongs together, whatever workloads it is of: replicas join the master that they follow, Sentinels
    of a workload of their own the master that they watch. By the id of the master's group."""
    found = dict(seen)
    for identity, each in seen.items():
        if home := _home_of(each, seen):
            found[home] = _with_replicas(found[home], found.pop(identity))
    for identity in [key for key, each in found.items() if each.group.only_sentinels]:
        watching = found.pop(identity)
        strays = list(watching.sentinels)
        for key, watched in found.items():
            mine = [each for each in strays if each.state.get("runid") in watched.runs]
            if mine:
                group = replace(watched.group, expected_sentinels=watching.group.expected_sentinels)
                found[key] = replace(watched, group=group, sentinels=(*watched.sentinels, *mine))
                strays = [each for each in strays if each not in mine]
        if strays or not watching.sentinels:
            found[identity] = replace(watching, sentinels=tuple(strays))
    return found


def _home_of(replicas: RedisObservation, seen: Mapping[str, RedisObservation]) -> str:
    """The group whose only master a group without one follows: by the replication id, or by the address that
    a link which is down would lead to."""
    followers = [each for each in replicas.answers if each.role == "slave"]
    if replicas.masters or not followers:
        return ""
    for identity, other in seen.items():
        if len(other.masters) != 1:
            continue
        master = other.masters[0]
        names = {master.node.pod.ip, master.node.pod.name}
        for each in followers:
            host = str(each.info.get("master_host") or "")
            same = each.info.get("master_replid") == master.info.get("master_replid")
            if same or {host, host.partition(".")[0]} & names:
                return identity
    return ""


def _with_replicas(home: RedisObservation, others: RedisObservation) -> RedisObservation:
    group = replace(
        home.group,
        expected=home.group.expected + others.group.expected,
        nodes=(*home.group.nodes, *others.group.nodes),
        expected_sentinels=home.group.expected_sentinels + others.group.expected_sentinels,
        sentinels=(*home.group.sentinels, *others.group.sentinels),
    )
    return RedisObservation(group, (*home.answers, *others.answers), (*home.sentinels, *others.sentinels))


def behind(
    address: RedisEndpoint, met: Collection[str], seen: Mapping[str, RedisObservation]
) -> RedisObservation | None:
    """The Redis behind an address: by the model, by the pods it leads to, else by the run ids ``met`` there."""
    pods = {pod.id for pod, _ in address.endpoint.pods}
    for each in seen.values():
        if each.group.id == address.group or pods & {node.id for node in each.group.nodes}:
            return each
    return next((each for each in seen.values() if each.runs & set(met)), None)
