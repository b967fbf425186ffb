"""Servers on loopback that do not do what one expects of an API server."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def door(answer: Answer) -> Iterator[int]:
    """A listener that treats each connection as `answer` does; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threading.Thread(target=_treat, args=(answer, connection), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for each in (listener, *opened):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def silence(connection: socket.socket) -> None:
    """Takes everything, and never says a word."""
    while connection.recv(65536):
        pass


def garbage(connection: socket.socket) -> None:
    """Bytes that are no protocol's, whatever is asked."""
    connection.recv(65536)
    connection.sendall(bytes(range(256)) * 8)
    connection.close()


def page(connection: socket.socket) -> None:
    """A web server's page, with 200, whatever is asked: what a captive portal or a wrong Ingress does."""
    while connection.recv(65536):
        text = b"<html><body>Welcome to nginx!</body></html>"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(text)
        connection.sendall(head + text)


def other_json(connection: socket.socket) -> None:
    """JSON that is not Kubernetes', with 200, whatever is asked."""
    while connection.recv(65536):
        text = b'{"status": "ok", "items": "none", "resources": 3}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
        connection.sendall(head + text)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _treat(answer: Answer, connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        answer(connection)
