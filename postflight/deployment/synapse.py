"""Synapse processes and the configuration that is in effect in each of them.

Which process it is: synapse/config/workers.py, synapse/app/*, 1.119 and 1.163.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from postflight.cluster.api import Object
from postflight.cluster.files import ENVIRONMENT, Files, Wanted
from postflight.cluster.kinds import JOB
from postflight.cluster.references import template_of
from postflight.deployment.commands import words_of
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.places import Place
from postflight.deployment.rendering import Spec, Unreadable
from postflight.deployment.secret_files import filled

Config = Mapping[str, Any]
MODULE = re.compile(r"\bsynapse\.app\.\w+")
IMAGE = re.compile(r"(^|[/-])synapse(-[a-z]*worker)?([:@]|$)")
MAIN = "synapse.app.homeserver"
#: Runs once by hand, in no stream and behind no address.
ADMIN = "synapse.app.admin_cmd"
#: Where a value comes from; YAML takes it as a plain word wherever a value may stand.
TRACED = "x--{}--x"
#: An interpreter's own ``-c`` takes a script, not a configuration.
INTERPRETERS = re.compile(r"(ba|da|a)?sh|python[\d.]*")
DEFAULT_PATH = "/data/homeserver.yaml"
#: What tells the two homeservers of a deployment apart where they share a namespace.
LI_LABELS = {("matrix.instance", Side.LI.value), ("app.kubernetes.io/instance", Side.LI.value)}


@dataclass(frozen=True, slots=True)
class Found(Place):
    """A container that runs Synapse; ``paths`` are its configuration files in order."""

    paths: tuple[str, ...]


def is_synapse(container: Mapping[str, Any]) -> bool:
    """By its command first, then by its image."""
    words = words_of(container)
    if MODULE.search(" ".join(words)):
        return True
    own = not container.get("command") or any(word.rpartition("/")[2] == "start.py" for word in words)
    return own and bool(IMAGE.search(container.get("image") or ""))


def holds_homeserver(workload: Object) -> bool:
    return any(is_synapse(each) for each in template_of(workload).get("containers") or ())


def find(places: Iterable[Place], named: Collection[str] = ()) -> tuple[Found, ...]:
    """All containers that run Synapse. Those that are ``named`` run it whatever they look like."""
    return tuple(
        Found(each.workload, each.pod, each.spec, each.container, each.first, _config_paths(each.spec, each.container))
        for each in places
        if (is_synapse(each.container) or each.is_among(named)) and not _for_once(each)
    )


def _for_once(place: Place) -> bool:
    """A Job's, or one that has ended: no process of the homeserver."""
    ended = place.pod is not None and place.pod.phase in ("Succeeded", "Failed")
    return ended or place.workload.kind == JOB.name or _module(place.container) == ADMIN


def wanted_files(found: Sequence[Found]) -> tuple[Wanted, ...]:
    """What to read in the running ones."""
    return tuple(
        Wanted(pod.namespace, pod.name, each.name, (*each.paths, ENVIRONMENT))
        for each in found
        if (pod := each.running_pod)
    )


def read_process(found: Found, files: Files) -> SynapseProcess:
    """The process with its configuration: as read in the pod, else derived from its spec."""
    pod, name = found.pod, str(found.container["name"])
    read = files.of(found.workload.namespace, pod.name, name) if pod else None
    problem, derived = "", False
    config: Config | None = None
    if read is not None and all(path in read for path in found.paths):
        config, problem = merge([text for path in found.paths for text in _texts(read, path)])
    else:
        derived = True
        config, problem = derive(found)
        if pod and (why := files.unseen.get((pod.namespace, pod.name, name))):
            problem = problem or f"read from the spec only: {why}"
    changes = [when for path in found.paths if (when := found.spec.refreshed(found.container, path))] if pod else []
    if not derived:
        config = filled(config, lambda path: _text(read, path) or _by_spec(found, path))
    later = None if derived else derive(found)[0]
    values = config or {}
    app = str(values.get("worker_app") or _module(found.container) or MAIN)
    worker = values.get("worker_name")
    return SynapseProcess(
        id=pod.id if pod else found.workload.id,
        namespace=found.workload.namespace,
        workload=found.workload.id,
        workload_name=found.workload.name,
        pod=pod,
        container=name,
        app=app,
        instance=str(worker or ("master" if app == MAIN else pod.name if pod else found.workload.name)),
        server_name=str(values.get("server_name") or ""),
        config=config,
        derived=derived,
        config_problem=problem,
        side=Side.LI if LI_LABELS & (pod.labels if pod else {}).items() else Side.MAIN,
        next_config=later if later != config else None,
        refreshed=max(changes, default=None),
    )


def _text(read: Mapping[str, bytes] | None, path: str) -> str | None:
    body = (read or {}).get(path)
    return None if body is None else body.decode("utf-8", "replace")


def _by_spec(found: Found, path: str, mark: Callable[[str], str] | None = None) -> str | None:
    try:
        return found.spec.file(found.container, path, mark)
    except Unreadable:
        return None


def _texts(read: Mapping[str, bytes], path: str) -> Iterator[str]:
    """A file, or the files of a folder as Synapse takes them (sorted ``*.yaml``: _base.py, 1.163)."""
    within = f"{path.rstrip('/')}/"
    inner = sorted(each for each in read if each.startswith(within) and each.rpartition("/")[0] + "/" == within)
    yield from (read[each].decode("utf-8", "replace") for each in dict.fromkeys((path, *inner)))


def derive(found: Found, trace: bool = False) -> tuple[Config | None, str]:
    """The configuration by spec, ConfigMap and Secret, with what stands in files of its own. With ``trace``, every
    value that comes from a variable is ``TRACED`` with its name."""
    mark = TRACED.format if trace else None
    texts: list[str] = []
    for path in found.paths:
        try:
            text = found.spec.file(found.container, path, mark)
        except Unreadable as error:
            return None, str(error)
        inner = found.spec.folder(found.container, path) if text is None else {}
        if text is None and not inner:
            return None, f"{path} is not to be had from the pod's spec"
        texts += [inner[name] for name in sorted(inner) if name.endswith(".yaml")] if text is None else [text]
    config, problem = merge(texts)
    return filled(config, lambda path: _by_spec(found, path, mark)), problem


def merge(texts: Sequence[str]) -> tuple[Config | None, str]:
    """Merge configuration files as Synapse does: later top-level keys replace earlier ones."""
    merged: dict[str, Any] = {}
    for text in texts:
        try:
            loaded = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            return None, f"not YAML: {' '.join(str(error).split())[:200]}"
        if loaded is None:
            continue
        if not isinstance(loaded, dict):
            return None, "not a mapping"
        merged.update(loaded)
    return (merged, "") if merged else (None, "empty")


def _module(container: Mapping[str, Any]) -> str:
    match = MODULE.search(" ".join(words_of(container)))
    return match[0] if match else ""


def _of_an_interpreter(before: Sequence[str]) -> bool:
    """Whether these words end with an interpreter and its options (``bash -eu -o pipefail``)."""
    options = [*before]
    while options and (options[-1].startswith(("-", "+")) or options[-2:-1] == ["-o"]):
        options.pop()
    return bool(options) and bool(INTERPRETERS.fullmatch(options[-1].rpartition("/")[2]))


def _config_paths(spec: Spec, container: Mapping[str, Any]) -> tuple[str, ...]:
    words = words_of(container)
    paths: list[str] = []
    for index, word in enumerate(words):
        if word in ("--config-path", "-c") and not _of_an_interpreter(words[:index]) and index + 1 < len(words):
            paths.append(words[index + 1].rstrip(";"))
        elif word.startswith("--config-path="):
            paths.append(word.partition("=")[2].rstrip(";"))
    if paths:
        return tuple(dict.fromkeys(paths))
    environment = spec.environment(container)
    named = environment.get("SYNAPSE_CONFIG_PATH")
    folder = environment.get("SYNAPSE_CONFIG_DIR")
    if named and named.value:
        return (named.value,)
    return (f"{folder.value.rstrip('/')}/homeserver.yaml" if folder and folder.value else DEFAULT_PATH,)
