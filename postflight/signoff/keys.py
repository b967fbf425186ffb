"""Keys for signing and for checking, from PEM. None is ever made here: docs/signoff.md says how to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

OPTION = "--signoff-key"
VARIABLE = "POSTFLIGHT_SIGNOFF_KEY"
#: A PEM file of a key has some hundred bytes.
LARGEST = 2**16


class KeyProblem(Exception):
    """Why a key cannot be used: one line."""


def signer(file: Path | None, environ: Mapping[str, str]) -> CryptoSigner:
    """The private key of a file, else that in the environment. Raises KeyProblem."""
    if file is not None:
        return _signer(_read(file, f"{OPTION} {file}"), f"{OPTION} {file}")
    if pem := environ.get(VARIABLE):
        return _signer(pem.encode(), VARIABLE)
    raise KeyProblem(f"no key: {OPTION} FILE, or a PEM in {VARIABLE} (docs/signoff.md says how to make one)")


def public_key(file: Path) -> SSlibKey:
    """The public key of a file. Raises KeyProblem."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    source = f"--key {file}"
    pem = _read(file, source)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        private = "a private key: give the public one" if b"PRIVATE KEY" in pem else "no public key in PEM"
        raise KeyProblem(f"{source} is {private}") from error
    _must_be_known(key, source)
    return SSlibKey.from_crypto(key)


def _signer(pem: bytes, source: str) -> CryptoSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise KeyProblem(f"{source} is encrypted: give the key without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's own words may quote what is in the file.
        raise KeyProblem(f"{source} is no private key in PEM") from error
    _must_be_known(key.public_key(), source)
    return CryptoSigner(key)


def _must_be_known(key: object, source: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    curve = key.curve.name if isinstance(key, EllipticCurvePublicKey) else ""
    if not isinstance(key, Ed25519PublicKey) and curve != "secp256r1":
        kind = curve or type(key).__name__.strip("_").removesuffix("PublicKey")
        raise KeyProblem(f"{source} is a key of another kind ({kind}): ed25519 and ECDSA P-256 are taken")


def _read(file: Path, source: str) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST)
    except OSError as error:
        raise KeyProblem(f"{source} cannot be read: {error.strerror}") from error
