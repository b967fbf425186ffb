"""As much of SCTP as two data channels need: the other side opens the association, small messages go both ways.

Sources: RFC 9260 (chunks, CRC32c), RFC 8831 and 8832 (data channels and how one is opened); tried with pion/sctp 1.11.
"""

import os
import struct
import time

PORT = 5000
DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = 0, 1, 2, 3, 4, 5, 6
COOKIE_ECHO, COOKIE_ACK = 10, 11
COOKIE_PARAMETER = 7
WHOLE = 0x03
WINDOW = 131072
STREAMS = 1024
CONTROL, BINARY = 50, 53
OPEN, OPENED = 0x03, 0x02
AGAIN = 0.4
TSNS = 1 << 32


def _table():
    found = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
        found.append(number)
    return found


TABLE = _table()


def checksum(data):
    """CRC32c, as it stands in a packet."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def chunk(kind, flags, body):
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def packet(tag, *chunks):
    head, body = struct.pack("!HHI", PORT, PORT, tag), b"".join(chunks)
    return head + checksum(head + bytes(4) + body) + body


def chunks_of(found):
    """Kind, flags and body of each; nothing of a packet that came damaged."""
    if len(found) < 12 or checksum(found[:8] + bytes(4) + found[12:]) != found[8:12]:
        return
    at = 12
    while at + 4 <= len(found):
        kind, flags, size = struct.unpack_from("!BBH", found, at)
        if size < 4:
            return
        yield kind, flags, found[at + 4 : at + size]
        at += size + -size % 4


class Association:
    """Over ``send``, which takes one packet. ``messages`` are what came in, as ``(stream, bytes)``; ``opened`` are the
    streams whose channel the other side has taken."""

    def __init__(self, send):
        self.send = send
        self.tag, self.theirs = int.from_bytes(os.urandom(4), "big") | 1, 0
        self.tsn = int.from_bytes(os.urandom(4), "big")
        self.cookie = os.urandom(16)
        self.up = False
        self.unacknowledged = {}
        self.sequence = {}
        self.reached, self.ahead = 0, set()
        self.messages, self.opened = [], set()

    def open(self, stream, label):
        """A reliable channel in order."""
        name = label.encode()
        self.say(stream, CONTROL, struct.pack("!BBHIHH", OPEN, 0, 0, 0, len(name), 0) + name)

    def say(self, stream, protocol, data):
        number = self.sequence.get(stream, 0)
        self.sequence[stream] = (number + 1) % 65536
        body = struct.pack("!IHHI", self.tsn, stream, number, protocol) + data
        self.unacknowledged[self.tsn] = [time.monotonic(), chunk(DATA, WHOLE, body)]
        self.send(packet(self.theirs, self.unacknowledged[self.tsn][1]))
        self.tsn = (self.tsn + 1) % TSNS

    def again(self):
        """Send once more what has not been acknowledged for a while."""
        for held in self.unacknowledged.values():
            if time.monotonic() - held[0] > AGAIN:
                held[0] = time.monotonic()
                self.send(packet(self.theirs, held[1]))

    def took(self, found):
        """Raises OSError when the other side has aborted."""
        came = False
        for kind, _, body in chunks_of(found):
            if kind == INIT:
                self.theirs, _, _, _, first = struct.unpack_from("!IIHHI", body)
                self.reached = (first - 1) % TSNS
                ours = struct.pack("!IIHHI", self.tag, WINDOW, STREAMS, STREAMS, self.tsn)
                ours += struct.pack("!HH", COOKIE_PARAMETER, 4 + len(self.cookie)) + self.cookie
                self.send(packet(self.theirs, chunk(INIT_ACK, 0, ours)))
            elif kind == COOKIE_ECHO and body == self.cookie:
                self.up = True
                self.send(packet(self.theirs, chunk(COOKIE_ACK, 0, b"")))
            elif kind == HEARTBEAT:
                self.send(packet(self.theirs, chunk(HEARTBEAT_ACK, 0, body)))
            elif kind == SACK:
                (until,) = struct.unpack_from("!I", body)
                for tsn in [each for each in self.unacknowledged if (until - each) % TSNS < TSNS // 2]:
                    del self.unacknowledged[tsn]
            elif kind == ABORT:
                raise OSError("the data channels were aborted by the other side")
            elif kind == DATA:
                came = True
                self.data(body)
        if came:
            self.send(packet(self.theirs, chunk(SACK, 0, struct.pack("!IIHH", self.reached, WINDOW, 0, 0))))

    def data(self, body):
        tsn, stream, _, protocol = struct.unpack_from("!IHHI", body)
        ahead = (tsn - self.reached) % TSNS
        if ahead == 0 or ahead >= TSNS // 2 or tsn in self.ahead:
            return
        self.ahead.add(tsn)
        while (self.reached + 1) % TSNS in self.ahead:
            self.reached = (self.reached + 1) % TSNS
            self.ahead.remove(self.reached)
        if protocol != CONTROL:
            self.messages.append((stream, body[12:]))
        elif body[12] == OPENED:
            self.opened.add(stream)
        elif body[12] == OPEN:
            self.say(stream, CONTROL, bytes([OPENED]))
