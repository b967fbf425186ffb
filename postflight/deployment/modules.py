"""The modules that Synapse's configuration names, each a Python class that the process imports as it starts.

Source: synapse/config/modules.py and util/module_loader.py, 1.119 and 1.163: what stands before the last dot is imported,
what stands after it is looked up in it; where either fails, the process ends with exit code 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import SynapseProcess

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of ``modules``: the class by its whole name, and what it is given."""

    name: str
    config: Config

    @property
    def package(self) -> str:
        """What is imported."""
        return self.name.rpartition(".")[0]


def modules_of(config: Config | None) -> tuple[Module, ...]:
    """The modules of a configuration, in its order; what is no entry as Synapse wants it is left out."""
    listed = (config or {}).get("modules")
    found: list[Module] = []
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and "." in (name := str(each.get("module") or "")):
            given = each.get("config")
            found.append(Module(name, given if isinstance(given, dict) else {}))
    return tuple(found)


def texts_of(given: Any) -> Iterator[tuple[str, str]]:
    """Every text within a module's configuration, with the key that it stands under."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if isinstance(value, str):
                yield str(key), value
            else:
                yield from texts_of(value)
    elif isinstance(given, list):
        for each in given:
            yield from texts_of(each)


def alike(snapshot: Snapshot, processes: Iterable[SynapseProcess]) -> tuple[Sequence[SynapseProcess], ...]:
    """The processes that configure modules, in groups for each of which the same is importable: of one image, with the
    same modules, variables, mounts and working directory. What one of them imports, all do."""
    groups: dict[str, list[SynapseProcess]] = {}
    for process in processes:
        named = sorted({each.name for each in modules_of(process.config)})
        if not named:
            continue
        raw = snapshot.get(POD, process.namespace, process.pod.name) if process.pod else None
        known = _surroundings(raw, process) if raw else process.workload
        groups.setdefault(json.dumps([process.namespace, named, known], sort_keys=True, default=str), []).append(
            process
        )
    return tuple(groups.values())


def _surroundings(raw: Object, process: SynapseProcess) -> Any:
    """What decides which Python finds what: not the configuration's own files, which name it only."""
    spec = raw["spec"]
    mine: Config = next((each for each in spec.get("containers") or () if each["name"] == process.container), {})
    volumes = {each["name"]: each for each in spec.get("volumes") or ()}
    mounts = [
        [each["mountPath"], each.get("subPath"), _source(volumes.get(each["name"], {}))]
        for each in mine.get("volumeMounts") or ()
        # Each pod has a token of its own, under a name of its own.
        if "serviceaccount" not in each["mountPath"]
    ]
    variables = [each for each in mine.get("env") or () if str(each["name"]).startswith("PYTHON")]
    image = process.status.image_id if process.status and process.status.image_id else mine.get("image")
    return [image, mine.get("workingDir"), variables, sorted(mounts, key=str)]


def _source(volume: Config) -> Any:
    """A volume without its name; a claim of a StatefulSet's is each pod's own, and holds its data."""
    return (
        sorted(key for key in volume if key != "name")
        if "persistentVolumeClaim" in volume
        else {key: value for key, value in volume.items() if key != "name"}
    )
