"""Storage class `local`: a folder of the node for each claim, a `local` PersistentVolume around it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.node.api import Api, Object
from lab.node.spec import INSIDE

CLASS = "local"
_PATH = "/api/v1/persistentvolumes"
_SELECTED = "volume.kubernetes.io/selected-node"


def provide(api: Api, node: str, alone: bool, claims: Sequence[Object], volumes: Sequence[Object]) -> None:
    """Makes what claims wait for on this node, removes what was released. Raises as Api.call does.

    With more nodes than one the scheduler chooses the node first (the class must say WaitForFirstConsumer).
    """
    have = {volume["metadata"]["name"] for volume in volumes}
    for claim in claims:
        if _waits(claim, node, alone) and _name(claim) not in have:
            folder = _folder(claim)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)  # pods run as users of their own
            status, answer = api.call("POST", _PATH, _volume(claim, node, folder))
            print(f"volume {folder.name}: {status} {answer.get('message', '')}", flush=True)
    for volume in volumes:
        if _released(volume, node):
            shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
            api.call("DELETE", f"{_PATH}/{volume['metadata']['name']}")


def _waits(claim: Object, node: str, alone: bool) -> bool:
    meta = claim["metadata"]
    chosen = (meta.get("annotations") or {}).get(_SELECTED, node if alone else None)
    return (
        claim["spec"].get("storageClassName") == CLASS
        and claim.get("status", {}).get("phase") == "Pending"
        and "deletionTimestamp" not in meta
        and chosen == node
    )


def _released(volume: Object, node: str) -> bool:
    spec = volume["spec"]
    if spec.get("storageClassName") != CLASS or spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return False
    terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    here = node in terms[0]["matchExpressions"][0]["values"]
    return here and volume.get("status", {}).get("phase") in ("Released", "Failed")


def _volume(claim: Object, node: str, folder: Path) -> dict[str, Any]:
    meta, spec = claim["metadata"], claim["spec"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _name(claim), "annotations": {"pv.kubernetes.io/provisioned-by": "lab/local"}},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "local": {"path": str(folder)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _name(claim: Object) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def _folder(claim: Object) -> Path:
    meta = claim["metadata"]
    return INSIDE / "volumes" / f"{meta['namespace']}_{meta['name']}_{meta['uid'][:8]}"
