"""STUN messages, with what TURN and ICE add to them.

Source: RFC 8489 (STUN, which took over RFC 5389: 5 the message, 6.2 the transports, 9.2 long-term credentials, 14 the
attributes), RFC 8656 (TURN: 17 the methods, 18 the attributes) and RFC 8445 (ICE: 16.1 the attributes).
"""

import hashlib
import hmac
import operator
import os
import socket
import struct
import zlib

#: RFC 8489, 5.
MAGIC = 0x2112A442
HEADER = struct.Struct("!HHI12s")
ATTRIBUTE = struct.Struct("!HH")
#: The two bits of the class, where they stand in the message type (RFC 8489, 5).
REQUEST, INDICATION, SUCCESS, ERROR = 0x000, 0x010, 0x100, 0x110
CLASS = 0x110
#: Methods (RFC 8489, 18.2; RFC 8656, 17).
BINDING = 0x001
ALLOCATE, REFRESH, SEND, DATA, CREATE_PERMISSION = 0x003, 0x004, 0x006, 0x007, 0x008
#: Attributes (RFC 8489, 18.3; RFC 8656, 18; RFC 8445, 16.1).
USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
LIFETIME, XOR_PEER_ADDRESS, PAYLOAD, XOR_RELAYED_ADDRESS, REQUESTED_TRANSPORT = 0x000D, 0x0012, 0x0013, 0x0016, 0x0019
XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE, ICE_CONTROLLING = 0x0020, 0x0024, 0x0025, 0x802A
SOFTWARE, FINGERPRINT = 0x8022, 0x8028
#: The protocol number of UDP: what a relay speaks to its peers (RFC 8656, 18.7).
OVER_UDP = struct.pack("!B3x", 17)
SIGNED = 20
#: What a fingerprint's sum is mixed with (RFC 8489, 14.7).
MIX = 0x5354554E
FAMILIES = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}


class Message:
    """``kind`` is method and class; ``attributes`` are pairs of type and value, in their order."""

    def __init__(self, kind, transaction, attributes):
        self.kind, self.transaction, self.attributes = kind, transaction, attributes

    def first(self, wanted):
        """The value of an attribute, b"" where it is not there."""
        return next((value for name, value in self.attributes if name == wanted), b"")

    def address(self, wanted):
        """Host and port of an attribute that holds an address. Raises ValueError where it does not."""
        return unmasked(self.first(wanted), self.transaction)

    @property
    def method(self):
        return self.kind & ~CLASS

    @property
    def outcome(self):
        return self.kind & CLASS

    @property
    def error(self):
        """Code and reason of a refusal (RFC 8489, 14.8)."""
        value = self.first(ERROR_CODE)
        if len(value) < 4:
            return 0, "a refusal without a code"
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")


def new_transaction():
    return os.urandom(12)


def encode(kind, transaction, attributes, key=b""):
    """The bytes of a message, signed where there is a ``key``: the signature covers a header whose length counts it
    (RFC 8489, 14.5)."""
    body = b"".join(ATTRIBUTE.pack(name, len(value)) + padded(value) for name, value in attributes)
    if not key:
        return HEADER.pack(kind, len(body), MAGIC, transaction) + body
    signed = HEADER.pack(kind, len(body) + ATTRIBUTE.size + SIGNED, MAGIC, transaction) + body
    return signed + ATTRIBUTE.pack(MESSAGE_INTEGRITY, SIGNED) + hmac.new(key, signed, hashlib.sha1).digest()


def marked(data):
    """A message that was encoded, with a fingerprint, by which it is told from what else shares the path: the sum covers
    a header whose length counts it (RFC 8489, 14.7)."""
    kind, length, magic, transaction = HEADER.unpack_from(data)
    whole = HEADER.pack(kind, length + ATTRIBUTE.size + 4, magic, transaction) + data[HEADER.size :]
    return whole + ATTRIBUTE.pack(FINGERPRINT, 4) + struct.pack("!I", zlib.crc32(whole) ^ MIX)


def decode(data):
    """The message that these bytes are. Raises ValueError where they are none."""
    if len(data) < HEADER.size:
        raise ValueError("too short for STUN")
    kind, length, magic, transaction = HEADER.unpack_from(data)
    if kind >> 14 or magic != MAGIC or length % 4 or HEADER.size + length != len(data):
        raise ValueError("not STUN")
    attributes, at = [], HEADER.size
    while at < len(data):
        name, size = ATTRIBUTE.unpack_from(data, at)
        at += ATTRIBUTE.size
        if at + size > len(data):
            raise ValueError("an attribute ends after its message")
        attributes.append((name, data[at : at + size]))
        at += size + -size % 4
    return Message(kind, transaction, attributes)


def is_signed(data, key):
    """Whether a message that was decoded is signed by who knows the key."""
    at = HEADER.size
    while at + ATTRIBUTE.size <= len(data):
        name, size = ATTRIBUTE.unpack_from(data, at)
        if name == MESSAGE_INTEGRITY:
            kind, _, magic, transaction = HEADER.unpack_from(data)
            length = at - HEADER.size + ATTRIBUTE.size + SIGNED
            signed = HEADER.pack(kind, length, magic, transaction) + data[HEADER.size : at]
            given = data[at + ATTRIBUTE.size : at + ATTRIBUTE.size + size]
            return hmac.compare_digest(given, hmac.new(key, signed, hashlib.sha1).digest())
        at += ATTRIBUTE.size + size + -size % 4
    return False


def long_term_key(username, realm, password):
    """RFC 8489, 9.2.2: MD5, for whom no other algorithm was agreed on."""
    text = b":".join((username.encode(), realm, password.encode()))
    return hashlib.md5(text, usedforsecurity=False).digest()


def masked(address, transaction):
    """The value of an attribute that holds an address, a pair of host and port (RFC 8489, 14.2)."""
    host, port = address
    family = 2 if ":" in host else 1
    packed = socket.inet_pton(FAMILIES[family][0], host)
    return struct.pack("!xBH", family, port ^ MAGIC >> 16) + _xor(packed, transaction)


def unmasked(value, transaction):
    """Its host and port. Raises ValueError where it holds none."""
    kind, size = FAMILIES.get(value[1], (0, 0)) if len(value) > 4 else (0, 0)
    if not size or len(value) != 4 + size:
        raise ValueError("no address")
    port = struct.unpack_from("!H", value, 2)[0] ^ MAGIC >> 16
    return socket.inet_ntop(kind, _xor(value[4:], transaction)), port


def padded(value):
    return value + bytes(-len(value) % 4)


def _xor(packed, transaction):
    mask = struct.pack("!I", MAGIC) + transaction
    return bytes(map(operator.xor, packed, mask))
