"""What other homeservers get: a canary homeserver over every shard, and it counts."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.probe_pod import ProbePod
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.federation import Federation, federation_of
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary import Identity
from postflight.probes.canary_homeserver import CanaryHomeserver, NotPrepared, heard
from postflight.probes.canary_user import CLIENT, Hindered, ProbeRoom, send
from postflight.probes.federation_counters import Sent, counters_of
from postflight.probes.inward import Inward, come_in
from postflight.probes.matrix import Matrix, MatrixError, matrix
from postflight.probes.probe import EXEC, Safety, probe
from postflight.traces import Traces

#: Events counted in each room, each sent through another process.
COUNTED = 2
#: Seconds without anything new before what came is believed to be all.
QUIET = 3.0
#: Seconds that one look into the pod waits for more.
ROUND = 2.0
TO_DEVICE = "m.direct_to_device"
TO_DEVICE_TYPE = "im.postflight.canary"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One arrival of one thing. ``sender`` is the Synapse process that the connection came from, None where
    the address is no pod's of this deployment."""

    transaction: str
    peer: str
    sender: SynapseProcess | None


@dataclass(frozen=True, slots=True)
class Owed:
    """One thing that one canary was owed: an event in the room (``kind`` "event") or a to-device message.
    ``arrivals`` are those in different transactions: the same transaction again is a retry."""

    name: str
    kind: str
    what: str
    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True)
class FederationCanary:
    """What each canary was owed and got. ``unheard`` maps a canary to why it could not be made to listen;
    ``no_to_device`` says why no to-device message was sent. ``counters``, by process id, are what each process
    says that it has sent by then, where the connections do not tell who sends. ``inward`` is what became of a message
    that one of them wrote itself."""

    names: tuple[str, ...]
    owed: tuple[Owed, ...]
    senders: tuple[Arrival, ...]
    unheard: Mapping[str, str]
    no_to_device: str = ""
    counters: Mapping[str, Sent] = field(default_factory=dict)
    inward: Inward = field(default_factory=Inward)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the steps of the canary share."""

    deployment: Deployment
    snapshot: Snapshot
    federation: Federation
    access: Access
    api: Api
    pod: ProbePod
    room: ProbeRoom
    main: SynapseProcess
    records: list[dict[str, Any]] = field(default_factory=list)
    """What the canaries were sent, as far as it was read."""

    def listen(self, wait: float) -> bool:
        """Read on, until something came or ``wait`` seconds are over; whether it did. Raises ApiError."""
        newer = heard(self.api, self.pod, len(self.records), wait)
        self.records.extend(newer)
        return bool(newer)

    def waits_for(self, name: str, nonces: Iterable[str]) -> list[str]:
        """Which of these things that canary has not been sent yet."""
        mine = [record for record in self.records if record["name"] == name]
        return [nonce for nonce in nonces if not any(_holds(record, nonce) for record in mine)]


@probe(limit=Limit.FEDERATION, rights=(EXEC,), safety=Safety.CANARY, reaches=True)
def federation_canary(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    api: Api,
    traces: Traces,
    canary_homeserver: CanaryHomeserver | NotPrepared | Hindered,
    canary_room: ProbeRoom | Hindered,
) -> FederationCanary | NotPrepared | Hindered:
    """As remote homeservers, join the probe user's room, count what comes, and write there."""
    if isinstance(canary_homeserver, NotPrepared | Hindered):
        return canary_homeserver
    pod = canary_homeserver.pod
    try:
        if isinstance(canary_room, Hindered):
            return canary_room
        federation, main = federation_of(deployment), canary_room.user.home
        scene = Scene(deployment, snapshot, federation, access, api, pod, canary_room, main)
        return _take_part(scene, canary_homeserver.identities, traces)
    except MatrixError as error:
        return Hindered(str(error), canary_room.user.home.id if isinstance(canary_room, ProbeRoom) else "")
    except ApiError as error:
        return Hindered(f"the canary homeserver: {error}", "")
    finally:
        traces.settle(pod.what)


def _take_part(scene: Scene, identities: Sequence[Identity], traces: Traces) -> FederationCanary:
    """Join; have one write, while all of them are sent what is counted."""
    with matrix(scene.access, scene.main, "federation") as homeserver, ExitStack() as members:
        for each in identities:
            what = f"{each.name} in {scene.room.room_id}"
            members.enter_context(traces.holding(what, partial(_leave, scene, each)))
        unheard = _join(scene, homeserver, identities)
        joined = [each for each in identities if each.name not in unheard]
        if not joined:
            nobody = Inward(problem="no canary could join")
            return FederationCanary(tuple(each.name for each in identities), (), (), unheard, inward=nobody)
        writing = partial(come_in, scene.deployment, scene.snapshot, scene.access, scene.room, joined[0])
        counting = partial(_count, scene, identities, joined, unheard)
        works: list[Callable[[], Any]] = [counting, writing]
        outcomes = in_threads(works, Limit.FEDERATION)
        seen: FederationCanary = outcomes[0].result()
        return replace(seen, inward=outcomes[1].result())


def _count(
    scene: Scene, identities: Sequence[Identity], joined: Sequence[Identity], unheard: Mapping[str, str]
) -> FederationCanary:
    """Warm up, send what is counted, wait for all of it and for quiet."""
    with ExitStack() as open_ways:
        writers = _writers(scene, open_ways)
        warm = _warm_up(scene, writers[0], joined)
        if _held_back(scene, joined):
            # To whom nothing at all has come by now nothing comes; more of it would say nothing more.
            return _outcome(scene, identities, unheard, {each.name: (warm, []) for each in joined})
        nonces = [randomness.token_hex(8) for _ in range(COUNTED)]
        for number, nonce in enumerate(nonces):
            send(writers[number % len(writers)], scene.room, nonce)
    messages, no_to_device = _send_to_devices(scene, joined)
    sent = {each.name: (nonces, messages.get(each.name, [])) for each in joined}
    _await(scene, {name: [*events, *own] for name, (events, own) in sent.items()})
    _await_quiet(scene)
    return _outcome(scene, identities, unheard, sent, no_to_device)


def _outcome(
    scene: Scene,
    identities: Sequence[Identity],
    unheard: Mapping[str, str],
    sent: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    no_to_device: str = "",
) -> FederationCanary:
    """What each canary got of what was ``sent`` to it, events and to-device messages, by nonce."""
    records = scene.records
    owed: list[Owed] = []
    for name, (events, messages) in sent.items():
        owed += [_owed(scene, records, name, "event", nonce) for nonce in events]
        owed += [_owed(scene, records, name, "to-device message", nonce) for nonce in messages]
    senders = {arrival.peer: arrival for record in records if (arrival := _arrival(scene, record))}
    hidden = not all(each.sender for each in senders.values())
    counters = counters_of(scene.deployment, scene.access) if hidden else {}
    names = tuple(each.name for each in identities)
    return FederationCanary(names, tuple(owed), tuple(senders.values()), unheard, no_to_device, counters)


def _join(scene: Scene, homeserver: Matrix, identities: Sequence[Identity]) -> dict[str, str]:
    """Have the canaries join, side by side. A signed request also takes a name out of Synapse's backoff
    (synapse/federation/transport/server/_base.py). Returns why one could not, by name."""

    def joiner(identity: Identity) -> Callable[[], str]:
        return lambda: _joined(scene, homeserver, identity)

    limit = Limit.ARRIVAL + Limit.HTTP
    outcomes = in_threads([joiner(each) for each in identities], limit)
    unheard: dict[str, str] = {}
    for identity, outcome in zip(identities, outcomes, strict=True):
        problem = "no answer in time" if outcome.exception() else outcome.result()
        if problem:
            unheard[identity.name] = problem
    return unheard


def _joined(scene: Scene, homeserver: Matrix, identity: Identity) -> str:
    """Why a canary could not join, "" once it has."""

    def join() -> None:
        try:
            identity.join(homeserver, scene.main.server_name, scene.room.room_id)
        except MatrixError as error:
            raise NotYet(str(error)) from error

    try:
        # The Service may have to learn of the pod first.
        wait_for(join, limit=Limit.ARRIVAL, every=0.5)
    except TimedOut as error:
        return str(error)
    return ""


def _leave(scene: Scene, identity: Identity) -> None:
    """Raises MatrixError. That it is not in the room (403), or that Synapse never got its key and so never let
    it in (401), is no error."""
    with matrix(scene.access, scene.main, "federation") as homeserver:
        try:
            identity.leave(homeserver, scene.main.server_name, scene.room.room_id)
        except MatrixError as error:
            if error.status not in (401, 403):
                raise


def _writers(scene: Scene, open_ways: ExitStack) -> list[Matrix]:
    """The processes to send through: main last, so that each process's own rate limit is met once. Raises
    MatrixError when none is ready."""
    processes = [each for each in scene.federation.processes if port_of(each, "client") and each.is_up]
    processes.sort(key=lambda each: each.is_main)
    generic = [each for each in processes if not each.is_main and port_of(each, "federation")]
    chosen = [*generic[:COUNTED], *(each for each in processes if each.is_main)]
    if not chosen:
        raise MatrixError("no Synapse process that takes messages is ready")
    return [open_ways.enter_context(matrix(scene.access, each)) for each in chosen]


def _warm_up(scene: Scene, writer: Matrix, joined: Sequence[Identity]) -> list[str]:
    """Have every sender past its catch-up, which sends nothing twice: by a to-device message, which no rate limit
    counts, and where that does not reach every canary by an event. Returns that event's nonce, if one was sent."""
    messages, _ = _send_to_devices(scene, joined)
    _await(scene, messages)
    if messages and {each.name for each in joined} <= contacted(scene.records):
        return []
    nonce = randomness.token_hex(8)
    send(writer, scene.room, nonce)
    _await(scene, {each.name: [nonce] for each in joined})
    _await_contact(scene, joined)
    return [nonce]


def _send_to_devices(scene: Scene, joined: Sequence[Identity]) -> tuple[dict[str, list[str]], str]:
    """One to-device message to each canary, through the writer of that stream: nonces by name, and why not."""
    writer = _to_device_writer(scene)
    if writer is None:
        return {}, "no process with a client listener writes to-device messages"
    sent = {randomness.token_hex(8): each for each in joined}
    try:
        with matrix(scene.access, writer) as homeserver:
            for nonce, each in sent.items():
                where = f"{CLIENT}/sendToDevice/{TO_DEVICE_TYPE}/{nonce}"
                body = {"messages": {each.user: {"*": {"nonce": nonce}}}}
                homeserver.request("PUT", where, body, token=scene.room.user.token)
    except MatrixError as error:
        return {}, str(error)
    return {each.name: [nonce] for nonce, each in sent.items()}, ""


def _to_device_writer(scene: Scene) -> SynapseProcess | None:
    writers = (scene.main.config or {}).get("stream_writers") or {}
    named = writers.get("to_device") or ["master"]
    listed = [named] if isinstance(named, str) else list(named)
    return next(
        (each for each in scene.federation.processes if each.instance in listed and port_of(each, "client")), None
    )


def _held_back(scene: Scene, joined: Sequence[Identity]) -> list[str]:
    """The canaries to whom nothing at all was sent though a process that runs must send it.

    A transaction that failed is tried again after up to a minute (synapse/http/matrixfederationclient.py,
    max_long_retry_delay), whatever has come from that server meanwhile: a run that was killed leaves that. What
    comes then need not be the first message: a sender that catches up sends the newest event of each room.
    """
    late = [each.name for each in joined if each.name not in contacted(scene.records)]
    return [name for name in late if any(each.is_up for each in scene.federation.senders_of(name))]


def contacted(records: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The names to which some transaction came."""
    return frozenset(str(record["name"]) for record in records if "transaction" in record)


def _await_contact(scene: Scene, joined: Sequence[Identity]) -> None:
    """Until something has come to every canary that is held back, or the limit is over."""

    def reached() -> None:
        if late := _held_back(scene, joined):
            scene.listen(wait=ROUND)
            raise NotYet(f"nothing comes to {late[0]}")

    with suppress(TimedOut):
        wait_for(reached, limit=Limit.HELD_BACK)


def _await(scene: Scene, owed: Mapping[str, Iterable[str]]) -> None:
    """Until every canary has all that it is owed, by nonce, or the limit is over: what is missing then is
    judged."""

    def all_there() -> None:
        for name, nonces in owed.items():
            if left := scene.waits_for(name, nonces):
                scene.listen(wait=ROUND)
                raise NotYet(f"{name} waits for {len(left)} things")

    with suppress(TimedOut):
        wait_for(all_there, limit=Limit.ARRIVAL)


def _await_quiet(scene: Scene) -> None:
    """Until nothing new has come for a while, or the limit is over."""

    def quiet() -> None:
        if scene.listen(wait=QUIET):
            raise NotYet("more comes")

    with suppress(TimedOut):
        wait_for(quiet, limit=Limit.ARRIVAL)


def _holds(record: Mapping[str, Any], nonce: str) -> bool:
    """Whether a transaction carries the thing with this nonce."""
    pdus = (str((each.get("content") or {}).get("body") or "") for each in record.get("pdus") or ())
    if any(body.endswith(nonce) for body in pdus):
        return True
    edus = (each for each in record.get("edus") or () if each.get("edu_type") == TO_DEVICE)
    return any(nonce in str(each.get("content") or "") for each in edus)


def _owed(scene: Scene, records: Iterable[Mapping[str, Any]], name: str, kind: str, nonce: str) -> Owed:
    seen: dict[tuple[str, str], Arrival] = {}
    for record in records:
        if record["name"] == name and _holds(record, nonce) and (arrival := _arrival(scene, record)):
            seen[(arrival.transaction, arrival.peer)] = arrival
    return Owed(name, kind, nonce, tuple(seen.values()))


def _arrival(scene: Scene, record: Mapping[str, Any]) -> Arrival | None:
    """None for a request that is no transaction."""
    if "transaction" not in record:
        return None
    peer = str(record["peer"])
    sender = next((each for each in scene.deployment.synapse if each.pod and each.pod.ip == peer), None)
    return Arrival(str(record["transaction"]), peer, sender)
