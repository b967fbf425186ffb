"""The public names of the homeserver, and what stands in front of it for them: the ingress controllers.

Sources: Client-Server API 1.11, Server Discovery (3.1); Server-Server API 1.11, Resolving server names (3.1);
ingress-nginx v1.11, deploy/static; the images of the others as their charts name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from postflight.cluster.api import Object
from postflight.cluster.kinds import DAEMON_SET, DEPLOYMENT, INGRESS, POD, SERVICE
from postflight.cluster.references import template_of
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.rendering import Spec, Unreadable
from postflight.settings import IngressNames

IMAGE = re.compile(
    r"(^|/)(ingress-nginx/controller|nginx-ingress(-controller)?|nginx-ingress-controller|traefik|haproxy-ingress"
    r"|kubernetes-ingress|kong/kubernetes-ingress-controller)([:@]|$)"
)
#: What they are deployed as: on the nodes themselves (RKE2, bare metal) as a DaemonSet.
CONTROLLERS = (DEPLOYMENT.name, DAEMON_SET.name)
#: Names that stand for nothing on the internet (RFC 6761): only a cluster's own DNS may know them.
RESERVED = ("test", "example", "invalid", "localhost")
TLS_NAMES = ("https", "websecure", "ssl", "proxy-tls")
TLS_PORTS = (443, 8443)
CUSTOM_AUTHORITIES = "federation_custom_ca_list"


@dataclass(frozen=True, slots=True)
class PublicNames:
    """What others know the homeserver by: ``server`` is the host of its server name and ``explicit`` the port in it
    (None: none stands there); ``client`` is the host that clients are sent to, ``port`` the one they use there."""

    server: str
    explicit: int | None
    client: str
    port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.client, self.server)))


@dataclass(frozen=True, slots=True)
class Controller:
    """A workload that serves Ingresses. ``selector`` are its pods' labels, None where it is known by name only (then
    its pods are called after it)."""

    namespace: str
    name: str
    selector: Mapping[str, str] | None

    @property
    def id(self) -> str:
        return f"ingress-controller/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority beyond the machine's own that counts, and who says so."""

    origin: str
    pem: str


def names_of(main: SynapseProcess) -> PublicNames:
    """By server_name and public_baseurl, as in effect; without the latter clients come to the server's name."""
    own = urlsplit(f"//{main.server_name}")
    base = urlsplit(str((main.config or {}).get("public_baseurl") or ""))
    server = own.hostname or main.server_name
    if not base.hostname:
        return PublicNames(server, own.port, server, 443)
    return PublicNames(server, own.port, base.hostname, base.port or 443)


def controllers(snapshot: Snapshot, names: IngressNames, hosts: Sequence[str]) -> tuple[Controller, ...]:
    """Those that the settings name, else those that serve the class of the Ingresses of these hosts; all where the
    classes do not tell. They stand in whatever namespace."""
    known = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each
        for each in snapshot.controllers
        if each["kind"] in CONTROLLERS
    }
    if names.workloads:
        places = [tuple(each.split("/", 1)) for each in names.workloads]
        return tuple(_controller(space, name, known.get((space, name))) for space, name in places)
    found = [(place, raw) for place, raw in known.items() if _serves_ingresses(raw)]
    if len(found) > 1 and (classes := _classes(snapshot, hosts)):
        found = [each for each in found if classes & _told_classes(each[1])] or found
    return tuple(_controller(*place, raw) for place, raw in found)


def tls_port(raw: Object) -> int:
    """The port of a controller's pod on which TLS is met: by its name, else by its number, else 443."""
    ports = [port for each in template_of({**raw, "kind": POD.name}).get("containers") or () for port in _ports(each)]
    named = next((port["containerPort"] for port in ports if port.get("name") in TLS_NAMES), None)
    numbered = next((port["containerPort"] for port in ports if port["containerPort"] in TLS_PORTS), 443)
    return int(named or numbered)


def announced(snapshot: Snapshot, hosts: Sequence[str], services: Sequence[Object] = ()) -> tuple[str, ...]:
    """The addresses and names by which what stands here is reached, as Ingresses of these hosts and Services (those
    in scope and ``services``) say, and the nodes'."""
    found: list[str] = []
    for ingress in _for(snapshot, hosts):
        found += _balancer(ingress)
    for service in (*snapshot.all(SERVICE), *services):
        spec = service["spec"]
        found += [*_balancer(service), *(spec.get("externalIPs") or ()), spec.get("loadBalancerIP") or ""]
        found += [each for each in (spec.get("clusterIPs") or (spec.get("clusterIP"),)) if each and each != "None"]
    found += nodes(snapshot)
    return tuple(dict.fromkeys(each for each in found if each))


def nodes(snapshot: Snapshot) -> tuple[str, ...]:
    """The addresses of the nodes that pods in scope stand on."""
    return tuple(dict.fromkeys(ip for pod in snapshot.all(POD) if (ip := (pod.get("status") or {}).get("hostIP"))))


def authorities(
    main: SynapseProcess, snapshot: Snapshot, secrets: SecretStore
) -> tuple[tuple[Authority, ...], tuple[str, ...]]:
    """Those that the homeserver itself is told to trust for other servers (``federation_custom_ca_list``): a closed
    network's authority stands there. And the files among them whose content is not known: its pod has them from
    elsewhere than a ConfigMap or a Secret, or these could not be read."""
    listed = (main.config or {}).get(CUSTOM_AUTHORITIES)
    paths = tuple(map(str, listed)) if isinstance(listed, list) else ()
    raw = snapshot.get(POD, main.pod.namespace, main.pod.name) if main.pod else None
    if main.pod is None or raw is None:
        return (), paths
    spec = Spec(snapshot, secrets, main.pod.namespace, main.pod.name, main.pod.ip, raw["spec"])
    container = next((each for each in spec.containers() if each["name"] == main.container), {})
    found: dict[str, Authority] = {}
    for path in paths:
        with suppress(Unreadable):
            pem = spec.file(container, path)
            if pem and "BEGIN CERTIFICATE" in pem:
                found[path] = Authority(f"{CUSTOM_AUTHORITIES} of {main.workload_name}", pem)
    return tuple(found.values()), tuple(path for path in paths if path not in found)


def tls_secret(snapshot: Snapshot, host: str) -> str:
    """In words, the Secret that Ingresses name for the certificate of a host; "" where none does."""
    for ingress in _for(snapshot, (host,)):
        for each in ingress["spec"].get("tls") or ():
            if host in (each.get("hosts") or ()) and each.get("secretName"):
                return f"Secret {each['secretName']}, which Ingress {ingress['metadata']['name']} names"
    return ""


def is_reserved(host: str) -> bool:
    return host.rpartition(".")[2] in RESERVED


def _controller(namespace: str, name: str, raw: Object | None) -> Controller:
    labels = raw["spec"]["selector"].get("matchLabels") if raw else None
    return Controller(namespace, name, labels or None)


def _serves_ingresses(raw: Object) -> bool:
    return any(IMAGE.search(each.get("image") or "") for each in template_of(raw).get("containers") or ())


def _told_classes(raw: Object) -> set[str]:
    """The classes that a controller's own arguments name."""
    words = [word for each in template_of(raw).get("containers") or () for word in each.get("args") or ()]
    return {word.partition("=")[2] for word in words if word.startswith(("--ingress-class=", "--ingressclass="))}


def _classes(snapshot: Snapshot, hosts: Sequence[str]) -> set[str]:
    return {name for each in _for(snapshot, hosts) if (name := each["spec"].get("ingressClassName"))}


def _for(snapshot: Snapshot, hosts: Sequence[str]) -> Iterator[Object]:
    """The Ingresses with a rule for one of these hosts."""
    for ingress in snapshot.all(INGRESS):
        if any((rule.get("host") or "").lower() in hosts for rule in ingress["spec"].get("rules") or ()):
            yield ingress


def _balancer(raw: Object) -> list[str]:
    told = ((raw.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [str(each.get("ip") or each.get("hostname") or "") for each in told]


def _ports(container: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = container.get("ports") or ()
    return found
