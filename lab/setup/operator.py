"""The PostgreSQL operator's manifest, cut to size for a lab. `python -m lab.setup.operator < YAML > JSON`"""

import json
import sys
from typing import Any

import yaml

IMAGE = "cloudnative-pg/cloudnative-pg:1.27.1"


def fit(one: dict[str, Any]) -> dict[str, Any]:
    """The image that a node has, no lease to wait for, probes each second, CRDs without prose (1.1 MB to 0.2)."""
    if one["kind"] == "CustomResourceDefinition":
        stripped: dict[str, Any] = _without_prose(one)
        return stripped
    if one["kind"] == "Deployment":
        container = one["spec"]["template"]["spec"]["containers"][0]
        container["image"] = IMAGE
        container["imagePullPolicy"] = "Never"
        # After a restart the operator would wait 15 s for its own old lease.
        container["args"] = [word for word in container["args"] if word != "--leader-elect"]
        container["resources"] = {"requests": {"cpu": "100m", "memory": "100Mi"}}
        for variable in container["env"]:
            if variable["name"] == "OPERATOR_IMAGE_NAME":
                variable["value"] = IMAGE
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            container[probe].update(periodSeconds=1, timeoutSeconds=5, failureThreshold=60)
    return one


def _without_prose(value: Any) -> Any:
    if isinstance(value, dict):
        told = {key: of for key, of in value.items() if not (key == "description" and isinstance(of, str))}
        return {key: _without_prose(of) for key, of in told.items()}
    return [_without_prose(of) for of in value] if isinstance(value, list) else value


if __name__ == "__main__":
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    items = [fit(one) for one in yaml.load_all(sys.stdin, Loader=loader) if one]
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)
