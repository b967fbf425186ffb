"""Requests to the API server: whatever it does, one line, in time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postflight.cluster.api import Api, ApiError
from postflight.cluster.connection import ClusterError
from postflight.cluster.kinds import POD
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port, head, refuse, talking


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def refusal(api: Api, method: str = "GET", limit: float = 5.0) -> ApiError:
    with pytest.raises(ApiError) as caught:
        api.request(method, "/api/v1/pods", limit=limit)
    assert "\n" not in str(caught.value)
    return caught.value


class TestWhoDoesNotAnswer:
    def test_a_refused_connection(self) -> None:
        port = closed_port()
        assert str(refusal(api_to(port))) == f"API server 127.0.0.1:{port} refuses connections: is the cluster up?"

    def test_silence_ends_at_the_limit(self) -> None:
        with talking(lambda connection: time.sleep(10)) as port, within(1.5):
            error = refusal(api_to(port), "POST", limit=0.3)
        assert str(error) == f"API server 127.0.0.1:{port} does not answer within its time limit"

    def test_a_get_to_silence_is_tried_twice_and_no_more(self) -> None:
        with talking(lambda connection: time.sleep(10)) as port, within(2.5):
            refusal(api_to(port), limit=0.3)

    def test_an_answer_that_never_ends_ends_at_the_limit(self) -> None:
        def trickle(connection: socket.socket) -> None:
            head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                connection.sendall(b" ")
                time.sleep(0.1)

        with talking(trickle) as port, within(3):
            error = refusal(api_to(port), "POST", limit=0.5)
        assert "does not answer within its time limit" in str(error)

    def test_a_name_that_does_not_resolve(self) -> None:
        api = api_to(1)
        api.host = "http://no-such-host.invalid:6443"
        assert str(refusal(api, "POST")).startswith("API server no-such-host.invalid:6443 ")


class TestADroppedConnection:
    def test_a_get_is_tried_once_more(self) -> None:
        connections: list[int] = []

        def talk(connection: socket.socket) -> None:
            connections.append(1)
            head(connection)
            if len(connections) > 1:
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')

        with talking(talk) as port:
            assert api_to(port).get("/version") == {"a": 1}
        assert len(connections) == 2

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_what_changes_something_is_not(self, method: str) -> None:
        connections: list[int] = []

        def talk(connection: socket.socket) -> None:
            connections.append(1)
            head(connection)

        with talking(talk) as port:
            error = refusal(api_to(port), method)
        assert (error.status, len(connections)) == (0, 1)


class TestRefusals:
    def test_credentials(self) -> None:
        with answering(refuse(401, "Unauthorized")) as (port, seen):
            error = refusal(api_to(port, token="stale"))
        assert (error.status, len(seen)) == (401, 1)
        assert "refuses the credentials (401)" in str(error)
        assert seen[0].authorization == "Bearer stale"
        assert "stale" not in str(error)

    def test_a_right_in_the_servers_own_words(self) -> None:
        with answering(refuse(403, 'pods is forbidden:\nUser "x" cannot list')) as (port, seen):
            error = refusal(api_to(port))
        assert (error.status, str(error)) == (403, 'no right: pods is forbidden: User "x" cannot list')
        assert len(seen) == 1

    def test_what_does_not_exist(self) -> None:
        with answering(refuse(404, "not here")) as (port, _):
            error = refusal(api_to(port))
        assert (error.status, str(error)) == (
            404,
            f"API server 127.0.0.1:{port} answers GET /api/v1/pods with 404: not here",
        )

    @pytest.mark.parametrize("body", [b"<html>503 from a proxy\n\n</html>", b"[1]", b'"text"', b"\xff\xfe", b""])
    def test_an_error_that_is_no_status_object(self, body: bytes) -> None:
        with answering(lambda asked: (503, body)) as (port, _):
            error = refusal(api_to(port))
        assert error.status == 503

    def test_a_redirect_is_not_followed(self) -> None:
        with answering(lambda asked: (302, b"")) as (port, seen):
            assert refusal(api_to(port)).status == 302
        assert len(seen) == 1


class TestGarbage:
    def test_an_answer_that_is_not_json(self) -> None:
        with answering(lambda asked: (200, b"<html>welcome to nginx</html>")) as (port, _):
            error = refusal(api_to(port))
        assert str(error).endswith("with something that is not JSON: is it an API server?")

    @pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x05", b"HTTP/1.1 abc\r\n\r\n"])
    def test_a_server_that_does_not_speak_http(self, said: bytes) -> None:
        def talk(connection: socket.socket) -> None:
            head(connection)
            connection.sendall(said)

        with talking(talk) as port:
            error = refusal(api_to(port), "POST")
        assert str(error).startswith(f"API server 127.0.0.1:{port} ")

    @pytest.mark.parametrize("page", [[1], {}, {"kind": "Status"}, {"kind": "PodList", "items": {"a": 1}}])
    def test_a_list_that_is_none(self, page: object) -> None:
        with answering(lambda asked: (200, page)) as (port, _), pytest.raises(ApiError, match="is it an API server"):
            list(api_to(port).list_all(POD))


def test_lists_are_read_page_by_page() -> None:
    pages = {"": ("b", ["1", "2"]), "b": ("c", ["3"]), "c": ("", ["4"])}

    def answer(asked: Request) -> Reply:
        following, names = pages[asked.query.get("continue", "")]
        items = [{"metadata": {"name": name}} for name in names]
        return 200, {"kind": "PodList", "metadata": {"continue": following}, "items": items}

    with answering(answer) as (port, seen):
        found = [each["metadata"]["name"] for each in api_to(port).list_all(POD, "matrix", labelSelector="a=b")]
    assert found == ["1", "2", "3", "4"]
    assert {each.query["limit"] for each in seen} == {"500"}
    assert {each.query["labelSelector"] for each in seen} == {"a=b"}
    assert {each.path for each in seen} == {"/api/v1/namespaces/matrix/pods"}


@pytest.mark.parametrize("page", [{}, {"items": None}, {"items": [], "metadata": None}, {"metadata": {}}])
def test_an_empty_list_is_empty_in_every_spelling(page: dict[str, object]) -> None:
    with answering(lambda asked: (200, {"kind": "PodList", **page})) as (port, _):
        assert list(api_to(port).list_all(POD)) == []


def test_whether_something_is_allowed_is_asked_by_resource_and_subresource() -> None:
    with answering(lambda asked: (201, {"status": {"allowed": True}})) as (port, seen):
        assert api_to(port).may("create", "pods/exec", "", "matrix")
    attributes = seen[0].body["spec"]["resourceAttributes"]
    assert (attributes["resource"], attributes["subresource"]) == ("pods", "exec")


def test_a_log_is_lines_whatever_is_in_it() -> None:
    with answering(lambda asked: (200, b"one\ntwo \xff\n")) as (port, _):
        assert api_to(port).log("/api/v1/namespaces/a/pods/b/log", tailLines="2") == ["one", "two \ufffd"]


def test_a_log_that_the_kubelet_has_just_removed_is_empty() -> None:
    with answering(lambda asked: (200, b"unable to retrieve container logs for containerd://e6ffc6f1ed48")) as (
        port,
        _,
    ):
        assert api_to(port).log("/api/v1/namespaces/a/pods/b/log", previous="true") == []


class Authority:
    """A CA and a certificate of it for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        import ipaddress

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def tls_server(authority: Authority) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.path)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            head(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with talking(talk) as port:
        yield port


def test_a_certificate_of_another_ca_is_told_from_every_other_trouble(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    with tls_server(theirs) as port:
        assert api_to(port, https_ca=str(theirs.path)).get("/version") == {}
        error = refusal(api_to(port, https_ca=str(ours.path)))
    assert "shows a certificate that the kubeconfig's CA did not sign" in str(error)
    assert "certificate-authority-data" in str(error)


@pytest.mark.parametrize("pem", ["", "no certificate", None])
def test_a_ca_that_nobody_can_read_is_one_line(pem: str | None, tmp_path: Path) -> None:
    if pem is not None:
        (tmp_path / "ca.pem").write_text(pem)
    with pytest.raises(ClusterError, match=r"^the CA or the client certificate of the kubeconfig cannot be used: .+$"):
        api_to(1, https_ca=str(tmp_path / "ca.pem"))


def test_a_plain_server_where_tls_is_expected(tmp_path: Path) -> None:
    with answering(lambda asked: (200, {})) as (port, _):
        error = refusal(api_to(port, https_ca=str(Authority(tmp_path, "ours").path)), "POST")
    assert str(error).startswith(f"API server 127.0.0.1:{port} cannot be reached: ")


def test_many_threads_share_one_client() -> None:
    with answering(lambda asked: (200, {"path": asked.path})) as (port, _):
        api, found = api_to(port), []
        threads = [
            threading.Thread(target=lambda n=n: found.append(api.get(f"/{n}")["path"] == f"/{n}")) for n in range(20)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert found == [True] * 20
