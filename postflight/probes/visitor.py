"""Requests by the front door, as a client sends them: each path leads where the public address has it led, over
connections that are kept open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Proxy
from postflight.deployment.haproxy import Frontend
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import federation_doors, front_door
from postflight.probes.http import Door, Said, origin
from postflight.probes.leads import Lead, lead
from postflight.probes.matrix import LIMITED
from postflight.secrets import Secret

if TYPE_CHECKING:
    import httpx

#: Seconds to wait where a rate limit does not say how long.
PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. ``proxy`` is the one that it came in by; ``unseen``: it could not be asked from here,
    which says nothing of the deployment."""

    lead: Lead
    said: Said
    proxy: Proxy | None = None
    unseen: bool = False


@dataclass(slots=True)
class Visitor:
    """Whoever comes in by the front door of ``host``, at ``base`` beneath it, until ``deadline`` (of the monotonic
    clock). Another ``server`` comes in where those do. Safe to use from several threads."""

    deployment: Deployment
    snapshot: Snapshot
    access: Access
    main: SynapseProcess
    host: str
    deadline: float
    open_ways: ExitStack
    base: str = ""
    server: bool = False
    _clients: dict[tuple[str, int, bool], tuple[str, httpx.Client]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def time_left(self) -> float:
        return max(0.1, self.deadline - time.monotonic())

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: object = None,
        query: Mapping[str, str] | None = None,
        limit: float = Limit.HTTP,
        authorization: str = "",
    ) -> Answer:
        """One request, with a token or another ``authorization``; one that is limited by rate, or finds no server yet, is
        sent again, within ``limit`` seconds."""
        led = self._lead(f"{self.base}{path}")
        if led.door is None:
            return Answer(led, Said("", problem=led.problem))
        proxy = next((each for each in self.deployment.proxies if led.door.pod in each.pods), None)
        given = f"Bearer {token.reveal()}" if token else authorization
        until = time.monotonic() + min(limit, self.time_left)
        found = min(until, time.monotonic() + Limit.FOUND)
        while True:
            try:
                said = self._once(led.door, method, f"{self.base}{path}", given, body, query, until)
            except (ApiError, OSError) as error:
                unseen = isinstance(error, ApiError)
                return Answer(led, Said(led.door.pod.name, problem=_line(error)), proxy, unseen)
            pause = _pause(said)
            last = until if said.status == LIMITED else found if _unserved(led, said) else 0.0
            if time.monotonic() + pause > last:
                return Answer(led, said, proxy)
            time.sleep(pause)

    def _lead(self, path: str) -> Lead:
        """Where clients, or other servers, end up; the deployment's first proxy, else main, where nothing says where they
        do."""
        if self.server:
            for proxy, door in federation_doors(self.deployment, self.main):
                return _through(door, proxy, proxy.federation, path)
        found = lead(self.deployment, self.snapshot, self.main, self.host, path)
        if isinstance(found, Lead):
            return found
        resource = "federation" if self.server else "client"
        own = front_door(self.deployment, self.main, resource)
        if own is None:
            return Lead(None, "", problem=f"{self.host}: {found.why}, and no {resource} listener of Synapse is known")
        first = next((each for each in self.deployment.proxies if own.pod in each.pods), None)
        return replace(_through(own, first, first.client if first else None, path), limit=f"{self.host}: {found.why}")

    def _once(
        self,
        door: Door,
        method: str,
        path: str,
        authorization: str,
        body: object,
        query: Mapping[str, str] | None,
        until: float,
    ) -> Said:
        """Raises ApiError where no way leads there, OSError where nothing answers on it."""
        import httpx

        headers = {"Host": door.host} if door.host else {}
        if authorization:
            headers["Authorization"] = authorization
        given: dict[str, Any] = {"params": query, "headers": headers} | ({} if body is None else {"json": body})

        def send(client: httpx.Client, url: str) -> Said:
            limits = httpx.Timeout(max(0.1, until - time.monotonic()), connect=Limit.CONNECT)
            answer = client.request(method, f"{url}{path}", timeout=limits, **given)
            return Said(door.pod.name, answer.status_code, answer.text, server=answer.headers.get("Server", "")[:40])

        try:
            url, client = self._way(door)
            try:
                return send(client, url)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                # A way that broke says why only where it ends: once more, over one of its own.
                with self._reached(door) as url, self._client() as fresh:
                    return send(fresh, url)
        except httpx.TimeoutException as error:
            raise ConnectionError("no answer in time") from error
        except httpx.HTTPError as error:
            raise ConnectionError(_line(error)) from error

    def _way(self, door: Door) -> tuple[str, httpx.Client]:
        """The beginning of a door's URLs, and the client whose connections lead there. Raises ApiError."""
        # By whatever name it is asked, the connections are the same.
        key = (door.pod.id, door.port, door.tls)
        with self._lock:
            if key not in self._clients:
                url = self.open_ways.enter_context(self._reached(door))
                self._clients[key] = (url, self.open_ways.enter_context(self._client()))
            return self._clients[key]

    @contextmanager
    def _reached(self, door: Door) -> Iterator[str]:
        pod = door.pod
        with self.access.to_pod(pod.namespace, pod.name, pod.ip, door.port) as (host, port):
            yield origin(host, port, tls=door.tls)

    @staticmethod
    def _client() -> httpx.Client:
        """It looks at no certificate: what is behind the port is meant."""
        import httpx

        return httpx.Client(verify=False, trust_env=False, headers={"User-Agent": "postflight"})


def _through(door: Door, proxy: Proxy | None, frontend: Frontend | None, path: str) -> Lead:
    backend = frontend.backend(path) if frontend else None
    behind = proxy.backends.get(backend or "", ()) if proxy else ()
    pods = tuple(pod for each in behind for pod, _ in each.pods)
    return Lead(door, f"through {door.pod.name}", pods=pods, backend=backend)


def _unserved(led: Lead, said: Said) -> bool:
    """Whether a proxy has no server though pods are ready behind it: it may not have found them yet."""
    return said.unserved and any(each.ready for each in led.pods)


def _pause(said: Said) -> float:
    told = said.json.get("retry_after_ms")
    return float(told) / 1000 if isinstance(told, int | float) else PAUSE


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
