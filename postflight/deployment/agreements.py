"""Secrets that must be the same in two places, and those that must not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.templates import unrendered
from postflight.secrets import Secret

#: What all processes of a homeserver sign and check with: one makes what another reads.
SHARED = ("macaroon_secret_key", "form_secret", "registration_shared_secret", "worker_replication_secret")
#: Every secret of a process's own that is another's password nowhere.
APART = (*SHARED, "database.args.password", "redis.password", "turn_shared_secret")
#: Main's and LI's: what opens one must not open the other.
SIDES = ("macaroon_secret_key", "form_secret", "registration_shared_secret", "database.args.password")


@dataclass(frozen=True, slots=True)
class Drift:
    """A secret that two parts have, and that was changed for one of them only: they agree until ``late`` restarts.
    ``changed`` and ``kept`` are where the two values come from."""

    subject: str
    late: str
    changed: str
    kept: str


@dataclass(frozen=True, slots=True)
class Split:
    """A setting that differs between the processes of one homeserver: those that have not what most have."""

    setting: str
    odd: tuple[SynapseProcess, ...]
    others: tuple[SynapseProcess, ...]


@dataclass(frozen=True, slots=True)
class Reuse:
    """Two settings with one value; of two processes where one is LI's."""

    one: SynapseProcess
    setting: str
    other: SynapseProcess
    as_setting: str


def drifts(deployment: Deployment) -> tuple[Drift, ...]:
    """Each once. Database passwords are not among them: each is tried as it is and as a restart would take it."""
    found = (*_turn(deployment), *_calls(deployment), *_settings(deployment))
    return tuple({(each.changed, each.kept): each for each in reversed(found)}.values())


def splits(deployment: Deployment) -> tuple[Split, ...]:
    """Among the processes whose configuration was read where they run."""
    homeservers: dict[tuple[str, Side, str], list[SynapseProcess]] = {}
    for each in _known(deployment):
        homeservers.setdefault((each.namespace, each.side, each.server_name), []).append(each)
    found: list[Split] = []
    for processes in homeservers.values():
        for setting in SHARED:
            held: dict[str, list[SynapseProcess]] = {}
            for each in processes:
                held.setdefault(value_of(each.config, setting), []).append(each)
            if len(held) > 1:
                most, *rest = sorted(held.values(), key=len, reverse=True)
                found.append(Split(setting, tuple(each for group in rest for each in group), tuple(most)))
    return tuple(found)


def reuses(deployment: Deployment) -> tuple[Reuse, ...]:
    """Two secrets of one process, by main processes, and one secret of main and LI."""
    mains = [each for each in _known(deployment) if each.is_main]
    found = [
        Reuse(each, first, each, second)
        for each in mains
        for first, second in combinations(APART, 2)
        if (value := value_of(each.config, first)) and value == value_of(each.config, second)
    ]
    found += [
        Reuse(one, setting, other, setting)
        for one, other in combinations(mains, 2)
        if one.side is not other.side
        for setting in SIDES
        if (value := value_of(one.config, setting)) and value == value_of(other.config, setting)
    ]
    return tuple(found)


def value_of(config: Mapping[str, Any] | None, setting: str) -> str:
    """A setting by its dotted name; "" where it is not set, or is a template's placeholder still."""
    value: Any = config
    for word in setting.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    text = "" if value is None or isinstance(value, Mapping | list) else str(value)
    return "" if unrendered(text) else text


def _known(deployment: Deployment) -> list[SynapseProcess]:
    return [each for each in deployment.synapse if each.config is not None and not each.derived]


def _turn(deployment: Deployment) -> Iterator[Drift]:
    names = {each.id: each.name for each in deployment.synapse}
    for server in deployment.turn.servers:
        for theirs in server.secrets:
            for use in deployment.turn.uses:
                mine = use.secret
                if mine is None or mine.value != theirs.value or mine.stale == theirs.stale:
                    continue
                if mine.stale:
                    yield Drift(use.process, names.get(use.process, "Synapse"), mine.origin, theirs.origin)
                else:
                    yield Drift(server.id, server.name, theirs.origin, mine.origin)


def _calls(deployment: Deployment) -> Iterator[Drift]:
    for service in deployment.calls.jwt_services:
        for sfu in deployment.calls.sfus:
            for theirs in sfu.keys:
                mine = service.pair
                if mine is None or mine.secret != theirs.secret or mine.stale == theirs.stale:
                    continue
                if mine.stale:
                    yield Drift(service.id, service.name, mine.origin, theirs.origin)
                else:
                    yield Drift(sfu.id, sfu.name, theirs.origin, mine.origin)


def _settings(deployment: Deployment) -> Iterator[Drift]:
    """What a process would ask Redis with after a restart."""
    taken: dict[str, tuple[str, set[Secret]]] = {}
    groups = {each.id: each for each in deployment.redis}
    for address in deployment.redis_endpoints:
        group = groups.get(address.group)
        if group:
            known = {node.password for node in group.nodes if node.password}
            taken |= dict.fromkeys(address.users, (group.name, known))
    for process in deployment.synapse:
        name, known = taken.get(process.id, ("", set()))
        now = value_of(process.config, "redis.password")
        later = value_of(process.next_config, "redis.password")
        if later and later != now and Secret(now) in known and Secret(later) not in known:
            yield Drift(process.id, process.name, "redis.password of Synapse", f"requirepass of {name}")
