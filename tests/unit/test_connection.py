"""Which cluster is meant, and one line for everything that keeps it from being used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from postflight.cluster import connection
from postflight.cluster.connection import ClusterError, connect

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: the machine's ~/.kube/config must not be found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, *, at: Path | None = None, cluster: Any = None, user: Any = None, namespace: str = "") -> Path:
        path = at or tmp_path / name
        context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
        document = {
            "clusters": [{"name": name, "cluster": cluster or {"server": f"https://{name}.test:6443"}}],
            "users": [{"name": name, "user": user or {"token": f"token-of-{name}"}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(document))
        return path

    return write


def refusal(kubeconfig: Path | None, context: str | None = None, **environ: str) -> str:
    with pytest.raises(ClusterError) as caught:
        connect(kubeconfig, context, environ)
    line = str(caught.value)
    assert "\n" not in line
    return line


class TestTheOrder:
    def test_the_file_given_comes_before_everything(self, write: Write, home: Path) -> None:
        write("home", at=home / ".kube" / "config")
        found = connect(write("given"), None, {"KUBECONFIG": str(write("listed"))})
        assert (found.name, found.configuration.host) == ("given", "https://given.test:6443")
        assert not found.in_cluster

    def test_then_comes_kubeconfig(self, write: Write, home: Path) -> None:
        write("home", at=home / ".kube" / "config")
        assert connect(None, None, {"KUBECONFIG": str(write("listed"))}).name == "listed"

    def test_kubeconfig_is_a_list_and_its_files_are_merged(self, write: Write) -> None:
        listed = os.pathsep.join(map(str, (write("one"), "/nowhere/config", write("two"))))
        assert connect(None, None, {"KUBECONFIG": listed}).name == "one"
        assert connect(None, "two", {"KUBECONFIG": listed}).configuration.host == "https://two.test:6443"

    def test_then_comes_the_home_file_even_in_a_pod(self, write: Write, home: Path) -> None:
        write("home", at=home / ".kube" / "config")
        assert connect(None, None, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}).name == "home"

    def test_then_comes_the_pods_service_account(self) -> None:
        line = refusal(None, KUBERNETES_SERVICE_HOST="10.96.0.1", KUBERNETES_SERVICE_PORT="443")
        assert line.startswith("the pod's service account cannot be used: ")

    def test_without_any_all_four_are_named(self) -> None:
        line = refusal(None)
        assert all(word in line for word in ("--kubeconfig", "KUBECONFIG", "~/.kube/config", "pod"))


def test_the_context_says_token_and_namespace(write: Write) -> None:
    found = connect(write("given", namespace="matrix"), None, {})
    assert found.namespace == "matrix"
    assert found.configuration.auth_settings()["BearerToken"]["value"] == "Bearer token-of-given"
    assert found.configuration.connection_pool_maxsize == connection.POOL


def test_server_name_and_proxy_of_the_cluster_are_taken(write: Write) -> None:
    cluster = {"server": "https://10.0.0.1", "tls-server-name": "kubernetes", "proxy-url": "http://proxy.test:3128"}
    found = connect(write("given", cluster=cluster), None, {}).configuration
    assert (found.tls_server_name, found.proxy) == ("kubernetes", "http://proxy.test:3128")


class TestWhatCannotBeUsed:
    def test_a_file_that_does_not_exist(self) -> None:
        assert refusal(Path("/nowhere/config")) == "--kubeconfig /nowhere/config: no such file"

    def test_a_kubeconfig_of_files_that_do_not_exist(self) -> None:
        assert refusal(None, KUBECONFIG="/nowhere/a:/nowhere/b") == "KUBECONFIG=/nowhere/a:/nowhere/b: no such file"

    @pytest.mark.parametrize("text", ["{", "", "just words", "- a list", "clusters: 1\ncontexts: 2", "\x00"])
    def test_a_file_that_is_no_kubeconfig(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "config").write_text(text)
        assert f"--kubeconfig {tmp_path / 'config'} cannot be used: " in refusal(tmp_path / "config")

    def test_a_context_that_is_not_in_it(self, write: Write) -> None:
        assert "staging" in refusal(write("given"), "staging")

    def test_a_file_without_a_current_context(self, write: Write) -> None:
        path = write("given")
        path.write_text(path.read_text().replace("current-context: given", "current-context: ''"))
        assert "cannot be used" in refusal(path)

    def test_a_cluster_without_a_server(self, write: Write) -> None:
        path = write("given", cluster={"insecure-skip-tls-verify": True})
        assert refusal(path) == f"--kubeconfig {path} names no server for context given"

    def test_a_ca_file_that_is_not_there(self, write: Write) -> None:
        path = write("given", cluster={"server": "https://a.test", "certificate-authority": "/nowhere/ca.crt"})
        assert "/nowhere/ca.crt" in refusal(path)

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import sys; sys.exit('login expired:\\nrun sso login')", "login expired: run sso login"),
            ("print('no json')", "exec"),
            ("print('{}')", "exec"),
        ],
    )
    def test_an_exec_plugin_that_gives_no_credentials(
        self, write: Write, code: str, said: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", code]}
        line = refusal(write("given", user={"exec": plugin}))
        assert said in line
        assert capfd.readouterr() == ("", "")

    def test_an_exec_plugin_that_is_not_installed(self, write: Write) -> None:
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
        assert "no-such-plugin" in refusal(write("given", user={"exec": plugin}))
