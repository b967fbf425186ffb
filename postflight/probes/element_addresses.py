"""Element as the public names show it, and the addresses that its configuration names, asked for what they are to be.

Sources: element-web, src/models/Call.ts: Element Call is opened at ``/room`` of its address, whatever path that has;
element-call, its image's nginx: any path is the one page; livekit-server 1.13, pkg/service/rtcservice.go (``/rtc/validate``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from postflight.cluster.api import ApiError
from postflight.cluster.threads import in_threads
from postflight.deployment import addresses, element_config, front
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind, WebPage
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.identity import PATH as KEYS
from postflight.probes.pages import PageSeen, Shown, show
from postflight.probes.probe import probe
from postflight.probes.public import VERSIONS
from postflight.probes.public_http import Answer, Line
from postflight.probes.public_places import Place
from postflight.probes.web import Web, silent

ROOM, VALIDATE = "/room", "/rtc/validate"


@dataclass(frozen=True, slots=True)
class HomeserverSeen:
    """What answers at the address where Element logs in: versions, and the keys of a server."""

    url: str
    host: str
    way: str
    versions: Answer
    keys: Answer


@dataclass(frozen=True, slots=True)
class CallSeen:
    """What answers at the address of Element Call: the page that Element opens, and the question that an SFU answers."""

    url: str
    host: str
    way: str
    page: Answer
    sfu: Answer


@dataclass(frozen=True, slots=True)
class ElementSeen:
    """A page of Element's by its public names (``outside``), and what it names. ``unasked`` are lines for what was not
    asked here, with why; ``named`` is the host of the homeserver, "" where none is told."""

    page: WebPage
    outside: tuple[Shown, ...] = ()
    homeservers: tuple[HomeserverSeen, ...] = ()
    calls: tuple[CallSeen, ...] = ()
    unasked: tuple[str, ...] = ()
    named: str = ""


@probe(limit=Limit.PUBLIC, reaches=True)
def element_addresses(
    deployment: Deployment, web_pages: tuple[PageSeen, ...], public_web: Web
) -> tuple[ElementSeen, ...]:
    """Open Element by its public names, and ask the homeserver and the call page that it is sent to."""
    elements = [each for each in web_pages if each.page.kind is PageKind.ELEMENT]
    found = _Looker(public_web, deployment)

    def asker(page: PageSeen) -> Callable[[], ElementSeen]:
        return lambda: found.look(page)

    seen: list[ElementSeen] = []
    outcomes = in_threads([asker(each) for each in elements], Limit.PUBLIC - Limit.NAMES - 1)
    for each, outcome in zip(elements, outcomes, strict=True):
        if isinstance(outcome.exception(), TimeoutError):
            seen.append(ElementSeen(each.page, unasked=(f"{each.page.address}: no answer in time",)))
        else:
            seen.append(outcome.result())
    return tuple(seen)


@dataclass(frozen=True, slots=True)
class _Looker:
    web: Web
    deployment: Deployment

    def look(self, seen: PageSeen) -> ElementSeen:
        page = seen.page
        unasked = [why for host in page.hosts if (why := self._why_not(host))]
        outside = tuple(self._outside(page))
        shown = next((each for each in (*outside, *seen.shown) if each.config), None)
        if shown is None:
            return ElementSeen(page, outside, unasked=tuple(unasked))
        told = element_config.homeserver(shown.config)
        base = told.base_url or self._by_name(told.server_name)
        calls = element_config.call_url(shown.config)
        named = addresses.host_of(base)
        hosts = [host for each in (base, calls) if (host := addresses.host_of(each))]
        unasked += [why for host in hosts if (why := self._why_not(host))]
        return ElementSeen(
            page,
            outside,
            tuple(self._homeserver(base, named)),
            tuple(self._call(calls, addresses.host_of(calls))),
            tuple(dict.fromkeys(unasked)),
            named,
        )

    def _why_not(self, host: str) -> str:
        """Why a host is not asked. One that is not this deployment's never is."""
        if not element_config.allows(self.web.own, host):
            return f"{host} is outside of the deployment"
        if host in self.web.closed and not self.web.credential.given:
            return f"{host}: it is LI's, and what opens its front door is not given"
        return self.web.why_not(host)

    def _ways(self, host: str) -> Sequence[Place]:
        return () if self._why_not(host) else self.web.ways(host)

    def _by_name(self, name: str) -> str:
        """Where clients of a server of that name are sent, if it is this one."""
        main = main_of(self.deployment)
        return f"https://{front.names_of(main).client}" if main and name and name == main.server_name else ""

    def _outside(self, page: WebPage) -> Iterator[Shown]:
        for host, prefix in dict.fromkeys((each.host, each.prefix) for each in page.paths if each.host):
            for place in self._ways(host):
                way = f"at {host}{prefix}, {place.way}"
                try:
                    with self.web.open(place, host) as line:
                        yield show(way, host, _getter(line, self.web, host), prefix)
                except (OSError, ApiError) as error:
                    yield Shown(way, problem=silent(error).problem, host=host)

    def _homeserver(self, url: str, host: str) -> Iterator[HomeserverSeen]:
        prefix = urlsplit(url).path.rstrip("/") if host else ""
        for place in self._ways(host):
            versions, keys = self._two(place, host, f"{prefix}{VERSIONS}", KEYS)
            yield HomeserverSeen(url, host, place.way, versions, keys)

    def _call(self, url: str, host: str) -> Iterator[CallSeen]:
        prefix = urlsplit(url).path.rstrip("/") if host else ""
        for place in self._ways(host):
            page, sfu = self._two(place, host, ROOM, f"{prefix}{VALIDATE}")
            yield CallSeen(url, host, place.way, page, sfu)

    def _two(self, place: Place, host: str, *paths: str) -> list[Answer]:
        try:
            with self.web.open(place, host) as line:
                return [line.ask("GET", path, more=self.web.headers(host)) for path in paths]
        except (OSError, ApiError) as error:
            return [silent(error) for _ in paths]


def _getter(line: Line, web: Web, host: str) -> Callable[[str], tuple[int, str]]:
    def get(path: str) -> tuple[int, str]:
        said = line.ask("GET", path, more=web.headers(host))
        return said.status, said.text if said.status else said.problem

    return get
