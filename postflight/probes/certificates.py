"""The certificates that are shown inside and in front of the deployment, and those that were issued for it.

Sources: Kubernetes 1.34, documentation of Ingress (TLS); PostgreSQL 15, Message Flow (SSLRequest); CloudNativePG 1.27,
Certificates (``<cluster>-server`` unless ``spec.certificates.serverTLSSecret`` names another).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from postflight.cluster.access import Access, Way
from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import INGRESS
from postflight.cluster.references import server_tls_secret
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import front
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, PostgresCluster
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.probe import probe
from postflight.probes.public import trusted
from postflight.probes.public_places import ControllerSeen, Place, places_of
from postflight.probes.public_tls import Certificate, look, read, unverified
from postflight.settings import Settings

#: Length and code of PostgreSQL's SSLRequest; "S" is its yes.
SSL_REQUEST, YES = struct.pack("!ii", 8, 80877103), b"S"
POSTGRES = 5432
LATE = "no answer in time"


@dataclass(frozen=True, slots=True)
class Issued:
    """What was issued for a door: the leaf in ``tls.crt`` of a Secret. ``named_by`` says in words who names the Secret;
    ``fits``: its tls.key is the key of that certificate. ``problem`` says why none is known; ``missing``: there is no
    such Secret."""

    namespace: str
    secret: str
    named_by: str
    certificate: Certificate | None = None
    fits: bool = True
    problem: str = ""
    missing: bool = False

    @property
    def words(self) -> str:
        return f"Secret {self.secret}, which {self.named_by} names"


@dataclass(frozen=True, slots=True)
class Shown:
    """What one door shows at one place. ``host`` is the name that it was asked for, ``names`` are all that it is used by,
    ``part`` is what stands behind it in the model, ``cluster`` the PostgreSQL that it is of."""

    host: str
    names: tuple[str, ...]
    way: str
    certificate: Certificate
    issued: tuple[Issued, ...]
    part: str = ""
    cluster: PostgresCluster | None = None


@dataclass(frozen=True, slots=True)
class Certificates:
    """``public`` are the names of the homeserver itself; ``unasked`` are hosts of Ingresses that were asked nowhere, each
    with why, ``shut`` the ingress controllers without a pod that is ready; ``unread`` are files with authorities that
    count and are not known here."""

    shown: tuple[Shown, ...] = ()
    public: tuple[str, ...] = ()
    unasked: tuple[tuple[str, str], ...] = ()
    shut: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@probe(limit=Limit.PUBLIC, reaches=True)
def shown_certificates(
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    settings: Settings,
    api: Api,
    access: Access,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Certificates:
    """Shake hands with every host that Ingresses have a certificate for, and with every PostgreSQL, at each of their pods."""
    main = main_of(deployment)
    trust, unread = trusted(main, snapshot, secrets, settings)
    hosts = issued_to_hosts(snapshot, secrets)
    found = places_of(sorted(hosts), deployment, snapshot, api, access, settings, ingress_controllers)

    def of_host(host: str, place: Place) -> Callable[[], Shown]:
        return lambda: Shown(host, (host,), place.way, look(access, place, host, trust), hosts[host])

    def of_instance(cluster: PostgresCluster, pod: Pod) -> Callable[[], Shown]:
        names = used_names(cluster)
        issued = (issued_by(secrets, cluster.namespace, server_tls_secret(cluster.raw), f"Cluster {cluster.name}"),)
        way = f"by tunnel to {pod.name}" if access.way is Way.TUNNEL else f"at {pod.name}"
        return lambda: Shown(names[0], names, way, _of_postgres(access, pod, names[0]), issued, pod.id, cluster)

    works = [of_host(host, place) for place in found.found for host in place.hosts if host in hosts]
    works += [of_instance(cluster, pod) for cluster, pod in instances(deployment)]
    outcomes = in_threads(works, Limit.PUBLIC - Limit.NAMES - 1)
    shown = [each.result() for each in outcomes if not isinstance(each.exception(), TimeoutError)]
    asked = {each.host for each in shown}
    unasked = [(host, _why(host, found.unasked)) for host in hosts if host not in asked]
    return Certificates(
        shown=tuple(shown),
        public=front.names_of(main).hosts if main else (),
        unasked=tuple(unasked),
        shut=tuple(each.id for each in found.shut),
        unread=unread,
    )


def issued_to_hosts(snapshot: Snapshot, secrets: SecretStore) -> dict[str, tuple[Issued, ...]]:
    """By host of an Ingress's TLS, in small letters, what was issued for it; of a wildcard nothing can be asked. Without
    a Secret a host has the controller's own certificate, and nothing that it could be held against."""
    found: dict[str, tuple[Issued, ...]] = {}
    for ingress in snapshot.all(INGRESS):
        meta = ingress["metadata"]
        for each in ingress["spec"].get("tls") or ():
            for host in map(str.lower, each.get("hosts") or ()):
                if "*" in host:
                    continue
                held = found.setdefault(host, ())
                name = each.get("secretName")
                if name and all((one.namespace, one.secret) != (meta["namespace"], name) for one in held):
                    issued = issued_by(secrets, meta["namespace"], name, f"Ingress {meta['name']}")
                    found[host] = (*held, issued)
    return found


def issued_by(secrets: SecretStore, namespace: str, name: str, named_by: str) -> Issued:
    """The leaf in a Secret of type kubernetes.io/tls."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if why := secrets.unseen.get((namespace, name)):
        return Issued(namespace, name, named_by, problem=why)
    if secrets.get(namespace, name) is None:
        return Issued(namespace, name, named_by, problem="it does not exist", missing=True)
    chain, key = secrets.value(namespace, name, "tls.crt"), secrets.value(namespace, name, "tls.key")
    try:
        leaf = x509.load_pem_x509_certificates(chain.reveal().encode() if chain else b"")[0]
        shown = read("", leaf.public_bytes(serialization.Encoding.DER))
    except ValueError:
        return Issued(namespace, name, named_by, problem="its tls.crt is no certificate")
    try:
        private = serialization.load_pem_private_key(key.reveal().encode() if key else b"", None)
        fits = private.public_key() == leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fits = False
    return Issued(namespace, name, named_by, shown, fits)


def instances(deployment: Deployment) -> Iterator[tuple[PostgresCluster, Pod]]:
    """The pods of operated PostgreSQL that can be asked."""
    for cluster in deployment.postgres:
        if cluster.operator:
            yield from ((cluster, pod) for pod in cluster.pods if pod.ready and not pod.deleting)


def used_names(cluster: PostgresCluster) -> tuple[str, ...]:
    """The names of its own Services by which a PostgreSQL is used, at least the one that CloudNativePG tells clients."""
    own = {f"{cluster.name}-{role}" for role in ("rw", "ro", "r")}
    used = [each.host for each in cluster.endpoints if each.service in own and not each.external]
    return tuple(dict.fromkeys(used)) or (f"{cluster.name}-rw",)


def _of_postgres(access: Access, pod: Pod, host: str) -> Certificate:
    try:
        with access.to_pod(pod.namespace, pod.name, pod.ip, POSTGRES) as address:
            return read(host, ask_postgres(address, host))
    except (OSError, ApiError, ValueError) as error:
        words = LATE if isinstance(error, TimeoutError) else " ".join(str(error).split())[:200]
        return Certificate(host, problem=words or type(error).__name__)


def ask_postgres(address: tuple[str, int], host: str) -> bytes:
    """The leaf that a PostgreSQL server shows once it is asked for TLS. Raises OSError (of which ssl's errors are)."""
    with socket.create_connection(address, timeout=Limit.CONNECT) as plain:
        plain.sendall(SSL_REQUEST)
        if plain.recv(1) != YES:
            raise OSError("it has no TLS")
        with unverified().wrap_socket(plain, server_hostname=host) as secured:
            return secured.getpeercert(binary_form=True) or b""


def _why(host: str, unasked: Sequence[str]) -> str:
    line = next((each for each in unasked if each.startswith(f"{host}: ")), f"{host}: {LATE}")
    return line.removeprefix(f"{host}: ")
