"""What the probes of the network would observe of the recorded lab, with the lab's own policies in it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from postflight.cluster.kinds import POLICY
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import flows
from postflight.deployment.listeners import port_of, public_doors
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.policies import Rules, Stand
from postflight.probes.http import Said
from postflight.probes.network import FOREIGN, ForeignWays, NetworkRules, PodWays, stranger
from postflight.probes.replication_listeners import ReplicationDoor
from postflight.probes.tries import API_PORT, API_SERVER, NAME_PORT, NAME_SERVICE, Met, Tried
from tests.unit.recorded import Json

POLICIES = Path(__file__).parents[2] / "lab/deployment/base/network-policies"
NAMES = {
    each: {"kubernetes.io/metadata.name": each} for each in ("matrix", "kube-system", "cnpg-system", "ingress-nginx")
}
NAME_SERVER = Stand("coredns-1", "kube-system", {"k8s-app": "kube-dns"}, ("10.244.0.2",))
API = (Stand("the API server", addresses=("10.10.0.2",)), 6443)
NO_SECRET = Said("pod", 500, '{"errcode": "M_UNKNOWN", "error": "Internal server error"}')
UNRECOGNIZED = Said("pod", 404, '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}')


@cache
def policies() -> tuple[Json, ...]:
    """Those of the lab."""
    found: list[Json] = []
    for file in sorted(POLICIES.glob("*.yaml")):
        for each in yaml.safe_load_all(file.read_text()):
            if each["kind"] == POLICY.name:
                found.append(each | {"metadata": each["metadata"] | {"namespace": "matrix"}})
    return tuple(found)


def with_policies(snapshot: Snapshot, *these: Json) -> Snapshot:
    """The picture with these policies in it, else with the lab's."""
    return replace(snapshot, objects={**snapshot.objects, (POLICY, "matrix"): these or policies()})


def rules(*these: Json) -> NetworkRules:
    return NetworkRules(Rules(these or policies(), NAMES), (NAME_SERVER,), (API,))


def foreign(model: Deployment, snapshot: Snapshot, met: Met = Met.SHUT) -> ForeignWays:
    """A foreign pod, to which every prize is shut."""
    found = flows.prizes(model, snapshot)
    ways = ((each, Tried(FOREIGN, "postflight-1-foreign-x", each.address, each.port, met)) for each in found)
    return ForeignWays(tuple(ways), stranger("matrix"))


def ways(model: Deployment, snapshot: Snapshot) -> PodWays:
    """Every class gets where it needs, and none to the API server."""
    tried: list[Tried] = []
    wanted = flows.needed(model, snapshot)
    for flow in wanted:
        if flow.source.stands and flow.source.stands[0].addresses:
            pod = flow.source.stands[0].name
            tried.append(Tried(flow.source.id, pod, flow.host, flow.port, Met.OPEN))
    for each in flows.name_askers(wanted):
        tried.append(Tried(each.id, each.stands[0].name, NAME_SERVICE, NAME_PORT, Met.OPEN))
    for each in flows.without_api(model, snapshot):
        tried.append(Tried(each.id, each.stands[0].name, API_SERVER, API_PORT, Met.SHUT))
    return PodWays(tuple(tried))


def doors(model: Deployment) -> tuple[ReplicationDoor, ...]:
    """Every replication listener wants the secret, and nobody else has anything there."""
    found: list[ReplicationDoor] = []
    for each in model.synapse:
        at: tuple[Pod, ...] = (each.pod,) if each.pod else ()
        if port := port_of(each, "replication"):
            found.append(ReplicationDoor(f"port {port} of {each.name}", True, NO_SECRET, each, at))
        found += [
            ReplicationDoor(f"port {port} of {each.name}", False, UNRECOGNIZED, each, at)
            for port, _ in public_doors(each)
        ]
    for proxy in model.proxies:
        found.append(ReplicationDoor(f"port 8008 of {proxy.name}", False, UNRECOGNIZED, None, proxy.pods[:1]))
    return tuple(found)


def observations(model: Deployment, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "network_rules": rules(),
        "pod_ways": ways(model, snapshot),
        "foreign_ways": foreign(model, snapshot),
        "replication_listeners": doors(model),
    }
