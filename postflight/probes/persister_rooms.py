"""An event through each persister that has not been seen to write lately.

A room's events all go to one persister, by the hash of the room's id: the probe user keeps a room for each. No more is
sent than is needed, since Synapse limits a user's messages.
"""

from __future__ import annotations

import secrets as randomness
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.federation import shard
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.pods import number
from postflight.deployment.writers import EVENTS, lists_of
from postflight.limits import Limit
from postflight.probes.canary_user import (
    CLIENT,
    LOCALPART,
    MARK,
    ROOM_VERSION,
    Hindered,
    ProbeRoom,
    ProbeUser,
    remember,
    send,
)
from postflight.probes.matrix import LIMITED, Matrix, MatrixError, matrix
from postflight.probes.metrics import Count
from postflight.probes.own_login import Unasked, asked
from postflight.probes.persisters import LATELY, PersistedRows, has_written
from postflight.probes.probe import Safety, probe

if TYPE_CHECKING:
    import psycopg

#: The rows of the events that were just sent, and no older ones.
OURS = """
SELECT DISTINCT room_id, coalesce(instance_name, 'master') FROM events
WHERE room_id = ANY(%s) AND stream_ordering > %s
"""
#: Rooms made in one run at most, where a persister has none yet: a room falls to one by chance. They are kept, so
#: of two persisters one is without a room after the first run once in 256 times, and made up for by the next.
ROOMS = 8
#: What the other canaries ask of the same rate limits in a first run.
SPARED = 2
#: synapse/config/ratelimiting.py, 1.119 and 1.163: a new room counts as a message too.
LIMITS = ("rc_message", "rc_room_creation")
BURST = 10


@dataclass(frozen=True, slots=True)
class Persisting:
    """An event that a persister was to write. ``wrote`` are the instances that the row names, () where the database was
    not asked. ``problem`` says what was answered instead, ``unseen`` why it was not asked; ``roomless`` that no room of the
    probe user's falls to it."""

    persister: str
    room_id: str = ""
    wrote: tuple[str, ...] = ()
    problem: str = ""
    unseen: str = ""
    roomless: bool = False


@dataclass(frozen=True, slots=True)
class PersistedEvents:
    """What came of the events, by persister: of those that had not been seen to write lately."""

    tried: Mapping[str, Persisting] = field(default_factory=dict)


@probe(limit=Limit.CANARY, safety=Safety.CANARY, reaches=True)
def persisted_events(
    deployment: Deployment,
    access: Access,
    canary_room: ProbeRoom | Hindered,
    persisted_rows: PersistedRows,
    persisted_counters: Mapping[str, Count],
) -> PersistedEvents | Hindered:
    """Have each persister that has not been seen to write lately persist one event, in a room that falls to it."""
    if isinstance(canary_room, Hindered):
        return canary_room
    began = time.monotonic()
    main = canary_room.user.home
    listed = lists_of(main.config or {})[EVENTS]
    quiet = [
        name for name in dict.fromkeys(listed) if not _lately(deployment, name, persisted_rows, persisted_counters)
    ]
    if not quiet:
        return PersistedEvents()
    try:
        with matrix(access, main) as homeserver:
            rooms = _Rooms(homeserver, canary_room, listed)
            tried = _sent(rooms, quiet)
            tried |= _made(rooms, [name for name in quiet if name not in tried], began)
    except MatrixError as error:
        return Hindered(str(error), main.id)
    return PersistedEvents(_with_rows(access, deployment, main, tried, persisted_rows))


def falls_to(persister: str, room: ProbeRoom, listed: Sequence[str]) -> str:
    """A room of the probe user's that falls to a persister, "" where none does."""
    return next((each for each in (room.room_id, *room.others) if shard(listed, each) == persister), "")


def apart(room: ProbeRoom) -> ProbeRoom:
    """The room that falls to another persister than the first, else the first: each persister counts a user's messages
    for itself, so what is sent there is not counted with what is sent here."""
    listed = lists_of(room.user.home.config or {})[EVENTS]
    first = shard(listed, room.room_id) if listed else ""
    found = next((each for each in room.others if listed and shard(listed, each) != first), room.room_id)
    return replace(room, room_id=found)


def _lately(deployment: Deployment, name: str, rows: PersistedRows, counters: Mapping[str, Count]) -> bool:
    mine = [each for each in deployment.synapse if each.side is Side.MAIN and each.instance == name]
    return any(has_written(each, rows, counters, LATELY) for each in mine)


@dataclass(slots=True)
class _Rooms:
    """The probe user's rooms, and to which persister each falls. The first is the one of all canaries."""

    homeserver: Matrix
    kept: ProbeRoom
    listed: Sequence[str]

    @property
    def user(self) -> ProbeUser:
        return self.kept.user

    def make(self, limit: float) -> str:
        """One more, kept for the runs to come; its first events are persisted with it. Raises MatrixError."""
        wanted = {
            "preset": "private_chat",
            "visibility": "private",
            "room_version": ROOM_VERSION,
            "name": LOCALPART,
            # By it a run to come knows the room, should this one end before it has written down its id.
            "creation_content": {MARK: True},
        }
        made = self.homeserver.request("POST", f"{CLIENT}/createRoom", wanted, token=self.user.token, limit=limit)
        room = str(made["room_id"])
        self.kept = replace(self.kept, others=(*self.kept.others, room))
        remember(self.homeserver, self.kept)
        return room

    def send(self, room: str) -> None:
        """Raises MatrixError."""
        send(self.homeserver, replace(self.kept, room_id=room), randomness.token_hex(8), limit=Limit.PERSISTING)


def _sent(rooms: _Rooms, persisters: Iterable[str]) -> dict[str, Persisting]:
    """One event in a room of each persister that there is a room for, side by side."""
    known = {name: room for name in persisters if (room := falls_to(name, rooms.kept, rooms.listed))}

    def sender(room: str) -> Callable[[], None]:
        return lambda: rooms.send(room)

    outcomes = in_threads([sender(room) for room in known.values()], Limit.PERSISTING + 1)
    found: dict[str, Persisting] = {}
    for (name, room), outcome in zip(known.items(), outcomes, strict=True):
        error = outcome.exception()
        found[name] = _failed(name, error, room) if error else Persisting(name, room)
    return found


def _made(rooms: _Rooms, persisters: Sequence[str], began: float) -> dict[str, Persisting]:
    """New rooms, until one falls to each of these persisters or no more may be made."""
    found: dict[str, Persisting] = {}
    left = list(persisters)
    for _ in range(_budget(rooms.user.home)):
        time_left = Limit.CANARY - Limit.PERSISTING - (time.monotonic() - began)
        if not left or time_left <= 0:
            break
        try:
            room = rooms.make(min(Limit.ROOM, time_left))
        except MatrixError as error:
            return found | {name: _failed(name, error) for name in left}
        name = shard(rooms.listed, room)
        if name in left:
            left.remove(name)
            found[name] = Persisting(name, room)
    return found | {name: Persisting(name, roomless=True) for name in left}


def _budget(main: SynapseProcess) -> int:
    """How many rooms one run may make without meeting the deployment's own limits."""
    given = [(main.config or {}).get(name) for name in LIMITS]
    bursts = [number(each.get("burst_count"), BURST) if isinstance(each, Mapping) else BURST for each in given]
    return max(0, min(ROOMS, *(burst - SPARED for burst in bursts)))


def _failed(persister: str, error: BaseException, room: str = "") -> Persisting:
    """Whoever was asked and did not persist is told from whom nobody could ask: a rate limit is our own."""
    line = str(error) or "no answer within the time limit"
    if isinstance(error, MatrixError) and error.status == LIMITED:
        return Persisting(persister, room, unseen=line)
    return Persisting(persister, room, problem=line)


def _with_rows(
    access: Access,
    deployment: Deployment,
    main: SynapseProcess,
    tried: Mapping[str, Persisting],
    before: PersistedRows,
) -> dict[str, Persisting]:
    """With the instances that the rows of these events name, where the database can be asked."""
    rooms = [each.room_id for each in tried.values() if each.room_id and not (each.problem or each.unseen)]
    if not rooms or before.problem or before.unseen:
        return dict(tried)

    def ask(connection: psycopg.Connection[Any]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for room, instance in connection.execute(OURS, (rooms, before.last)).fetchall():
            found[str(room)] = (*found.get(str(room), ()), str(instance))
        return found

    found = asked(access, deployment, main, ask)
    if isinstance(found, Unasked):
        return dict(tried)
    return {name: replace(each, wrote=found.get(each.room_id, ())) for name, each in tried.items()}
