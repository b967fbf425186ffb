"""The settings that the Synapse in an image reads, by its own code: forks and releases differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postflight.cluster.api import Api, ApiError
from postflight.cluster.outposts import run_script
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import EXEC, probe


@dataclass(frozen=True, slots=True)
class KnownSettings:
    """What one image reads: ``settings`` at the top level, and ``within`` those of them all of whose keys could be
    told. ``asked`` is the pod that it was seen in; ``problem`` says why it could not be told."""

    image: str
    asked: str = ""
    version: str = ""
    settings: frozenset[str] = frozenset()
    within: Mapping[str, frozenset[str]] = field(default_factory=dict)
    problem: str = ""


@probe(limit=Limit.SCRIPT, rights=(EXEC,))
def known_settings(api: Api, deployment: Deployment) -> Mapping[str, KnownSettings]:
    """In one running pod of each image that Synapse runs from, look in its code which settings it reads. By image."""
    chosen: dict[str, SynapseProcess] = {}
    # One that is ready may be asked in peace; one that crashes, if there is no other.
    for process in sorted(deployment.synapse, key=lambda each: (not each.is_up, not each.is_main)):
        status = process.pod.container(process.container) if process.pod else None
        if status and status.running:
            chosen.setdefault(status.image, process)

    def asker(image: str, process: SynapseProcess) -> Callable[[], KnownSettings]:
        return lambda: _ask(api, image, process)

    found: dict[str, KnownSettings] = {}
    outcomes = in_threads([asker(*each) for each in chosen.items()], Limit.SCRIPT - 1)
    for (image, process), outcome in zip(chosen.items(), outcomes, strict=True):
        try:
            found[image] = outcome.result()
        except (ApiError, TimeoutError) as error:
            problem = str(error) or "no answer within the time limit"
            found[image] = KnownSettings(image, process.name, problem=problem)
    return found


def _ask(api: Api, image: str, process: SynapseProcess) -> KnownSettings:
    said = run_script(
        api, process.namespace, process.name, process.container, "synapse_settings", limit=Limit.SCRIPT - 2
    )
    return KnownSettings(
        image,
        process.name,
        str(said["version"]),
        frozenset(said["settings"]),
        {name: frozenset(keys) for name, keys in said["within"].items()},
        "" if said["settings"] else "its image holds no code of Synapse's configuration",
    )
