"""``postflight roles``: print the Roles that a run needs, of a cluster or of manifests that are yet to be applied."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from postflight import settings
from postflight.arguments import Parser
from postflight.cluster.access import Way
from postflight.cluster.api import Api, Object
from postflight.cluster.connection import ClusterError, connect
from postflight.cluster.kinds import LISTED, POSTGRES_CLUSTER, Kind
from postflight.cluster.snapshot import Snapshot, take
from postflight.deployment.synapse import holds_homeserver
from postflight.probes.probe import Safety
from postflight.probes.registry import all_probes
from postflight.rights_manifest import manifest, rights
from postflight.run import named_secrets
from postflight.verdict.status import Exit

KINDS = {kind.name: kind for kind in LISTED}


def main(arguments: Sequence[str]) -> int:
    """0: printed. 4: a file cannot be used. 6: the cluster could not be looked at."""
    given = _parser().parse_args(arguments)
    try:
        config = settings.load(given.settings)
        snapshot = _read(given.manifests) if given.manifests else _look(given, config.namespaces)
    except ClusterError as error:
        return _failed(Exit.UNKNOWN, str(error))
    except (settings.SettingsError, OSError, ValueError, yaml.YAMLError) as error:
        return _failed(Exit.USAGE, " ".join(str(error).split()))
    wanted = rights(all_probes().values(), Safety(given.safety), Way(given.access))
    secrets = named_secrets(config, snapshot.namespaces)
    objects = manifest(snapshot, wanted, secrets, given.account, given.account_namespace, config.names.ingress)
    print(render(objects), end="")
    return 0


def render(objects: Sequence[Object]) -> str:
    """As YAML documents."""
    head = (
        "# Made by `postflight roles`: make it anew when the deployment names other Secrets, or postflight is newer.\n"
    )
    return head + yaml.safe_dump_all(objects, sort_keys=False, width=110)


def read_manifests(text: str) -> Snapshot:
    """A snapshot of manifests, YAML or JSON, Lists included. Raises ValueError when none is a workload."""
    objects: dict[tuple[Kind, str], tuple[Object, ...]] = {}
    for each in _documents(text):
        kind = KINDS.get(str(each.get("kind")))
        if kind is None:
            continue
        namespace = (each.get("metadata") or {}).get("namespace") or "default"
        placed = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
        objects[(kind, namespace)] = (*objects.get((kind, namespace), ()), placed)
    namespaces = tuple(sorted({namespace for _, namespace in objects}))
    if not namespaces:
        raise ValueError("the manifests hold nothing that a run reads")
    return Snapshot(namespaces, datetime.now(UTC), objects, served=frozenset({POSTGRES_CLUSTER}))


def _documents(text: str) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for document in yaml.safe_load_all(text):
        if isinstance(document, Mapping):
            found += document["items"] if str(document.get("kind", "")).endswith("List") else [document]
    return found


def _read(file: Path) -> Snapshot:
    return read_manifests(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))


def _look(given: Any, namespaces: Sequence[str]) -> Snapshot:
    return take(Api(connect(given.kubeconfig, given.context)), given.namespace or namespaces, holds_homeserver)


def _failed(code: int, line: str) -> int:
    print(f"postflight roles: {line}", file=sys.stderr)
    return code


def _parser() -> Parser:
    parser = Parser(prog="postflight roles", description=(__doc__ or "").partition(": ")[2])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the cluster (as for a run)")
    source.add_argument(
        "--manifests", type=Path, metavar="FILE", help="rendered manifests instead; - is standard input"
    )
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    parser.add_argument("--namespace", action="append", metavar="NAME", help="namespace of the deployment, repeatable")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings that name further Secrets")
    parser.add_argument("--safety", choices=[each.value for each in Safety], default=Safety.CANARY.value)
    parser.add_argument(
        "--access", choices=[Way.DNS.value, Way.TUNNEL.value], default=Way.DNS.value, help="way to the pods"
    )
    parser.add_argument("--account", default="postflight", metavar="NAME", help="ServiceAccount (postflight)")
    parser.add_argument(
        "--account-namespace", default="postflight", metavar="NAME", help="where it stands (postflight)"
    )
    return parser
