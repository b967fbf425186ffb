"""As upstream's rust/src/crypto/mod.rs, 1.4.1: the same calls of the same library (vodozemac), by its Python bindings;
attachments as matrix-sdk-crypto 0.7.2 decrypts them (file_encryption/attachments.rs).
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from vodozemac import Curve25519PublicKey, Curve25519SecretKey, Message, PkDecryption, PkEncryption

VERSION = "v2"
KEY_SIZE, IV_SIZE = 32, 16


@dataclass(frozen=True, slots=True)
class PkMessage:
    """What `encrypt` gives, each part in base64."""

    ephemeral_key: str
    mac: str
    ciphertext: str


class CryptoHandler:
    """Reads what clients encrypt for the scanner. Raises ValueError where the secret is no key."""

    def __init__(self, request_secret: bytes) -> None:
        self._decryptor = PkDecryption.from_key(Curve25519SecretKey.from_bytes(request_secret))

    @property
    def public_key(self) -> str:
        return self._decryptor.public_key.to_base64()

    def decrypt_body(self, ciphertext: str, mac: str, ephemeral: str) -> str:
        """Raises ValueError where it was not encrypted for this key, or was changed."""
        return self._decryptor.decrypt(Message.from_base64(ciphertext, mac, ephemeral)).decode()

    def encrypt(self, public_key: str, payload: str) -> PkMessage:
        """Raises ValueError where it is no key."""
        message = PkEncryption.from_key(Curve25519PublicKey.from_base64(public_key)).encrypt(payload.encode())
        return PkMessage(*map(_encoded, (message.ephemeral_key, message.mac, message.ciphertext)))


def decrypt_attachment(body: bytes, key_info: dict[str, Any]) -> bytes:
    """An attachment's content. Raises ValueError where its description is none, or the file is another."""
    if key_info["v"] != VERSION:
        raise ValueError("Unknown version for the encrypted attachment.")
    expected = key_info["hashes"].get("sha256")
    if expected is None:
        raise ValueError("The encrypted attachment is missing a hash")
    key, iv = _decoded(key_info["key"]["k"], "-_"), _decoded(key_info["iv"])
    if len(key) != KEY_SIZE or len(iv) != IV_SIZE:
        raise ValueError("The supplied key or nonce has an invalid length.")
    decryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor()
    content = decryptor.update(body) + decryptor.finalize()
    if hashlib.sha256(body).digest() != _decoded(expected):
        raise ValueError("Hash mismatch while decrypting")
    return content


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decoded(text: str, letters: str = "+/") -> bytes:
    """Base64 with or without its padding."""
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    try:
        return base64.b64decode(padded, altchars=letters, validate=True)
    except binascii.Error as error:
        raise ValueError(f"Invalid base64: {error}") from error
