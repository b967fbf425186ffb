"""What is encrypted and sealed for a scanner, opened by what stands in for its Rust part in the lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.image.mcs_rust.crypto import CryptoHandler, decrypt_attachment
from postflight.probes import eicar as own
from postflight.probes.attachments import FileKey, sealed
from postflight.probes.eicar import eicar


def test_what_is_sealed_for_a_scanner_tells_it_how_to_read_a_file() -> None:
    handler, key = CryptoHandler(bytes(range(32))), FileKey()
    uploaded = key.encrypt(b"content")
    body = sealed(handler.public_key, json.dumps(key.describe("mxc://a/b", uploaded)).encode())["encrypted_body"]
    description = json.loads(handler.decrypt_body(body["ciphertext"], body["mac"], body["ephemeral"]))
    assert decrypt_attachment(uploaded, description) == b"content"
    assert repr(key) == "FileKey()"
    with pytest.raises(ValueError, match="Hash mismatch"):
        decrypt_attachment(uploaded + b"x", description)
    with pytest.raises(ValueError, match="length"):
        decrypt_attachment(uploaded, {**description, "iv": "AAAA"})
    with pytest.raises(ValueError, match="version"):
        decrypt_attachment(uploaded, {**description, "v": "v1"})
    with pytest.raises(ValueError, match="missing a hash"):
        decrypt_attachment(uploaded, {**description, "hashes": {}})
    other = CryptoHandler(bytes(32))
    message = other.encrypt(other.public_key, "for the other")
    with pytest.raises(ValueError, match=r"."):
        handler.decrypt_body(message.ciphertext, message.mac, message.ephemeral_key)


def test_no_file_of_ours_holds_a_virus_whole() -> None:
    assert eicar() not in Path(own.__file__).read_bytes()
