"""A homeserver that only listens: it answers with documents that it was given, and remembers what it was sent."""

import http.server
import json
import os
import socket
import ssl
import threading
import time

SEND = "/_matrix/federation/v1/send/"
KEYS = "/_matrix/key/v2/server"
KEEP = 200_000
REQUEST_LIMIT = 20.0
FETCH_LIMIT = 5.0
#: What comes at the same time is told in one answer.
BURST = 0.2
UP = "up"


class Heard:
    """What came in, in order; read by a second process through a listener on loopback."""

    def __init__(self):
        self.records = []
        self.grown = threading.Condition()

    def add(self, record):
        with self.grown:
            self.records.append(record)
            self.grown.notify_all()

    def since(self, number, wait):
        """The records from that number on, at once or as soon as there is one, after ``wait`` seconds at most."""
        with self.grown:
            there = len(self.records) > number
            came = not there and self.grown.wait_for(lambda: len(self.records) > number, wait)
        if came:
            time.sleep(BURST)
        with self.grown:
            return self.records[number:]


def handler(keys, heard):
    """A request handler for several servers, told apart by the Host header; ``keys`` maps each server's name
    to its signed key document."""

    class Request(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = REQUEST_LIMIT

        def log_message(self, *_):
            """Nothing is logged: what came in is read by ``heard``."""

        def answer(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve(self):
            name = self.headers.get("Host") or ""
            path = self.path.partition("?")[0]
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size) if size <= KEEP else b""
            record = {
                "at": time.time(),
                "name": name,
                "method": self.command,
                "path": path,
                "peer": self.client_address[0].replace("::ffff:", ""),
                "forwarded": self.headers.get("X-Forwarded-For") or "",
            }
            if path.startswith(SEND):
                sent = json.loads(body or b"{}")
                record["transaction"] = path[len(SEND) :]
                record["pdus"], record["edus"] = sent.get("pdus") or [], sent.get("edus") or []
                heard.add(record)
                return self.answer(200, {"pdus": {}})
            heard.add(record)
            if path.startswith(KEYS) and name in keys:
                return self.answer(200, keys[name])
            if path == "/_matrix/federation/v1/version":
                return self.answer(200, {"server": {"name": "postflight", "version": "0"}})
            return self.answer(404, {"errcode": "M_UNRECOGNIZED", "error": "a canary only listens"})

        do_GET = do_PUT = do_POST = serve

    return Request


class Listener(http.server.ThreadingHTTPServer):
    """One port, over TLS where a context is given; each handshake is its own thread's to wait for."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address, request, context=None):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.context = context
        super().__init__(address, request)

    def finish_request(self, sock, address):
        if self.context:
            sock.settimeout(REQUEST_LIMIT)
            sock = self.context.wrap_socket(sock, server_side=True)
        super().finish_request(sock, address)

    def handle_error(self, *_):
        """A connection that breaks is the sender's to repeat."""


def listen(given):
    """Serve in the background and answer once every port is bound.

    ``given``: ``ports`` to listen on, ``keys`` (server name to key document), ``certificate`` and ``key``
    (PEM), ``control`` (the port on loopback that ``heard`` asks), ``life`` in seconds.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as told:
            said = told.read()
        return {"problem": "" if said == UP else said or "it ended before it listened"}
    os.close(reading)
    os.setsid()
    try:
        _serve(given)
        said = UP
    except Exception as error:
        said = str(error) or type(error).__name__
    with os.fdopen(writing, "w") as telling:
        telling.write(said)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    if said == UP:
        time.sleep(given["life"])
    os._exit(0)


def _serve(given):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL takes files only; the container's may be read-only.
    file = os.memfd_create("certificate")
    os.write(file, (given["key"] + given["certificate"]).encode())
    context.load_cert_chain(f"/proc/self/fd/{file}")
    os.close(file)
    heard = Heard()
    request = handler(given["keys"], heard)
    host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    listeners = [Listener((host, port), request, context) for port in given["ports"]]
    listeners.append(Listener(("127.0.0.1", given["control"]), _control(heard)))
    for each in listeners:
        threading.Thread(target=each.serve_forever, daemon=True).start()


def _control(heard):
    class Control(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Nothing is logged."""

        def do_GET(self):
            number, wait = self.path.strip("/").split("/")
            body = json.dumps(heard.since(int(number), float(wait))).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    return Control


def heard(given):
    """What the listener on ``control`` remembers from record number ``since`` on: where there is nothing yet,
    what comes first within ``wait`` seconds."""
    with socket.create_connection(("127.0.0.1", given["control"]), timeout=FETCH_LIMIT + given["wait"]) as sock:
        sock.sendall(b"GET /%d/%f HTTP/1.0\r\n\r\n" % (given["since"], given["wait"]))
        with sock.makefile("rb") as answer:
            text = answer.read()
    print(text.partition(b"\r\n\r\n")[2].decode())
