"""Web pages as their pods serve them: title and configuration file, past every door in front of them.

Source: element-web, src/vector/getconfig.ts: ``config.HOST.json`` where it is there and not empty, else ``config.json``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment import element_config, pages
from postflight.deployment.element_config import Look
from postflight.deployment.model import Deployment
from postflight.deployment.pages import PageKind, WebPage
from postflight.limits import Limit
from postflight.probes.http import Door, Said, ask
from postflight.probes.probe import probe
from postflight.settings import Settings

PAGE, CONFIG = "/", "/config.json"
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
#: Method and path to status and text; status 0 where nobody answered, and why as its text.
Ask = Callable[[str], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of Element's at one place. ``way`` says where it was asked; ``file`` is the path of the configuration that
    Element takes there, ``config`` what it says, ``fault`` why it says nothing; ``problem`` says why nobody answered.
    ``host`` is the name that it was asked for, which may have a file of its own."""

    way: str
    title: str = ""
    file: str = CONFIG
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fault: str = ""
    problem: str = ""
    host: str = ""

    @property
    def look(self) -> Look:
        return element_config.look(self.config, self.title)


@dataclass(frozen=True, slots=True)
class PageSeen:
    """A page in each of its pods that answered; ``problem`` says why one did not. Only Element's are asked."""

    page: WebPage
    shown: tuple[Shown, ...] = ()
    problem: str = ""


@probe(limit=Limit.INSIDE, reaches=True)
def web_pages(
    deployment: Deployment, snapshot: Snapshot, secrets: SecretStore, settings: Settings, access: Access
) -> tuple[PageSeen, ...]:
    """Ask every pod that serves Element Web for its page and its configuration file."""
    found = pages.find(deployment, snapshot, secrets, settings.names.pages)
    elements = [each for each in found if each.kind is PageKind.ELEMENT]

    def asker(page: WebPage) -> Callable[[], PageSeen]:
        return lambda: _seen(access, page)

    seen = [PageSeen(each) for each in found if each.kind is not PageKind.ELEMENT]
    outcomes = in_threads([asker(each) for each in elements], Limit.INSIDE - 1)
    for page, outcome in zip(elements, outcomes, strict=True):
        if isinstance(outcome.exception(), TimeoutError):
            seen.append(PageSeen(page, problem="no answer in time"))
        else:
            seen.append(outcome.result())
    return tuple(seen)


def _seen(access: Access, page: WebPage) -> PageSeen:
    shown: list[Shown] = []
    problem = "" if page.pods else "it has no pod"
    for pod in page.pods:
        if not pod.ready:
            problem = f"{pod.name} is not ready"
            continue
        for host in page.hosts or ("",):
            door = Door(pod, page.port, host=host)

            def by_pod(path: str, door: Door = door) -> tuple[int, str]:
                said: Said = ask(access, door, "GET", path)
                return said.status, said.text if said.status else said.problem

            one = show(f"in {pod.name} for {host}" if len(page.hosts) > 1 else f"in {pod.name}", host, by_pod)
            if one.problem:
                problem = one.problem
                break
            shown.append(one)
    return PageSeen(page, tuple(shown), problem)


def show(way: str, host: str, get: Ask, prefix: str = "") -> Shown:
    """A page and the configuration that Element takes, asked in one way; both stand under ``prefix``."""
    status, text = get(prefix + PAGE)
    if status in (0, 502, 503, 504):
        return Shown(way, problem=text if not status else f"{status} for {prefix}{PAGE}", host=host)
    title = html.unescape(" ".join(found[1].split())) if status == 200 and (found := TITLE.search(text)) else ""
    own, general = f"{prefix}/config.{host}.json", prefix + CONFIG
    if host:
        status, text = get(own)
        config, _ = element_config.read(text) if status == 200 else ({}, "")
        if config:
            return Shown(way, title, own, config, host=host)
    status, text = get(general)
    if status != 200:
        return Shown(way, title, general, fault=f"{general} is not served: {status or text}", host=host)
    config, fault = element_config.read(text)
    return Shown(way, title, general, config, f"{general} is {fault}" if fault else "", host=host)
