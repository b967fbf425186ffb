"""LiveKit's signalling: joining a room with a token, an offer that wants data channels only, the SFU's answer.

Sources: livekit-server 1.13 (pkg/service/rtcservice.go, wsprotocol.go: who sends text is answered in JSON;
pkg/rtc/types/protocol_version.go: below version 3 one connection carries both directions), livekit/protocol
(livekit_rtc.proto), RFC 8839 (candidates in SDP), RFC 8841 (data channels in SDP).
"""

from __future__ import annotations

import json
import secrets as randomness
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import websocket

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.limits import Limit
from postflight.probes.http import Door, origin
from postflight.secrets import Secret

#: What a client is told to ask, after the address that came with its token.
JOIN = "/rtc"
#: One connection for both directions, data in packets.
PROTOCOL = 2
#: How long a certificate of ours is good for.
VALID = timedelta(hours=1)
SDP = """v=0\r
o=- {number} 2 IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
a=group:BUNDLE 0\r
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r
c=IN IP4 0.0.0.0\r
a=mid:0\r
a=ice-ufrag:{ufrag}\r
a=ice-pwd:{password}\r
a=ice-options:trickle\r
a=fingerprint:sha-256 {fingerprint}\r
a=setup:actpass\r
a=sctp-port:5000\r
a=max-message-size:65535\r
"""


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """An address that clients are told to send media to. ``transport`` is ``udp`` or ``tcp``, ``kind`` as in RFC 8839
    (``host``, ``srflx``, ``relay``)."""

    transport: str
    address: str
    port: int
    kind: str
    priority: int = 0

    @property
    def words(self) -> str:
        return f"{self.address}:{self.port} ({self.transport})"


@dataclass(frozen=True, slots=True)
class Offered:
    """One participant's own side: what its offer says, and the key of its certificate."""

    ufrag: str
    password: str
    certificate: str
    key: Secret
    sdp: str

    @classmethod
    def new(cls) -> Offered:
        certificate, key, fingerprint = _certificate()
        ufrag, password = randomness.token_hex(4), randomness.token_hex(16)
        number = randomness.randbits(62)
        sdp = SDP.format(number=number, ufrag=ufrag, password=password, fingerprint=fingerprint)
        return cls(ufrag, password, certificate, key, sdp)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the SFU said to an offer. ``client``: in DTLS it is we who begin."""

    ufrag: str
    password: str
    fingerprint: str
    client: bool
    candidates: tuple[IceCandidate, ...]


class NoAnswer(Exception):
    """The SFU did not let a participant in. The message is one line; ``status`` that of an HTTP refusal, else 0."""

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


@contextmanager
def joined(access: Access, door: Door, path: str, token: Secret, offered: Offered) -> Iterator[Answered]:
    """Be in the room that a token opens, for as long as the context. ``path`` is that before ``/rtc``.

    Raises :class:`NoAnswer`.
    """
    pod = door.pod
    query = urlencode({"access_token": token.reveal(), "protocol": PROTOCOL, "sdk": "js", "auto_subscribe": 0})
    try:
        with access.to_pod(pod.namespace, pod.name, pod.ip, door.port) as (host, port):
            url = f"{origin(host, port, tls=door.tls).replace('http', 'ws', 1)}{path}{JOIN}?{query}"
            stream = _connected(url, door.host)
            try:
                yield _answered(stream, offered)
            finally:
                with suppress(OSError, websocket.WebSocketException):
                    stream.send(json.dumps({"leave": {"reason": "CLIENT_INITIATED"}}))
                    stream.close(timeout=1)
    except (OSError, ApiError, websocket.WebSocketException) as error:
        raise NoAnswer(" ".join(str(error).split())[:200] or type(error).__name__) from error


def _connected(url: str, host: str) -> websocket.WebSocket:
    import ssl

    insecure = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    try:
        return websocket.create_connection(
            url, timeout=Limit.HTTP, host=host or None, sslopt=insecure, http_no_proxy=["*"]
        )
    except websocket.WebSocketBadStatusException as error:
        # LiveKit says a token back that it does not take: what comes after the colon is not repeated.
        words = (error.resp_body or b"").decode("utf-8", "replace").partition(":")[0].strip()
        why = f" ({words[:60]})" if words.replace(" ", "").isalpha() else ""
        raise NoAnswer(f"{error.status_code}{why}", error.status_code) from error


def _answered(stream: websocket.WebSocket, offered: Offered) -> Answered:
    """The first word is the SFU's; what it says before it has read ours is not JSON, and not needed."""
    if not stream.recv():
        raise NoAnswer("it closed the connection at once")
    stream.send(json.dumps({"offer": {"type": "offer", "sdp": offered.sdp}}))
    sdp, candidates, last = "", [], False
    deadline = time.monotonic() + Limit.SIGNALS
    while not (sdp and last) and (left := deadline - time.monotonic()) > 0:
        stream.settimeout(left)
        try:
            said = _json(stream.recv())
        except websocket.WebSocketTimeoutException:
            break
        if "leave" in said:
            raise NoAnswer(f"it sent us away: {(said['leave'] or {}).get('reason', 'no reason given')}")
        sdp = sdp or str((said.get("answer") or {}).get("sdp") or "")
        trickle = said.get("trickle") or {}
        if found := candidate_of(str(_json(trickle.get("candidateInit") or "").get("candidate") or "")):
            candidates.append(found)
        last = last or bool(trickle.get("final")) or "a=end-of-candidates" in sdp
    if not sdp:
        raise NoAnswer("it gave no answer to an offer")
    told = read_answer(sdp)
    known = dict.fromkeys((*told.candidates, *candidates))
    ordered = sorted(known, key=lambda each: (each.transport != "udp", -each.priority))
    return Answered(told.ufrag, told.password, told.fingerprint, told.client, tuple(ordered))


def read_answer(sdp: str) -> Answered:
    """The lines of an answer that matter. Raises NoAnswer where one is missing."""
    held: dict[str, str] = {}
    candidates = []
    for line in sdp.splitlines():
        name, _, value = line.removeprefix("a=").partition(":")
        if name == "candidate":
            candidates += [found] if (found := candidate_of(f"candidate:{value}")) else []
        elif line.startswith("a="):
            held.setdefault(name, value.strip())
    try:
        passive = held["setup"] != "active"
        return Answered(held["ice-ufrag"], held["ice-pwd"], held["fingerprint"], passive, tuple(candidates))
    except KeyError as error:
        raise NoAnswer(f"its answer has no {error.args[0]}") from error


def candidate_of(line: str) -> IceCandidate | None:
    """``candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ KIND ...``; None for what is none, or is
    RTCP's, which shares the first one's way."""
    words = line.removeprefix("candidate:").split()
    try:
        at = words.index("typ")
        if words[1] != "1":
            return None
        return IceCandidate(words[2].lower(), words[4], int(words[5]), words[at + 1], int(words[3]))
    except (ValueError, IndexError):
        return None


def _json(text: str | bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _certificate() -> tuple[str, Secret, str]:
    """Nobody vouches for it: the offer tells its fingerprint. PEM, its key, ``AA:BB:...``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "postflight")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
    fingerprint = made.fingerprint(hashes.SHA256()).hex(":").upper()
    return made.public_bytes(serialization.Encoding.PEM).decode(), Secret(private), fingerprint
