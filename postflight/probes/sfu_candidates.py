"""The addresses that LiveKit tells clients to send media to, by its own word in a room of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads
from postflight.deployment.call_parts import KeyPair, Sfu
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.limits import Limit
from postflight.probes import livekit
from postflight.probes.http import Door
from postflight.probes.livekit_signals import IceCandidate, NoAnswer, Offered, joined
from postflight.probes.own import Turn
from postflight.probes.probe import Safety, probe
from postflight.secrets import Redactor
from postflight.traces import Traces

#: Nodes that are asked at most, one room each.
NODES = 6


@dataclass(frozen=True, slots=True)
class Advertised:
    """What one pod, or whoever it handed the room on to, tells a client who joins. ``problem`` says why it told
    nothing; ``refused``: that is its own word, else it does not answer."""

    sfu: Sfu
    pod: Pod
    candidates: tuple[IceCandidate, ...] = ()
    problem: str = ""
    refused: bool = False


@probe(limit=Limit.CALLS, reaches=True, safety=Safety.CANARY)
def sfu_candidates(
    deployment: Deployment, access: Access, traces: Traces, redactor: Redactor, turn: Turn
) -> tuple[Advertised, ...]:
    """Join a room at each node of LiveKit whose key is known, as far as to be told where media go, and close it."""
    asked = [(sfu, pod) for sfu in deployment.calls.sfus if sfu.keys for pod in sfu.pods if pod.ready][:NODES]

    def asker(number: int, sfu: Sfu, pod: Pod) -> Callable[[], Advertised]:
        room = f"postflight-{traces.run_id}-{number}"
        return lambda: _ask(access, traces, redactor, sfu, pod, room)

    outcomes = in_threads([asker(number, *each) for number, each in enumerate(asked)], Limit.CALLS - 1)
    return tuple(
        Advertised(sfu, pod, problem="no answer in time") if outcome.exception() else outcome.result()
        for (sfu, pod), outcome in zip(asked, outcomes, strict=True)
    )


def _ask(access: Access, traces: Traces, redactor: Redactor, sfu: Sfu, pod: Pod, room: str) -> Advertised:
    pair, door = sfu.keys[0], Door(pod, sfu.port)
    with traces.holding(f"LiveKit room {room}", lambda: livekit.delete_room(access, door, pair, room)):
        return _told(access, redactor, sfu, door, pair, room)


def _told(access: Access, redactor: Redactor, sfu: Sfu, door: Door, pair: KeyPair, room: str) -> Advertised:
    token = livekit.join_token(pair, room, "postflight")
    redactor.register(token, "a LiveKit token of the probe's own")
    try:
        livekit.create_room(access, door, pair, room)
        with joined(access, door, "", token, Offered.new()) as answer:
            return Advertised(sfu, door.pod, answer.candidates)
    except NoAnswer as error:
        return Advertised(sfu, door.pod, problem=str(error), refused=bool(error.status))
    except OSError as error:
        return Advertised(sfu, door.pod, problem=str(error))
