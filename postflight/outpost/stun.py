"""STUN as ICE uses it: is this address the SFU's, and does it take us for the participant that it knows?

Sources: RFC 8489 (messages), RFC 8445 (connectivity checks), RFC 4571 (frames on TCP), RFC 7983 (what shares the
path); tried with pion/ice 4.4, which LiveKit 1.13 is built on.
"""

import hashlib
import hmac
import os
import select
import socket
import struct
import time
import zlib

COOKIE = 0x2112A442
REQUEST, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
USERNAME, INTEGRITY, ERROR_CODE = 0x0006, 0x0008, 0x0009
XOR_MAPPED, PRIORITY, USE_CANDIDATE, FINGERPRINT, CONTROLLING = 0x0020, 0x0024, 0x0025, 0x8028, 0x802A
MIX = 0x5354554E
#: Of a peer-reflexive candidate (RFC 8445, 5.1.2.1).
OUR_PRIORITY = (110 << 24) | (65535 << 8) | 255
AGAIN = 0.2
BIGGEST = 65535


def attributes_of(message):
    """Its attributes by type, the first of each."""
    found: dict[int, bytes] = {}
    at = 20
    while at + 4 <= len(message):
        kind, size = struct.unpack_from("!HH", message, at)
        found.setdefault(kind, message[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return found


def message(kind, transaction, attributes, key):
    """With the integrity that a password gives, and a fingerprint."""
    body = b"".join(struct.pack("!HH", each, len(held)) + held + bytes(-len(held) % 4) for each, held in attributes)

    def head(more):
        return struct.pack("!HHI", kind, len(body) + more, COOKIE) + transaction

    body += struct.pack("!HH", INTEGRITY, 20) + hmac.new(key, head(24) + body, hashlib.sha1).digest()
    mark = (zlib.crc32(head(8) + body) & 0xFFFFFFFF) ^ MIX
    body += struct.pack("!HHI", FINGERPRINT, 4, mark)
    return head(0) + body


def is_whole(found, key):
    """Whether a message was made by someone who knows the password."""
    at = 20
    while at + 4 <= len(found):
        kind, size = struct.unpack_from("!HH", found, at)
        if kind == INTEGRITY:
            signed = found[:2] + struct.pack("!H", at + 24 - 20) + found[4:at]
            return hmac.compare_digest(hmac.new(key, signed, hashlib.sha1).digest(), found[at + 4 : at + 24])
        at += 4 + size + -size % 4
    return False


class Path:
    """A way to one address of the SFU, ``udp`` or ``tcp``. Raises OSError where it cannot be opened."""

    def __init__(self, transport, address, port, limit):
        self.stream = transport == "tcp"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM)
        self.socket.settimeout(limit)
        self.held = b""
        try:
            self.socket.connect((address, port))
        except OSError:
            self.socket.close()
            raise

    def send(self, data):
        self.socket.settimeout(2)
        if self.stream:
            self.socket.sendall(struct.pack("!H", len(data)) + data)
        else:
            self.socket.send(data)

    def receive(self, wait):
        """One packet, None after that many seconds. Raises OSError: a port that is shut, a stream that ends."""
        deadline = time.monotonic() + wait
        while True:
            if self.stream and len(self.held) >= 2:
                size = struct.unpack("!H", self.held[:2])[0]
                if len(self.held) >= 2 + size:
                    packet, self.held = self.held[2 : 2 + size], self.held[2 + size :]
                    return packet
            if not select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            data = self.socket.recv(BIGGEST)
            if not self.stream:
                return data
            if not data:
                raise OSError("closed by the other side")
            self.held += data

    def close(self):
        self.socket.close()


class Agent:
    """The controlling side of one participant's ICE over one path. ``local`` and ``remote`` are ``[ufrag, password]``."""

    def __init__(self, path, local, remote):
        self.path = path
        self.username = f"{remote[0]}:{local[0]}".encode()
        self.local_key, self.remote_key = local[1].encode(), remote[1].encode()
        self.tie_breaker = os.urandom(8)
        self.sent = {}
        self.answered, self.refused = False, ""

    def check(self, limit, nominate=False):
        """Seconds until the SFU said yes. Raises OSError, with its words, where it did not."""
        began = time.monotonic()
        asked, self.answered, self.refused = 0.0, False, ""
        while time.monotonic() - began < limit:
            if time.monotonic() - asked > AGAIN:
                self.ask(nominate)
                asked = time.monotonic()
            packet = self.path.receive(AGAIN)
            if packet:
                self.took(packet)
            if self.answered:
                return time.monotonic() - began
        raise OSError(self.refused or "no answer")

    def ask(self, nominate):
        transaction = os.urandom(12)
        self.sent[transaction] = True
        attributes = [(USERNAME, self.username), (PRIORITY, struct.pack("!I", OUR_PRIORITY))]
        attributes += [(CONTROLLING, self.tie_breaker)] + ([(USE_CANDIDATE, b"")] if nominate else [])
        self.path.send(message(REQUEST, transaction, attributes, self.remote_key))

    def took(self, packet):
        """Whether a packet was STUN's, which is done with then."""
        if len(packet) < 20 or packet[0] > 3:
            return False
        kind, transaction = struct.unpack_from("!H", packet)[0], packet[8:20]
        if kind == REQUEST and is_whole(packet, self.local_key):
            self.path.send(message(SUCCESS, transaction, [(XOR_MAPPED, self.mapped(transaction))], self.local_key))
        elif kind == SUCCESS and transaction in self.sent and is_whole(packet, self.remote_key):
            self.answered = True
        elif kind == ERROR and transaction in self.sent:
            code = attributes_of(packet).get(ERROR_CODE, b"\0\0\0\0")
            self.refused = f"refused: {code[2] * 100 + code[3]} {code[4:].decode('utf-8', 'replace')}"
        return True

    def mapped(self, transaction):
        """Where the SFU's request came from, as it is told."""
        address, port = self.path.socket.getpeername()[:2]
        six = ":" in address
        raw = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
        mask = struct.pack("!I", COOKIE) + transaction
        hidden = bytes(byte ^ mask[number] for number, byte in enumerate(raw))
        return struct.pack("!BBH", 0, 2 if six else 1, port ^ (COOKIE >> 16)) + hidden
