"""Certificates as they are issued and shown: Secrets, Ingresses, and a PostgreSQL of loopback."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from postflight.cluster.access import Access, Way
from postflight.cluster.kinds import INGRESS
from postflight.cluster.secrets import SecretStore
from postflight.deployment.parts import Endpoint, PostgresCluster
from postflight.deployment.pods import read_pod
from postflight.probes import certificates as probes
from postflight.probes.public_tls import read
from tests.unit import worlds
from tests.unit.loopback import api_to, talking
from tests.unit.tls_world import Issuer
from tests.unit.worlds import container, pod, secrets, thing

CLUSTER = PostgresCluster("postgresql/matrix/pg", "matrix", "pg", "cnpg", 1, (), None, (), {"metadata": {"name": "pg"}})


def pair(folder: Path, *names: str) -> tuple[str, str]:
    text = Issuer().write(folder, *names).read_text()
    cut = text.index("-----BEGIN PRIVATE KEY")
    return text[:cut], text[cut:]


def held(crt: str, key: str) -> SecretStore:
    return secrets(a_tls={"tls.crt": crt, "tls.key": key})


class TestIssued:
    def test_the_leaf_and_whether_the_key_is_its_own(self, tmp_path: Path) -> None:
        crt, key = pair(tmp_path, "a.test")
        found = probes.issued_by(held(crt + pair(tmp_path, "b.test")[0], key), "matrix", "a-tls", "Ingress a")
        assert found.certificate
        assert found.certificate.names == ("a.test",)
        assert found.certificate.der == ssl.PEM_cert_to_DER_cert(crt)
        assert found.fits
        assert found.words == "Secret a-tls, which Ingress a names"

    def test_another_key(self, tmp_path: Path) -> None:
        crt, _ = pair(tmp_path, "a.test")
        for key in (pair(tmp_path, "a.test")[1], "no key", ""):
            assert not probes.issued_by(held(crt, key), "matrix", "a-tls", "Ingress a").fits

    def test_no_certificate(self) -> None:
        for text in ("", "no certificate"):
            found = probes.issued_by(held(text, ""), "matrix", "a-tls", "Ingress a")
            assert (found.certificate, found.problem) == (None, "its tls.crt is no certificate")

    def test_no_secret_and_none_that_may_be_read(self) -> None:
        assert probes.issued_by(worlds.NO_SECRETS, "matrix", "a-tls", "Ingress a").missing
        found = probes.issued_by(secrets(unseen={"a-tls": "no right"}), "matrix", "a-tls", "Ingress a")
        assert (found.missing, found.problem) == (False, "no right")

    def test_by_host_of_the_ingresses(self, tmp_path: Path) -> None:
        tls = [{"hosts": ["A.test", "*.b.test"], "secretName": "a-tls"}, {"hosts": ["c.test"]}]
        again = [{"hosts": ["a.test"], "secretName": "a-tls"}, {"hosts": ["a.test"], "secretName": "other"}]
        world = worlds.snapshot(thing(INGRESS, "one", spec={"tls": tls}), thing(INGRESS, "two", spec={"tls": again}))
        found = probes.issued_to_hosts(world, held(*pair(tmp_path, "a.test")))
        assert {host: [each.secret for each in issued] for host, issued in found.items()} == {
            "a.test": ["a-tls", "other"],
            "c.test": [],
        }


class TestPostgres:
    def test_it_shows_its_certificate_once_it_is_asked_for_tls(self, tmp_path: Path) -> None:
        file = Issuer().write(tmp_path, "pg-rw")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)

        def talk(connection: socket.socket) -> None:
            if connection.recv(8) == bytes.fromhex("0000000804d2162f"):
                connection.sendall(b"S")
                context.wrap_socket(connection, server_side=True).close()

        with talking(talk) as port:
            shown = probes.ask_postgres(("127.0.0.1", port), "pg-rw")
        assert read("pg-rw", shown).names == ("pg-rw",)

    def test_one_without_tls(self) -> None:
        with (
            talking(lambda connection: connection.sendall(b"N")) as port,
            pytest.raises(OSError, match="it has no TLS"),
        ):
            probes.ask_postgres(("127.0.0.1", port), "pg-rw")

    def test_what_goes_wrong_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with talking(lambda connection: connection.sendall(b"N")) as port:
            monkeypatch.setattr(probes, "POSTGRES", port)
            one = replace(read_pod(pod("pg-1", container(), ip="127.0.0.1")))
            found = probes._of_postgres(Access(api_to(port), Way.DIRECT), one, "pg-rw")
        assert found.problem == "it has no TLS"

    def test_by_the_names_of_its_own_services(self) -> None:
        ways = (
            Endpoint("pg-rw.matrix.svc", 5432, "matrix", "pg-rw", ()),
            Endpoint("pooler.matrix.svc", 5432, "matrix", "pooler", ()),
        )
        assert probes.used_names(replace(CLUSTER, endpoints=ways)) == ("pg-rw.matrix.svc",)
        assert probes.used_names(CLUSTER) == ("pg-rw",)
