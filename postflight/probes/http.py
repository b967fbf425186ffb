"""One HTTP request to a port of a pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.parts import Pod
from postflight.limits import Limit
from postflight.secrets import Secret


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
    ``server`` is what it calls itself, where that was looked at."""

    pod: str
    status: int = 0
    text: str = field(default="", repr=False)
    problem: str = ""
    server: str = ""

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
    headers = {"User-Agent": "postflight"}
    if door.host:
        headers["Host"] = door.host
    if token:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    limits = httpx.Timeout(Limit.HTTP, connect=Limit.CONNECT)
    try:
        with (
            access.to_pod(pod.namespace, pod.name, pod.ip, door.port) as (host, port),
            httpx.Client(timeout=limits, verify=False, trust_env=False) as client,
        ):
            url = f"{origin(host, port, tls=door.tls)}{path}"
            answer = client.request(method, url, headers=headers, params=query, json=body)
    except (httpx.HTTPError, OSError, ApiError) as error:
        return Said(pod.name, problem=_line(error))
    return Said(pod.name, answer.status_code, answer.text)


def _line(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return " ".join(str(error).split())[:200] or type(error).__name__
