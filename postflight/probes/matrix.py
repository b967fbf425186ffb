"""Requests to one Synapse process, over whatever way leads there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.deployment.listeners import port_of
from postflight.deployment.parts import SynapseProcess
from postflight.limits import Limit
from postflight.probes.http import origin
from postflight.secrets import Secret

if TYPE_CHECKING:
    import httpx

FORBIDDEN, LIMITED = 403, 429
NAMED = {"Host": "localhost"}


class MatrixError(Exception):
    """A request that was not answered, or answered with an error; the message is one line. ``status``
    is 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0, errcode: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.errcode = errcode


@dataclass(frozen=True, slots=True)
class Matrix:
    """One process's listener. ``asked`` is what messages call it."""

    http: httpx.Client
    asked: str

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limit: float = Limit.HTTP,
    ) -> dict[str, Any]:
        """The answer's JSON. One that is limited by rate is waited for within ``limit`` seconds and asked
        again. Raises MatrixError."""
        deadline = time.monotonic() + limit
        given = dict(headers or {})
        if token:
            given["Authorization"] = f"Bearer {token.reveal()}"
        while True:
            reply = self._once(method, path, body, given, content, max(0.1, deadline - time.monotonic()))
            if reply.status != LIMITED:
                break
            pause = float(reply.json.get("retry_after_ms") or 500) / 1000
            if time.monotonic() + pause > deadline:
                line = f"{self.asked} limits the rate of {method} {_bare(path)}: it asks to wait {pause:.0f} s"
                raise MatrixError(line, LIMITED, "M_LIMIT_EXCEEDED")
            time.sleep(pause)
        if reply.status >= 300:
            code, said = str(reply.json.get("errcode") or ""), str(reply.json.get("error") or "")[:200]
            line = f"{self.asked} answers {method} {_bare(path)} with {reply.status} {code} {said}".rstrip()
            raise MatrixError(line, reply.status, code)
        return reply.json

    def fetch(self, path: str, *, token: Secret, limit: float = Limit.HTTP) -> bytes:
        """The bytes of a file; no redirect is followed. Raises MatrixError."""
        import httpx

        given = {"Authorization": f"Bearer {token.reveal()}"}
        try:
            answer = self.http.get(path, headers=given, timeout=limit)
        except httpx.HTTPError as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise MatrixError(f"{self.asked} does not answer GET {_bare(path)}: {words}") from error
        if answer.status_code != 200:
            code = _errcode(answer)
            line = f"{self.asked} answers GET {_bare(path)} with {answer.status_code} {code}".rstrip()
            raise MatrixError(line, answer.status_code, code)
        return answer.content

    def _once(
        self, method: str, path: str, body: object, headers: Mapping[str, str], content: bytes | None, limit: float
    ) -> Reply:
        import httpx

        try:
            given: dict[str, Any] = {"content": content} if content is not None else {"json": body}
            if body is None and content is None:
                given = {}
            answer = self.http.request(method, path, headers=dict(headers), timeout=limit, **given)
        except httpx.HTTPError as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise MatrixError(f"{self.asked} does not answer {method} {_bare(path)}: {words}") from error
        try:
            decoded = answer.json()
        except ValueError:
            decoded = {"error": " ".join(answer.text.split())[:100]}
        return Reply(answer.status_code, decoded if isinstance(decoded, dict) else {"value": decoded})


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    json: dict[str, Any] = field(default_factory=dict)


@contextmanager
def matrix(access: Access, process: SynapseProcess, resource: str = "client") -> Iterator[Matrix]:
    """A process's listener for a resource. Raises MatrixError when it has none, does not run, or no way
    leads there."""
    import httpx

    port = port_of(process, resource)
    pod = process.pod
    status = pod.container(process.container) if pod else None
    if pod is None or status is None or not status.running:
        raise MatrixError(f"{process.workload_name} does not run")
    if port is None:
        raise MatrixError(f"{pod.name} has no {resource} listener")
    try:
        with (
            access.to_pod(pod.namespace, pod.name, pod.ip, port) as (host, local),
            # Plain HTTP: the authorities that nobody asks for would take longer to read than all that is sent.
            httpx.Client(base_url=origin(host, local), verify=False, trust_env=False, headers=NAMED) as http,
        ):
            yield Matrix(http, pod.name)
    except (ApiError, OSError) as error:
        raise MatrixError(str(error)) from error


def _errcode(answer: httpx.Response) -> str:
    try:
        decoded = answer.json()
    except ValueError:
        return ""
    return str(decoded.get("errcode") or "") if isinstance(decoded, dict) else ""


def _bare(path: str) -> str:
    """Without the query, which may hold a token."""
    return path.partition("?")[0]
