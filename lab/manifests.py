"""The reference deployment: rendered from its manifests, applied, waited for."""

import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab import conditions, releases
from lab.cluster import Cluster
from lab.conditions import Scene
from lab.errors import LabError
from lab.readiness import Object, group, pod_state, unready, wait
from lab.releases import NEWEST, Release
from lab.renaming import Renaming

__all__ = ["Object", "apply", "place", "pod_state", "render", "rendered", "translated", "unready", "wait", "wait_ready"]

HERE = Path(__file__).resolve().parent
DEPLOYMENT = HERE / "deployment"
DEFECTS = HERE / "defects"
# Deployments of another kind, healthy in their own way, told in the same words as a defect.
KINDS = HERE / "kinds"
OVERLAY = DEPLOYMENT / "overlays/lab"
RELEASES = DEPLOYMENT / "releases"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What is tried again: the operator's kinds and webhook are there some seconds after the operator was applied.
NOT_YET = ("webhook", "no matches for kind", "ensure CRDs are installed first", "resource mapping not found")


def render(
    kubectl: Path, defect: Sequence[str] = (), rename: Path | None = None, release: Release = NEWEST
) -> list[Object]:
    """Every object of the deployment of a release, with the defects in it and under the names that `rename` gives.

    Raises LabError with the renderer's line.
    """
    folders = [place(name) for name in defect]
    objects = _kustomize(kubectl, [folder for folder in folders if (folder / "kustomization.yaml").exists()])
    for folder in folders:
        _edit(objects, folder / "expect.yaml", f"defect {folder.name}")
    if release != NEWEST:
        # Last, as defects are written for the newest: what one of them has taken away need not be changed.
        objects = [_released(o, release) for o in objects]
        _edit(objects, RELEASES / f"{release.series}.yaml", f"release {release.series}", may_miss=bool(defect))
    if rename is not None:
        renaming = Renaming.read(rename)
        objects = [renaming.object(o) for o in objects]
    return [_encoded(o) for o in objects]


def place(name: str) -> Path:
    """The folder of a defect, or of a kind of deployment."""
    return KINDS / name if (KINDS / name / "expect.yaml").exists() else DEFECTS / name


def apply(cluster: Cluster, objects: Iterable[Object], timeout: float = 120) -> None:
    """Makes the cluster's objects what `objects` say. Only what needs an operator, or its kinds, waits for them."""
    mine: list[Object] = []
    operators: list[Object] = []
    for o in objects:
        (operators if _is_custom(o) else mine).append(o)
    if mine:
        _apply(cluster, mine)
    deadline = time.monotonic() + timeout
    while operators:
        try:
            _apply(cluster, operators)
            return
        except LabError as error:
            if time.monotonic() > deadline or not any(text in str(error) for text in NOT_YET):
                raise
        time.sleep(0.2)


def _is_custom(o: Object) -> bool:
    """Whether a CustomResourceDefinition must be there first: the kinds that every cluster has are of no domain, or of
    Kubernetes' own."""
    return "." in group(o) and not group(o).endswith("k8s.io")


def wait_ready(cluster: Cluster, objects: Sequence[Object], since: float = 0, timeout: float = 180) -> None:
    """Returns once every workload in `objects` is Ready, by a transition newer than `since` (seconds since the epoch),
    and what `healthy.yaml` asks for holds. Raises LabError that names what does not.
    """
    scene = Scene(cluster, list(objects))
    asked = conditions.steps(translated(cluster, DEPLOYMENT / "healthy.yaml"), conditions.CONDITIONS, "healthy.yaml")
    wait(lambda: unready(cluster, objects, since) or conditions.missing(scene, asked), timeout)


def renamed(cluster: Cluster) -> Path | None:
    """The map of other names that this lab was made with, if it was."""
    file = cluster.home / "rename.yaml"
    return file if file.exists() else None


def rendered(cluster: Cluster, defect: Sequence[str] = ()) -> list[Object]:
    """Every object as this lab was made, with the defects in it. Raises LabError."""
    return render(cluster.kubectl_path, defect, renamed(cluster), releases.of(cluster.home))


def translated(cluster: Cluster, file: Path) -> Any:
    """A YAML file of ours, with the names in it as this lab has them."""
    value = yaml.load(file.read_text(), Loader=LOADER)
    rename = renamed(cluster)
    return value if rename is None else Renaming.read(rename).value(value)


def _kustomize(kubectl: Path, components: list[Path]) -> list[Object]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # kustomize takes relative paths only.
            "resources": [os.path.relpath(OVERLAY, folder)],
            "components": [os.path.relpath(c, folder) for c in components],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(text))
        try:
            done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=False)
        except OSError as error:
            raise LabError(f"{kubectl} cannot run ({error.strerror}): run `make setup`") from error
    if done.returncode:
        raise LabError(f"kubectl kustomize: {done.stderr.strip().splitlines()[-1]}")
    return [o for o in yaml.load_all(done.stdout, Loader=LOADER) if o]


def _edit(objects: list[Object], file: Path, whose: str, may_miss: bool = False) -> None:
    """Changes inside a configuration text, which kustomize cannot say: each text must be there exactly once."""
    edits = yaml.load(file.read_text(), Loader=LOADER).get("edits", [])
    for edit in edits:
        maps = [o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == edit["configmap"]]
        text = maps[0]["data"].get(edit["key"], "") if maps else ""
        count = text.count(edit["from"])
        if count > 1 or (not count and not may_miss):
            raise LabError(f"{whose}: {edit['configmap']}/{edit['key']} does not hold {edit['from']!r} exactly once")
        if count:
            maps[0]["data"][edit["key"]] = text.replace(edit["from"], edit["to"])


def _released(value: Any, release: Release) -> Any:
    """An object whose pods run another release than the manifests name; a defect's own choice stays."""
    if isinstance(value, dict):
        return {
            k: release.image if k == "image" and v == NEWEST.image else _released(v, release) for k, v in value.items()
        }
    return [_released(v, release) for v in value] if isinstance(value, list) else value


def _encoded(o: Object) -> Object:
    """A Secret as the API server keeps it: server-side apply would never remove a key that came as stringData."""
    if o["kind"] != "Secret" or "stringData" not in o:
        return o
    data = {k: base64.b64encode(v.encode()).decode() for k, v in o["stringData"].items()}
    return {k: v for k, v in o.items() if k != "stringData"} | {"data": {**o.get("data", {}), **data}}


def _apply(cluster: Cluster, objects: list[Object]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=lab", "-f", "-", input=text)
