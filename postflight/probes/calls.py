"""What main tells clients about calls without a login, and who answers for OpenID tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postflight.cluster.access import Access
from postflight.cluster.threads import in_threads, spawn
from postflight.deployment.call_parts import Proxy
from postflight.deployment.calls import FOCI, service_urls
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import federation_doors, front_door, main_of
from postflight.probes.http import Door, Said, ask
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


@dataclass(frozen=True, slots=True)
class CallsDiscovery:
    """``userinfo`` was asked with a token that nobody gave: first the way that the JWT service's question takes,
    through every proxy pod, then one process of each workload that takes federation."""

    main: SynapseProcess
    well_known: Said
    versions: Said
    userinfo: tuple[UserInfo, ...]

    @property
    def foci(self) -> tuple[str, ...]:
        return service_urls(self.well_known.json.get(FOCI))

    @property
    def delayed_events(self) -> bool:
        features = self.versions.json.get("unstable_features")
        return isinstance(features, dict) and features.get(DELAYED_EVENTS) is True


@probe(limit=Limit.CALLS, reaches=True)
def calls_discovery(deployment: Deployment, access: Access) -> tuple[CallsDiscovery, ...]:
    """Ask what main tells clients about calls, and who answers for OpenID tokens; nothing where there are none."""
    main = main_of(deployment)
    if main is None or not deployment.calls.referred:
        return ()
    door = front_door(deployment, main)
    if door is None:
        silent = Said(main.workload_name, problem="no client listener of it is known")
        return (CallsDiscovery(main, silent, silent, ()),)
    well_known = spawn(lambda: ask(access, door, "GET", WELL_KNOWN))
    versions = spawn(lambda: ask(access, door, "GET", VERSIONS))
    userinfo = ask_userinfo(deployment, access, main, NO_TOKEN)
    return (CallsDiscovery(main, well_known.result(), versions.result(), userinfo),)


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
