"""Servers on 127.0.0.1 for our real client: one that says what a test wants, one that serves a recording."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from postflight.cluster.api import Api
from postflight.cluster.connection import Connection
from postflight.cluster.kinds import CONFIGURATION, LISTED, Kind
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot

Json = dict[str, Any]
Reply = tuple[int, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    authorization: str


class Refused(Exception):
    """Raised by an answer function to refuse with a status and a message, as the API server does."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def api_to(port: int, *, namespace: str = "", token: str = "", https_ca: str = "") -> Api:
    """Our client for a server on loopback; over TLS when ``https_ca`` names a CA file."""
    from kubernetes.client import Configuration

    configuration = Configuration(host=f"{'https' if https_ca else 'http'}://127.0.0.1:{port}")
    configuration.ssl_ca_cert = https_ca or None
    if token:
        configuration.api_key["BearerToken"] = f"Bearer {token}"
    return Api(Connection(configuration, "test", namespace, in_cluster=False))


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that gives each connection to ``talk`` and closes it after; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)
            # Closed on what was not read, the kernel would reset the connection, and what was said might be lost.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Without it the thread in accept() holds the port.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def head(connection: socket.socket) -> bytes:
    """Read an HTTP request up to its empty line."""
    data = b""
    while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
        data += more
    return data


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def answering(answer: Callable[[Request], Reply]) -> Iterator[tuple[int, list[Request]]]:
    """An HTTP server of JSON answers; yields its port and the requests it got."""
    seen: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = _body(self.rfile.read(length)) if length else None
            asked = Request(
                self.command, parts.path, dict(parse_qsl(parts.query)), body, self.headers.get("Authorization", "")
            )
            seen.append(asked)
            try:
                status, value = answer(asked)
            except Refused as error:
                status, value = error.status, {"kind": "Status", "message": str(error), "code": error.status}
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


def _body(data: bytes) -> Any:
    """As JSON where it is; what a file's upload sends is none."""
    try:
        return json.loads(data)
    except ValueError:
        return data


@dataclass
class RecordedApi:
    """Answers the lists of a snapshot page by page, and its Secrets one by one, as an API server does.

    ``forbidden`` are beginnings of paths that are answered by 403; nothing but reading is allowed.
    """

    snapshot: Snapshot
    namespaces: Sequence[str] = ("matrix",)
    forbidden: Sequence[str] = ()
    page: int = 500
    served: bool = True
    secrets: SecretStore = field(default_factory=lambda: SecretStore({}, {}))

    def __call__(self, asked: Request) -> Reply:
        if any(asked.path.startswith(each) for each in self.forbidden):
            raise Refused(403, f'"{asked.path}" is forbidden: User "verifier" cannot list it')
        if asked.path.endswith("/selfsubjectaccessreviews"):
            return 201, {"status": {"allowed": False}}
        if match := re.fullmatch(r"/api/v1/namespaces/([^/]+)/secrets/([^/]+)", asked.path):
            return 200, self._secret(match[1], match[2])
        if asked.path.startswith("/api/v1/namespaces/") and asked.path.count("/") == 4:
            name = asked.path.rpartition("/")[2]
            if name in self.namespaces:
                return 200, {"metadata": {"name": name}}
            raise Refused(404, f'namespaces "{name}" not found')
        if asked.path == "/apis/postgresql.cnpg.io/v1":
            if not self.served:
                raise Refused(404, "the server could not find the requested resource")
            return 200, {"resources": [{"name": "clusters"}, {"name": "clusters/status"}]}
        for kind in dict.fromkeys((*LISTED, *CONFIGURATION)):
            if asked.path == kind.path():
                return 200, self._page(kind, [each for ns in self.namespaces for each in self._of(kind, ns)], asked)
            for namespace in self.namespaces:
                if asked.path == kind.path(namespace):
                    return 200, self._page(kind, self._of(kind, namespace), asked)
        raise Refused(404, f"{asked.path} not found")

    def _secret(self, namespace: str, name: str) -> Json:
        held = self.secrets.get(namespace, name)
        if held is None:
            raise Refused(404, f'secrets "{name}" not found')
        data = {key: base64.b64encode(value.reveal().encode()).decode() for key, value in held.data.items()}
        return {"metadata": {"name": name, "namespace": namespace}, "data": data}

    def _of(self, kind: Kind, namespace: str) -> list[Json]:
        return [dict(each) for each in self.snapshot.objects.get((kind, namespace), ())]

    def _page(self, kind: Kind, found: list[Json], asked: Request) -> Json:
        begin = int(asked.query.get("continue") or 0)
        end = begin + min(self.page, int(asked.query["limit"]))
        # A list says the kind once, not in its items.
        items = [{key: value for key, value in each.items() if key != "kind"} for each in found[begin:end]]
        meta = {"continue": str(end)} if end < len(found) else {}
        return {"kind": f"{kind.name}List", "metadata": meta, "items": items}


def refuse(status: int, message: str) -> Callable[[Request], Reply]:
    def answer(asked: Request) -> Reply:
        raise Refused(status, message)

    return answer
