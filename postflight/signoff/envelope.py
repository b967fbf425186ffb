"""A Statement in a DSSE envelope (https://github.com/secure-systems-lab/dsse), signed and opened.

The envelope is written in one form only, without a byte that does not count, and only that form is
opened: whichever byte is changed, it is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Broken(Exception):
    """An envelope that cannot be believed: one line."""


def seal(statement: Any, signer: CryptoSigner) -> str:
    """The envelope's text: one signature over the Statement and its type."""
    from securesystemslib.dsse import Envelope

    payload = json.dumps(statement, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
    signature = Envelope(payload, PAYLOAD_TYPE, {}).sign(signer)
    return _text(payload, signature.keyid, bytes.fromhex(signature.signature))


def opened(text: str, key: SSlibKey) -> Any:
    """The Statement that ``key`` signed. Raises Broken."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature

    try:
        parts = json.loads(text)
        (signature,) = parts["signatures"]
        payload, signed = base64.b64decode(parts["payload"]), base64.b64decode(signature["sig"])
        keyid = signature["keyid"]
        as_written = _text(payload, keyid, signed) == text
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Broken("it is no DSSE envelope with one signature") from error
    if not as_written:
        raise Broken("it is not as postflight wrote it: it was changed, or written anew by another tool")
    if keyid != key.keyid:
        raise Broken(f"it was signed by key {keyid}, not by the given one, {key.keyid}")
    try:
        Envelope(payload, PAYLOAD_TYPE, {keyid: Signature(keyid, signed.hex())}).verify([key], 1)
    except VerificationError as error:
        raise Broken(f"its signature is not that of key {keyid} over this content: it was changed") from error
    return json.loads(payload)


def _text(payload: bytes, keyid: str, signature: bytes) -> str:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, separators=(",", ":"))
