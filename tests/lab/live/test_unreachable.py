"""Where the verifier cannot see the cluster it is red within its time limit, and one line says why."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster
from postflight.limits import Limit
from tests.lab.live import doors, kubeconfigs
from tests.lab.live.doors import Answer, door
from tests.lab.live.kubeconfigs import Account
from tests.lab.live.plain import must_be_plain, must_not_be_green
from tests.lab.live.verify import Run, Verified

Verify = Callable[..., Verified]

#: Each request may be tried twice, and pytest itself needs a moment.
WITHIN = 2 * Limit.REQUEST + 6


@pytest.fixture
def account(cluster: Cluster) -> Iterator[Account]:
    made = Account(cluster, "verifier")
    made.create()
    yield made
    made.remove()


def test_an_api_server_that_is_down(cluster: Cluster, tmp_path: Path, verify: Verify) -> None:
    config = kubeconfigs.with_server(cluster, f"https://127.0.0.1:{doors.closed_port()}", tmp_path / "config")
    must_not_be_green(verify(config), "refuses connections: is the cluster up?", WITHIN)


def test_a_ca_that_did_not_sign(cluster: Cluster, tmp_path: Path, verify: Verify) -> None:
    other = _authority()
    config = kubeconfigs.with_other_ca(cluster, other, tmp_path / "config")
    must_not_be_green(verify(config), "shows a certificate that the kubeconfig's CA did not sign", WITHIN)


def test_a_token_that_has_expired(account: Account, tmp_path: Path, verify: Verify) -> None:
    config = kubeconfigs.with_token(account.cluster, account.expired_token(), tmp_path / "config")
    must_not_be_green(verify(config), "refuses the credentials (401): token expired or not its own", WITHIN)


@pytest.mark.parametrize(
    ("scheme", "answer", "line"),
    [
        ("https", doors.silence, "does not answer within its time limit"),
        ("http", doors.silence, "does not answer within its time limit"),
        ("https", doors.garbage, "cannot be reached"),
        ("http", doors.garbage, "cannot be reached"),
        ("http", doors.page, "with something that is not JSON: is it an API server?"),
        ("http", doors.other_json, "is it an API server?"),
    ],
    ids=["silent-tls", "silent", "garbage-for-tls", "garbage", "web-page", "other-json"],
)
def test_something_that_is_no_api_server(
    scheme: str, answer: Answer, line: str, cluster: Cluster, tmp_path: Path, verify: Verify
) -> None:
    with door(answer) as port:
        config = kubeconfigs.with_server(cluster, f"{scheme}://127.0.0.1:{port}", tmp_path / "config")
        must_not_be_green(verify(config), line, WITHIN)


def test_a_namespace_that_does_not_exist(cluster: Cluster, verify: Verify) -> None:
    must_not_be_green(
        verify(cluster.kubeconfig, "--namespace", "matrx"), "namespace matrx does not exist in lab", WITHIN
    )


def test_a_namespace_without_a_homeserver(cluster: Cluster, verify: Verify) -> None:
    must_not_be_green(
        verify(cluster.kubeconfig, "--namespace", "kube-public"), "no homeserver found in namespace kube-public", WITHIN
    )


def test_no_cluster_at_all(start: Callable[..., Run]) -> None:
    must_not_be_green(start("checks/").end(), "no cluster: give --kubeconfig FILE", WITHIN)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("namespace: [matrix]\n", "namespaces"),
        ("names: {redis: {workloads: redis}}\n", "workload"),
        ("names: [\n", "settings.yaml"),
        ("eicar: perhaps\n", "eicar"),
    ],
    ids=["top", "nested", "syntax", "type"],
)
def test_settings_with_a_typo_are_refused_with_the_nearest_key(
    text: str, line: str, cluster: Cluster, tmp_path: Path, verify: Verify
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(text)
    seen = verify(cluster.kubeconfig, "--settings", settings)
    assert seen.code == 4, seen.output
    assert line in seen.output
    assert str(settings) in seen.output.replace("\n", "")
    assert seen.record is None
    assert seen.seconds <= 3
    must_be_plain(seen)


def _authority() -> bytes:
    """Some other CA's certificate, in PEM."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another-ca")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
