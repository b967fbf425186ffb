"""HTTP over TLS by a public name, at one place, one connection for all that is asked."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from postflight.cluster.access import Access
from postflight.limits import Limit
from postflight.probes.public_places import Place
from postflight.secrets import Secret

#: A web client at an address that nobody knows beforehand.
ORIGIN = "https://postflight.invalid"
CORS = "access-control-allow-origin"
AGENT = "postflight"
#: Of a body that is read but not kept.
MOST = 2**18
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is 0 and ``problem`` set where none came; ``cors`` is the origin that may read it, "" where none is
    named."""

    status: int = 0
    cors: str = ""
    location: str = ""
    server: str = ""
    text: str = field(default="", repr=False)
    problem: str = ""

    @property
    def json(self) -> Mapping[str, Any]:
        """The answer's object; empty where it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def readable(self) -> bool:
        """Whether a web client of any origin may read it."""
        return self.cors in ("*", ORIGIN)

    @property
    def silent(self) -> bool:
        """Whether nobody answered, or a proxy said that nobody does."""
        return self.status in (0, 502, 503, 504)

    @property
    def short(self) -> str:
        if not self.status:
            return self.problem
        said = self.json
        why = str(said.get("error") or "")
        words = (self.status, said.get("errcode") or "", why and f"({why[:120]})")
        return " ".join(str(each) for each in words if each)


class _Connection(http.client.HTTPConnection):
    """To an address, by another name, over TLS."""

    def __init__(self, address: tuple[str, int], name: str, context: ssl.SSLContext) -> None:
        super().__init__(name, timeout=Limit.HTTP)
        self._address, self._name, self._context = address, name, context

    def connect(self) -> None:
        plain = socket.create_connection(self._address, timeout=Limit.CONNECT)
        plain.settimeout(Limit.HTTP)
        self.sock = self._context.wrap_socket(plain, server_hostname=self._name)


@dataclass(frozen=True, slots=True)
class Line:
    """Over which a name is asked; used by one thread. ``host`` has the port too where it is not the usual one."""

    host: str
    connection: http.client.HTTPConnection

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        token: Secret | None = None,
        agent: str = AGENT,
        more: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """One request, no redirect followed; that of a web client by its Origin. ``more`` headers replace these."""
        headers = {"Host": self.host, "User-Agent": agent, "Origin": ORIGIN, "Accept": "application/json", **more}
        if token:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        if method == "POST":
            headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        connection = self.connection
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            # Who refuses a body early says so before it closes.
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.send(body)
            reply = connection.getresponse()
            text = reply.read(MOST).decode("utf-8", "replace")
            found = {key: reply.headers.get(key, "") for key in (CORS, "location", "server")}
            answer = Answer(reply.status, found[CORS], found["location"], found["server"], text)
            if body or not reply.isclosed():
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            words = "no answer in time" if isinstance(error, TimeoutError) else " ".join(str(error).split())[:200]
            return Answer(problem=words or type(error).__name__)
        return answer


@contextmanager
def line(access: Access, place: Place, host: str, port: int, context: ssl.SSLContext) -> Iterator[Line]:
    """A line to a name at a place, as its port is named in public. Raises ApiError, OSError."""
    with place.reach(access) as address:
        name = host if port == 443 else f"{host}:{port}"
        connection = _Connection(address, host, context)
        try:
            yield Line(name, connection)
        finally:
            connection.close()
