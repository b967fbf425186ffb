"""HTTP requests to a port of a pod."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.parts import Pod
from postflight.limits import Limit
from postflight.secrets import Secret

if TYPE_CHECKING:
    import httpx

#: Nobody on the way is to answer for the one who is asked.
FRESH = {"Cache-Control": "no-cache"}
#: Method, path and body.
Request = tuple[str, str, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Door:
    """A port of a pod that speaks HTTP. ``host`` is the name it is asked by."""

    pod: Pod
    port: int
    tls: bool = False
    host: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. ``status`` is 0 and ``problem`` set where none came. ``text`` may hold a token: it never prints.
    ``server`` is who answered by its own word (header Server), ``stored``: it came out of a cache (header Age)."""

    pod: str
    status: int = 0
    text: str = field(default="", repr=False)
    problem: str = ""
    server: str = ""
    stored: bool = False

    @property
    def unserved(self) -> bool:
        """Whether it is a proxy's word that nothing answers behind it: Synapse's own errors have a code."""
        return self.status in (502, 503, 504) and "errcode" not in self.json

    @property
    def json(self) -> Mapping[str, Any]:
        """The answer's object; empty where it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def short(self) -> str:
        """Status and what a refusal says, in a few words."""
        if not self.status:
            return self.problem
        said = self.json
        words = said.get("errcode") or said.get("code") or ""
        why = str(said.get("error") or said.get("msg") or "")
        return " ".join(str(each) for each in (self.status, words, why and f"({why[:120]})") if each)


def origin(host: str, port: int, *, tls: bool = False) -> str:
    """The beginning of a URL; an IPv6 address stands in brackets there."""
    where = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{where}:{port}"


def ask(
    access: Access,
    door: Door,
    method: str,
    path: str,
    *,
    token: Secret | None = None,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> Said:
    """One request, no redirect followed. A certificate is not looked at: what is behind the port is meant."""
    import httpx

    pod = door.pod
    headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    try:
        with _reached(access, door) as url, _client(door) as client:
            answer = client.request(method, f"{url}{path}", headers=headers, params=query, json=body)
    except (httpx.HTTPError, OSError, ApiError) as error:
        return Said(pod.name, problem=_line(error))
    return Said(pod.name, answer.status_code, answer.text)


def ask_all(
    access: Access, door: Door, requests: Sequence[Request], *, rounds: int = 1, limit: float = inf
) -> list[list[Said]]:
    """All these requests in turn over one connection, and again over another in each further
    round: a proxy may hold one connection to one server. The answers by request, then by round; what was not asked
    within ``limit`` seconds has none."""
    import httpx

    deadline = time.monotonic() + limit
    said: list[list[Said]] = [[] for _ in requests]
    try:
        with _reached(access, door) as url:
            for _ in range(rounds):
                with _client(door) as client:
                    for answers, (method, path, body) in zip(said, requests, strict=True):
                        if time.monotonic() > deadline:
                            return said
                        try:
                            answer = client.request(method, f"{url}{path}", json=body, headers=FRESH)
                        except httpx.HTTPError as error:
                            if not any(said):
                                raise
                            answers.append(Said(door.pod.name, problem=_line(error)))
                        else:
                            server, stored = answer.headers.get("Server", ""), "Age" in answer.headers
                            answers.append(
                                Said(door.pod.name, answer.status_code, answer.text, server=server, stored=stored)
                            )
    except (httpx.HTTPError, OSError, ApiError) as error:
        silent = Said(door.pod.name, problem=_line(error))
        return [[*answers, *[silent] * (rounds - len(answers))] for answers in said]
    return said


@contextmanager
def _reached(access: Access, door: Door) -> Iterator[str]:
    """The beginning of the URLs that lead to a door from here, for as long as the context."""
    pod = door.pod
    with access.to_pod(pod.namespace, pod.name, pod.ip, door.port) as (host, port):
        yield origin(host, port, tls=door.tls)


def _client(door: Door) -> httpx.Client:
    import httpx

    limits = httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    headers = {"User-Agent": "postflight"} | ({"Host": door.host} if door.host else {})
    return httpx.Client(timeout=limits, verify=False, trust_env=False, headers=headers)


def _line(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return " ".join(str(error).split())[:200] or type(error).__name__
