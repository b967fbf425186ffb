"""How a part is taken away: everything quiet, a user's requests going on, the part away, everything quiet again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import POD, POSTGRES_CLUSTER
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.disruption_settings import DisruptionSettings
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary_user import Hindered, ProbeRoom
from postflight.probes.disruption_notes import NOTES
from postflight.probes.doors import main_of
from postflight.probes.fresh import now
from postflight.probes.matrix import MatrixError
from postflight.probes.outages import Disruption
from postflight.probes.probe import Right, Unseen
from postflight.probes.public_places import ControllerSeen
from postflight.probes.settled import wait_settled
from postflight.probes.user_doors import Entrance, doors_of
from postflight.probes.user_media import Files
from postflight.probes.user_stream import Stream
from postflight.settings import Settings
from postflight.traces import Traces

#: Seconds that a process has to end: as good as none, and yet its kubelet sees it off.
GRACE = 1
DELETE_PODS = (Right("delete", "pods"), Right("get", "pods"), *NOTES)


class NotDone(Exception):
    """A part was not taken away; the message says why."""


class Stuck(Exception):
    """A part was taken away, and what has to follow does not; the message says what."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a disruption works with: a picture of the moment, and the user whose requests go on."""

    deployment: Deployment
    snapshot: Snapshot
    api: Api
    access: Access
    settings: Settings
    traces: Traces
    room: ProbeRoom
    controllers: Sequence[ControllerSeen]

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        snapshot: Snapshot,
        access: Access,
        settings: Settings,
        traces: Traces,
        room: ProbeRoom | Hindered,
        controllers: Sequence[ControllerSeen],
    ) -> Stage:
        """Raises Unseen where there is no user."""
        if isinstance(room, Hindered):
            raise Unseen(f"there is no user whose requests could go on meanwhile: {room.problem}")
        with suppress(ApiError):
            user = replace(room.user, home=now(access.api, room.user.home))
            room = replace(room, user=user)
        return cls(deployment, snapshot, access.api, access, settings, traces, room, controllers)

    @property
    def given(self) -> DisruptionSettings:
        return self.settings.disruption

    @property
    def operated(self) -> bool:
        return POSTGRES_CLUSTER in self.snapshot.served

    def check(self) -> None:
        """Raises NotDone when the run is over: nothing more is taken away."""
        if self.traces.over:
            raise NotDone("the run was interrupted")


@dataclass(frozen=True, slots=True)
class After:
    """What was found afterwards: ``seen`` is worth telling, ``wrong`` is not as it must be; ``untested`` says what the
    disruption did not put to the test."""

    seen: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    untested: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """``act`` takes the part away, while the stream of requests that it is given goes on, and says what it did; ``whole``
    says what it lacks, beside what everything has to be; ``after`` looks once all is quiet. ``storing``: files are sent and
    fetched all the while."""

    subject: str
    name: str
    bound: float
    act: Callable[[Stream], str]
    whole: Callable[[], str] = lambda: ""
    after: Callable[[], After] = After
    storing: bool = False
    needs: tuple[str, ...] = field(default_factory=tuple)


def ground(deployment: Deployment) -> tuple[str, ...]:
    """What a user's requests need, whichever part is taken away."""
    main = main_of(deployment)
    return (main.id,) if main else ()


def carry_out(stage: Stage, plan: Plan) -> Disruption:
    """One part, away and back. Raises Unseen where nobody could have seen what came of it."""
    deployment = stage.deployment
    others = (*(each.id for each in deployment.proxies), *(each.id for each in deployment.stores))
    needs = tuple(dict.fromkeys((plan.subject, *plan.needs, *ground(deployment), *others)))
    found = Disruption(plan.subject, plan.name, plan.bound, needs=needs)
    try:
        _wait(stage, Limit.QUIET, lambda: "")
    except TimedOut as error:
        return replace(found, problem=f"not everything is ready and quiet: {error}")
    files = Files.of(deployment, stage.access, stage.settings, stage.traces, stage.room.user)
    try:
        stream = Stream(_entrance(stage), stage.room)
        missing = _with_files(stream, files, plan)
        stream.begin()
        try:
            return _taken(stage, plan, stream, files, replace(found, seen=missing))
        finally:
            stream.stop()
    except Unseen as error:
        return replace(found, problem=str(error))
    finally:
        if files:
            files.remove()


def _entrance(stage: Stage) -> Entrance:
    main = stage.room.user.home
    doors = doors_of(stage.deployment, stage.snapshot, stage.controllers, main, stage.settings.names.ingress)
    if not doors:
        raise Unseen("no way in for users is known")
    return Entrance.of(stage.access, doors)


def _with_files(stream: Stream, files: Files | None, plan: Plan) -> tuple[str, ...]:
    """Adds downloads to what is asked; a line where there are none. Raises Unseen where they are what matters."""
    try:
        if files is None:
            raise MatrixError("no process takes media")
        files.sweep()
        name = files.upload()
    except MatrixError as error:
        if plan.storing:
            raise Unseen(f"no file could be uploaded: {error}") from error
        return (f"downloads were not tried: {error}",)
    stream.more = (files.kind(name), *(files.storing(name) if plan.storing else ()))
    return ()


def _taken(stage: Stage, plan: Plan, stream: Stream, files: Files | None, found: Disruption) -> Disruption:
    began = time.monotonic()
    try:
        stage.check()
        found = replace(found, what=plan.act(stream))
        unrecovered = ""
    except (NotDone, ApiError) as error:
        return replace(found, problem=str(error), outages=stream.end())
    except Stuck as error:
        unrecovered = str(error)
    done = time.monotonic()
    try:
        _wait(stage, stage.given.recovery, lambda: stream.unwell(done) or plan.whole())
    except TimedOut as error:
        unrecovered = unrecovered or str(error)
    seconds = time.monotonic() - began
    found = replace(found, seconds=round(seconds, 1), unrecovered=unrecovered, outages=stream.end())
    if unrecovered:
        return found
    after = plan.after()
    lost = tuple(files.lost()) if files and plan.storing else ()
    return replace(found, seen=(*found.seen, *after.seen), wrong=(*after.wrong, *lost), untested=after.untested)


def _wait(stage: Stage, limit: float, also: Callable[[], str]) -> None:
    """Raises TimedOut."""
    namespaces = stage.deployment.namespaces
    wait_settled(stage.api, namespaces, limit, operated=stage.operated, also=also)


def served(stage: Stage, stream: Stream, when: str) -> None:
    """Until users are served ``when`` the part is away. Raises Stuck."""
    since = time.monotonic()

    def well() -> None:
        if why := stream.unwell(since):
            raise NotYet(why)

    try:
        wait_for(well, limit=stage.given.recovery, every=0.2)
    except TimedOut as error:
        raise Stuck(f"users are not served {when}: {error}") from error


def live(api: Api, namespace: str, name: str) -> Object:
    """A pod as it is now. Raises NotDone where nobody would make it anew."""
    raw: Object = api.get(POD.path(namespace, name))
    owners: Iterable[Object] = raw["metadata"].get("ownerReferences") or ()
    if not any(each.get("controller") for each in owners):
        raise NotDone(f"pod {name} has no controller that would make it anew")
    return raw


def delete_pod(stage: Stage, namespace: str, name: str) -> str:
    """As a crash of its node would take it, but that its kubelet knows; its controller makes another. Raises NotDone,
    ApiError."""
    raw = live(stage.api, namespace, name)
    stage.check()
    asked = {"gracePeriodSeconds": GRACE, "preconditions": {"uid": raw["metadata"]["uid"]}}
    stage.api.request("DELETE", POD.path(namespace, name), asked)
    return f"pod {name} was deleted with a second's grace"
