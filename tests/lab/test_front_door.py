"""The real nginx, led by the manifests of this checkout: what comes in at LI's address, and with what.

Takes the nginx of the lab's image, or one named by POSTFLIGHT_TEST_NGINX.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lab.homes import CHECKOUT, home
from lab.manifests import DEPLOYMENT, LOADER

BASE = DEPLOYMENT / "base"
LI, MAIN, CALL = "matrix-li.lab.test", "element.lab.test", "call.lab.test"
ENGINE = Path(os.environ.get("POSTFLIGHT_TEST_NGINX") or home().image / "debian/usr/sbin/nginx")
NOTE = "nginx.ingress.kubernetes.io/"
#: ``officer:open sesame``, as ``openssl passwd -apr1`` makes it.
HTPASSWD = "officer:$apr1$BhHkvVJh$U3pOoaV3xkOE/57qTQv6S0\n"
#: As root it would hand the work to somebody who may not read a test's folder.
AS_IT_IS = "" if os.geteuid() else " user root;"
Object = dict[str, Any]
Change = Callable[[list[Object]], object]


def _runs() -> bool:
    """Whether it finds what it needs on this machine, where the set-up has put it."""
    return not subprocess.run([str(ENGINE), "-v"], capture_output=True, check=False).returncode


#: It is Debian's; where it is not there nobody has set up, and that is no reason to be green.
pytestmark = pytest.mark.skipif(ENGINE.exists() and not _runs(), reason=f"{ENGINE} does not run on this machine")


@dataclass(frozen=True)
class Said:
    status: int
    text: str
    headers: Mapping[str, str]


class Front:
    """nginx on loopback, for the Ingresses and Secrets of the manifests after ``change``."""

    def __init__(self, folder: Path, change: Change = lambda _: None) -> None:
        self.folder = folder
        objects = [each for file in (BASE / "web.yaml", BASE / "li/web.yaml") for each in _documents(file)]
        change(objects)
        self.objects = objects
        self.heard: list[Mapping[str, str]] = []
        self.port, self.processes = _free(), list[subprocess.Popen[bytes]]()
        self.synapse = self._synapse()
        pages = {
            name: self._page(name) for name in ("element-web", "element-call", "element-web-li", "synapse-admin-li")
        }
        controller = _module("nginx_conf")
        files = self._files(controller)
        text = controller.render(_of(objects, "Ingress"), files, folder, "127.0.0.1")
        for name, port in {**pages, "synapse-li-client": self.synapse.server_address[1]}.items():
            text = re.sub(rf"\b{name}\.matrix\.svc\.cluster\.local:\d+", f"127.0.0.1:{port}", text)
        text = text.replace("listen 8443", f"listen 127.0.0.1:{self.port}").replace(
            "listen 8080", f"listen 127.0.0.1:{_free()}"
        )
        self._start("front", text.replace("listen 10254", f"listen 127.0.0.1:{_free()}"), self.port)

    def ask(self, host: str, path: str, certificate: bool = False, method: str = "GET", **headers: str) -> Said:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority = self.folder / "lab.crt"
        authority.write_bytes((BASE / "canary/ca.crt").read_bytes())
        context.load_verify_locations(authority)
        if certificate:
            held = next(each for each in _of(self.objects, "Secret") if each["metadata"]["name"] == "postflight-li")
            file = self.folder / "client.pem"
            file.write_text("\n".join(held["stringData"].values()))
            context.load_cert_chain(file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
        connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname=host)
        try:
            connection.request(method, path, headers={"Host": host, **headers})
            answer = connection.getresponse()
            return Said(answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()})
        finally:
            connection.close()

    def end(self) -> None:
        self.synapse.shutdown()
        self.synapse.server_close()
        for each in self.processes:
            each.terminate()
            each.wait(5)

    def _synapse(self) -> ThreadingHTTPServer:
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append({name.lower(): value for name, value in self.headers.items()})
                body = json.dumps({"errcode": "M_UNKNOWN_TOKEN"} if self.headers.get("Authorization") else {}).encode()
                self.send_response(401 if self.headers.get("Authorization") else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def _page(self, name: str) -> int:
        """A page's own nginx, with the files that its ConfigMaps are made of."""
        deployment = next(each for each in _of(self.objects, "Deployment") if each["metadata"]["name"] == name)
        root = self.folder / name
        for volume in deployment["spec"]["template"]["spec"]["volumes"]:
            (root / volume["name"]).mkdir(parents=True)
            for file, source in _generated()[volume["configMap"]["name"]].items():
                (root / volume["name"] / file).write_text(source.read_text())
        for file in root.rglob("*.conf"):
            file.write_text(re.sub(r"(?<=[ \n])/(app|config|tmp)(?=[/;])", rf"{root}/\1", file.read_text()))
        (root / "tmp").mkdir()
        port = _free()
        text = (root / "web/nginx.conf").read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
        self._start(name, text, port)
        return port

    def _files(self, controller: ModuleType) -> Any:
        """As the controller writes them."""
        found = controller.Files()
        for each in _of(self.objects, "Secret"):
            name, held = each["metadata"]["name"], each["stringData"]
            for keys, kind in (
                (("tls.crt", "tls.key"), "certificates"),
                (("ca.crt",), "authorities"),
                (("auth",), "passwords"),
            ):
                if held.keys() >= set(keys):
                    file = self.folder / f"{name}.{kind}"
                    file.write_text("\n".join(held[key] for key in keys))
                    getattr(found, kind)["matrix", name] = str(file)
        return found

    def _start(self, name: str, text: str, port: int) -> None:
        file = self.folder / f"{name}.conf"
        file.write_text(text)
        command = [str(ENGINE), "-e", "/dev/stderr", "-c", str(file), "-g", "daemon off;" + AS_IT_IS]
        tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        self.processes.append(subprocess.Popen(command))
        for _ in range(100):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    return
            time.sleep(0.05)
        raise AssertionError(f"{name} does not listen")


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / f"lab/deployment/ingress/config/{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def _documents(file: Path) -> Iterator[Object]:
    for each in yaml.load_all(file.read_text(), Loader=LOADER):
        each["metadata"].setdefault("namespace", "matrix")
        yield each


def _of(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def _generated() -> dict[str, dict[str, Path]]:
    """The files of each ConfigMap that kustomize makes."""
    found: dict[str, dict[str, Path]] = {}
    for folder in (BASE, BASE / "li"):
        for each in yaml.safe_load((folder / "kustomization.yaml").read_text())["configMapGenerator"]:
            found[each["name"]] = {Path(file).name: folder / file for file in each.get("files", ())}
    return found


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    found = Front(tmp_path_factory.mktemp("front"))
    yield found
    found.end()


def with_password(objects: list[Object]) -> None:
    """Basic auth where the certificate was asked for."""
    objects.append({"kind": "Secret", "metadata": {"name": "officers"}, "stringData": {"auth": HTPASSWD}})
    for each in _of(objects, "Ingress"):
        notes = each["metadata"].get("annotations") or {}
        if notes.pop(f"{NOTE}auth-tls-secret", None):
            notes |= {f"{NOTE}auth-type": "basic", f"{NOTE}auth-secret": "officers", f"{NOTE}auth-realm": "LI"}


@pytest.fixture(scope="module")
def by_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    found = Front(tmp_path_factory.mktemp("password"), with_password)
    yield found
    found.end()


@pytest.mark.parametrize(
    "path", ["/", "/config.json", "/synapse-admin/", "/_matrix/client/versions", "/_synapse/admin/v1/x"]
)
def test_without_a_certificate_nobody_gets_behind_lis_address(front: Front, path: str) -> None:
    said = front.ask(LI, path)
    assert said.status == 400
    assert "No required SSL certificate was sent" in said.text
    assert front.heard == []


def test_with_it_the_pages_come_and_a_token_reaches_synapse(front: Front) -> None:
    assert "<title>Element</title>" in front.ask(LI, "/", certificate=True).text
    assert json.loads(front.ask(LI, "/config.json", certificate=True).text)["brand"] == "Lawful Intercept"
    assert front.ask(LI, f"/config.{LI}.json", certificate=True).status == 404
    assert "Synapse Admin" in front.ask(LI, "/synapse-admin/", certificate=True).text
    assert "restrictBaseUrl" in front.ask(LI, "/synapse-admin/config.json", certificate=True).text
    said = front.ask(LI, "/_matrix/client/v3/account/whoami", certificate=True, Authorization="Bearer x")
    assert (said.status, json.loads(said.text)) == (401, {"errcode": "M_UNKNOWN_TOKEN"})
    assert front.heard[-1]["authorization"] == "Bearer x"
    assert front.heard[-1]["ssl-client-verify"] == "SUCCESS"
    front.heard.clear()


def test_by_another_name_of_the_same_door_nobody_gets_there_either(front: Front) -> None:
    """TLS for main's name, then a request for LI's."""
    context = ssl._create_unverified_context()
    raw = socket.create_connection(("127.0.0.1", front.port))
    with context.wrap_socket(raw, server_hostname=MAIN) as secured:
        secured.sendall(f"GET / HTTP/1.1\r\nHost: {LI}\r\nConnection: close\r\n\r\n".encode())
        assert secured.recv(100).startswith(b"HTTP/1.1 421 ")


def test_mains_pages_are_open_to_all(front: Front) -> None:
    page = front.ask(MAIN, "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html")
    config = front.ask(MAIN, "/config.json")
    assert config.headers["content-type"] == "application/json"
    assert json.loads(config.text)["brand"] == "Element"
    assert front.ask(MAIN, "/room").status == 404
    assert "<title>Element Call</title>" in front.ask(CALL, "/room").text


def test_a_password_lets_pages_through_and_stands_in_the_way_of_a_token(by_password: Front) -> None:
    shown = "Basic " + base64.b64encode(b"officer:open sesame").decode()
    refused = by_password.ask(LI, "/")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="LI"')
    assert by_password.ask(LI, "/", Authorization="Basic b2ZmaWNlcjp4").status == 401
    assert "<title>Element</title>" in by_password.ask(LI, "/", Authorization=shown).text
    assert by_password.ask(LI, "/_matrix/client/versions", Authorization=shown).status == 200
    assert "authorization" not in by_password.heard[-1]
    assert by_password.ask(LI, "/_matrix/client/v3/account/whoami", Authorization="Bearer x").status == 401
    assert len(by_password.heard) == 1


def test_a_credential_that_is_not_there_shuts_the_door(tmp_path: Path) -> None:
    def without(objects: list[Object]) -> None:
        with_password(objects)
        del objects[-1]

    found = Front(tmp_path, without)
    try:
        assert found.ask(LI, "/").status == 503
    finally:
        found.end()


def test_an_authority_that_is_not_there_shuts_the_host(tmp_path: Path) -> None:
    found = Front(tmp_path, lambda all_: all_.remove(_named(all_, "synapse-li-officers")))
    try:
        assert found.ask(LI, "/_matrix/client/versions").status == 403
    finally:
        found.end()


def _named(objects: list[Object], name: str) -> Object:
    return next(each for each in _of(objects, "Secret") if each["metadata"]["name"] == name)
