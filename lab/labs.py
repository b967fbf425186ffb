"""Labs as their users see them: brought up, ended, copied, each in a folder of its own."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lab import addons, defects, manifests, releases
from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import CHECKOUT, Home
from lab.node import clone, lifecycle
from lab.node.spec import Spec, load
from lab.setup import image

Object = dict[str, Any]
_NODE_TIMEOUT, _READY_TIMEOUT = 120.0, 420.0
_GOLDEN_KEPT = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lab to bring up. `origin`: golden (a copy of a healthy one, made on first use), nothing, or stopped. `synapse`:
    a release of Synapse, "" for the newest; a stopped lab has the one that it was made with."""

    name: str
    nodes: int = 1
    origin: str = "golden"
    rename: Path | None = None
    synapse: str = ""


class Clock:
    """Tells each stage with the seconds since the start."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = time.monotonic()

    def tell(self, stage: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {stage}")


def up(home: Home, wanted: Wanted, say: Callable[[str], None]) -> Cluster:
    """Brings a lab up and waits until everything in it is Ready. Raises LabError."""
    clock = Clock(say)
    folder = home.lab(wanted.name)
    _must_be_set_up(home)
    _must_be_down(folder)
    release = _release(wanted, folder)
    base = addons.objects(home, wanted.nodes)
    deployed = manifests.render(home.bin / "kubectl", (), wanted.rename, release)
    golden = home.golden / _key(home, [*base, *deployed], wanted.nodes)
    origin = wanted.origin
    if origin == "golden" and not golden.exists():
        clock.tell("no golden state for this content yet: from nothing, then kept")
    with lifecycle.locked(folder):
        _must_be_down(folder)
        if origin == "stopped":
            spec = _stopped(home, folder)
        else:
            lifecycle.stop(folder)
            clone.remove(folder)
            spec = Spec(folder, home.bin, wanted.nodes)
            if origin == "golden" and _copied(golden, folder):
                clock.tell("copied from the golden state")
            else:
                origin = "nothing"
                for node in spec.all_nodes:
                    clone.images(home.base, node.folder)
        since = time.time()
        lifecycle.start(spec)
    # Whoever breaks or asks this lab later needs these.
    releases.record(folder, release)
    if wanted.rename is not None:
        shutil.copyfile(wanted.rename, folder / "rename.yaml")
    cluster = open_lab(home, wanted.name)
    wait_for_nodes(cluster, since)
    clock.tell(f"{'API server and node' if spec.nodes == 1 else f'API server and {spec.nodes} nodes'} Ready")
    if origin == "nothing":
        with ThreadPoolExecutor(2) as pool:  # only the PostgreSQL clusters wait for the operator
            for applied in (pool.submit(addons.apply, cluster, base), pool.submit(manifests.apply, cluster, deployed)):
                applied.result()
        clock.tell("everything applied")
    manifests.wait_ready(cluster, [*base, *deployed], since, _READY_TIMEOUT)
    clock.tell("everything Ready")
    if origin == "nothing" and wanted.origin == "golden":
        _keep(home, cluster, golden)
        clock.tell("kept as the golden state")
    return cluster


def down(home: Home, name: str, remove: bool = False) -> bool:
    """Ends a lab, crashed ones too, and tells whether it ran. Its state stays unless it is to be removed."""
    folder = home.lab(name)
    if not folder.exists():
        _unknown(home, name)
    with lifecycle.locked(folder):
        ran = lifecycle.running(folder) is not None
        lifecycle.stop(folder)
        if remove:
            clone.remove(folder)
    return ran


def fork(home: Home, source: str, target: str) -> None:
    """Copies a lab with all that is in it; a running one stands still for a moment. Raises LabError."""
    origin, copy = home.lab(source), home.lab(target)
    if not (origin / "spec.json").exists():
        _unknown(home, source)
    if copy.exists():
        raise LabError(f"lab {target} exists: `python -m lab down --name {target} --remove` first, or another name")
    with lifecycle.locked(origin), lifecycle.locked(copy):
        _copy(origin, copy)


def open_lab(home: Home, name: str) -> Cluster:
    """A lab that runs. Raises LabError when it does not, or is none."""
    folder = home.lab(name)
    found = lifecycle.running(folder)
    if found is None:
        if not folder.exists():
            _unknown(home, name)
        raise LabError(f"lab {name} is not up: `make lab-up NAME={name}`")
    spec = load(folder)
    return Cluster(name, folder, spec.bin, found.port, spec.nodes)


def status(cluster: Cluster) -> list[str]:
    """Lines: the lab itself, its nodes, what is not Ready in it. Raises LabError."""
    found = lifecycle.running(cluster.home)
    minutes = (time.time() - found.since) / 60 if found else 0
    pods = [pod for pod in cluster.get("/api/v1/pods")["items"] if pod["status"].get("phase") != "Succeeded"]
    states = [(pod, manifests.pod_state(pod)) for pod in pods]
    good = sum(state == "Ready" for _, state in states)
    lines = [f"lab {cluster.name}: up {minutes:.0f} min, {cluster.kubeconfig}"]
    for node in cluster.get("/api/v1/nodes")["items"]:
        ready = {c["type"]: c["status"] for c in node["status"]["conditions"]}.get("Ready")
        lines.append(f"{node['metadata']['name']}: {'Ready' if ready == 'True' else 'not Ready'}")
    lines.append(f"{good} of {len(pods)} pods Ready")
    lines += [f"{p['metadata']['namespace']}/{p['metadata']['name']}: {s}" for p, s in states if s != "Ready"]
    return lines


def must_be_defects(names: Iterable[str], or_kinds: bool = False) -> None:
    """Raises LabError with the nearest names when a defect (or a kind of deployment, where that may be) is unknown."""
    known = [each.name for each in (*defects.names(), *(defects.kinds() if or_kinds else ()))]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `make lab-list`"
            raise LabError(f"no defect is called {name}: {hint}")


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    clone.remove(part)
    clone.everything(source, part, lifecycle.frozen(source))
    Spec(part, load(source).bin, load(source).nodes).save()
    releases.record(part, releases.of(source))
    part.rename(target)


def _release(wanted: Wanted, folder: Path) -> releases.Release:
    if wanted.origin != "stopped":
        return releases.find(wanted.synapse)
    made = releases.of(folder)
    if wanted.synapse and releases.find(wanted.synapse) != made:
        raise LabError(
            f"lab {wanted.name} has Synapse {made.version}: another takes an `up` that is not --from stopped"
        )
    return made


def _stopped(home: Home, folder: Path) -> Spec:
    if not (folder / "spec.json").exists():
        _unknown(home, folder.name)
    return Spec(folder, home.bin, load(folder).nodes)


def _copied(golden: Path, folder: Path) -> bool:
    with lifecycle.locked(golden):
        if golden.exists():
            clone.everything(golden, folder, nullcontext())
            return True
    return False


def _keep(home: Home, cluster: Cluster, golden: Path) -> None:
    home.golden.mkdir(exist_ok=True)
    with lifecycle.locked(golden):
        if golden.exists():
            return
        part = golden.with_name(f".{golden.name}.part")
        clone.remove(part)
        clone.everything(cluster.home, part, lifecycle.frozen(cluster.home))
        part.rename(golden)
        kept = sorted((p for p in home.golden.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        for old in kept[:-_GOLDEN_KEPT]:
            with lifecycle.locked(old):  # not under the hands of who copies it
                clone.remove(old)


def _key(home: Home, objects: list[Object], nodes: int) -> str:
    digest = hashlib.sha256(json.dumps([objects, nodes], sort_keys=True).encode())
    for file in sorted((CHECKOUT / "lab/node").glob("*.py")):
        digest.update(file.read_bytes())
    digest.update((home.root / "stamps/base").read_bytes())
    digest.update(image.identity(home))
    return digest.hexdigest()[:16]


def wait_for_nodes(cluster: Cluster, since: float) -> None:
    """Returns once every node is Ready by what it said after `since`. Raises LabError."""
    last = time.monotonic() + _NODE_TIMEOUT
    waiting = {f"node{number}" for number in range(1, cluster.nodes + 1)}
    while waiting:
        try:
            nodes = cluster.get("/api/v1/nodes", timeout=2)["items"]
            waiting -= {node["metadata"]["name"] for node in nodes if _ready(node, since)}
        except LabError:
            pass
        if waiting and lifecycle.running(cluster.home) is None:
            raise LabError(f"lab {cluster.name} ended while it came up: see {cluster.home}/init.log")
        if waiting and time.monotonic() > last:
            late = ", ".join(sorted(waiting))
            raise LabError(f"{late} not Ready after {_NODE_TIMEOUT:.0f} s: see {cluster.home}/logs")
        time.sleep(0.05)


def _ready(node: Object, since: float) -> bool:
    """What was true before the start says nothing; kubelet's first heartbeat after it does."""
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= int(since)
    return False


def _must_be_set_up(home: Home) -> None:
    if not (home.root / "stamps/base").exists():
        raise LabError("the lab is not set up: run `make setup`")


def _must_be_down(folder: Path) -> None:
    if lifecycle.running(folder):
        raise LabError(f"lab {folder.name} is up already: `make lab-down NAME={folder.name}` ends it")


def _unknown(home: Home, name: str) -> None:
    known: Iterable[str] = home.names()
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}" if known else "there is none yet"
    raise LabError(f"no lab is called {name}: {hint} (`make lab-up NAME={name}` makes one)")
