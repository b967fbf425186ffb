"""Certificates for names on the lab's internet, of the authority that the lab's Synapse trusts."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.cluster import Cluster

AUTHORITY = "/api/v1/namespaces/matrix/secrets/postflight-canary-ca"


def secret(cluster: Cluster, name: str, dns_names: Sequence[str]) -> dict[str, Any]:
    """A Secret of type kubernetes.io/tls for these names, valid for a day, with the authority in ca.crt.

    Raises LabError when the deployment has no authority.
    """
    held = cluster.get(AUTHORITY)["data"]
    authority = x509.load_pem_x509_certificate(base64.b64decode(held["tls.crt"]))
    signer = serialization.load_pem_private_key(base64.b64decode(held["tls.key"]), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in dns_names]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "data": {
            "tls.crt": _text(made.public_bytes(serialization.Encoding.PEM)),
            "tls.key": _text(private),
            "ca.crt": held["tls.crt"],
        },
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
