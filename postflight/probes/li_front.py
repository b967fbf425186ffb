"""What answers at LI's addresses, with what opens its front door and without; and whether LI takes main's tokens.

A browser that shows a password sends it as ``Authorization``, which is where a Matrix client has its token (Client-Server
API 1.11, 5.1.1); a request with a token carries no password. What a page of one origin asks another for in advance
(OPTIONS) carries no credential at all (Fetch, 4.8 CORS-preflight fetch).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError, Object
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.credential import Credential
from postflight.deployment import addresses, element_config, ingresses
from postflight.deployment.addresses import Led
from postflight.deployment.front import Controller
from postflight.deployment.ingresses import PATTERN
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind, WebPage
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess
from postflight.deployment.routes import is_outward, selects, way
from postflight.limits import Limit
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.doors import main_of, public_host
from postflight.probes.http import Door, Said, ask
from postflight.probes.pages import PageSeen
from postflight.probes.probe import Safety, probe
from postflight.probes.public_http import Answer, Line
from postflight.probes.public_places import Place
from postflight.probes.web import Web, silent
from postflight.secrets import Secret

WHOAMI = "/_matrix/client/v3/account/whoami"
#: Each is answered by a Synapse that is asked by anybody.
SYNAPSE_PATHS = ("/_matrix/client/versions", WHOAMI, "/_matrix/key/v2/server", "/_synapse/admin/v1/server_version")
#: Nobody's token.
STRANGE = Secret("postflight_no_token")
LATE = Answer(problem="no answer in time")


class Part(StrEnum):
    """What stands behind a path of LI's."""

    SYNAPSE = "Synapse"
    ELEMENT = "Element"
    ADMIN = "the admin page"
    OTHER = "something else"


PARTS = {PageKind.ELEMENT: Part.ELEMENT, PageKind.ADMIN: Part.ADMIN}


@dataclass(frozen=True, slots=True)
class Target:
    """A path of LI's address, and what its Ingress (by its id) leads it to: ``service``, the pods' and workload's ids as
    ``needs``. ``guessed``: the Ingress has a pattern, and this is what it begins with."""

    host: str
    path: str
    part: Part
    ingress: str
    service: str
    needs: tuple[str, ...]
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A target at one place: its answer to whoever comes, and (None: there is no credential) to who shows it."""

    target: Target
    way: str
    without: Answer
    shown: Answer | None = None


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a client with a token met at a host that leads to LI's Synapse: ``said`` to a token that nobody has, beside
    the credential; ``beforehand``, for each page at another ``origin``, to the question that a browser asks first."""

    host: str
    way: str
    said: Answer
    beforehand: tuple[tuple[str, Answer], ...] = ()


@dataclass(frozen=True, slots=True)
class LiFront:
    """LI's front door. ``hosts`` are its addresses; ``unasked`` a line for each that was not asked, with why, but for those
    that nothing in scope leads to from outside (``nowhere``); ``shut`` the controllers without a ready pod; ``unread``
    files with authorities that clients may trust."""

    hosts: tuple[str, ...]
    credential: Credential
    asked: tuple[Asked, ...] = ()
    bearers: tuple[Bearer, ...] = ()
    unasked: tuple[str, ...] = ()
    shut: tuple[Controller, ...] = ()
    pages: tuple[WebPage, ...] = ()
    unread: tuple[str, ...] = ()
    nowhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenTried:
    """What a main process of LI's says to a token of main's, asked in its pod; ``problem`` says why it was not asked.

    ``given``: the token is not of this run. ``came``: whether what main stored after the token was made had come to LI by
    then, so that the token would have too; None where that could not be seen and some seconds were waited instead."""

    process: SynapseProcess
    said: Said
    problem: str = ""
    given: bool = False
    came: bool | None = None


@probe(limit=Limit.PUBLIC, reaches=True)
def li_front_door(
    deployment: Deployment, snapshot: Snapshot, web_pages: tuple[PageSeen, ...], public_web: Web
) -> LiFront:
    """Ask by each of LI's addresses for what stands behind it, first as a stranger, then with what opens the door."""
    web, hosts = public_web, public_web.closed
    own = tuple(each.page for each in web_pages if each.page.side is Side.LI)
    targets = tuple(_targets(deployment, addresses.led(deployment, snapshot), own, hosts))
    origins = tuple(_origins(web_pages))
    main = main_of(deployment)
    front = public_host(main) if main else ""
    across = front if front not in hosts and ingresses.claims(snapshot, front) else ""
    ways = [(host, place) for host in hosts for place in web.ways(host)]

    def asker(host: str, place: Place) -> Callable[[], tuple[tuple[Asked, ...], Bearer | None]]:
        return lambda: _ask(web, host, place, [each for each in targets if each.host == host], origins, across)

    asked: list[Asked] = []
    bearers: list[Bearer] = []
    outcomes = in_threads([asker(*each) for each in ways], Limit.PUBLIC - Limit.NAMES - 1)
    for (host, place), outcome in zip(ways, outcomes, strict=True):
        error = outcome.exception()
        if error is None:
            answers, bearer = outcome.result()
            asked += answers
            bearers += [bearer] if bearer else []
        elif isinstance(error, (OSError, ApiError)):
            said = LATE if isinstance(error, TimeoutError) else silent(error)
            asked += [Asked(each, place.way, said) for each in targets if each.host == host]
        else:
            raise error
    nowhere = tuple(host for host in hosts if not web.ways(host) and not _has_way_in(deployment, snapshot, own, host))
    unasked = tuple(why for host in hosts if host not in nowhere and (why := web.why_not(host)))
    shut = web.places.shut if hosts else ()
    return LiFront(hosts, web.credential, tuple(asked), tuple(bearers), unasked, shut, own, web.unread, nowhere)


def _has_way_in(deployment: Deployment, snapshot: Snapshot, own: Sequence[WebPage], host: str) -> bool:
    """Whether an Ingress has this host, or takes any and leads to LI, or a Service has LI outside, through proxies too."""

    def is_lis(service: Object) -> bool:
        return Side.LI in way(deployment, snapshot, service).sides or any(
            selects(service, pod) for page in own for pod in page.pods
        )

    if ingresses.claims(snapshot, host) or any(is_outward(each) and is_lis(each) for each in snapshot.all(SERVICE)):
        return True
    for ingress in snapshot.all(INGRESS):
        for name in _for_any_host(ingress):
            service = snapshot.get(SERVICE, ingress["metadata"]["namespace"], name)
            if service and is_lis(service):
                return True
    return False


def _for_any_host(ingress: Object) -> Iterator[str]:
    """The Services that an Ingress leads to whatever host is asked for."""
    backends = [ingress["spec"].get("defaultBackend")]
    for rule in ingress["spec"].get("rules") or ():
        if not rule.get("host"):
            backends += [each.get("backend") for each in (rule.get("http") or {}).get("paths") or ()]
    yield from (name for each in backends if (name := ((each or {}).get("service") or {}).get("name")))


def _targets(
    deployment: Deployment, paths: Sequence[Led], own: Sequence[WebPage], hosts: Sequence[str]
) -> Iterator[Target]:
    """What is asked: by each path of an Ingress what its Service has; where none leads anywhere, what LI would have."""
    for each in paths:
        if each.host not in hosts:
            continue
        prefix = each.prefix
        page = next((page for page in own if each in page.paths), None)
        if Side.LI in each.way.sides or Side.MAIN in each.way.sides:
            beneath = [one for one in deployment.synapse if one.side in each.way.sides and one.pod]
            needs = tuple(id for one in beneath for id in (one.id, one.workload))
            held = [path for path in SYNAPSE_PATHS if path.startswith(f"{prefix}/") or path == prefix]
            guessed = not held and PATTERN.search(each.path) is not None
            for path in held or (prefix if guessed else each.path,):
                yield Target(each.host, path, Part.SYNAPSE, each.id, each.service, needs, guessed)
        elif page:
            needs = (page.workload, *(pod.id for pod in page.pods))
            yield Target(each.host, f"{prefix}/", PARTS[page.kind], each.id, each.service, needs)
            if page.kind is PageKind.ELEMENT:
                yield Target(each.host, f"{prefix}/config.json", Part.ELEMENT, each.id, each.service, needs)
        else:
            yield Target(each.host, f"{prefix}/", Part.OTHER, each.id, each.service, ())


def _origins(seen: Sequence[PageSeen]) -> Iterator[tuple[str, str]]:
    """The host of each page of LI's Element that asks another host for its homeserver, and that one."""
    for each in seen:
        if each.page.side is Side.LI:
            for shown in each.shown[:1]:
                named = addresses.host_of(element_config.homeserver(shown.config).base_url)
                yield from ((host, named) for host in each.page.hosts if named and host != named)


def _ask(
    web: Web, host: str, place: Place, targets: Sequence[Target], origins: Sequence[tuple[str, str]], across: str
) -> tuple[tuple[Asked, ...], Bearer | None]:
    with web.open(place, host, shows=False) as line:
        without = [line.ask("GET", each.path) for each in targets]
        beforehand = tuple((origin, _in_advance(line, origin)) for origin, named in origins if named == host)
    beside = tuple(_across(web, host, place, targets[:1], across)) if across else ()
    if not web.credential.given:
        said = zip(targets, without, strict=True)
        return (*(Asked(each, place.way, answer) for each, answer in said), *beside), None
    bearer = None
    try:
        with web.open(place, host) as line:
            shown = [line.ask("GET", each.path, more=web.headers(host)) for each in targets]
            if any(each.path == WHOAMI for each in targets):
                bearer = Bearer(host, place.way, line.ask("GET", WHOAMI, token=STRANGE), beforehand)
    except (OSError, ApiError) as error:
        shown = [silent(error)] * len(targets)
    answers = zip(targets, without, shown, strict=True)
    return (*(Asked(each, place.way, before, after) for each, before, after in answers), *beside), bearer


def _across(web: Web, host: str, place: Place, targets: Sequence[Target], other: str) -> Iterator[Asked]:
    """The first target, by TLS for main's name: where that name asks for no certificate, LI's may be had so. That it
    is not answered is as good as a refusal, and is not told."""
    try:
        with web.open(place, other, shows=False) as line:
            for each in targets:
                said = line.ask("GET", each.path, more={"Host": host})
                if not said.silent:
                    yield Asked(each, f"{place.way}, by TLS for {other}", said)
    except (OSError, ApiError):
        return


def _in_advance(line: Line, origin: str) -> Answer:
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    return line.ask("OPTIONS", WHOAMI, more={"Origin": f"https://{origin}", **asks})


@probe(limit=Limit.INSIDE, reaches=True, safety=Safety.CANARY)
def li_main_token(
    deployment: Deployment, access: Access, canary_user: ProbeUser | Hindered, li_arrival: Arrival
) -> tuple[TokenTried, ...] | Hindered:
    """Show LI's Synapse, in its pod, the token that the probe user has of main, once LI would have it.

    Once, and not before: Synapse keeps what it found of a token, also that there was none
    (synapse/storage/databases/main/registration.py, get_user_by_access_token, 1.119 and 1.163).
    """
    if isinstance(canary_user, Hindered):
        return canary_user
    li = deployment.li
    if li is None:
        return ()
    came = _came(li, li_arrival)
    if came is None:
        time.sleep(max(0.0, canary_user.since + Limit.COPIED - time.monotonic()))
    return tuple(
        replace(_tried(access, each, canary_user), given=canary_user.by_token, came=came) for each in li.processes
    )


def _came(li: LawfulIntercept, arrival: Arrival) -> bool | None:
    """By a message that was sent after the probe user had its token."""
    if arrival.seconds is not None:
        return True
    return False if li.imports or (arrival.event and not arrival.problem) else None


def _tried(access: Access, process: SynapseProcess, user: ProbeUser) -> TokenTried:
    port = port_of(process, "client")
    if process.pod is None or not process.runs:
        return TokenTried(process, Said(""), "it does not run")
    if port is None:
        return TokenTried(process, Said(""), "it has no listener for clients")
    return TokenTried(process, ask(access, Door(process.pod, port), "GET", WHOAMI, token=user.token))
