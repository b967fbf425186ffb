"""Where a user's requests come in, and go on coming in while pods come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import front, ingresses
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.doors import client_doors, front_door, public_host
from postflight.probes.fresh import shared, siblings
from postflight.probes.http import Door, Said, origin
from postflight.probes.public_places import ControllerSeen
from postflight.secrets import Secret
from postflight.settings import IngressNames

if TYPE_CHECKING:
    import httpx

#: Seconds between two looks at which pods there are.
AGAIN = 1.0
#: How a request failed that never came to anybody.
NO_ANSWER = "no answer"


def doors_of(
    deployment: Deployment,
    snapshot: Snapshot,
    controllers: Iterable[ControllerSeen],
    main: SynapseProcess,
    names: IngressNames,
) -> tuple[Door, ...]:
    """The ingress controllers' pods, where an Ingress has the public name; else the proxies', else main."""
    host = public_host(main)
    if ingresses.claims(snapshot, host):
        serving = {each.id for each in front.controllers(snapshot, names, (host,))}
        mine = [each for each in controllers if each.controller.id in serving]
        found = [Door(pod, port, True, host) for each in mine for pod, port in each.pods if pod.ready]
        if found:
            return tuple(found)
    found = [door for _, door in client_doors(deployment, main)]
    own = front_door(deployment, main)
    return tuple(found) or ((own,) if own else ())


@dataclass(slots=True)
class Entrance:
    """All doors, one after the other: a user who finds one shut is led to the next. Safe to use from several threads."""

    access: Access
    doors: Sequence[Door]
    _turn: int = 0
    _looked: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, access: Access, doors: Sequence[Door]) -> Entrance:
        """By the pods that are ready now."""
        found = cls(access, doors)
        found.doors = found._anew() or doors
        return found

    def next(self, shut: Door | None = None) -> Door:
        """Another one than the one that was found ``shut``, of the pods that there are by now."""
        with self._lock:
            if shut and time.monotonic() - self._looked > AGAIN:
                self._looked = time.monotonic()
                self.doors = self._anew() or self.doors
            self._turn += 1
            return self.doors[self._turn % len(self.doors)]

    def _anew(self) -> Sequence[Door]:
        sorts = {(each.pod.namespace, *shared(each.pod).items()): each for each in self.doors}
        try:
            return [
                replace(sort, pod=pod)
                for sort in sorts.values()
                for pod in siblings(self.access.api, sort.pod)
                if pod.ready and not pod.deleting
            ]
        except ApiError:
            return ()


@dataclass(slots=True)
class Caller:
    """One user's connection, made anew where it broke. For one thread."""

    entrance: Entrance
    _door: Door | None = None
    _base: str = ""
    _client: httpx.Client | None = None
    _ways: ExitStack = field(default_factory=ExitStack)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Said:
        """One request, sent once. ``status`` is 0 where nobody answered in time."""
        import httpx

        door = self._door
        try:
            client = self._client or self._open()
            door = self._door
            assert door is not None
            headers = {"Host": door.host} if door.host else {}
            if token:
                headers["Authorization"] = f"Bearer {token.reveal()}"
            given: dict[str, Any] = {"params": query, "headers": headers} | ({} if body is None else {"json": body})
            sni = {"sni_hostname": door.host} if door.tls and door.host else {}
            answer = client.request(method, f"{self._base}{path}", extensions=sni, **given)
            return Said(door.pod.name, answer.status_code, answer.text)
        except (httpx.HTTPError, OSError, ApiError) as error:
            self.close()
            self._door = self.entrance.next(door) if door else None
            late = isinstance(error, httpx.TimeoutException)
            words = " ".join(str(error).split())[:120]
            return Said(door.pod.name if door else "", problem=NO_ANSWER if late or not words else words)

    def close(self) -> None:
        self._ways.close()
        self._client = None

    def _open(self) -> httpx.Client:
        """Raises ApiError, OSError."""
        import httpx

        door = self._door = self._door or self.entrance.next()
        way = self.entrance.access.to_pod(door.pod.namespace, door.pod.name, door.pod.ip, door.port)
        host, port = self._ways.enter_context(way)
        self._base = origin(host, port, tls=door.tls)
        # What is behind the door is meant: its certificate is another check's.
        client = httpx.Client(verify=False, trust_env=False, timeout=Limit.ANSWER, headers={"User-Agent": "postflight"})
        self._client = self._ways.enter_context(client)
        return self._client
