"""End-to-end encryption as a client does it: Olm between two devices, Megolm in a room.

Source: Client-Server API v1.11, 10.12 (m.olm.v1.curve25519-aes-sha2, m.megolm.v1.aes-sha2) and appendix "Signing JSON".
The cryptography is vodozemac's, which the deployed clients use too. The keys live as long as the run.
"""

from __future__ import annotations

import base64
import json
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import vodozemac

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
SIGNED = "signed_curve25519"
ROOM_KEY = "m.room_key"
Json = dict[str, Any]


class NotWhatWasSent(Exception):
    """Keys or messages that did not come back as they were given to the server; the message is one line."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a user, with the keys of its own that it has for this run."""

    user: str
    name: str
    account: vodozemac.Account = field(repr=False)

    @classmethod
    def of(cls, user: str, name: str) -> Device:
        import vodozemac

        return cls(user, name, vodozemac.Account())

    @property
    def identity(self) -> str:
        return self.account.curve25519_key.to_base64()

    def upload(self) -> Json:
        """The body of ``keys/upload``: the device's keys, and one key that is good for one session. Its name is met by no
        other: an account counts its keys from 0, and Synapse refuses another one of a name that a killed run left (400,
        synapse/handlers/e2e_keys.py, 1.163)."""
        self.account.generate_one_time_keys(1)
        once = {
            f"{SIGNED}:{randomness.token_hex(8)}": self._signed({"key": key.to_base64()})
            for key in self._once().values()
        }
        self.account.mark_keys_as_published()
        device = {
            "user_id": self.user,
            "device_id": self.name,
            "algorithms": [OLM, MEGOLM],
            "keys": {f"curve25519:{self.name}": self.identity, f"ed25519:{self.name}": self._signing},
        }
        return {"device_keys": self._signed(device), "one_time_keys": once}

    def write(self, other: Mapping[str, Any], once: Mapping[str, Any], content: Json, kind: str) -> Json:
        """An ``m.room.encrypted`` for another device, which is known by its keys as the server says them and by one
        of its one-time keys. Raises NotWhatWasSent where their signatures are not that device's."""
        import vodozemac

        name, user = str(other.get("device_id")), str(other.get("user_id"))
        keys = other.get("keys") or {}
        signing, identity = keys.get(f"ed25519:{name}"), keys.get(f"curve25519:{name}")
        _verify(other, user, name, str(signing))
        _verify(once, user, name, str(signing))
        session = self.account.create_outbound_session(
            vodozemac.Curve25519PublicKey.from_base64(str(identity)),
            vodozemac.Curve25519PublicKey.from_base64(str(once["key"])),
        )
        inner = {
            "type": kind,
            "content": content,
            "sender": self.user,
            "keys": {"ed25519": self._signing},
            "recipient": user,
            "recipient_keys": {"ed25519": signing},
        }
        number, body = session.encrypt(json.dumps(inner).encode()).to_parts()
        sealed = {"type": number, "body": _text(body)}
        return {"algorithm": OLM, "sender_key": self.identity, "ciphertext": {str(identity): sealed}}

    def read(self, content: Mapping[str, Any]) -> Json:
        """What the first ``m.room.encrypted`` of another device holds. Raises NotWhatWasSent."""
        import vodozemac

        try:
            sealed = content["ciphertext"][self.identity]
            sender = vodozemac.Curve25519PublicKey.from_base64(content["sender_key"])
            message = vodozemac.PreKeyMessage.from_base64(sealed["body"])
            _, text = self.account.create_inbound_session(sender, message)
            inner: Json = json.loads(text)
        except (KeyError, TypeError, ValueError) as error:
            raise NotWhatWasSent(f"it cannot be decrypted: {_line(error)}") from error
        if inner.get("recipient") != self.user:
            raise NotWhatWasSent(f"it is for {inner.get('recipient')}")
        return inner

    @property
    def _signing(self) -> str:
        return self.account.ed25519_key.to_base64()

    def _once(self) -> Mapping[str, vodozemac.Curve25519PublicKey]:
        found: Mapping[str, vodozemac.Curve25519PublicKey] = self.account.one_time_keys
        return found

    def _signed(self, document: Json) -> Json:
        from canonicaljson import encode_canonical_json

        signature = self.account.sign(encode_canonical_json(document)).to_base64()
        return {**document, "signatures": {self.user: {f"ed25519:{self.name}": signature}}}


@dataclass(frozen=True, slots=True)
class RoomSession:
    """What one device encrypts with in one room."""

    room: str
    sender: Device
    session: vodozemac.GroupSession = field(repr=False)

    @classmethod
    def of(cls, room: str, sender: Device) -> RoomSession:
        import vodozemac

        return cls(room, sender, vodozemac.GroupSession())

    @property
    def key(self) -> Json:
        """The content of the ``m.room_key`` by which other devices read what is encrypted from here on."""
        key = self.session.session_key.to_base64()
        return {"algorithm": MEGOLM, "room_id": self.room, "session_id": self.session.session_id, "session_key": key}

    def write(self, content: Json, kind: str) -> Json:
        """The content of an ``m.room.encrypted`` in the room."""
        inner = json.dumps({"type": kind, "content": content, "room_id": self.room}).encode()
        return {
            "algorithm": MEGOLM,
            "sender_key": self.sender.identity,
            "device_id": self.sender.name,
            "session_id": self.session.session_id,
            "ciphertext": self.session.encrypt(inner).to_base64(),
        }


def read_in_room(room_key: Mapping[str, Any], content: Mapping[str, Any]) -> Json:
    """What an ``m.room.encrypted`` in a room holds, by an ``m.room_key`` that came before. Raises NotWhatWasSent."""
    import vodozemac

    try:
        session = vodozemac.InboundGroupSession(vodozemac.SessionKey(str(room_key["session_key"])))
        message = vodozemac.MegolmMessage.from_base64(str(content["ciphertext"]))
        inner: Json = json.loads(session.decrypt(message).plaintext)
    except (KeyError, TypeError, ValueError) as error:
        raise NotWhatWasSent(f"it cannot be decrypted: {_line(error)}") from error
    return inner


def _verify(document: Mapping[str, Any], user: str, name: str, signing: str) -> None:
    import vodozemac
    from canonicaljson import encode_canonical_json

    bare = {key: value for key, value in document.items() if key not in ("signatures", "unsigned")}
    try:
        signature = vodozemac.Ed25519Signature.from_base64(document["signatures"][user][f"ed25519:{name}"])
        vodozemac.Ed25519PublicKey.from_base64(signing).verify_signature(encode_canonical_json(bare), signature)
    except (KeyError, TypeError, ValueError) as error:
        raise NotWhatWasSent(f"its signature is not that of {name}: {_line(error)}") from error


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode().rstrip("=")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
