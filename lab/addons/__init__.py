"""What a cluster has before anything is deployed: DNS, a default storage class, metrics of pods, the operators, the
kinds that a Prometheus takes up."""

import json
from pathlib import Path
from typing import Any

import yaml

from lab.cluster import Cluster
from lab.errors import LabError
from lab.homes import Home

_DNS = Path(__file__).with_name("coredns.yaml")
_OTHERS = tuple(Path(__file__).with_name(f"{each}.yaml") for each in ("metrics-server", "minio-operator", "monitoring"))


def objects(home: Home, nodes: int) -> list[dict[str, Any]]:
    """Every object, for a lab of that many nodes. Raises LabError before set-up."""
    try:
        operator: list[dict[str, Any]] = json.loads(home.operator.read_text())["items"]
    except OSError as error:
        raise LabError("the lab is not set up: run `make setup`") from error
    dns: list[dict[str, Any]] = list(yaml.safe_load_all(_DNS.read_text()))
    if nodes > 1:
        for one in dns:
            if one["kind"] == "Deployment":
                one["spec"]["replicas"] = 2
            elif one["kind"] == "StorageClass":
                # The scheduler must choose the node before a folder is made on it.
                one["volumeBindingMode"] = "WaitForFirstConsumer"
    others = [one for file in _OTHERS for one in yaml.safe_load_all(file.read_text())]
    return dns + others + operator


def apply(cluster: Cluster, wanted: list[dict[str, Any]]) -> None:
    """Applies them. Raises LabError."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
