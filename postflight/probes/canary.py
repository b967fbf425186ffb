"""A homeserver of the verifier's own: its keys, what it asks of another server, how it joins a room and writes there.

Sources: Matrix server-server API v1.11 (request authentication, joining rooms), room version 10; tried on
Synapse 1.119 and 1.163.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from postflight.limits import Limit
from postflight.probes.matrix import Matrix
from postflight.secrets import Secret

LOCALPART = "postflight"
VALID = timedelta(hours=1)
#: What redaction leaves of a membership event in room version 10, top level and content.
KEPT = (
    *("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth"),
    *("prev_events", "auth_events", "origin", "origin_server_ts"),
)
KEPT_CONTENT = ("membership", "join_authorised_via_users_server")


@dataclass(frozen=True, slots=True)
class Identity:
    """One server name with its signing key. The key follows from the authority's, so that a name has
    the same key in every run: Synapse keeps a key that it has once fetched."""

    name: str
    key: Any

    @classmethod
    def of(cls, name: str, authority_key: Secret) -> Identity:
        from signedjson.key import decode_signing_key_base64

        seed = hmac.new(authority_key.reveal().encode(), name.encode(), hashlib.sha256).digest()
        version = hashlib.sha256(seed).hexdigest()[:8]
        return cls(name, decode_signing_key_base64("ed25519", version, base64.b64encode(seed).decode()))

    @property
    def key_id(self) -> str:
        return f"{self.key.alg}:{self.key.version}"

    @property
    def user(self) -> str:
        return f"@{LOCALPART}:{self.name}"

    def key_document(self) -> dict[str, Any]:
        """The answer to ``/_matrix/key/v2/server``."""
        from signedjson.key import encode_verify_key_base64, get_verify_key

        until = int((time.time() + VALID.total_seconds()) * 1000)
        verify = encode_verify_key_base64(get_verify_key(self.key))
        return self._signed(
            {
                "server_name": self.name,
                "valid_until_ts": until,
                "verify_keys": {self.key_id: {"key": verify}},
                "old_verify_keys": {},
            }
        )

    def request(
        self,
        other: Matrix,
        server_name: str,
        method: str,
        uri: str,
        content: Any = None,
        *,
        limit: float = Limit.HTTP,
    ) -> dict[str, Any]:
        """A request signed as this server. Raises MatrixError."""
        from canonicaljson import encode_canonical_json

        headers = {
            "Authorization": self.authorization(server_name, method, uri, content),
            "Content-Type": "application/json",
        }
        body = encode_canonical_json(content) if content is not None else None
        return other.request(method, uri, headers=headers, content=body, limit=limit)

    def authorization(self, server_name: str, method: str, uri: str, content: Any = None) -> str:
        """The header of a request signed as this server: good for this one request to that server alone."""
        said: dict[str, Any] = {"method": method, "uri": uri, "origin": self.name, "destination": server_name}
        if content is not None:
            said["content"] = content
        signature = self._signed(said)["signatures"][self.name][self.key_id]
        return f'X-Matrix origin="{self.name}",destination="{server_name}",key="{self.key_id}",sig="{signature}"'

    def join(self, other: Matrix, server_name: str, room: str) -> None:
        """Join a public room of room version 10. Raises MatrixError."""
        self._change(other, server_name, room, "join", "?ver=10", Limit.HTTP)

    def leave(self, other: Matrix, server_name: str, room: str) -> None:
        """Leave it again. Raises MatrixError."""
        self._change(other, server_name, room, "leave", "", Limit.LEAVE)

    def message(self, room: str, body: str, *, after: str, depth: int, allowed_by: Sequence[str]) -> dict[str, Any]:
        """A message of this server's user in a room of room version 10, signed. ``after`` is the id of the newest event
        that is known of the room, ``allowed_by`` those of its creation, its power levels and the user's own membership."""
        return self._whole(
            {
                "type": "m.room.message",
                "room_id": room,
                "sender": self.user,
                "content": {"msgtype": "m.text", "body": body},
                "auth_events": list(allowed_by),
                "prev_events": [after],
                "depth": depth,
            }
        )

    def _change(self, other: Matrix, server_name: str, room: str, kind: str, query: str, limit: float) -> None:
        where = f"/_matrix/federation/v1/make_{kind}/{quote(room)}/{quote(self.user)}{query}"
        event = dict(self.request(other, server_name, "GET", where, limit=limit)["event"])
        for key in ("event_id", "signatures", "hashes", "unsigned"):
            event.pop(key, None)
        # The event's id in the path is not looked at: it follows from the event.
        where = f"/_matrix/federation/v2/send_{kind}/{quote(room)}/%24canary"
        self.request(other, server_name, "PUT", where, self._whole(event), limit=limit)

    def _whole(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """An event with what its server says of it: when, its hash, its signature."""
        from canonicaljson import encode_canonical_json

        made = dict(event) | {"origin": self.name, "origin_server_ts": int(time.time() * 1000)}
        digest = hashlib.sha256(encode_canonical_json(made)).digest()
        made["hashes"] = {"sha256": base64.b64encode(digest).decode().rstrip("=")}
        redacted = {key: value for key, value in made.items() if key in KEPT}
        kept = KEPT_CONTENT if made["type"] == "m.room.member" else ()
        redacted["content"] = {key: value for key, value in made["content"].items() if key in kept}
        made["signatures"] = self._signed(redacted)["signatures"]
        return made

    def _signed(self, document: dict[str, Any]) -> dict[str, Any]:
        from signedjson.sign import sign_json

        signed: dict[str, Any] = sign_json(document, self.name, self.key)
        return signed


def certificate(host: str, authority: str, authority_key: Secret) -> tuple[str, str]:
    """A certificate for a host name, of that authority, and its key: both PEM. Raises ValueError when the
    authority's own are not PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    signer: Any = serialization.load_pem_private_key(authority_key.reveal().encode(), None)
    issuer = x509.load_pem_x509_certificate(authority.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "postflight canary")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
