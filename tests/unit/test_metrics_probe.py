"""What a metrics listener says, and when it is asked again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest

from postflight.cluster.access import Access
from postflight.probes.metrics import read_metrics
from tests.unit.observations import MODEL

MAIN = next(each for each in MODEL.synapse if each.is_main)


class Direct:
    """A way to every pod that leads to one port of the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def to_pod(self, *_: Any) -> Iterator[tuple[str, int]]:
        yield "127.0.0.1", self.port


@contextmanager
def listener(*statuses: int) -> Iterator[Access]:
    """Answers with each of these in turn."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0))
            self.end_headers()
            self.wfile.write(b"one 1\n")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cast("Access", Direct(server.server_port))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not left


def test_an_error_is_asked_for_once_more() -> None:
    with listener(500, 200) as access:
        assert read_metrics(access, MAIN) == "one 1\n"


def test_two_errors_are_no_numbers() -> None:
    with listener(500, 503) as access, pytest.raises(OSError, match="its metrics port 9090 answers 503"):
        read_metrics(access, MAIN)
