"""STUN and TURN as the outpost speaks them, held against frames of a real coturn."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postflight.outpost import stun
from postflight.outpost import turn as client
from tests.unit.loopback import closed_port

#: What a coturn (Debian's 4.6.1) and this client said to each other, over UDP and over TCP: two relays, bytes through both,
#: a wrong password and one that had expired, the relays given back.
RECORDED = json.loads((Path(__file__).with_name("data") / "turn.json").read_text())
REALM = b"turn.lab.test"
FRAMES = [(way, bytes.fromhex(frame)) for kind in ("udp", "tcp") for _, way, frame in RECORDED[kind]["frames"]]
KEY = stun.long_term_key(RECORDED["username"], REALM, RECORDED["password"])


class Replayed:
    """Wires that hold the client to the recording: it must send just that, and hears just that."""

    def __init__(self, kind: str) -> None:
        self.frames = [(number, way, bytes.fromhex(frame)) for number, way, frame in RECORDED[kind]["frames"]]
        self.sent = [frame for _, way, frame in self.frames if way == "to"]
        self.opened = 0

    def wire(self, *_: Any) -> Any:
        recording, number = self, self.opened
        self.opened += 1

        class Wire:
            waits = (0.1,)

            def send(self, data: bytes) -> None:
                assert (number, "to", data) == recording.frames.pop(0)

            def receive(self, seconds: float) -> bytes:
                assert recording.frames[0][:2] == (number, "from")
                return recording.frames.pop(0)[2]

            def close(self) -> None:
                """Nothing is open."""

        return Wire()


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_real_server_is_met_frame_by_frame(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replayed(kind)
    transactions = iter([frame[8:20] for frame in replay.sent])
    payloads = iter([p for frame in replay.sent if (p := stun.decode(frame).first(stun.PAYLOAD))])
    monkeypatch.setattr(client, "Wire", replay.wire)
    monkeypatch.setattr(stun, "new_transaction", lambda: next(transactions))
    monkeypatch.setattr(client, "new_payload", lambda: next(payloads))
    name = RECORDED["username"]
    expired = [stun.decode(frame).first(stun.USERNAME).decode() for frame in replay.sent]
    ago = next(each for each in expired if each not in ("", name))
    given = {
        "mine": [name, RECORDED["password"]],
        "other": [name, "bm90IGl0"],
        "expired": [ago, password(ago)],
    }
    ask = {"host": "192.0.2.2", "port": 3478, "transport": kind, "tls": False, "only": None}
    assert client.examine(ask, given) == RECORDED[kind]["answer"]
    assert replay.frames == []


def password(username: str) -> str:
    from postflight.probes.turn_credentials import signed
    from postflight.secrets import Secret

    return signed(Secret(RECORDED["secret"]), username).reveal()


class TestTheCodec:
    def test_what_is_decoded_is_encoded_to_the_same_bytes(self) -> None:
        for _, frame in FRAMES:
            message = stun.decode(frame)
            signed = stun.MESSAGE_INTEGRITY in dict(message.attributes)
            plain = [each for each in message.attributes if each[0] != stun.MESSAGE_INTEGRITY]
            made = stun.encode(message.kind, message.transaction, plain)
            assert made[20:] == frame[20 : len(frame) - (24 if signed else 0)]

    def test_a_signature_is_told(self) -> None:
        answers = [frame for way, frame in FRAMES if way == "from" and stun.decode(frame).outcome == stun.SUCCESS]
        assert answers
        assert all(stun.is_signed(frame, KEY) for frame in answers)
        assert not any(stun.is_signed(frame, b"another key") for frame in answers)

    def test_one_that_is_not_signed_is_told(self) -> None:
        assert not stun.is_signed(FRAMES[0][1], KEY)

    def test_a_refusal_has_code_and_reason(self) -> None:
        refusals = [message for _, frame in FRAMES if (message := stun.decode(frame)).outcome == stun.ERROR]
        assert {each.error for each in refusals} == {(401, "Unauthorized")}
        assert stun.Message(0x113, b"", []).error == (0, "a refusal without a code")

    @pytest.mark.parametrize("address", [("192.0.2.2", 3478), ("2001:db8::1", 65535)])
    def test_an_address_is_what_it_was(self, address: tuple[str, int]) -> None:
        transaction = stun.new_transaction()
        assert stun.unmasked(stun.masked(address, transaction), transaction) == address

    @pytest.mark.parametrize("value", [b"", b"\0\1", b"\0\1\0\0", b"\0\3\0\0aaaa", b"\0\1\0\0aaaaa"])
    def test_what_is_no_address_is_none(self, value: bytes) -> None:
        with pytest.raises(ValueError, match="no address"):
            stun.unmasked(value, b"")

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "too short"),
            (b"\xff" * 20, "not STUN"),
            (FRAMES[0][1] + b"\0", "not STUN"),
            (b"\0\1\0\0" + b"\0" * 16, "not STUN"),
            (b"\0\1\0\4\x21\x12\xa4\x42" + b"\0" * 12 + b"\0\6\0\x09", "ends after"),
        ],
    )
    def test_what_is_no_message_is_none(self, data: bytes, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            stun.decode(data)


class Scripted:
    """A wire whose other end answers each message by a function; one that is lost is answered by nothing."""

    waits = (0.01, 0.01, 0.01)

    def __init__(self, answer: Callable[[stun.Message], bytes]) -> None:
        self.answer, self.inbox, self.sent = answer, [b""], 0

    def send(self, data: bytes) -> None:
        self.sent += 1
        self.inbox = [self.answer(stun.decode(data))]

    def receive(self, seconds: float) -> bytes:
        return self.inbox.pop() if self.inbox else b""

    def close(self) -> None:
        """Nothing is open."""


def user(wire: Scripted) -> client.Client:
    return client.Client(wire, RECORDED["username"], RECORDED["password"])


def refusal(asked: stun.Message, code: int, nonce: bytes = b"n") -> bytes:
    error = bytes([0, 0, code // 100, code % 100]) + b"why"
    attributes = [(stun.ERROR_CODE, error), (stun.REALM, REALM), (stun.NONCE, nonce)]
    return bytes(stun.encode(asked.method | stun.ERROR, asked.transaction, attributes))


def granted(asked: stun.Message, key: bytes = KEY) -> bytes:
    relayed = stun.masked(("192.0.2.2", 50000), asked.transaction)
    attributes = [(stun.XOR_RELAYED_ADDRESS, relayed), (stun.LIFETIME, b"\0\0\2\x58")]
    return bytes(stun.encode(asked.method | stun.SUCCESS, asked.transaction, attributes, key))


class TestTheClient:
    def test_a_request_that_is_lost_is_sent_again(self) -> None:
        lost = iter([b""])
        wire = Scripted(lambda asked: next(lost, granted(asked, b"")))
        one = user(wire)
        one.allocate()
        assert (one.relayed, one.lifetime, one.open, wire.sent) == (("192.0.2.2", 50000), 600, True, 2)

    def test_nobody_answers(self) -> None:
        with pytest.raises(OSError, match="no answer within the time limit"):
            user(Scripted(lambda asked: b"")).allocate()

    def test_what_is_no_stun_is_no_answer(self) -> None:
        with pytest.raises(OSError, match="no answer"):
            user(Scripted(lambda asked: b"HTTP/1.1 400 Bad Request")).allocate()

    def test_an_answer_to_another_request_is_none(self) -> None:
        with pytest.raises(OSError, match="no answer"):
            user(Scripted(lambda asked: granted(stun.Message(asked.kind, bytes(12), [])))).allocate()

    def test_an_answer_must_be_signed_by_who_knows_the_password(self) -> None:
        def answer(asked: stun.Message) -> bytes:
            return granted(asked, b"a key of nobody") if asked.first(stun.NONCE) else refusal(asked, 401)

        with pytest.raises(OSError, match="nobody signed who knows the password"):
            user(Scripted(answer)).allocate()

    def test_a_nonce_that_is_too_old_is_changed_once(self) -> None:
        codes = iter([(401, b"one"), (438, b"two")])
        nonces: list[bytes] = []

        def answer(asked: stun.Message) -> bytes:
            nonces.append(asked.first(stun.NONCE))
            refused = next(codes, None)
            return refusal(asked, *refused) if refused else granted(asked)

        user(Scripted(answer)).allocate()
        assert nonces == [b"", b"one", b"two"]

    @pytest.mark.parametrize("code", [400, 486, 508])
    def test_any_other_refusal_is_the_answer(self, code: int) -> None:
        with pytest.raises(client.Refused) as raised:
            user(Scripted(lambda asked: refusal(asked, code))).allocate()
        assert (raised.value.code, raised.value.reason) == (code, "why")


class TestOnLoopback:
    """Real sockets, where nobody, or no TURN server, listens."""

    ASK = ("127.0.0.1", None)

    def ask(self, port: int, transport: str, host: str = "127.0.0.1", only: Any = None) -> dict[str, Any]:
        asks = [
            {"group": "one", "host": host, "port": port, "transport": transport, "tls": False, "only": only},
        ]
        (seen,) = client.relays({"asks": asks, "mine": ["a", "b"], "other": ["a", "c"], "expired": None})
        found: dict[str, Any] = seen
        return found

    @pytest.mark.parametrize("transport", ["udp", "tcp"])
    def test_nobody_listens(self, transport: str) -> None:
        seen = self.ask(closed_port(), transport)
        assert (seen["address"], seen["problem"], seen["freed"]) == ("127.0.0.1", "Connection refused", True)

    def test_an_address_that_is_nobodys_here_is_not_asked(self) -> None:
        seen = self.ask(closed_port(), "tcp", only=["192.0.2.2"])
        assert (seen["addresses"], seen["address"], seen["problem"]) == (["127.0.0.1"], "", "")

    def test_a_name_that_is_none(self) -> None:
        assert self.ask(1, "udp", host="no..name")["problem"]

    def test_a_stream_is_cut_into_messages(self) -> None:
        frames = [frame for _, frame in FRAMES[:3]]
        with stream(b"".join(frames)) as port:
            wire = client.Wire("127.0.0.1", port, "tcp")
            assert [wire.receive(2) for _ in frames] == frames
            with pytest.raises(OSError, match="was closed"):
                wire.receive(2)
            wire.close()


def stream(data: bytes) -> Any:
    """A server that says this, a little at a time."""
    from tests.unit.loopback import talking

    def talk(connection: socket.socket) -> None:
        for piece in pieces(data):
            connection.sendall(piece)

    return talking(talk)


def pieces(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + 7] for at in range(0, len(data), 7))
