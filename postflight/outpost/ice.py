"""ICE as a participant of a call needs it: is this address the SFU's, and does it take us for the one that it knows?

Sources: RFC 8445 (connectivity checks), RFC 4571 (frames on TCP), RFC 7983 (what shares the path); tried with pion/ice
4.4, which LiveKit 1.13 is built on.
"""

import os
import select
import socket
import struct
import time

import stun

#: Of a peer-reflexive candidate (RFC 8445, 5.1.2.1).
OUR_PRIORITY = (110 << 24) | (65535 << 8) | 255
AGAIN = 0.2
BIGGEST = 65535


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
        transaction = stun.new_transaction()
        self.sent[transaction] = True
        attributes = [(stun.USERNAME, self.username), (stun.PRIORITY, struct.pack("!I", OUR_PRIORITY))]
        attributes += [(stun.ICE_CONTROLLING, self.tie_breaker)] + ([(stun.USE_CANDIDATE, b"")] if nominate else [])
        self.say(stun.BINDING | stun.REQUEST, transaction, attributes, self.remote_key)

    def took(self, packet):
        """Whether a packet was STUN's, which is done with then."""
        if len(packet) < stun.HEADER.size or packet[0] > 3:
            return False
        try:
            message = stun.decode(packet)
        except ValueError:
            return True
        ours = message.transaction in self.sent
        if message.kind == stun.BINDING | stun.REQUEST and stun.is_signed(packet, self.local_key):
            # Where the SFU's request came from, as it is told.
            mapped = stun.masked(self.path.socket.getpeername()[:2], message.transaction)
            attributes = [(stun.XOR_MAPPED_ADDRESS, mapped)]
            self.say(stun.BINDING | stun.SUCCESS, message.transaction, attributes, self.local_key)
        elif message.kind == stun.BINDING | stun.SUCCESS and ours and stun.is_signed(packet, self.remote_key):
            self.answered = True
        elif message.kind == stun.BINDING | stun.ERROR and ours:
            code, reason = message.error
            self.refused = f"refused: {code} {reason}"
        return True

    def say(self, kind, transaction, attributes, key):
        self.path.send(stun.marked(stun.encode(kind, transaction, attributes, key)))
