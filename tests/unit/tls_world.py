"""An authority and certificates made on the spot, and an HTTPS server on loopback that shows one."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Reply = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True)
class Heard:
    method: str
    path: str
    host: str
    agent: str
    authorization: str
    body: int
    certificate: bool = False
    origin: str = ""


@dataclass
class Issuer:
    """Signs with a key of its own; ``pem`` is its certificate."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: x509.Name = field(default_factory=lambda: _name("an authority of the tests"))

    @property
    def pem(self) -> str:
        made = _builder(self.name, self.name, self.key.public_key(), datetime.now(UTC), timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def write(
        self, folder: Path, *names: str, begins: datetime | None = None, lasts: timedelta = timedelta(days=90)
    ) -> Path:
        """A file with a certificate for these names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(_name("a leaf"), self.name, key.public_key(), begins or datetime.now(UTC), lasts)
        if names:
            listed = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            made = made.add_extension(listed, critical=False)
        file = folder / "leaf.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + private)
        return file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    # A clock of the same machine may still read the second before.
    begins -= timedelta(minutes=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
    )


@contextmanager
def serving(
    shown: Path, answer: Callable[[Heard], Reply], takes: int = 2**30, clients: str = ""
) -> Iterator[tuple[int, Sequence[Heard]]]:
    """An HTTPS server; a body above ``takes`` is refused before it is read, and read to its end all the same, as nginx
    does. Clients are asked for a certificate of the authority ``clients`` (PEM). Yields its port and what it heard."""
    heard: list[Heard] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > takes:
                self.reply(413, {"Server": "nginx"}, b"<html>")
            body = 0
            while body < length:
                body += len(self.rfile.read(min(65536, length - body)))
            said = {name: self.headers.get(name, "") for name in ("Host", "User-Agent", "Authorization")}
            known = bool(self.connection.getpeercert()) if clients else False
            origin = self.headers.get("Origin", "")
            one = Heard(
                self.command, self.path, said["Host"], said["User-Agent"], said["Authorization"], body, known, origin
            )
            heard.append(one)
            if length <= takes:
                self.reply(*answer(one))

        do_GET = do_POST = do_OPTIONS = handle_one

        def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """A client that hangs up is none."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    if clients:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=clients)
    server = Server(("127.0.0.1", 0), Handler)
    # The handshake is each connection's own affair: one that is refused must not stop the next.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()
        server.server_close()
