"""Pods that are taken away as a crash takes them: main, a proxy, a server of the object store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from postflight.cluster.access import Access
from postflight.cluster.kinds import POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import ingresses
from postflight.deployment.call_parts import Proxy
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side
from postflight.limits import Limit
from postflight.probes.canary_user import Hindered, ProbeRoom
from postflight.probes.disruption import DELETE_PODS, NotDone, Plan, Stage, carry_out, delete_pod, ground
from postflight.probes.doors import main_of, public_host
from postflight.probes.fresh import siblings
from postflight.probes.outages import Disrupted
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, Foundation, Safety, probe
from postflight.probes.public_places import ControllerSeen
from postflight.probes.store_health import ask
from postflight.probes.user_stream import VERSIONS, Stream
from postflight.settings import Settings
from postflight.traces import Traces

CLIENT_FRONT = ("routing.", "availability.front_door")


def main_parts(deployment: Deployment) -> tuple[str, ...]:
    """What taking main away stands on, and every other disruption: a user is served by it."""
    return ground(deployment)


def proxy_parts(deployment: Deployment) -> tuple[str, ...]:
    return (*ground(deployment), *(each.id for each in _fronts(deployment)))


def store_parts(deployment: Deployment) -> tuple[str, ...]:
    return (*ground(deployment), *(each.id for each in deployment.stores))


@probe(
    limit=Limit.DISRUPTION,
    rights=(*DELETE_PODS, EXEC),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation((*CLIENT_FRONT, "redis.", "database."), main_parts),
)
def main_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Delete main's pod while a user's requests go on, until it is back and everything quiet."""
    main = main_of(deployment)
    if main is None or main.pod is None:
        return Disrupted(absent="no main process is known")
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    pod = main.pod
    plan = Plan(main.id, main.workload_name, stage.given.outage.synapse_main, _deleting(stage, pod))
    return Disrupted((carry_out(stage, plan),))


@probe(
    limit=Limit.DISRUPTION,
    rights=(*DELETE_PODS, EXEC),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation(CLIENT_FRONT, proxy_parts),
)
def proxy_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Delete a pod of the proxy that the public name leads to, while a user's requests go on."""
    fronts = _fronts(deployment)
    if not fronts:
        return Disrupted(absent="no proxy stands before Synapse")
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    found = []
    for proxy in fronts:
        pod = _led_to(deployment, snapshot, proxy)
        if pod:
            plan = Plan(proxy.id, proxy.name, stage.given.outage.proxy, _deleting(stage, pod))
            found.append(carry_out(stage, plan))
    return Disrupted(tuple(found), "" if found else "no pod of the proxy is ready")


@probe(
    limit=Limit.DISRUPTION,
    rights=(*DELETE_PODS, EXEC),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation(("media.storage", "storage."), store_parts),
)
def store_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Delete a pod of the object store that media go to, while files are sent and fetched."""
    stores = [each for each in deployment.stores if each.side is Side.MAIN]
    inside = {store.id: next((pod for pod, _ in store.endpoint.pods), None) for store in stores}
    if not stores:
        return Disrupted(absent="no media go to an object store")
    if not any(inside.values()):
        return Disrupted(absent="the object store is not in the cluster")
    kept = {identity: pod for identity, pod in inside.items() if pod and _keeps(snapshot, access, pod)}
    if not kept:
        return Disrupted(
            absent="the one server of the object store keeps its files in its pod, and they would go with it"
        )
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    found = []
    for store in stores:
        if pod := kept.get(store.id):
            plan = Plan(
                store.id, f"{store.endpoint.service} ({pod.name})", stage.given.outage.storage, _sparing(stage, pod)
            )
            found.append(carry_out(stage, replace(plan, storing=store.local)))
    return Disrupted(tuple(found))


def _deleting(stage: Stage, pod: Pod) -> Callable[[Stream], str]:
    return lambda stream: delete_pod(stage, pod.namespace, pod.name)


def _sparing(stage: Stage, pod: Pod) -> Callable[[Stream], str]:
    """A server of several only where the others can do without it now: a disruption before may have cost them one."""

    def act(stream: Stream) -> str:
        group = next((each for each in stage.deployment.store_servers if pod.id in {one.id for one in each.pods}), None)
        if group and len(group.pods) > 1:
            said = ask(stage.access, group, pod)
            if said.problem or not said.spared:
                why = said.problem or (f"{said.healing} drives are healing" if said.healing else "writes would end")
                raise NotDone(f"MinIO {group.name} cannot spare {pod.name} at the moment: {why}")
        return delete_pod(stage, pod.namespace, pod.name)

    return act


def _fronts(deployment: Deployment) -> list[Proxy]:
    return [each for each in deployment.proxies if each.client and any(pod.ready for pod in each.pods)]


def _led_to(deployment: Deployment, snapshot: Snapshot, proxy: Proxy) -> Pod | None:
    """The pod of a proxy that an Ingress leads users to, else the first that is ready."""
    ready = [each for each in proxy.pods if each.ready]
    main = main_of(deployment)
    led = ingresses.route(snapshot, deployment.pods, public_host(main), VERSIONS) if main else None
    behind = {pod.id for pod, _ in led.endpoint.pods} if led else set()
    return next((each for each in ready if each.id in behind), None) or next(iter(ready), None)


def _keeps(snapshot: Snapshot, access: Access, pod: Pod) -> bool:
    """Whether what a server stores is there when its pod is gone: on a volume of its own, or on other servers."""
    raw = snapshot.get(POD, pod.namespace, pod.name)
    volumes = ((raw or {}).get("spec") or {}).get("volumes") or ()
    lasting = any("persistentVolumeClaim" in each or "hostPath" in each or "ephemeral" in each for each in volumes)
    return lasting or len(siblings(access.api, pod)) > 1
