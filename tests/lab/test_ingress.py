"""What nginx is told of Ingresses, by the script that stands in for ingress-nginx's controller."""

import base64
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lab.homes import CHECKOUT

FOLDER = CHECKOUT / "lab/deployment/ingress/config"
HOST = "matrix.lab.test"
NOTE = "nginx.ingress.kubernetes.io/"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return loaded("nginx_conf")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def ingress(name: str, *paths: tuple[str, str], kind: str = "nginx", tls: str = "tls", **notes: str) -> dict[str, Any]:
    listed = [
        {"path": path, "pathType": how, "backend": {"service": {"name": f"{name}-service", "port": {"number": 8008}}}}
        for path, how in paths
    ]
    return {
        "metadata": {
            "name": name,
            "namespace": "matrix",
            "annotations": {NOTE + k.replace("_", "-"): v for k, v in notes.items()},
        },
        "spec": {
            "ingressClassName": kind,
            "tls": [{"hosts": [HOST], "secretName": tls}],
            "rules": [{"host": HOST, "http": {"paths": listed}}],
        },
    }


def rendered(module: ModuleType, *ingresses: dict[str, Any]) -> str:
    files = module.Files(
        certificates={("matrix", "tls"): "/state/matrix-tls.pem"},
        authorities={("matrix", "officers"): "/state/matrix-officers.ca"},
        passwords={("matrix", "users"): "/state/matrix-users.passwd"},
    )
    return str(module.render(ingresses, files, "/state", "10.96.0.10"))


def location(text: str, match: str) -> str:
    return text.partition(f"location {match} {{")[2].partition("\n    }")[0]


def test_a_prefix_is_by_whole_elements(module: ModuleType) -> None:
    text = rendered(module, ingress("clients", ("/_matrix", "Prefix")))
    for match in ("= /_matrix", "/_matrix/"):
        assert "set $to clients-service.matrix.svc.cluster.local:8008;" in location(text, match)
    assert "location /_matrix {" not in text


def test_of_one_path_twice_the_first_has_it(module: ModuleType) -> None:
    both = ingress("a", ("/x", "Exact")), ingress("b", ("/x", "Exact"), ("/y", "Exact"))
    text = rendered(module, *both)
    assert "a-service" in location(text, "= /x")
    assert "b-service" in location(text, "= /y")
    assert text.count("server_name") == 1


def test_annotations(module: ModuleType) -> None:
    told = ingress("a", ("/x", "Exact"), proxy_body_size="50m", configuration_snippet="return 200 'x';")
    silent = ingress("b", ("/y", "Exact"))
    text = rendered(module, told, silent)
    assert "client_max_body_size 50m;" in location(text, "= /x")
    assert "return 200 'x';" in location(text, "= /x")
    assert "client_max_body_size 1m;" in location(text, "= /y")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in location(text, "= /y")


def test_another_class_and_a_host_without_certificate_are_left_out(module: ModuleType) -> None:
    text = rendered(module, ingress("a", ("/", "Prefix"), kind="other"), ingress("b", ("/", "Prefix"), tls="not-there"))
    assert "server_name" not in text
    assert text.count("{") == text.count("}")


def test_a_client_certificate_is_asked_for_at_the_whole_host(module: ModuleType) -> None:
    asking = ingress("a", ("/x", "Exact"), auth_tls_secret="matrix/officers", auth_tls_verify_depth="2")
    text = rendered(module, asking, ingress("b", ("/y", "Exact")))
    assert text.count("ssl_verify_client on;") == 1
    assert "ssl_client_certificate /state/matrix-officers.ca;" in text
    assert "ssl_verify_depth 2;" in text


def test_without_its_authority_the_host_is_shut(module: ModuleType) -> None:
    text = rendered(module, ingress("a", ("/x", "Exact"), auth_tls_secret="matrix/nobody"))
    assert "    return 403;\n" in text
    assert "ssl_verify_client" not in text


def test_a_password_is_asked_for_at_its_path_and_goes_no_further(module: ModuleType) -> None:
    asking = ingress("a", ("/x", "Exact"), auth_type="basic", auth_secret="users", auth_realm="Officers only")
    text = rendered(module, asking, ingress("b", ("/y", "Exact")))
    assert 'auth_basic "Officers only";' in location(text, "= /x")
    assert "auth_basic_user_file /state/matrix-users.passwd;" in location(text, "= /x")
    assert 'proxy_set_header Authorization "";' in location(text, "= /x")
    assert "auth_basic" not in location(text, "= /y")


def test_without_its_file_the_path_is_shut(module: ModuleType) -> None:
    text = rendered(module, ingress("a", ("/x", "Exact"), auth_type="basic", auth_secret="nobody"))
    assert "return 503;" in location(text, "= /x")


def test_secrets_are_written_for_nginx_and_for_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    controller = loaded("controller")
    monkeypatch.setattr(controller, "STATE", tmp_path)

    def secret(name: str, kind: str = "Opaque", **data: str) -> dict[str, Any]:
        held = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
        return {"metadata": {"namespace": "matrix", "name": name}, "type": kind, "data": held}

    files = controller.written(
        [
            secret("web", "kubernetes.io/tls", tls_crt="chain", tls_key="key"),
            secret("officers", ca_crt="authority"),
            secret("users", auth="a:b"),
            secret("database", password="x"),
        ]
    )
    told = {
        kind: {name: Path(file).read_text() for (_, name), file in held.items()} for kind, held in vars(files).items()
    }
    assert told == {
        "certificates": {"web": "chain\nkey"},
        "authorities": {"officers": "authority"},
        "passwords": {"users": "a:b"},
    }
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
