"""Files as clients encrypt them, and what a content scanner is told of them.

Sources: Client-Server API 1.11, "Sending encrypted attachments" (v2: AES-256 in counter mode, the hash is of what is
uploaded); matrix-content-scanner 1.4.1, servlets/__init__.py and utils/encrypted_file_metadata.py (what it asks for),
rust/src/crypto/mod.rs (``encrypted_body``: the public-key encryption of m.megolm_backup.v1.curve25519-aes-sha2).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileKey:
    """What one file is encrypted with. The counter begins with 8 bytes of chance and 8 of zero, as clients have it."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    iv: bytes = field(default_factory=lambda: secrets.token_bytes(8) + bytes(8), repr=False)

    def encrypt(self, content: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        encryptor = Cipher(algorithms.AES(self.key), modes.CTR(self.iv)).encryptor()
        return encryptor.update(content) + encryptor.finalize()

    def describe(self, url: str, uploaded: bytes) -> Json:
        """As a message has it that brings the file."""
        key = base64.urlsafe_b64encode(self.key).decode().rstrip("=")
        return {
            "v": "v2",
            "url": url,
            "key": {"kty": "oct", "alg": "A256CTR", "k": key, "key_ops": ["encrypt", "decrypt"], "ext": True},
            "iv": _base64(self.iv),
            "hashes": {"sha256": _base64(hashlib.sha256(uploaded).digest())},
        }


def sealed(public_key: str, content: bytes) -> Json:
    """What only the owner of a key can read, as the scanner takes it. Raises ValueError where it is no key."""
    import vodozemac

    key = vodozemac.Curve25519PublicKey.from_base64(public_key)
    message = vodozemac.PkEncryption.from_key(key).encrypt(content)
    parts = {"ciphertext": message.ciphertext, "mac": message.mac, "ephemeral": message.ephemeral_key}
    return {"encrypted_body": {name: _base64(data) for name, data in parts.items()}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
