"""The defects: each a folder with what it changes and the verdicts that this must cause. Put in, and taken out again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lab import conditions, manifests
from lab.cluster import Cluster
from lab.conditions import ACTIONS, CONDITIONS, Scene, Step
from lab.errors import LabError
from lab.manifests import DEFECTS, KINDS, Object
from lab.readiness import CONTROLLERS, chosen, path, selector

# What holds references to ConfigMaps and Secrets in a pod template, and under which key the name stands.
REFERENCES = {
    "configMap": ("ConfigMap", "name"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
}
# What a run has to be allowed, where the usual is not enough to see a defect.
SAFETY = "disruptive"
# How far behind the break's start a defect bites, and how long healing takes at most.
BITE_TIMEOUT, HEAL_TIMEOUT = 180.0, 300.0


@dataclass(frozen=True, slots=True)
class Defect:
    """What `expect.yaml` says, written by hand. `may_block` and `may_warn` are checks that come to blocked, to warned, or
    stay green, as chance has it: by which pooled connection, or by which of several nodes, a process goes. `absent` are
    those that are no part of what the deployment is then. `nodes` is how many a lab must have at least, `settings` what the
    verifier's settings promise of the deployment, healthy or broken. `safety: disruptive`: only a run that takes parts away
    sees it."""

    name: str
    title: str
    check: str
    variant: str
    failed: dict[str, list[str]]
    bites: tuple[Step, ...]
    blocked: tuple[str, ...] = ()
    may_block: tuple[str, ...] = ()
    may_warn: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    restart: bool = True
    nodes: int = 1
    settings: dict[str, Any] = field(default_factory=dict)
    edits: tuple[Step, ...] = ()
    remove: tuple[str, ...] = ()
    actions: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()
    finish: tuple[Step, ...] = ()
    safety: str = ""


def names() -> list[Defect]:
    """Every defect there is, by name."""
    return [load(file.parent.name) for file in sorted(DEFECTS.glob("*/expect.yaml"))]


def kinds() -> list[Defect]:
    """Every other kind of deployment that the lab can be made into, by name: nothing of it is broken."""
    return [load(file.parent.name) for file in sorted(KINDS.glob("*/expect.yaml"))]


def load(name: str) -> Defect:
    """One defect, or kind. Raises LabError when there is none of that name, or its description has an unknown word."""
    file = manifests.place(name) / "expect.yaml"
    if not file.exists():
        raise LabError(f"no defect is called {name}")
    return _defect(name, yaml.load(file.read_text(), Loader=manifests.LOADER))


def break_(cluster: Cluster, names: Sequence[str]) -> None:
    """Puts the defects in and returns once all of them bite. Raises LabError that names what does not."""
    record = cluster.home / "broken.json"
    if record.exists():
        broken = ", ".join(json.loads(record.read_text())["defects"])
        raise LabError(f"lab {cluster.name} is broken already ({broken}): `make lab-heal` first")
    wanted = [_translated(cluster, name) for name in names]
    _must_not_meet(wanted)
    for defect in wanted:
        if defect.nodes > cluster.nodes:
            raise LabError(f"{defect.name} needs {defect.nodes} nodes: `python -m lab up --nodes {defect.nodes}`")
    healthy, now = manifests.rendered(cluster), manifests.rendered(cluster, names)
    record.write_text(json.dumps({"defects": list(names), "removed": _removed(cluster, wanted)}))
    ending = _change(cluster, healthy, now, restart=all(d.restart for d in wanted))
    for resource in (r for d in wanted for r in d.remove):
        cluster.kubectl("delete", *resource.split(), "--wait=false", "--ignore-not-found")
    manifests.wait(lambda: _still_there(cluster, ending), BITE_TIMEOUT, "old pods are not gone")
    scene = Scene(cluster, now)
    for defect in wanted:
        conditions.perform(scene, defect.actions)
    for defect in wanted:
        missing = partial(conditions.missing, scene, defect.bites)
        manifests.wait(missing, BITE_TIMEOUT, f"{defect.name} does not bite")


def heal(cluster: Cluster) -> None:
    """Takes every defect out, and returns once everything is Ready and healthy. Raises LabError that names what is not."""
    record = cluster.home / "broken.json"
    known = json.loads(record.read_text()) if record.exists() else {"defects": [], "removed": []}
    taken = [_translated(cluster, name) for name in known["defects"]]
    healthy, now = manifests.rendered(cluster), manifests.rendered(cluster, known["defects"])
    if known["removed"]:
        manifests.apply(cluster, known["removed"])
    for defect in taken:
        conditions.perform(Scene(cluster, now), defect.undo)
    # Whatever else was changed by hand goes first: pods that are made anew take it with them.
    manifests.apply(cluster, now)
    ending = _change(cluster, now, healthy, restart=all(d.restart for d in taken))
    manifests.wait(lambda: _still_there(cluster, ending), HEAL_TIMEOUT, "old pods are not gone")
    for defect in taken:
        conditions.perform(Scene(cluster, healthy), defect.finish)
    manifests.wait_ready(cluster, healthy, 0, HEAL_TIMEOUT)
    record.unlink(missing_ok=True)


def _change(cluster: Cluster, before: list[Object], after: list[Object], restart: bool) -> dict[str, str]:
    """Makes of one deployment the other. Returns what has to go for it: API paths, and the uid behind each."""
    old, new = {_id(o): o for o in before}, {_id(o): o for o in after}
    pods = _pods_to_end(cluster, old, new) if restart else []
    manifests.apply(cluster, [o for key, o in new.items() if old.get(key) != o])
    ending = {}
    for o in (old[key] for key in old.keys() - new.keys()):
        status, live = cluster.request("GET", path(o))
        if status == 200:
            ending[path(o)] = live["metadata"]["uid"]
            # In the foreground: what it owns goes first.
            _delete(cluster, path(o), {"propagationPolicy": "Foreground"})
    # A list leaves out what its items are.
    ended = {path(p | {"apiVersion": "v1", "kind": "Pod"}): p["metadata"]["uid"] for p in pods}
    for each in ended:
        _delete(cluster, each, {"gracePeriodSeconds": 1})
    return ending | ended


def _delete(cluster: Cluster, where: str, how: Object) -> None:
    """By the API itself: kubectl takes a second of a processor for each."""
    status, said = cluster.request("DELETE", where, {"apiVersion": "v1", "kind": "DeleteOptions"} | how)
    if status >= 300 and status != 404:
        raise LabError(f"DELETE {where}: {status} {said.get('message', '')}".strip())


def _pods_to_end(cluster: Cluster, old: dict[Any, Object], new: dict[Any, Object]) -> list[Object]:
    """The pods of every workload whose template changed, or a ConfigMap or Secret that it takes."""
    given = {key for key in old if key[1] in ("ConfigMap", "Secret") and old[key] != new.get(key)}
    found: list[Object] = []
    for key in old.keys() & new.keys():
        if key[1] not in CONTROLLERS:
            continue
        template = new[key]["spec"]["template"]
        taken = {("v1", kind, key[2], name) for kind, name in _references(template)}
        if template != old[key]["spec"]["template"] or taken & given:
            pods = cluster.get(f"/api/v1/namespaces/{key[2]}/pods")["items"]
            found += chosen(pods, selector(old[key]))
    return found


def _references(value: Any) -> set[tuple[str, str]]:
    if isinstance(value, list):
        return {r for v in value for r in _references(v)}
    if not isinstance(value, dict):
        return set()
    found = {r for v in value.values() for r in _references(v)}
    for word, (kind, name) in REFERENCES.items():
        if isinstance(held := value.get(word), dict) and name in held:
            found.add((kind, held[name]))
    return found


def _still_there(cluster: Cluster, ending: dict[str, str]) -> str:
    """The first of these that is still there, or an empty string."""
    for where, uid in list(ending.items()):
        status, found = cluster.request("GET", where)
        if status == 200 and found["metadata"]["uid"] == uid:
            return f"{where.rpartition('/')[2]} is still there"
        del ending[where]
    return ""


def _removed(cluster: Cluster, defects: list[Defect]) -> list[Object]:
    """What a defect will remove that the deployment's manifests do not hold, kept for the healing."""
    kept: list[Object] = []
    for resource in (r for d in defects for r in d.remove):
        o = json.loads(cluster.kubectl("get", *resource.split(), "-o", "json"))
        meta = {k: v for k, v in o["metadata"].items() if k in ("name", "namespace", "labels", "annotations")}
        kept.append({k: v for k, v in o.items() if k != "status"} | {"metadata": meta})
    return kept


def _translated(cluster: Cluster, name: str) -> Defect:
    return _defect(name, manifests.translated(cluster, manifests.place(name) / "expect.yaml"))


def _defect(name: str, given: dict[str, Any]) -> Defect:
    file = Path(name) / "expect.yaml"
    known = {f.name for f in fields(Defect)} - {"name"}
    if given.get("safety", SAFETY) != SAFETY:
        raise LabError(f"{file}: safety can only be {SAFETY}, not {given['safety']!r}")
    if wrong := sorted(set(given) - known):
        raise LabError(f"{file}: unknown {', '.join(wrong)}; known are {', '.join(sorted(known))}")
    try:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        values["bites"] = tuple(conditions.steps(given["bites"], CONDITIONS, str(file)))
        for word in ("actions", "undo", "finish"):
            values[word] = tuple(conditions.steps(given.get(word), ACTIONS, str(file)))
        return Defect(name=name, **values)
    except (KeyError, TypeError) as error:
        raise LabError(f"{file}: {error}") from error


def _must_not_meet(defects: list[Defect]) -> None:
    """Raises LabError when two defects touch the same part: neither would bite as described."""
    seen: dict[str, str] = {}
    for defect in defects:
        for part in defect.touches:
            if part in seen:
                raise LabError(f"{seen[part]} and {defect.name} both touch {part}: try one after the other")
            seen[part] = defect.name


def _id(o: Object) -> tuple[str, str, str, str]:
    return o["apiVersion"], o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]
