"""What clients and other servers meet at the public names: certificates, discovery, versions, keys, room for uploads.

Nothing of it needs an account, and nothing stays: an upload without a token is refused when all of it has arrived.
Sources: Client-Server API 1.11, 2 (CORS) and 3.1 (well-known); Server-Server API 1.11, 3.1; synapse/rest/well_known.py,
synapse/http/site.py and synapse/rest/media/upload_resource.py, 1.163.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import federating, front, ingresses
from postflight.deployment.front import Authority, PublicNames
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.identity import PATH as KEYS
from postflight.probes.identity import VERSION, signed_by
from postflight.probes.probe import Unseen, probe
from postflight.probes.public_http import Answer, Line, line
from postflight.probes.public_places import ControllerSeen, Place, Places, places
from postflight.probes.public_tls import Certificate, Trust, look, unverified
from postflight.settings import Settings

CLIENT = "/.well-known/matrix/client"
SERVER = "/.well-known/matrix/server"
VERSIONS = "/_matrix/client/versions"
UPLOAD = "/_matrix/media/v3/upload"
#: More than proxies take by default (nginx: 1 MiB), less than Synapse takes of any request (200 * 65 KiB).
UPLOADED = 2 * 2**20
MOST_HOPS = 5
FEDERATION_PORT = 8448
NOT_ASKED = Answer(problem="not asked")


@dataclass(frozen=True, slots=True)
class WellKnown:
    """Each address that was asked, from the first, and what it said; ``beyond`` is where the last sends on to, if that
    is no public name of this deployment: it was not asked."""

    hops: tuple[tuple[str, Answer], ...]
    beyond: str = ""

    @property
    def last(self) -> Answer:
        return self.hops[-1][1]


@dataclass(frozen=True, slots=True)
class FederationDoor:
    """Where other servers are led, and what they get there: the keys with the names of those that ``signed`` them
    rightly, and the version. ``unasked`` says why it was not asked here."""

    host: str
    port: int
    certificate: Certificate | None = None
    keys: Answer = NOT_ASKED
    signed: tuple[str, ...] = ()
    version: Answer = NOT_ASKED
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """The front door at one place. None is what was not asked there: the name does not lead there, or nothing
    federates."""

    place: Place
    certificates: Mapping[str, Certificate]
    client: WellKnown | None = None
    server: Answer | None = None
    versions: Answer | None = None
    upload: Answer | None = None
    federation: FederationDoor | None = None


@dataclass(frozen=True, slots=True)
class PublicFront:
    """The front door of ``main``'s homeserver at every place from which it could be asked; ``federates``: other servers
    are let in. ``unread`` are files with authorities that Synapse trusts and that are not known here."""

    main: SynapseProcess
    names: PublicNames
    places: Places
    trust: Trust
    seen: tuple[Seen, ...]
    federates: bool
    unread: tuple[str, ...] = ()


@probe(limit=Limit.PUBLIC, reaches=True)
def public_front(
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    settings: Settings,
    api: Api,
    access: Access,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> tuple[PublicFront, ...]:
    """Ask by the public names, over TLS, what clients and other servers ask, and send 2 MiB to be refused."""
    main = main_of(deployment)
    if main is None or not main.server_name:
        return ()
    trust, unread = trusted(main, snapshot, secrets, settings)
    found = places(deployment, snapshot, api, access, settings, ingress_controllers, main)
    names, federates = front.names_of(main), federating.choice_of(deployment).on

    def asker(place: Place) -> Callable[[], Seen]:
        return lambda: _ask(access, place, names, trust, snapshot, federates)

    late = Answer(problem="no answer in time")
    seen: list[Seen] = []
    outcomes = in_threads([asker(each) for each in found.found], Limit.PUBLIC - Limit.NAMES - 1)
    for place, outcome in zip(found.found, outcomes, strict=True):
        if isinstance(outcome.exception(), TimeoutError):
            none = {host: Certificate(host, problem=late.problem) for host in place.hosts}
            seen.append(Seen(place, none))
        else:
            seen.append(outcome.result())
    return (PublicFront(main, names, found, trust, tuple(seen), federates, unread),)


def trusted(
    main: SynapseProcess | None, snapshot: Snapshot, secrets: SecretStore, settings: Settings
) -> tuple[Trust, tuple[str, ...]]:
    """The authorities that count here, and the files with such that could not be read. Raises Unseen where one is
    none."""
    own, unread = front.authorities(main, snapshot, secrets) if main else ((), ())
    return _trust(own, settings), unread


def _trust(own: Sequence[Authority], settings: Settings) -> Trust:
    further = list(own)
    if file := settings.public.ca_file:
        further.append(Authority(f"public.ca_file {file}", Path(file).read_text(encoding="utf-8")))
    try:
        return Trust.of(further)
    except OSError as error:
        origins = ", ".join(each.origin for each in further)
        raise Unseen(f"an authority of {origins} cannot be used: {' '.join(str(error).split())[:200]}") from error


def _ask(access: Access, place: Place, names: PublicNames, trust: Trust, snapshot: Snapshot, federates: bool) -> Seen:
    shown = {host: look(access, place, host, trust) for host in place.hosts}
    seen = Seen(place, shown)
    try:
        if names.server in place.hosts and not shown[names.server].problem:
            with line(access, place, names.server, 443, unverified()) as asked:
                seen = replace(seen, client=_well_known(access, place, asked, names))
                if federates and names.explicit is None:
                    seen = replace(seen, server=asked.ask("GET", SERVER))
        if names.client in place.hosts and not shown[names.client].problem:
            with line(access, place, names.client, names.port, unverified()) as asked:
                versions, upload = asked.ask("GET", VERSIONS), asked.ask("POST", UPLOAD, body=bytes(UPLOADED))
                seen = replace(seen, versions=versions, upload=upload)
        # Where other servers are led is not known while nobody answers with the file that says so.
        if federates and names.server in place.hosts and not (seen.server and seen.server.silent):
            seen = replace(seen, federation=_federation(access, place, names, trust, snapshot, seen))
    except (OSError, ApiError) as error:
        lost = {host: Certificate(host, problem=" ".join(str(error).split())[:200]) for host in place.hosts}
        return replace(seen, certificates=lost)
    return seen


def _well_known(access: Access, place: Place, asked: Line, names: PublicNames) -> WellKnown:
    """As a web client follows it, which needs to be let read each of the answers."""
    url = f"https://{names.server}{CLIENT}"
    hops = [(url, asked.ask("GET", CLIENT))]
    while 300 <= hops[-1][1].status < 400 and len(hops) < MOST_HOPS:
        url = urljoin(url, hops[-1][1].location)
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname not in place.hosts or parts.port not in (None, 443):
            return WellKnown(tuple(hops), url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        with line(access, place, parts.hostname, 443, unverified()) as another:
            hops.append((url, another.ask("GET", path or "/")))
    return WellKnown(tuple(hops))


def delegated(names: PublicNames, server: Answer | None) -> tuple[str, int]:
    """Where other servers look for this one: by the port in its name, else by its well-known file, else at 8448 of its
    name (where no SRV record says otherwise, which is not looked at)."""
    if names.explicit is not None:
        return names.server, names.explicit
    told = server.json.get("m.server") if server and server.status == 200 else None
    try:
        parts = urlsplit(f"//{told}") if isinstance(told, str) else None
        if parts and parts.hostname:
            return parts.hostname, parts.port or FEDERATION_PORT
    except ValueError:
        pass
    return names.server, FEDERATION_PORT


def _federation(
    access: Access, place: Place, names: PublicNames, trust: Trust, snapshot: Snapshot, seen: Seen
) -> FederationDoor:
    host, port = delegated(names, seen.server)
    found = FederationDoor(host, port)
    if place.pod:
        if port not in (443, names.port):
            return replace(found, unasked=f"what leads port {port} of {host} into the cluster is not known")
        if host not in place.hosts and not ingresses.claims(snapshot, host):
            return replace(found, unasked=f"no Ingress in scope has the name {host}")
    elif host not in place.hosts:
        return replace(found, unasked=f"{host} is another name, and its addresses were not asked")
    else:
        place = replace(place, port=port)
    certificate = seen.certificates.get(host) if place == seen.place else None
    certificate = certificate or look(access, place, host, trust)
    if certificate.problem:
        return replace(found, certificate=certificate, keys=Answer(problem=certificate.problem))
    with line(access, place, host, port, unverified()) as asked:
        keys, version = asked.ask("GET", KEYS), asked.ask("GET", VERSION)
    return replace(found, certificate=certificate, keys=keys, signed=tuple(_signers(keys)), version=version)


def _signers(keys: Answer) -> Iterator[str]:
    published = keys.json.get("verify_keys")
    if isinstance(published, dict):
        known = {name: str(each.get("key")) for name, each in published.items() if isinstance(each, dict)}
        yield from signed_by(keys.json, known)
