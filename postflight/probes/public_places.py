"""Where the public names can be asked from here: the ingress controllers' pods, and the addresses that DNS gives."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api, ApiError, Object
from postflight.cluster.kinds import BUDGET, DAEMON_SET, DEPLOYMENT, POD, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import front, ingresses
from postflight.deployment.front import Controller
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, SynapseProcess
from postflight.deployment.pods import read_pod
from postflight.limits import Limit
from postflight.probes.doors import client_doors
from postflight.probes.probe import probe
from postflight.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A port at which TLS is met, in a pod, or (``pod`` None) at an address. ``way`` says in words how it was reached,
    ``hosts`` are the public names that lead to it."""

    way: str
    address: str
    port: int
    hosts: tuple[str, ...]
    pod: Pod | None = None

    def reach(self, access: Access) -> AbstractContextManager[tuple[str, int]]:
        """A host and port from here, for as long as the context. Raises ApiError, OSError."""
        if self.pod:
            return access.to_pod(self.pod.namespace, self.pod.name, self.pod.ip, self.port)
        return nullcontext((self.address, self.port))


@dataclass(frozen=True, slots=True)
class Places:
    """``fronts`` are the pods of everything that stands before Synapse and may hide who asks; ``shut`` are controllers
    of which no pod is ready, ``unasked`` a line for each address, name or controller that was not asked, with why."""

    found: tuple[Place, ...] = ()
    fronts: tuple[Pod, ...] = ()
    shut: tuple[Controller, ...] = ()
    unasked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControllerSeen:
    """An ingress controller: its pods, each with the port at which TLS is met, the Services of its namespace, and the
    budgets there; ``problem`` says why they could not be listed, ``hidden`` why the budgets could not."""

    controller: Controller
    pods: tuple[tuple[Pod, int], ...] = ()
    services: tuple[Object, ...] = field(default=(), repr=False)
    problem: str = ""
    budgets: tuple[Object, ...] = field(default=(), repr=False)
    hidden: str = ""


@dataclass(slots=True)
class _Draft:
    found: list[Place] = field(default_factory=list)
    fronts: list[Pod] = field(default_factory=list)
    shut: list[Controller] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)


@probe(limit=Limit.KUBERNETES)
def ingress_controllers(snapshot: Snapshot, settings: Settings, api: Api) -> tuple[ControllerSeen, ...]:
    """List the pods of every ingress controller there is, and the Services and budgets beside them, once for all who
    ask."""
    found = front.controllers(snapshot, settings.names.ingress, ())
    services: dict[str, tuple[Object, ...]] = {}
    return tuple(_with_budgets(_listed(each, api, services), snapshot, api) for each in found)


def _with_budgets(each: ControllerSeen, snapshot: Snapshot, api: Api) -> ControllerSeen:
    namespace = each.controller.namespace
    if namespace in snapshot.namespaces:
        return replace(each, budgets=tuple(snapshot.all(BUDGET, namespace)))
    try:
        return replace(each, budgets=tuple(api.list_all(BUDGET, namespace)))
    except ApiError as error:
        return replace(each, hidden=str(error))


def _listed(each: Controller, api: Api, services: dict[str, tuple[Object, ...]]) -> ControllerSeen:
    query = (
        {"labelSelector": ",".join(f"{key}={value}" for key, value in each.selector.items())} if each.selector else {}
    )
    try:
        raws = [raw for raw in api.list_all(POD, each.namespace, **query) if _is_of(each, raw)]
    except ApiError as error:
        return ControllerSeen(each, problem=str(error))
    if each.namespace not in services:
        try:
            services[each.namespace] = tuple(api.list_all(SERVICE, each.namespace))
        except ApiError:
            services[each.namespace] = ()
    return ControllerSeen(each, tuple((read_pod(raw), front.tls_port(raw)) for raw in raws), services[each.namespace])


def places(
    deployment: Deployment,
    snapshot: Snapshot,
    api: Api,
    access: Access,
    settings: Settings,
    controllers: Iterable[ControllerSeen],
    main: SynapseProcess,
) -> Places:
    """Every one of them. What is outside is asked only where the cluster knows its address, or the settings allow it:
    a name may be another's, in a copy of a deployment."""
    names, draft = front.names_of(main), _Draft()
    if not any(ingresses.claims(snapshot, host) for host in names.hosts):
        for _, door in client_doors(deployment, main):
            if door.tls:
                draft.found.append(Place(_way(access, door.pod), door.pod.ip, door.port, names.hosts, door.pod))
    ports = {host: names.port if host == names.client else 443 for host in names.hosts}
    return _places(ports, deployment, snapshot, api, access, settings, controllers, draft)


def places_of(
    hosts: Iterable[str],
    deployment: Deployment,
    snapshot: Snapshot,
    api: Api,
    access: Access,
    settings: Settings,
    controllers: Iterable[ControllerSeen],
) -> Places:
    """The same for other names of the deployment's, at 443."""
    return _places(dict.fromkeys(hosts, 443), deployment, snapshot, api, access, settings, controllers, _Draft())


def _places(
    ports: Mapping[str, int],
    deployment: Deployment,
    snapshot: Snapshot,
    api: Api,
    access: Access,
    settings: Settings,
    controllers: Iterable[ControllerSeen],
    draft: _Draft,
) -> Places:
    claimed = tuple(host for host in ports if ingresses.claims(snapshot, host))
    if claimed:
        wanted = {each.id for each in front.controllers(snapshot, settings.names.ingress, claimed)}
        for each in controllers:
            if each.controller.id in wanted:
                _at_controller(each, access, claimed, draft)
    draft.fronts += [pod for proxy in deployment.proxies for pod in proxy.pods]
    _at_addresses(ports, snapshot, api, access, settings, draft)
    for host in ports:
        if not any(host in each.hosts for each in draft.found):
            draft.unasked.append(f"{host}: {_why_nowhere(snapshot, host, draft)}")
    return Places(tuple(draft.found), tuple(draft.fronts), tuple(draft.shut), tuple(draft.unasked))


def _at_controller(each: ControllerSeen, access: Access, hosts: tuple[str, ...], draft: _Draft) -> None:
    own = each.controller
    if each.problem:
        draft.unasked.append(f"{own.name} in namespace {own.namespace}: {each.problem}")
        return
    draft.fronts += [pod for pod, _ in each.pods]
    ready = [(pod, port) for pod, port in each.pods if pod.ready and not pod.deleting]
    if not ready:
        draft.shut.append(own)
    draft.found += [Place(_way(access, pod), pod.ip, port, hosts, pod) for pod, port in ready]
    draft.services += each.services


def _is_of(each: Controller, raw: Object) -> bool:
    return bool(each.selector) or str(raw["metadata"]["name"]).startswith(f"{each.name}-")


def _way(access: Access, pod: Pod) -> str:
    return f"by tunnel to {pod.name}" if access.way is Way.TUNNEL else f"at {pod.name}"


def _at_addresses(
    ports: Mapping[str, int], snapshot: Snapshot, api: Api, access: Access, settings: Settings, draft: _Draft
) -> None:
    """The addresses of each name: of one that is a name of no internet, only within the cluster."""
    asked = [host for host in ports if api.connection.in_cluster or not front.is_reserved(host)]
    known = front.announced(snapshot, tuple(ports), draft.services) if asked else ()
    further = [each for each in known if any(letter.isalpha() for letter in each) and ":" not in each]
    resolved = dict(zip([*asked, *further], _resolve([*asked, *further]), strict=True))
    own = {*known, *(pod.ip for pod in draft.fronts), *(ip for each in further for ip in resolved[each])}
    by_address: dict[tuple[str, int], list[str]] = {}
    for host in asked:
        for address in resolved[host]:
            by_address.setdefault((address, ports[host]), []).append(host)
    for (address, port), hosts in by_address.items():
        if address in own or settings.public.ask:
            words = f"at {address}, as {' and '.join(hosts)} resolves here"
            draft.found.append(Place(words, address, port, tuple(hosts)))
        else:
            line = "nothing in the cluster knows that address (public.ask: true in the settings lets it be asked)"
            draft.unasked.append(f"{address}, to which {' and '.join(hosts)} leads: {line}")


def _resolve(hosts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The addresses of each as this machine's resolver has them, none where it has none in time."""

    def asker(host: str) -> Callable[[], tuple[str, ...]]:
        return lambda: tuple(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(host, 443, proto=6)))

    for outcome in in_threads([asker(host) for host in hosts], Limit.NAMES):
        yield () if outcome.exception() else outcome.result()


def _why_nowhere(snapshot: Snapshot, host: str, draft: _Draft) -> str:
    if draft.shut:
        return f"{draft.shut[0].name} has no pod that is ready"
    if not ingresses.claims(snapshot, host):
        return "no Ingress in scope has that name, and it was not asked by any address of its own"
    if why := next(filter(None, (snapshot.unseen.get((kind, "")) for kind in (DEPLOYMENT, DAEMON_SET))), ""):
        return (
            f"which ingress controller serves it is not known ({why}); names.ingress.workloads in the settings says it"
        )
    return "no ingress controller is known by its image; names.ingress.workloads in the settings names it"
