"""A homeserver of the verifier's own that stands in a probe pod for the length of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POD
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.probe_pod import CONTAINER, NoProbePod, ProbePod, remove_others, start_probe_pod
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.canary import LABELS, Prepared, preparation
from postflight.deployment.federating import choice_of
from postflight.deployment.federation import covering, federation_of
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.polling import TimedOut
from postflight.probes.canary import Identity, certificate
from postflight.probes.canary_user import Hindered
from postflight.probes.doors import main_of
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, MAKE_JOBS, REMOVE_JOBS, Safety, probe
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.traces import Traces

#: The port on the pod's loopback that tells what came.
CONTROL = 18447


@dataclass(frozen=True, slots=True)
class NotPrepared:
    """No canary can stand in this deployment."""

    reason: str


@dataclass(frozen=True, slots=True)
class CanaryHomeserver:
    """One that stands, in its pod, under one name or more."""

    plan: Prepared
    identities: tuple[Identity, ...]
    pod: ProbePod


@probe(limit=Limit.PROBE_POD + Limit.CLEAN_UP / 2, rights=(MAKE_JOBS, REMOVE_JOBS, EXEC), safety=Safety.CANARY)
def canary_homeserver(
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    settings: Settings,
    api: Api,
    traces: Traces,
    redactor: Redactor,
    turn: Turn,
) -> CanaryHomeserver | NotPrepared | Hindered:
    """Let a homeserver of the verifier's own stand in a probe pod, under names of every shard."""
    main = main_of(deployment)
    if main is None or main.config is None:
        return Hindered("no main process of Synapse is known with its configuration", main.id if main else "")
    choice = choice_of(deployment)
    if not (choice.on and choice.found):
        return NotPrepared(f"federation is off: {choice.why if not choice.found else choice.reason}")
    plan, missing = preparation(snapshot, secrets, settings.canary, main.namespace)
    if plan is None:
        return NotPrepared(missing)
    federation = federation_of(deployment)
    identities = tuple(Identity.of(name, plan.key) for name in covering(federation.lists or ((),), plan.names))
    like = snapshot.get(POD, main.namespace, main.pod.name) if main.pod else None
    if like is None:
        return Hindered("no Synapse pod to model the canary's pod on", main.id)
    try:
        # Behind the same Service it would take a part of what this run's canary is owed.
        remove_others(api, traces, main.namespace, LABELS, limit=Limit.CLEAN_UP / 2)
        pod = start_probe_pod(api, traces, like, settings, "canary", LABELS, limit=Limit.PROBE_POD - Limit.EXEC)
        _listen(api, plan, pod, identities, redactor)
    except (NoProbePod, ApiError, TimedOut, ValueError) as error:
        return Hindered(f"the canary homeserver does not stand: {error}", "")
    return CanaryHomeserver(plan, identities, pod)


def heard(api: Api, pod: ProbePod, since: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
    """What a canary in its pod was sent, from record number ``since`` on: where there is nothing yet, what comes
    first within ``wait`` seconds. Raises ApiError."""
    asked = {"control": CONTROL, "since": since, "wait": wait}
    limit = Limit.EXEC + wait
    found: list[dict[str, Any]] = ask_outpost(api, pod.namespace, pod.name, CONTAINER, "heard", asked, limit=limit)
    return found


def _listen(api: Api, plan: Prepared, pod: ProbePod, identities: Sequence[Identity], redactor: Redactor) -> None:
    """Start the canary in its pod. Raises ApiError, or ValueError for a certificate that is none."""
    shown, key = plan.certificate, plan.key.reveal()
    if not plan.public:
        shown, key = certificate(plan.names[0].partition(":")[0], plan.certificate, plan.key)
        redactor.register(key, "the canary's key")
    given = {
        "ports": plan.ports,
        "keys": {each.name: each.key_document() for each in identities},
        "certificate": shown,
        "key": key,
        "control": CONTROL,
        "life": Limit.FEDERATION,
    }
    answer = ask_outpost(api, pod.namespace, pod.name, CONTAINER, "listen", given, limit=Limit.EXEC)
    if answer["problem"]:
        raise ApiError(0, f"the canary cannot listen: {answer['problem']}")
