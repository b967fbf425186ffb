"""Whether the modules that Synapse's configuration names are to be had where its processes run.

Source: synapse/util/module_loader.py, 1.163: the process does the same as it starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from postflight.cluster.api import Api, ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.streams import run_in_pod
from postflight.cluster.threads import in_threads
from postflight.deployment.model import Deployment
from postflight.deployment.modules import alike, modules_of
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.probe import EXEC, probe

#: As the container's first process has it, where that is a Python: interpreter, PYTHONPATH and folder. Nothing is written,
#: not even what was compiled.
AS_IT_RUNS = """
p=$(tr '\\0' '\\n' < /proc/1/cmdline | head -n 1); case "$p" in *python*) ;; *) p=python3;; esac
v=$(tr '\\0' '\\n' 2> /dev/null < /proc/1/environ | sed -n 's/^PYTHONPATH=//p'); [ -z "$v" ] || export PYTHONPATH="$v"
cd /proc/1/cwd 2> /dev/null
exec "$p" -B -c "$@"
"""
#: Prints why each class could not be had, "" where it was. What a module prints as it is imported comes before.
IMPORT = """
import importlib, json, sys
def tried(name):
    package, _, item = name.rpartition(".")
    try:
        getattr(importlib.import_module(package), item)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""
said = {name: tried(name) for name in sys.argv[1:]}
print()
print(json.dumps(said))
"""
#: So many groups of unlike processes at once: an import is a second of a processor.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class ModuleImports:
    """What one process of several that are ``alike`` could import: why each class of ``refused`` could not be had.
    ``process`` is the one that was asked, the first where none runs. ``problem`` says why nobody knows; ``down`` that no
    process of these is up."""

    process: SynapseProcess
    alike: tuple[SynapseProcess, ...]
    modules: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    down: bool = False


@probe(limit=Limit.SCRIPT, rights=(EXEC,))
def module_imports(deployment: Deployment, snapshot: Snapshot, api: Api) -> tuple[ModuleImports, ...]:
    """Import the modules that the configuration names in a pod of each kind of process that names them."""
    groups = alike(snapshot, deployment.synapse)
    first = [next((each for each in group if each.is_up), group[0]) for group in groups]
    asked = [one for one in first if one.is_up][:AT_ONCE]

    def asker(process: SynapseProcess) -> Callable[[], Mapping[str, str]]:
        return lambda: _imported(api, process)

    outcomes = dict(
        zip((each.id for each in asked), in_threads([asker(each) for each in asked], Limit.SCRIPT - 1), strict=True)
    )
    found: list[ModuleImports] = []
    for one, group in zip(first, groups, strict=True):
        modules = _names(one)
        given = (one, tuple(group), modules)
        if not one.is_up:
            found.append(ModuleImports(*given, problem="it is not up", down=True))
        elif (outcome := outcomes.get(one.id)) is None:
            found.append(ModuleImports(*given, problem=f"only {AT_ONCE} processes are asked"))
        elif error := outcome.exception():
            found.append(ModuleImports(*given, problem=str(error) or "no answer in time"))
        else:
            found.append(ModuleImports(*given, {name: why for name, why in outcome.result().items() if why}))
    return tuple(found)


def _names(process: SynapseProcess) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.name for each in modules_of(process.config)))


def _imported(api: Api, process: SynapseProcess) -> Mapping[str, str]:
    """Raises ApiError where it could not be asked."""
    names: Sequence[str] = _names(process)
    command = ("sh", "-c", AS_IT_RUNS, "sh", IMPORT, *names)
    answer = run_in_pod(api, process.namespace, process.name, process.container, command, limit=Limit.SCRIPT - 2)
    try:
        said = json.loads(answer.stdout.decode("utf-8", "replace").splitlines()[-1]) if answer.code == 0 else None
    except (ValueError, IndexError):
        said = None
    if not isinstance(said, dict) or set(said) != set(names):
        raise ApiError(0, answer.complaint)
    return {str(name): str(why) for name, why in said.items()}
