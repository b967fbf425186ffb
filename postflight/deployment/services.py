"""From a host name in some configuration to the pods behind it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from postflight.cluster.api import Object
from postflight.cluster.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE, STATEFUL_SET
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Endpoint, Pod, is_loopback, pod_id

SERVICE_LABEL = "kubernetes.io/service-name"
#: What a StatefulSet labels each of its pods with, and nobody else (Kubernetes 1.34).
POD_LABELS = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")


def meanings(host: str, namespace: str) -> tuple[tuple[str, str, str], ...]:
    """Namespace, Service and pod host name ("" for the Service itself) that a name may mean when asked
    from ``namespace``, in the order of a pod's search list; none where it is no name within the cluster."""
    inner = _within_cluster(host)
    match inner or host.rstrip(".").split("."):
        case [service]:
            return ((namespace, service, ""),)
        case [first, second] if not inner:
            return ((namespace, second, first), (second, first, ""))
        case [service, where]:
            return ((where, service, ""),)
        case [pod, service, where]:
            return ((where, service, pod),)
    return ()


def _within_cluster(host: str) -> list[str]:
    """What stands before ``svc`` in SERVICE.NAMESPACE.svc or POD.SERVICE.NAMESPACE.svc, whatever the cluster's
    domain after it; nothing where a name is not spelled so."""
    labels = host.rstrip(".").split(".")
    return next((labels[:at] for at in (2, 3) if labels[at : at + 1] == ["svc"]), [])


def resolve(snapshot: Snapshot, pods: Mapping[str, Pod], host: str, port: int, namespace: str) -> Endpoint:
    """Follow a host name through its Service to the pods that are ready behind it.

    A pod's own name (``pod.service``) leads to that one pod; a name outside the cluster, or a Service whose
    endpoints are no pods or that has an external name, is ``external``, and so is a loopback address: it is
    in each pod another.
    """
    if is_loopback(host):
        return Endpoint(host, port, "", "", (), external=True)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return _by_address(snapshot, pods, host, port)
    known = meanings(host, namespace)
    if not known:
        return Endpoint(host, port, "", "", (), external=True)
    where, name, single = next((each for each in known if snapshot.get(SERVICE, *each[:2])), known[-1])
    service = snapshot.get(SERVICE, where, name)
    if service is None:
        if where in snapshot.namespaces:
            return Endpoint(host, port, where, name, (), problem=f"no Service {name} in namespace {where}")
        if "." in host and not _within_cluster(host):
            return Endpoint(host, port, "", "", (), external=True)
        problem = f"namespace {where} is not looked at: --namespace {','.join((*snapshot.namespaces, where))}"
        return Endpoint(host, port, where, name, (), external=True, problem=problem)
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return Endpoint(host, port, where, name, (), external=True)
    headless = spec.get("clusterIP") == "None"
    backends = _backends(snapshot, pods, where, name, port, headless, spec.get("ports") or ())
    if single:
        backends = tuple(each for each in backends if each[0].name == single)
        if not backends and (pod := pods.get(pod_id(where, single))):
            backends = ((pod, port),)
    problem = ""
    if not headless and port not in {each["port"] for each in spec.get("ports") or ()}:
        problem = f"Service {name} has no port {port}"
    elif not backends and _leads_out(snapshot, where, name):
        return Endpoint(host, port, where, name, (), external=True)
    elif not backends:
        problem = f"Service {name} has no ready pod behind it"
    selector: Mapping[str, str] = spec.get("selector") or {}
    return Endpoint(
        host,
        port,
        where,
        name,
        backends,
        single_pod=bool(single),
        problem=problem,
        pinned=next((f"{key}: {selector[key]}" for key in POD_LABELS if key in selector), ""),
        sole=_sole(snapshot, where, selector),
    )


def _sole(snapshot: Snapshot, namespace: str, selector: Mapping[str, str]) -> str:
    """The only workload whose pods a selector finds by the labels that they are made with, if it has one pod; "" where a
    pod has or has not got the labels otherwise: something switches them while it runs."""
    if not selector:
        return ""
    made = [
        each
        for kind in (STATEFUL_SET, DEPLOYMENT)
        for each in snapshot.all(kind, namespace)
        if _selects(selector, each)
    ]
    if len(made) != 1 or made[0]["spec"].get("replicas", 1) != 1:
        return ""
    labels: Mapping[str, str] = (made[0]["spec"].get("selector") or {}).get("matchLabels") or {}
    for raw in snapshot.all(POD, namespace):
        own = raw["metadata"].get("labels") or {}
        if (labels.items() <= own.items()) != (selector.items() <= own.items()):
            return ""
    return f"{made[0]['kind']} {made[0]['metadata']['name']}"


def _selects(selector: Mapping[str, str], workload: Object) -> bool:
    labels: Mapping[str, str] = (workload["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return selector.items() <= labels.items()


def out_of_scope(snapshot: Snapshot, endpoint: Endpoint) -> str:
    """The namespace that an address leads to and that is not looked at, also by a Service that names another host; "" where
    there is none."""
    service = snapshot.get(SERVICE, endpoint.namespace, endpoint.service) if endpoint.service else None
    if endpoint.service and service is None:
        return "" if endpoint.namespace in snapshot.namespaces else endpoint.namespace
    inner = _within_cluster(str(service["spec"].get("externalName") or "")) if service else []
    return inner[-1] if inner and inner[-1] not in snapshot.namespaces else ""


def _by_address(snapshot: Snapshot, pods: Mapping[str, Pod], host: str, port: int) -> Endpoint:
    for service in snapshot.all(SERVICE):
        if host in (service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP")]):
            meta = service["metadata"]
            return resolve(snapshot, pods, f"{meta['name']}.{meta['namespace']}.svc", port, meta["namespace"])
    for raw in snapshot.all(POD):
        status = raw.get("status") or {}
        addresses = {status.get("podIP"), *(each.get("ip") for each in status.get("podIPs") or ())}
        pod = pods.get(pod_id(raw["metadata"]["namespace"], raw["metadata"]["name"]))
        if pod and host in addresses:
            return Endpoint(host, port, pod.namespace, "", ((pod, port),), single_pod=True)
    return Endpoint(host, port, "", "", (), external=True)


def _leads_out(snapshot: Snapshot, namespace: str, name: str) -> bool:
    """Whether a Service leads to addresses that are no pods: one without a selector, filled by hand."""
    return any(
        each.get("addresses") and (each.get("targetRef") or {}).get("kind") != POD.name
        for piece in _slices(snapshot, namespace, name)
        for each in piece.get("endpoints") or ()
    )


def _slices(snapshot: Snapshot, namespace: str, name: str) -> Iterator[Object]:
    for piece in snapshot.all(ENDPOINT_SLICE, namespace):
        if (piece["metadata"].get("labels") or {}).get(SERVICE_LABEL) == name:
            yield piece


def _backends(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    namespace: str,
    name: str,
    port: int,
    headless: bool,
    service_ports: object,
) -> tuple[tuple[Pod, int], ...]:
    named = {each["port"]: each.get("name", "") for each in service_ports}  # type: ignore[attr-defined]
    found: dict[str, tuple[Pod, int]] = {}
    for piece in _slices(snapshot, namespace, name):
        target = next(
            (each["port"] for each in piece.get("ports") or () if each.get("name", "") == named.get(port)), None
        )
        for endpoint in piece.get("endpoints") or ():
            ref = endpoint.get("targetRef") or {}
            pod = pods.get(pod_id(namespace, ref.get("name", ""))) if ref.get("kind") == POD.name else None
            ready = (endpoint.get("conditions") or {}).get("ready")
            if pod and ready is not False and (target or headless):
                found[pod.id] = (pod, port if headless or target is None else target)
    return tuple(found[key] for key in sorted(found))
