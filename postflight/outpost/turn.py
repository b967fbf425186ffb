"""TURN servers, as a client meets them: two relays that are got, that pass bytes to each other, and are given back.

Source: RFC 8656 (7 allocations, 9 and 10 permissions, 11 Send and Data), draft-uberti-behave-turn-rest-00 (credentials
that expire, as Synapse gives them).
"""

import os
import socket
import ssl
import struct
import threading
import time

if __package__:
    # Where the verifier itself is the client, at the end of a tunnel.
    from postflight.outpost import stun
else:
    import stun  # type: ignore[no-redef]

#: Seconds after which a request is sent again, and given up after the last: RFC 8489, 6.2.1, cut short.
AGAIN = (0.5, 1.0, 2.0)
#: TCP sends again by itself.
ONCE = (3.5,)
#: The same for bytes on their way through two relays, which UDP may lose.
PASSING = (0.3, 0.6, 0.9)
CONNECT = 4.0
#: Seconds that are asked for: a server that thinks that too little gives more.
LIFETIME = 120
#: For all together: within the limit of whoever asks from outside.
WHOLE = 18.0
UNAUTHORIZED, STALE_NONCE = 401, 438
GRANTED = 0


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, message):
        self.message = message
        self.code, self.reason = message.error
        super().__init__(f"{self.code} {self.reason}")


class Wire:
    """The way of whole STUN messages to a server and back, over UDP or TCP."""

    def __init__(self, host, port, transport, tls=False):
        self.datagrams = transport == "udp"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM if self.datagrams else socket.SOCK_STREAM)
        self.waits = AGAIN if self.datagrams else ONCE
        self.rest = b""
        try:
            self.socket.settimeout(CONNECT)
            self.socket.connect((host, port))
            if tls:
                # What stands behind the address is meant: credentials are worth nothing to another.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self.socket = context.wrap_socket(self.socket)
        except OSError:
            self.socket.close()
            raise

    def send(self, data):
        self.socket.settimeout(CONNECT)
        self.socket.sendall(data)

    def receive(self, seconds):
        """One message, b"" where none came. Raises OSError where the connection has ended."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.datagrams and (whole := self._whole()):
                return whole
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except socket.timeout:  # noqa: UP041 (an error of its own in Python 3.9)
                return b""
            if self.datagrams:
                return data
            if not data:
                raise OSError("the connection was closed")
            self.rest += data

    def _whole(self):
        """The first whole message of a stream: its header says how long it is (RFC 8489, 6.2.2)."""
        if len(self.rest) < stun.HEADER.size:
            return b""
        size = stun.HEADER.size + struct.unpack_from("!H", self.rest, 2)[0]
        found, self.rest = (self.rest[:size], self.rest[size:]) if len(self.rest) >= size else (b"", self.rest)
        return found

    def close(self):
        self.socket.close()


class Client:
    """One client of a TURN server. ``open``: it got its relay before it said who it is."""

    def __init__(self, wire, username, password):
        self.wire, self.username, self.password = wire, username, password
        self.realm = self.nonce = self.key = b""
        self.relayed, self.lifetime, self.open, self.software = None, 0, False, ""
        self.heard = []

    def allocate(self):
        """Get a relay (RFC 8656, 7.1). Raises Refused, or OSError where no answer comes."""
        asked = [
            (stun.REQUESTED_TRANSPORT, stun.OVER_UDP),
            (stun.LIFETIME, struct.pack("!I", LIFETIME)),
        ]
        try:
            answer = self._ask(stun.ALLOCATE, asked)
            self.open = True
        except Refused as refused:
            if refused.code != UNAUTHORIZED:
                raise
            self._challenged(refused.message)
            answer = self._ask(stun.ALLOCATE, asked)
        self.software = answer.first(stun.SOFTWARE).decode("utf-8", "replace")
        self.lifetime = int.from_bytes(answer.first(stun.LIFETIME), "big")
        self.relayed = answer.address(stun.XOR_RELAYED_ADDRESS)

    def permit(self, host):
        """Let a peer send to this client (RFC 8656, 10.1). Raises Refused, or OSError."""
        self._ask(stun.CREATE_PERMISSION, [(stun.XOR_PEER_ADDRESS, (host, 0))])

    def free(self):
        """Give the relay back (RFC 8656, 8.1). Raises Refused, or OSError."""
        self._ask(stun.REFRESH, [(stun.LIFETIME, bytes(4))])
        self.relayed = None

    def send(self, peer, payload):
        """Have the relay send to a peer; nothing answers (RFC 8656, 11.1)."""
        transaction = stun.new_transaction()
        to = stun.masked(peer, transaction)
        attributes = [(stun.XOR_PEER_ADDRESS, to), (stun.PAYLOAD, payload)]
        self.wire.send(stun.encode(stun.SEND | stun.INDICATION, transaction, attributes))

    def hears(self, payload, seconds):
        """Whether these bytes come from some peer (RFC 8656, 11.4). Raises OSError."""
        deadline = time.monotonic() + seconds
        while payload not in self.heard:
            left = deadline - time.monotonic()
            data = self.wire.receive(left) if left > 0 else b""
            if not data:
                return False
            self._listen(data)
        return True

    def _challenged(self, message):
        """Take realm and nonce of a refusal (RFC 8489, 9.2.4)."""
        self.realm = message.first(stun.REALM) or self.realm
        self.nonce = message.first(stun.NONCE)
        self.key = stun.long_term_key(self.username, self.realm, self.password)

    def _ask(self, method, attributes):
        try:
            return self._exchange(method, attributes)
        except Refused as refused:
            if refused.code != STALE_NONCE:
                raise
            self._challenged(refused.message)
            return self._exchange(method, attributes)

    def _exchange(self, method, attributes):
        """One request and its answer, sent again over UDP where none comes."""
        transaction = stun.new_transaction()
        given = [
            (name, value if isinstance(value, bytes) else stun.masked(value, transaction)) for name, value in attributes
        ]
        if self.key:
            given += [(stun.USERNAME, self.username.encode()), (stun.REALM, self.realm), (stun.NONCE, self.nonce)]
        data = stun.encode(method | stun.REQUEST, transaction, given, self.key)
        for wait in self.wire.waits:
            self.wire.send(data)
            deadline = time.monotonic() + wait
            while (left := deadline - time.monotonic()) > 0:
                came = self.wire.receive(left)
                message = self._listen(came) if came else None
                if message is None or message.transaction != transaction:
                    continue
                if message.outcome == stun.ERROR:
                    raise Refused(message)
                if self.key and not stun.is_signed(came, self.key):
                    raise OSError("an answer that nobody signed who knows the password")
                return message
        raise OSError("no answer within the time limit")

    def _listen(self, data):
        """The message that came, None where it is none; what a peer sent is kept."""
        try:
            message = stun.decode(data)
        except ValueError:
            return None
        if message.kind == stun.DATA | stun.INDICATION:
            self.heard.append(message.first(stun.PAYLOAD))
        return message


def relays(given):
    """What :func:`examine` returns for each of ``asks``, by group side by side and within a group in turn: a user may
    have only so many relays of a server at once."""
    asks = given["asks"]
    answers = [nothing("no answer within the time limit") for _ in asks]
    names = dict.fromkeys(ask["group"] for ask in asks)
    groups = [[(number, ask) for number, ask in enumerate(asks) if ask["group"] == name] for name in names]

    def work(members):
        for number, ask in members:
            answers[number] = examine(ask, given)

    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in groups]
    for each in threads:
        each.start()
    deadline = time.monotonic() + WHOLE
    for each in threads:
        each.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def nothing(problem=""):
    """What is said of a server that nothing was seen of."""
    return {
        "addresses": [],
        "address": "",
        "problem": problem,
        "open": False,
        "software": "",
        "refused": None,
        "relayed": [],
        "lifetime": 0,
        "permission": None,
        "passed": [],
        "other": None,
        "expired": None,
        "freed": True,
    }


def examine(ask, given):
    """Meet one server, as ``mine`` (user name and password), then as ``other`` and ``expired``, who are to be refused.

    ``ask``: ``host``, ``port``, ``transport``, ``tls``; ``only`` are the addresses at which a name may be asked, None:
    at any. Returns where it was met and at which of ``addresses``, what came of each step (a refusal as code and reason,
    of the two that are to be refused the code, ``GRANTED`` where they were not), and the first ``problem``.
    """
    seen = nothing()
    clients = []
    try:
        seen["addresses"] = resolved(ask["host"], ask["port"])
        fit = [each for each in seen["addresses"] if ask["only"] is None or each in ask["only"]]
        if not fit:
            return seen
        seen["address"] = fit[0]

        def client(username, password):
            wire = Wire(fit[0], ask["port"], ask["transport"], ask["tls"])
            clients.append(Client(wire, username, password))
            return clients[-1]

        _as_oneself(seen, client, given["mine"])
        for name in ("other", "expired"):
            if given[name] and not seen["open"]:
                seen[name] = _code(client(*given[name]))
    except (OSError, ValueError) as error:
        seen["problem"] = getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        for each in clients:
            seen["freed"] = _given_back(each) and seen["freed"]
    return seen


def resolved(host, port):
    """The addresses of a name. Raises OSError."""
    try:
        return list(dict.fromkeys(each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)))
    except UnicodeError as error:
        raise OSError(f"no name: {host}") from error


def _as_oneself(seen, client, mine):
    first, second = client(*mine), client(*mine)
    try:
        for each in (first, second):
            each.allocate()
            seen["open"] = seen["open"] or each.open
            seen["software"], seen["lifetime"] = each.software, each.lifetime
            seen["relayed"].append(list(each.relayed))
    except Refused as refused:
        seen["refused"] = [refused.code, refused.reason]
        return
    try:
        first.permit(second.relayed[0])
        second.permit(first.relayed[0])
    except Refused as refused:
        seen["permission"] = [refused.code, refused.reason]
        return
    seen["passed"] = [_passes(first, second), _passes(second, first)]


def new_payload():
    """Bytes that nobody else sends."""
    return b"postflight " + os.urandom(12).hex().encode()


def _passes(sender, receiver):
    """Whether bytes of one client reach the other, from relay to relay."""
    payload = new_payload()
    for wait in PASSING:
        sender.send(receiver.relayed, payload)
        if receiver.hears(payload, wait):
            return True
    return False


def _code(client):
    """With which code somebody is refused a relay."""
    try:
        client.allocate()
    except Refused as refused:
        return refused.code
    return GRANTED


def _given_back(client):
    """Whether a client has no relay any more."""
    try:
        if client.relayed:
            client.free()
        return True
    except (Refused, OSError):
        return False
    finally:
        client.wire.close()
