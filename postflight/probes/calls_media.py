"""Two participants of the probe call: let in with the JWT service's tokens, each heard by the other, and out again.

They are signalled from here, by the address that clients are given, and send their media from a probe pod: a tunnel
carries TCP only, and enters beside the address that they are told. The pod needs the image of a Synapse pod and no
more. livekit's own Python client was the other choice: it brings a library of its own that no such image has, asks
servers on the internet for its address, and does not tell which address of the SFU answered.
"""

from __future__ import annotations

import base64
import secrets as randomness
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, NoProbePod, ProbePod, start_probe_pod
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Sfu
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.probes import livekit
from postflight.probes.calls_chain import ROOM, CallsChain, Issue, node_with_key
from postflight.probes.http import Door
from postflight.probes.leads import Lead, lead, parts_of
from postflight.probes.livekit_signals import JOIN, Answered, IceCandidate, NoAnswer, Offered, joined
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, Safety, probe
from postflight.settings import Settings
from postflight.traces import Traces

#: Bytes that each participant publishes.
MESSAGE = 700


@dataclass(frozen=True, slots=True)
class Tried:
    """An address of the SFU asked from the pod whether it knows a participant; ``problem`` is "" where it does."""

    candidate: IceCandidate
    problem: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One participant. ``told`` are the addresses that it was told, ``beside`` the SFU's own ports at its pods' own
    addresses; ``over`` is the one that it came in by, None for none. ``whole``: the other's message came as it was.
    ``lacks``: the pod's image has not what a participant needs."""

    told: tuple[Tried, ...]
    beside: tuple[Tried, ...]
    over: IceCandidate | None
    whole: bool
    problem: str = ""
    lacks: bool = False


@dataclass(frozen=True, slots=True)
class CallsMedia:
    """``way`` is how they were signalled. ``astray`` says why the address that clients are given (``url``) did not let
    them in, ``refused`` why LiveKit itself did not, ``unseen`` why nothing was sent; ``room_left``: the room is open
    still, None where that was not seen."""

    sfu: Sfu
    url: str
    way: str
    participants: tuple[Heard, ...] = ()
    astray: str = ""
    refused: str = ""
    unseen: str = ""
    room_left: bool | None = None

    @property
    def whole(self) -> bool:
        """Whether each heard the other."""
        return bool(self.participants) and all(each.whole for each in self.participants)

    @property
    def told(self) -> Mapping[IceCandidate, str]:
        """The addresses that participants were told, each with why it answered none of them, "" where it did."""
        found: dict[IceCandidate, str] = {}
        for each in (tried for participant in self.participants for tried in participant.told):
            found[each.candidate] = each.problem and found.get(each.candidate, each.problem)
        return found

    @property
    def words(self) -> str:
        """What each address said."""
        return "; ".join(f"{each.words} {why or 'answers'}" for each, why in self.told.items()) or "no address told"

    @property
    def dead(self) -> tuple[tuple[IceCandidate, ...], ...]:
        """The addresses told that do not answer: all of them together, else those of a transport on which none does."""
        if self.told and all(self.told.values()):
            return (tuple(self.told),)
        groups = [[each for each in self.told if each.transport == one] for one in ("udp", "tcp")]
        return tuple(tuple(each) for each in groups if each and all(self.told[one] for one in each))

    @property
    def alive(self) -> tuple[IceCandidate, ...]:
        """LiveKit's own ports that answered at its pods' own addresses."""
        tried = (each for participant in self.participants for each in participant.beside)
        return tuple(dict.fromkeys(each.candidate for each in tried if not each.problem))


@probe(limit=Limit.CALL, rights=(MAKE_JOBS, REMOVE_JOBS, EXEC), reaches=True, safety=Safety.CANARY)
def calls_media(
    deployment: Deployment,
    snapshot: Snapshot,
    calls_chain: tuple[CallsChain, ...],
    settings: Settings,
    access: Access,
    api: Api,
    traces: Traces,
) -> tuple[CallsMedia, ...]:
    """Let two participants with the JWT service's tokens hear each other, from a probe pod, and close their room."""
    for walked in calls_chain:
        issue = next((each for each in walked.issues if each.token and each.other_token), None)
        sfu = next((each.sfu for each in walked.entries if each.accepted.status == 200), None)
        if issue is None or sfu is None:
            continue
        main = walked.home
        like = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
        if like is None:
            return (CallsMedia(sfu, issue.sfu_url, "", unseen="no Synapse pod to model the participants' pod on"),)
        try:
            pod = start_probe_pod(api, traces, like, settings, "participants", limit=Limit.PROBE_POD / 2)
        except NoProbePod as error:
            return (CallsMedia(sfu, issue.sfu_url, "", unseen=str(error)),)
        try:
            met = _met(_Call(deployment, snapshot, walked, issue, sfu), access, api, pod)
        finally:
            traces.settle(pod.what)
        return (_left(met, deployment, access, traces, issue.room),)
    return ()


@dataclass(frozen=True, slots=True)
class _Call:
    deployment: Deployment
    snapshot: Snapshot
    walked: CallsChain
    issue: Issue
    sfu: Sfu

    def ways(self) -> list[tuple[Door, str, str, bool]]:
        """Door, path before ``/rtc``, words and whether clients are sent there: their address, then LiveKit itself."""
        pod = next(each for each in self.sfu.pods if each.ready)
        own = (Door(pod, self.sfu.port), "", f"port {self.sfu.port} of {pod.name}", False)
        host, base = parts_of(self.issue.sfu_url)
        found = lead(self.deployment, self.snapshot, self.walked.home, host, f"{base}{JOIN}")
        if not isinstance(found, Lead) or found.door is None:
            return [own]
        # Whatever takes the address's own path off is the controller's, which is not asked.
        itself = found.route and found.door.pod.id in {each.id for each in self.sfu.pods}
        return [(found.door, "" if itself else base.rstrip("/"), found.says, True), own]


def _met(call: _Call, access: Access, api: Api, pod: ProbePod) -> CallsMedia:
    url, astray, refused = call.issue.sfu_url, "", ""
    for door, path, words, announced in call.ways():
        try:
            with ExitStack() as stay:
                people = []
                for token in (call.issue.token, call.issue.other_token):
                    offered = Offered.new()
                    people.append((offered, stay.enter_context(joined(access, door, path, token, offered))))
                heard, unseen = _heard(api, pod, call.sfu, people)
                return CallsMedia(call.sfu, url, words, heard, astray, unseen=unseen)
        except NoAnswer as error:
            astray, refused = (f"{words}: {error}", refused) if announced else (astray, f"{words}: {error}")
    return CallsMedia(call.sfu, url, "", astray=astray, refused=refused)


def _heard(
    api: Api, pod: ProbePod, sfu: Sfu, people: Sequence[tuple[Offered, Answered]]
) -> tuple[tuple[Heard, ...], str]:
    """What became of each, or why that is not known."""
    beside = _own_addresses(sfu)
    messages = [base64.b64encode(randomness.token_bytes(MESSAGE)).decode() for _ in people]
    given = {
        "participants": [
            _given(offered, answered, message) for (offered, answered), message in zip(people, messages, strict=True)
        ],
        "beside": [[each.transport, each.address, each.port] for each in beside],
        "looking": Limit.MEDIA_PATH,
        "whole": Limit.MEDIA,
    }
    try:
        told = ask_outpost(api, pod.namespace, pod.name, CONTAINER, "meet", given, limit=Limit.MEDIA + Limit.EXEC)
    except ApiError as error:
        return (), str(error)
    found = []
    for said, (_, answered), own in zip(told, people, messages, strict=True):
        known = {(each.transport, each.address, each.port): each for each in (*beside, *answered.candidates)}
        found.append(
            Heard(
                _tried(answered.candidates, said["candidates"]),
                _tried(beside, said["beside"]),
                known.get(tuple(said["over"])),
                set(said["heard"]) == set(messages) - {own},
                said["problem"],
                said["lacks"],
            )
        )
    return tuple(found), ""


def _given(offered: Offered, answered: Answered, message: str) -> Mapping[str, Any]:
    return {
        "local": [offered.ufrag, offered.password],
        "remote": [answered.ufrag, answered.password],
        "fingerprint": answered.fingerprint,
        "client": answered.client,
        "certificate": offered.certificate,
        "key": offered.key.reveal(),
        "candidates": [[each.transport, each.address, each.port] for each in answered.candidates],
        "message": message,
    }


def _own_addresses(sfu: Sfu) -> tuple[IceCandidate, ...]:
    """LiveKit's own ports at its pods' own addresses: they tell a dead LiveKit from an address that leads nowhere. Of a
    range of ports each participant gets another."""
    pods = [each for each in sfu.pods if each.ready and each.ip]
    udp = [IceCandidate("udp", each.ip, sfu.udp[0], "host") for each in pods if sfu.udp and sfu.udp[0] == sfu.udp[1]]
    return (*udp, *(IceCandidate("tcp", each.ip, sfu.tcp, "host") for each in pods if sfu.tcp))


def _tried(candidates: Sequence[IceCandidate], problems: Sequence[str]) -> tuple[Tried, ...]:
    return tuple(Tried(each, why) for each, why in zip(candidates, problems, strict=False))


def _left(met: CallsMedia, deployment: Deployment, access: Access, traces: Traces, room: str) -> CallsMedia:
    """Close the room now, and look whether it is gone."""
    traces.settle(ROOM)
    if (node := node_with_key(deployment)) is None or not room:
        return met
    sfu, door = node
    try:
        return replace(met, room_left=livekit.has_room(access, door, sfu.keys[0], room))
    except OSError:
        return met
