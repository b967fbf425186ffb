"""Scrapes what the monitors of prometheus-operator select, as Prometheus would."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.threads import in_threads
from postflight.deployment.exposition import series_in
from postflight.deployment.listeners import port_of
from postflight.deployment.model import Deployment
from postflight.deployment.monitors import KINDS, Monitor, Rule, Target, monitors_of, rules_of
from postflight.limits import Limit
from postflight.probes.metrics import PATH, Numbers
from postflight.probes.probe import probe
from postflight.probes.public_tls import unverified

Where = tuple[str, int, str, bool]
OK = 200
#: More than any page that was seen; one without an end is none.
MOST = 2**25


@dataclass(frozen=True, slots=True)
class Page:
    """The names of the series that an address serves. ``problem`` says why it serves none, ``unseen`` that it could not
    be asked; ``refused``: it wants credentials."""

    series: frozenset[str] = frozenset()
    problem: str = ""
    unseen: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Scraped:
    """What is to be scraped, what the rules ask for, and what the targets that are ready answered, by where they are.
    ``known``: the API server knows these kinds of object."""

    monitors: tuple[Monitor, ...] = ()
    rules: tuple[Rule, ...] = ()
    pages: Mapping[Where, Page] = field(default_factory=dict)
    known: bool = True


@probe(limit=Limit.INSIDE, reaches=True)
def scraped_metrics(
    deployment: Deployment, snapshot: Snapshot, access: Access, process_numbers: Mapping[str, Numbers]
) -> Scraped:
    """Scrape every address that a ServiceMonitor or PodMonitor selects, once; Synapse's were read already."""
    monitors = monitors_of(snapshot, deployment.pods)
    targets = {each.where: each for monitor in monitors for each in monitor.targets if each.ready}
    pages = dict(_known(deployment, process_numbers))
    left = [each for where, each in targets.items() if where not in pages]

    def asker(target: Target) -> Callable[[], Page]:
        return lambda: scrape(access, target)

    for target, outcome in zip(left, in_threads([asker(each) for each in left], Limit.INSIDE - 1), strict=True):
        error = outcome.exception()
        if error is not None and not isinstance(error, ApiError | TimeoutError):
            raise error
        pages[target.where] = outcome.result() if error is None else Page(problem=_words(error), unseen=True)
    known = bool(snapshot.served & set(KINDS))
    return Scraped(monitors, rules_of(snapshot), {where: pages[where] for where in targets}, known)


def scrape(access: Access, target: Target) -> Page:
    """One request as Prometheus makes it, whoever signed the certificate. Raises :class:`ApiError` and TimeoutError where
    there is no way to the pod."""
    pod, port = target.pod, target.port
    try:
        with access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local):
            return _ask(host, local, target)
    except ConnectionRefusedError:
        return Page(problem=f"nothing listens on port {port}")
    except TimeoutError:
        return Page(problem=f"port {port} does not answer in {Limit.HTTP:g} s")
    except ssl.SSLError as error:
        return Page(problem=f"port {port} does not speak TLS: {error.reason or 'no handshake'}")
    except (OSError, http.client.HTTPException) as error:
        return Page(problem=f"port {port} does not speak HTTP: {_words(error)}")


def _ask(host: str, local: int, target: Target) -> Page:
    connection: http.client.HTTPConnection
    if target.tls:
        connection = http.client.HTTPSConnection(host, local, timeout=Limit.HTTP, context=unverified())
    else:
        connection = http.client.HTTPConnection(host, local, timeout=Limit.HTTP)
    try:
        headers = {"Host": f"{target.pod.ip}:{target.port}", "Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
        connection.request("GET", target.path, headers=headers)
        answer = connection.getresponse()
        if answer.status != OK:
            refused = answer.status in (401, 403)
            return Page(problem=f"{target.path} at port {target.port} answers {answer.status}", refused=refused)
        text = answer.read(MOST).decode("utf-8", "replace")
    finally:
        connection.close()
    series = series_in(text)
    return Page(series) if series else Page(problem=f"{target.path} at port {target.port} answers with no metrics")


def _known(deployment: Deployment, numbers: Mapping[str, Numbers]) -> list[tuple[Where, Page]]:
    """What Synapse's own metrics listeners served, where they answered."""
    found: list[tuple[Where, Page]] = []
    for process in deployment.synapse:
        port, said = port_of(process, "metrics"), numbers.get(process.id)
        if process.pod and port is not None and said and said.series:
            found.append(((process.pod.id, port, PATH, False), Page(said.series)))
    return found


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
