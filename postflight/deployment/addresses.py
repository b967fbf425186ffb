"""Whose address a host is: of the homeserver that users meet, or of the lawful-intercept one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from postflight.cluster.api import Object
from postflight.cluster.kinds import INGRESS, SERVICE
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.ingresses import PATTERN
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess
from postflight.deployment.routes import Way, way
from postflight.deployment.synapse import LI_LABELS


@dataclass(frozen=True, slots=True)
class Led:
    """One path of an Ingress, its host in small letters ("" for any), the Service that it names, and which homeserver
    that leads to."""

    ingress: Object
    host: str
    path: str
    service: str
    way: Way

    @property
    def id(self) -> str:
        meta = self.ingress["metadata"]
        return f"ingress/{meta['namespace']}/{meta['name']}"

    @property
    def name(self) -> str:
        return str(self.ingress["metadata"]["name"])

    @property
    def prefix(self) -> str:
        """What the path begins with, up to where it is a pattern, without a slash at its end."""
        return PATTERN.split(self.path, maxsplit=1)[0].rstrip("/")

    @property
    def is_labelled_li(self) -> bool:
        return bool(LI_LABELS & (self.ingress["metadata"].get("labels") or {}).items())


def led(deployment: Deployment, snapshot: Snapshot) -> tuple[Led, ...]:
    """Every path of every Ingress in scope that names a Service."""
    return tuple(_led(deployment, snapshot))


def _led(deployment: Deployment, snapshot: Snapshot) -> Iterator[Led]:
    for ingress in snapshot.all(INGRESS):
        for rule in ingress["spec"].get("rules") or ():
            for path in (rule.get("http") or {}).get("paths") or ():
                if not (named := (path.get("backend") or {}).get("service")):
                    continue
                service = snapshot.get(SERVICE, ingress["metadata"]["namespace"], named["name"])
                found = way(deployment, snapshot, service) if service else Way(frozenset())
                host, own = str(rule.get("host") or "").lower(), str(path.get("path") or "/")
                yield Led(ingress, host, own, named["name"], found)


def hosts(li: LawfulIntercept | None, paths: tuple[Led, ...]) -> Mapping[str, Side]:
    """As the configurations say, main's first; else LI's where an Ingress says so, or leads there. Without LI nothing
    is known."""
    found: dict[str, Side] = {}
    for process in li.mains if li else ():
        found |= dict.fromkeys((host_of(base(process)), host_of(default_base(process))), Side.MAIN)
    for process in li.processes if li else ():
        # The default is made from main's own name.
        found.setdefault(host_of(given_base(process)), Side.LI)
    for each in paths if li else ():
        if each.way.sides == {Side.LI} or each.is_labelled_li:
            found.setdefault(each.host, Side.LI)
    return {host: side for host, side in found.items() if host}


def own_hosts(deployment: Deployment, paths: tuple[Led, ...]) -> frozenset[str]:
    """Every host that is this deployment's: of its Ingresses (``*.example.org`` for all below), and the public names of
    its homeservers."""
    found = {each.host for each in paths}
    for process in (each for each in deployment.synapse if each.is_main):
        found |= {host_of(base(process)), host_of(default_base(process)), process.server_name}
    return frozenset(found - {""})


def base(process: SynapseProcess) -> str:
    return given_base(process) or default_base(process)


def given_base(process: SynapseProcess) -> str:
    return str((process.config or {}).get("public_baseurl") or "").rstrip("/")


def default_base(process: SynapseProcess) -> str:
    """What Synapse takes where public_baseurl is not set (synapse/config/server.py, 1.163)."""
    return f"https://{process.server_name}" if process.server_name else ""


def host_of(address: str) -> str:
    """In small letters; "" of what is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
