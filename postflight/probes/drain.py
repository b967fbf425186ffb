"""A node, drained as `kubectl drain` drains it: no new pods on it, its pods evicted as their budgets let them go.

Sources: Kubernetes 1.34, API-initiated eviction (429: a budget says not now); kubectl's drain, which leaves pods of
DaemonSets and of the kubelet's own files where they are.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import DAEMON_SET, POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary_user import Hindered, ProbeRoom
from postflight.probes.disruption import After, Plan, Stage, Stuck, carry_out, ground, served
from postflight.probes.disruption_notes import NODE, NODES, NOTES, cordon, noted, uncordon
from postflight.probes.outages import Disrupted
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, Foundation, Right, Safety, probe
from postflight.probes.public_places import ControllerSeen
from postflight.probes.settled import TIMES
from postflight.probes.switchover import slots
from postflight.probes.user_stream import Stream
from postflight.settings import Settings
from postflight.traces import MANAGED_BY, NAME, Traces

EVICT = Right("create", "pods/eviction")
MIRROR = "kubernetes.io/config.mirror"
NOT_NOW = 429
AGAIN = 1.0
ENDED = ("Succeeded", "Failed")


def parts(deployment: Deployment) -> tuple[str, ...]:
    proxies, stores = deployment.proxies, deployment.stores
    found = [*(each.id for each in proxies), *(each.id for each in stores)]
    found += [*(each.id for each in deployment.redis), *(each.id for each in deployment.postgres)]
    return (*ground(deployment), *found)


@probe(
    limit=Limit.DISRUPTION,
    rights=(EVICT, *NODES, *NOTES, Right("get", "pods"), EXEC),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation(("platform.", "redis.", "database.", "availability."), parts),
)
def node_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Cordon a node, evict the deployment's pods from it, and uncordon it when the others have taken over."""
    nodes = open_nodes(access.api)
    if len(nodes) < 2:
        return Disrupted(absent=f"{'one node takes' if nodes else 'no node takes'} pods: there is none to go to")
    held = bound(access.api, deployment)
    if set(nodes) <= held:
        return Disrupted(absent="each node holds a primary with a logical slot, which a drain would leave behind")
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    chosen = choose(stage.api, deployment.namespaces, [each for each in nodes if each not in held])
    if chosen is None:
        return Disrupted(absent="no node that takes pods holds a pod that a drain would move")
    stuck: list[str] = []
    plan = Plan(
        chosen,
        f"node {chosen}",
        stage.given.outage.node,
        lambda stream: _drained(stage, chosen, stuck, stream),
        after=lambda: After(tuple(stuck)),
        needs=parts(deployment),
    )
    return Disrupted((carry_out(stage, plan),))


def open_nodes(api: Api) -> tuple[str, ...]:
    """The nodes that are ready and take pods of everybody. Raises ApiError."""
    found = []
    for raw in api.list_all(NODE):
        spec, status = raw.get("spec") or {}, raw.get("status") or {}
        shut = any(each.get("effect") in ("NoSchedule", "NoExecute") for each in spec.get("taints") or ())
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())
        if ready and not shut and not spec.get("unschedulable"):
            found.append(str(raw["metadata"]["name"]))
    return tuple(found)


def bound(api: Api, deployment: Deployment) -> frozenset[str]:
    """The nodes with a primary whose logical slots would stay behind: its operator moves the role when the node is
    cordoned (CloudNativePG 1.27), and nobody moves it back. Raises Unseen."""
    primaries = [each.primary for each in deployment.postgres if each.operator and each.primary]
    return frozenset(each.node for each in primaries if slots(api, each))


def choose(api: Api, namespaces: Sequence[str], nodes: Sequence[str]) -> str | None:
    """The node of whose pods the fewest would be refused, and of those the one with the most; None where nobody has any.
    Raises ApiError."""
    best: tuple[int, int, str] | None = None
    for node in nodes:
        mine = movable(api, namespaces, node)
        refused = [raw for raw in mine if not _evict(api, raw, dry=True)]
        rank = (len(refused), -len(mine), node)
        if mine and (best is None or rank < best):
            best = rank
    return best[2] if best else None


def movable(api: Api, namespaces: Sequence[str], node: str) -> list[Object]:
    """The pods on a node that a drain moves. Raises ApiError."""
    found = [raw for each in namespaces for raw in api.list_all(POD, each, fieldSelector=f"spec.nodeName={node}")]
    return [raw for raw in found if _moves(raw)]


def _moves(raw: Object) -> bool:
    meta, phase = raw["metadata"], (raw.get("status") or {}).get("phase")
    owners = {each["kind"] for each in meta.get("ownerReferences") or () if each.get("controller")}
    own = (meta.get("labels") or {}).get(MANAGED_BY) == NAME
    mirror = MIRROR in (meta.get("annotations") or {})
    return bool(owners) and DAEMON_SET.name not in owners and not own and not mirror and phase not in ENDED


def _drained(stage: Stage, node: str, stuck: list[str], stream: Stream) -> str:
    """What cannot stand elsewhere comes back with the node: so users must be served before that. Raises NotDone, Stuck,
    ApiError."""
    api, run = stage.api, stage.traces.run_id
    spaces = stage.deployment.namespaces
    stage.check()

    def back() -> None:
        uncordon(api, node, run)

    with noted(api, stage.traces, spaces[0], f"cordon on {node}", {"node": node}, back):
        stage.check()
        cordon(api, node, run)
        moved = _evicted(stage, node)
        stuck += _waiting(stage)
        served(stage, stream, f"without node {node}")
    return f"node {node} was cordoned, {moved} pods were evicted from it, and it was uncordoned"


def _evicted(stage: Stage, node: str) -> int:
    """How many went. Raises Stuck where budgets keep one."""
    gone: set[str] = set()
    deadline = time.monotonic() + Limit.DRAIN
    while True:
        left = movable(stage.api, stage.deployment.namespaces, node)
        if not left:
            return len(gone)
        for raw in left:
            stage.check()
            uid = str(raw["metadata"]["uid"])
            if uid not in gone and _evict(stage.api, raw):
                gone.add(uid)
        if time.monotonic() > deadline:
            names = ", ".join(_kept(each, gone) for each in left)
            raise Stuck(f"the drain of {node} does not end: after {Limit.DRAIN:g} s there are still {names}")
        time.sleep(AGAIN)


def _kept(raw: Object, gone: Collection[str]) -> str:
    why = "it takes long to end" if raw["metadata"]["uid"] in gone else "its budget keeps it"
    return f"{raw['metadata']['name']} ({why})"


def _evict(api: Api, raw: Object, *, dry: bool = False) -> bool:
    """Whether its budget lets it go. Raises ApiError."""
    meta = raw["metadata"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "deleteOptions": {"preconditions": {"uid": meta["uid"]}, **({"dryRun": ["All"]} if dry else {})},
    }
    try:
        api.request("POST", POD.path(meta["namespace"], meta["name"], "eviction"), body)
    except ApiError as error:
        if error.status == NOT_NOW:
            return False
        # It is gone, or another has its name.
        if error.status in (404, 409):
            return True
        raise
    return True


def _waiting(stage: Stage) -> list[str]:
    """Until every pod is ready elsewhere or cannot be placed there; a line for each of the latter."""
    found: list[str] = []
    count = 0

    def placed() -> None:
        nonlocal count
        quiet, count = count, 0
        found.clear()
        for namespace in stage.deployment.namespaces:
            for raw in stage.api.list_all(POD, namespace):
                status = raw.get("status") or {}
                conditions = {each["type"]: each for each in status.get("conditions") or ()}
                if not _moves(raw) or conditions.get("Ready", {}).get("status") == "True":
                    continue
                scheduled = conditions.get("PodScheduled") or {}
                name = raw["metadata"]["name"]
                if scheduled.get("status") != "False":
                    raise NotYet(f"{name} is on its way")
                found.append(f"{name} could be placed nowhere else: {_words(scheduled)}")
        count = quiet + 1
        # Between a pod's end and its successor's beginning there is a moment without either.
        if count < TIMES:
            raise NotYet("it has just become quiet")

    with suppress(TimedOut):
        wait_for(placed, limit=stage.given.recovery, every=AGAIN)
    return list(found)


def _words(condition: Object) -> str:
    return " ".join(str(condition.get("message") or "").split())[:160]
