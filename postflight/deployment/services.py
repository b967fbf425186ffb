"""From a host name in some configuration to the pods behind it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from postflight.cluster.kinds import ENDPOINT_SLICE, POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import Endpoint, Pod, pod_id

SERVICE_LABEL = "kubernetes.io/service-name"
SUFFIXES = (".svc.cluster.local", ".svc")


def meanings(host: str, namespace: str) -> tuple[tuple[str, str, str], ...]:
    """Namespace, Service and pod host name ("" for the Service itself) that a name may mean when asked
    from ``namespace``, in the order of a pod's search list; none where it is no name within the cluster."""
    name = host.rstrip(".")
    inner = next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name)
    match inner.split("."):
        case [service]:
            return ((namespace, service, ""),)
        case [first, second] if inner == name:
            return ((namespace, second, first), (second, first, ""))
        case [service, where]:
            return ((where, service, ""),)
        case [pod, service, where]:
            return ((where, service, pod),)
    return ()


def resolve(snapshot: Snapshot, pods: Mapping[str, Pod], host: str, port: int, namespace: str) -> Endpoint:
    """Follow a host name through its Service to the pods that are ready behind it.

    A pod's own name (``pod.service``) leads to that one pod; a name outside the cluster, or a
    Service without a selector or with an external name, is ``external``.
    """
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
        if "." in host and not host.rstrip(".").endswith(SUFFIXES):
            return Endpoint(host, port, "", "", (), external=True)
        problem = f"namespace {where} is not among those looked at"
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
    elif not backends:
        problem = f"Service {name} has no ready pod behind it"
    return Endpoint(host, port, where, name, backends, single_pod=bool(single), problem=problem)


def _by_address(snapshot: Snapshot, pods: Mapping[str, Pod], host: str, port: int) -> Endpoint:
    for service in snapshot.all(SERVICE):
        if service["spec"].get("clusterIP") == host:
            meta = service["metadata"]
            return resolve(snapshot, pods, f"{meta['name']}.{meta['namespace']}.svc", port, meta["namespace"])
    for pod in pods.values():
        if pod.ip == host:
            return Endpoint(host, port, pod.namespace, "", ((pod, port),), single_pod=True)
    return Endpoint(host, port, "", "", (), external=True)


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
    for piece in snapshot.all(ENDPOINT_SLICE, namespace):
        if (piece["metadata"].get("labels") or {}).get(SERVICE_LABEL) != name:
            continue
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
