"""DTLS over a path that ICE has found, by the OpenSSL that every image of Synapse has (pyOpenSSL).

Sources: RFC 8827 (the certificate is the one whose fingerprint the signalling told), RFC 5764 (use_srtp: pion refuses
a handshake without); pyOpenSSL 22.1 and newer know DTLS.
"""

import hashlib
import time

from OpenSSL import SSL, crypto

#: Bytes of one datagram: fits every path.
MTU = 1200
PROFILE = b"SRTP_AES128_CM_SHA1_80"
AGAIN = 0.5
HEAD = 13


def datagrams(data):
    """Records packed into datagrams: the memory between OpenSSL and us knows no edges."""
    found: list[bytes] = []
    while data:
        size = HEAD + int.from_bytes(data[11:13], "big")
        record, data = data[:size], data[size:]
        if found and len(found[-1]) + len(record) <= MTU:
            found[-1] += record
        else:
            found.append(record)
    return found


class Dtls:
    """``agent`` is ICE's of this path; the certificate and its key are PEM. ``client`` says who begins."""

    def __init__(self, agent, certificate, key, client):
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, certificate.encode()))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, key.encode()))
        context.set_tlsext_use_srtp(PROFILE)
        self.agent = agent
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(MTU)
        if client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()

    def shake(self, fingerprint, limit):
        """Raises OSError: no handshake in time, or not with who holds that certificate (``sha-256 AA:BB:...``)."""
        deadline = time.monotonic() + limit
        while True:
            try:
                self.connection.do_handshake()
                break
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                raise OSError(f"the DTLS handshake failed: {error}") from error
            self.flush()
            if time.monotonic() > deadline:
                raise OSError("no DTLS handshake in time")
            if not self.take(AGAIN):
                # Older ones have no way to it: they send again what the other side asks for anew.
                getattr(self.connection, "DTLSv1_handle_timeout", lambda: None)()
        self.flush()
        shown = self.connection.get_peer_certificate()
        raw = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
        kind, _, told = fingerprint.partition(" ")
        found = hashlib.new(kind.replace("-", ""), raw).hexdigest()
        if found != told.replace(":", "").lower():
            raise OSError("another certificate than the signalling told of")

    def take(self, wait):
        """Whether a packet of DTLS came within that many seconds."""
        packet = self.agent.path.receive(wait)
        if packet and not self.agent.took(packet) and 20 <= packet[0] <= 63:
            self.connection.bio_write(packet)
            return True
        return False

    def flush(self):
        parts = []
        while True:
            try:
                parts.append(self.connection.bio_read(1 << 16))
            except SSL.WantReadError:
                break
        for each in datagrams(b"".join(parts)):
            self.agent.path.send(each)

    def send(self, data):
        self.connection.send(data)
        self.flush()

    def receive(self, wait):
        """What came within that many seconds, decrypted. Raises OSError when the other side has closed."""
        self.take(wait)
        found = []
        while True:
            try:
                found.append(self.connection.recv(1 << 16))
            except SSL.WantReadError:
                break
            except SSL.Error as error:
                raise OSError("DTLS was closed by the other side") from error
        self.flush()
        return found
