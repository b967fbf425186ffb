"""What main tells clients about calls without a login, and who answers for OpenID tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from postflight.cluster.access import Access
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads, spawn
from postflight.deployment import ingresses
from postflight.deployment.call_parts import Proxy
from postflight.deployment.calls import FOCI, service_urls
from postflight.deployment.ingresses import Route
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import client_host, federation_doors, front_door, main_of, public_host
from postflight.probes.http import Door, Said, ask
from postflight.probes.leads import NOWHERE, Lead, Outside, lead
from postflight.probes.probe import probe
from postflight.secrets import Secret

WELL_KNOWN = "/.well-known/matrix/client"
VERSIONS = "/_matrix/client/versions"
DELAYED_EVENTS = "org.matrix.msc4140"
USERINFO = "/_matrix/federation/v1/openid/userinfo"
#: A token that no homeserver gave: who knows OpenID tokens refuses it, who does not fails.
NO_TOKEN = Secret("postflight-no-token")


@dataclass(frozen=True, slots=True)
class UserInfo:
    """What one place says when it is asked whose an OpenID token is: a proxy, or (``proxy`` None) a process of
    Synapse by itself. ``backend`` is where the proxy's configuration sends the question; None: it does not tell."""

    name: str
    said: Said
    proxy: Proxy | None = None
    backend: str | None = None

    def knows(self, user: str) -> bool:
        """Whether it said what is right of the user's token, or, of "", of one that nobody gave."""
        return self.said.json.get("sub") == user if user else self.said.status == 401

    @property
    def led(self) -> str:
        """The proxy's backend with the Services in it."""
        if self.backend is None or self.proxy is None:
            return "a process that does not know them"
        servers = self.proxy.backends.get(self.backend, ())
        services = dict.fromkeys(server.service or server.host for server in servers)
        return f"backend {self.backend} ({', '.join(services) or 'no server'})"


@dataclass(frozen=True, slots=True)
class CallsDiscovery:
    """``userinfo`` was asked with a token that nobody gave: first the way that the JWT service's question takes,
    through every proxy pod, then one process of each workload that takes federation. ``outside`` says why
    ``well_known`` (main's own answer then) is not what clients get, ``ingress`` who leads them to it elsewhere."""

    main: SynapseProcess
    well_known: Said
    versions: Said
    userinfo: tuple[UserInfo, ...]
    outside: str = ""
    ingress: Route | None = None

    @property
    def url(self) -> str:
        """Where clients look (Client-Server API, 3.1): the server name's host, whatever public_baseurl says."""
        return f"https://{client_host(self.main)}{WELL_KNOWN}"

    @property
    def foci(self) -> tuple[str, ...]:
        return service_urls(self.well_known.json.get(FOCI))

    @property
    def delayed_events(self) -> bool:
        features = self.versions.json.get("unstable_features")
        return isinstance(features, dict) and features.get(DELAYED_EVENTS) is True


@probe(limit=Limit.CALLS, reaches=True)
def calls_discovery(deployment: Deployment, snapshot: Snapshot, access: Access) -> tuple[CallsDiscovery, ...]:
    """Ask what main tells clients about calls, and who answers for OpenID tokens; nothing where there are none."""
    main = main_of(deployment)
    if main is None or not deployment.calls.referred:
        return ()
    door = front_door(deployment, main)
    if door is None:
        silent = Said(main.workload_name, problem="no client listener of it is known")
        return (CallsDiscovery(main, silent, silent, ()),)
    told = _told(deployment, snapshot, main, door)
    well_known = spawn(lambda: told.ask(access, "GET", WELL_KNOWN))
    versions = spawn(lambda: ask(access, door, "GET", VERSIONS))
    userinfo = ask_userinfo(deployment, access, main, NO_TOKEN)
    said = well_known.result()
    outside = told.limit
    if 300 <= said.status < 400:
        outside = f"and are sent on from there ({said.status})"
    return (CallsDiscovery(main, said, versions.result(), userinfo, outside, told.route),)


def _told(deployment: Deployment, snapshot: Snapshot, main: SynapseProcess, door: Door) -> Lead:
    """Where clients end up who ask for the well-known file; main's own door where that is not known (``limit``)."""
    host = client_host(main)
    found = lead(deployment, snapshot, main, host, WELL_KNOWN)
    if isinstance(found, Lead) and found.route:
        return found
    own = Lead(replace(door, host=host), f"through {door.pod.name}")
    if host == public_host(main) and not ingresses.claims(snapshot, host):
        return own
    why = found.why if isinstance(found, Outside) else NOWHERE
    return replace(own, limit=f"and {why}")


def ask_userinfo(deployment: Deployment, access: Access, main: SynapseProcess, token: Secret) -> tuple[UserInfo, ...]:
    """Whose a token is, asked in all the places of :class:`CallsDiscovery`."""
    asked: list[tuple[UserInfo, Door]] = []
    for proxy, door in federation_doors(deployment, main):
        backend = proxy.federation.backend(USERINFO) if proxy.federation else None
        asked.append((UserInfo(door.pod.name, Said(door.pod.name), proxy, backend), door))
    known: set[str] = set()
    for process in deployment.synapse:
        port, pod = port_of(process, "federation") or port_of(process, "openid"), process.pod
        if port and pod and pod.ready and process.side is main.side and process.workload not in known:
            known.add(process.workload)
            door = Door(pod, port, host=main.server_name)
            asked.append((UserInfo(process.workload_name, Said(pod.name)), door))

    def asker(door: Door) -> Callable[[], Said]:
        return lambda: ask(access, door, "GET", USERINFO, query={"access_token": token.reveal()})

    outcomes = in_threads([asker(door) for _, door in asked], Limit.CALLS / 2)
    found: list[UserInfo] = []
    for (each, door), outcome in zip(asked, outcomes, strict=True):
        late = Said(door.pod.name, problem="no answer in time")
        said = late if outcome.exception() else outcome.result()
        found.append(UserInfo(each.name, said, each.proxy, each.backend))
    return tuple(found)
