"""Record a healthy lab for the unit tests: ``python -m tests.record_lab KUBECONFIG OUT``.

The recording holds every Secret in the clear, so only a lab is recorded (server name below lab.test).
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postflight.cluster.api import Api
from postflight.cluster.connection import ClusterError, connect
from postflight.cluster.files import Files, read_files
from postflight.cluster.references import secret_names
from postflight.cluster.secrets import SecretStore, read_secrets
from postflight.cluster.snapshot import Snapshot, take
from postflight.deployment.build import build, survey
from postflight.deployment.synapse import holds_homeserver
from postflight.settings import Settings

#: Changes with every lab and says nothing.
LEFT_OUT = frozenset({"managedFields", "uid", "resourceVersion", "generation", "selfLink"})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.record_lab", description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("out", type=Path, help="a .json.gz file, replaced")
    given = parser.parse_args(arguments)
    try:
        recording = record(Api(connect(given.kubeconfig, None)))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    # No time stamp inside: the same lab gives the same file.
    given.out.write_bytes(gzip.compress(json.dumps(recording, indent=1, sort_keys=True).encode(), mtime=0))
    return 0


def record(api: Api) -> dict[str, Any]:
    """Everything that the model is built from. Raises ClusterError, also where it is not wholly seen."""
    snapshot = take(api, (), holds_homeserver)
    canary = [(namespace, Settings().canary.ca_secret) for namespace in snapshot.namespaces]
    secrets = read_secrets(api, (*secret_names(snapshot), *canary), _keep_nothing)
    surveyed = survey(snapshot, secrets, Settings())
    files = read_files(api, surveyed.wanted_files(), _keep_nothing)
    if hidden := (*snapshot.unseen.values(), *secrets.unseen.values(), *files.unseen.values()):
        raise ClusterError(f"not recorded, since not all is to be seen: {hidden[0]}")
    model = build(surveyed, files, Settings())
    if down := [each.name for each in model.pods.values() if not each.ready and each.phase != "Succeeded"]:
        raise ClusterError(f"not recorded, since it is not healthy: {', '.join(down)}")
    names = {process.server_name for process in model.synapse}
    if not all(name.endswith(".lab.test") for name in names):
        raise ClusterError(f"not recorded, since it is no lab: {', '.join(sorted(names))}")
    return _as_json(snapshot, secrets, files)


def _as_json(snapshot: Snapshot, secrets: SecretStore, files: Files) -> dict[str, Any]:
    return {
        "namespaces": snapshot.namespaces,
        "taken": snapshot.taken.isoformat(),
        "objects": [
            {"kind": kind.name, "namespace": namespace, "items": _lean(items)}
            for (kind, namespace), items in snapshot.objects.items()
        ],
        "served": [kind.name for kind in snapshot.served],
        "controllers": _lean(snapshot.controllers),
        "secrets": [
            {
                "namespace": each.namespace,
                "name": each.name,
                "changed": each.changed.isoformat() if each.changed else None,
                "data": {key: value.reveal() for key, value in each.data.items()},
            }
            for each in secrets.found.values()
        ],
        "files": [
            {
                "namespace": namespace,
                "pod": pod,
                "container": container,
                "content": {path: base64.b64encode(body).decode() for path, body in found.items()},
            }
            for (namespace, pod, container), found in files.content.items()
        ],
    }


def _lean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lean(each) for key, each in value.items() if key not in LEFT_OUT}
    if isinstance(value, (list, tuple)):
        return [_lean(each) for each in value]
    return value


def _keep_nothing(value: str, name: str) -> None:
    """Nothing is printed here, so nothing needs to be redacted."""


if __name__ == "__main__":
    sys.exit(main())
