"""Requests by public names of the deployment's, LI's with what opens its front door."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from postflight.cluster.access import Access
from postflight.cluster.api import Api
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.credential import NONE, Credential
from postflight.deployment import addresses
from postflight.deployment.front import Controller
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side
from postflight.limits import Limit
from postflight.probes.doors import main_of
from postflight.probes.pages import PageSeen
from postflight.probes.probe import probe
from postflight.probes.public import trusted
from postflight.probes.public_http import NOTHING, Answer, Line, line
from postflight.probes.public_places import ControllerSeen, Place, Places, places_of
from postflight.probes.public_tls import unverified
from postflight.settings import Settings

HTTPS = 443


@dataclass(frozen=True, slots=True)
class Web:
    """By which ways the names are asked, and with what. ``own`` are all hosts of the deployment, ``closed`` LI's: these
    alone are shown the ``credential``, and by nothing but a certificate that clients trust. ``unread`` are files with
    authorities that clients may trust and that are not known here."""

    access: Access
    places: Places
    own: frozenset[str] = frozenset()
    closed: tuple[str, ...] = ()
    credential: Credential = NONE
    secure: ssl.SSLContext = field(default_factory=unverified, repr=False)
    unread: tuple[str, ...] = ()

    def ways(self, host: str) -> tuple[Place, ...]:
        return tuple(each for each in self.places.found if host in each.hosts)

    def why_not(self, host: str) -> str:
        """Why a host is not asked; "" where it is."""
        if self.ways(host):
            return ""
        return next(
            (each for each in self.places.unasked if each.startswith(f"{host}:")), f"{host}: no way there is known"
        )

    @property
    def shut(self) -> tuple[Controller, ...]:
        return self.places.shut

    @contextmanager
    def open(self, place: Place, host: str, *, shows: bool = True) -> Iterator[Line]:
        """A line to a host, on which the credential is shown where it belongs. Raises ApiError, OSError."""
        known = shows and host in self.closed and self.credential.given
        with line(self.access, place, host, HTTPS, self.secure if known else unverified()) as asked:
            yield asked

    def headers(self, host: str) -> Mapping[str, str]:
        """What a browser sends with a request that has no token, once it was asked for a password."""
        shown = self.credential.basic if host in self.closed else ""
        return {"Authorization": shown} if shown else NOTHING


@probe(limit=Limit.KUBERNETES)
def public_web(
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    settings: Settings,
    api: Api,
    access: Access,
    ingress_controllers: tuple[ControllerSeen, ...],
    web_pages: tuple[PageSeen, ...],
    li_credential: Credential,
) -> Web:
    """Where each public name of the deployment's can be asked from here, and which of them are LI's."""
    paths = addresses.led(deployment, snapshot)
    sides = addresses.hosts(deployment.li, paths)
    own = [each.page for each in web_pages if each.page.side is Side.LI]
    named = (host for host, side in sides.items() if side is Side.LI)
    closed = tuple(dict.fromkeys((*named, *(host for page in own for host in page.hosts))))
    names = addresses.own_hosts(deployment, paths)
    hosts = sorted(host for host in {*names, *closed} if "*" not in host and ":" not in host)
    found = places_of(hosts, deployment, snapshot, api, access, settings, ingress_controllers)
    trust, unread = trusted(main_of(deployment), snapshot, secrets, settings)
    li_credential.load(trust.secure)
    return Web(access, found, names, closed, li_credential, trust.secure, unread)


def silent(error: Exception) -> Answer:
    """What stands for the answer of a line that could not be opened."""
    return Answer(problem=" ".join(str(error).split())[:200] or type(error).__name__)
