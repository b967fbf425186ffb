"""What a participant in a probe pod speaks: STUN and SCTP by their published examples, and a meeting at an SFU made here.

With LiveKit itself, and DTLS, it is tried in the lab.
"""

from __future__ import annotations

import base64
import importlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from importlib import resources
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.loopback import closed_port

#: RFC 5769, 2.1: a request with its integrity and fingerprint, and the password.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b1"
    "51263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
REMOTE = ["sfu", "the-password-of-the-sfu"]


class Plain:
    """In DTLS's place: packets as they are, marked as its own by one byte."""

    def __init__(self, agent: Any, *_: Any) -> None:
        self.agent = agent

    def shake(self, fingerprint: str, limit: float) -> None:
        if fingerprint != "right":
            raise OSError("another certificate than the signalling told of")

    def send(self, data: bytes) -> None:
        self.agent.path.send(b"\x17" + data)

    def receive(self, wait: float) -> list[bytes]:
        packet = self.agent.path.receive(wait)
        return [packet[1:]] if packet and not self.agent.took(packet) else []


@pytest.fixture(scope="module")
def outpost() -> Iterator[SimpleNamespace]:
    """Its modules, as they find each other in their archive."""
    folder = str(resources.files("postflight.outpost"))
    fake = ModuleType("dtls")
    fake.Dtls = Plain  # type: ignore[attr-defined]
    sys.path.insert(0, folder)
    sys.modules["dtls"] = fake
    names = ("stun", "ice", "sctp", "participants")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(folder)
    for name in (*names, "dtls"):
        del sys.modules[name]


class TestIce:
    def test_knows_a_request_that_was_made_with_the_password(self, outpost: SimpleNamespace) -> None:
        stun = outpost.stun
        assert stun.is_signed(REQUEST, PASSWORD)
        assert not stun.is_signed(REQUEST, b"another")
        assert not stun.is_signed(REQUEST.replace(b"evtj", b"evtk"), PASSWORD)
        assert stun.decode(REQUEST).first(stun.USERNAME) == b"evtj:h6vY"

    def test_makes_one_of_the_same_bytes(self, outpost: SimpleNamespace) -> None:
        # RFC 5769 pads with spaces, we with zeros: a name of eight bytes has no padding.
        stun = outpost.stun
        made = stun.marked(stun.encode(stun.BINDING, bytes(12), [(stun.USERNAME, b"evtj:h6v")], PASSWORD))
        assert stun.is_signed(made, PASSWORD)
        assert stun.decode(made).first(stun.FINGERPRINT) == made[-4:]
        mark = stun.zlib.crc32(made[:-8]) ^ stun.MIX
        assert made[-4:] == struct.pack("!I", mark)

    def test_the_published_fingerprint(self, outpost: SimpleNamespace) -> None:
        length = struct.pack("!H", len(REQUEST) - 20 - 8)
        assert outpost.stun.marked(REQUEST[:2] + length + REQUEST[4:-8]) == REQUEST

    def test_says_what_an_address_is_refused_with(self, outpost: SimpleNamespace) -> None:
        stun = outpost.stun
        agent = outpost.ice.Agent(SimpleNamespace(send=lambda _: None), ["us", "ours"], REMOTE)
        agent.ask(nominate=True)
        (transaction,) = agent.sent
        words = struct.pack("!HBB", 0, 4, 1) + b"Unauthorized"
        refusal = stun.encode(stun.BINDING | stun.ERROR, transaction, [(stun.ERROR_CODE, words)])
        assert agent.took(refusal)
        assert agent.refused == "refused: 401 Unauthorized"

    def test_what_only_begins_like_stun_is_done_with(self, outpost: SimpleNamespace) -> None:
        agent = outpost.ice.Agent(SimpleNamespace(), ["us", "ours"], REMOTE)
        assert agent.took(REQUEST[:-4])
        assert not agent.took(b"\x17" + bytes(20))


class TestSctp:
    def test_checks_sums_as_published(self, outpost: SimpleNamespace) -> None:
        assert outpost.sctp.checksum(b"123456789") == struct.pack("<I", 0xE3069283)

    def test_takes_no_damaged_packet(self, outpost: SimpleNamespace) -> None:
        packet = outpost.sctp.packet(7, outpost.sctp.chunk(outpost.sctp.DATA, 3, b"abcd"))
        assert [body for _, _, body in outpost.sctp.chunks_of(packet)] == [b"abcd"]
        assert list(outpost.sctp.chunks_of(packet[:-1] + b"x")) == []

    def test_sends_again_what_was_not_acknowledged(
        self, outpost: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[bytes] = []
        association = outpost.sctp.Association(sent.append)
        association.say(0, outpost.sctp.BINARY, b"hello")
        association.again()
        monkeypatch.setattr(outpost.sctp, "AGAIN", -1.0)
        association.again()
        assert sent == [sent[0]] * 2
        reached = struct.pack("!IIHH", (association.tsn - 1) % (1 << 32), 1000, 0, 0)
        association.took(outpost.sctp.packet(0, outpost.sctp.chunk(outpost.sctp.SACK, 0, reached)))
        association.again()
        assert len(sent) == 2

    def test_puts_in_order_what_came_out_of_it_and_takes_nothing_twice(self, outpost: SimpleNamespace) -> None:
        sent: list[bytes] = []
        association = outpost.sctp.Association(sent.append)
        association.reached = 9
        for tsn in (11, 10, 10, 11):
            body = struct.pack("!IHHI", tsn, 0, 0, outpost.sctp.BINARY) + b"%d" % tsn
            association.took(outpost.sctp.packet(0, outpost.sctp.chunk(outpost.sctp.DATA, 3, body)))
        assert association.messages == [(0, b"11"), (0, b"10")]
        assert association.reached == 11


def test_a_message_is_packed_as_protobuf_and_found_among_other_fields(outpost: SimpleNamespace) -> None:
    packed = outpost.participants.packed(b"x" * 300)
    assert packed[:3] == bytes([2 << 3 | 2, 0xAF, 0x02])
    more = b"\x08\x01" + outpost.participants.field(4, b"somebody") + packed + bytes([16 << 3 & 0x7F | 0x80, 1, 5])
    assert outpost.participants.unpacked(more) == b"x" * 300
    assert outpost.participants.unpacked(b"\x08\x01") is None


class Sfu(threading.Thread):
    """Takes participants by ICE and data channels on one UDP port, and forwards what one says to all others."""

    def __init__(self, outpost: SimpleNamespace, garble: bytes = b"") -> None:
        super().__init__(daemon=True)
        self.outpost, self.garble = outpost, garble
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.tags: dict[Any, int] = {}
        self.tsn = 100

    def run(self) -> None:
        stun, sctp = self.outpost.stun, self.outpost.sctp
        while True:
            packet, peer = self.socket.recvfrom(65535)
            if packet[0] <= 3:
                if stun.is_signed(packet, REMOTE[1].encode()):
                    asked = stun.decode(packet)
                    said = stun.encode(stun.BINDING | stun.SUCCESS, asked.transaction, [], REMOTE[1].encode())
                    self.socket.sendto(stun.marked(said), peer)
                    if stun.USE_CANDIDATE in dict(asked.attributes) and peer not in self.tags:
                        self.tags[peer] = 0
                        self.say(peer, sctp.chunk(sctp.INIT, 0, struct.pack("!IIHHI", 5, 9999, 9, 9, self.tsn)))
                continue
            for kind, _, body in sctp.chunks_of(packet[1:]):
                if kind == sctp.INIT_ACK:
                    self.tags[peer] = struct.unpack_from("!I", body)[0]
                    self.say(peer, sctp.chunk(sctp.COOKIE_ECHO, 0, body[20:]))
                elif kind == sctp.DATA:
                    self.data(peer, body)

    def data(self, peer: Any, body: bytes) -> None:
        sctp = self.outpost.sctp
        tsn, stream, _, protocol = struct.unpack_from("!IHHI", body)
        self.say(peer, sctp.chunk(sctp.SACK, 0, struct.pack("!IIHH", tsn, 9999, 0, 0)))
        if protocol == sctp.CONTROL:
            self.forward(peer, stream, protocol, bytes([sctp.OPENED]))
        else:
            for other in self.tags:
                if other != peer:
                    self.forward(other, stream, protocol, body[12:] + self.garble)

    def forward(self, peer: Any, stream: int, protocol: int, data: bytes) -> None:
        sctp = self.outpost.sctp
        head = struct.pack("!IHHI", self.tsn, stream, 0, protocol)
        # One count for all: what is told one is not told the other, and a gap is no trouble here.
        self.tsn += 1
        self.say(peer, sctp.chunk(sctp.DATA, 3, head + data))

    def say(self, peer: Any, chunk: bytes) -> None:
        self.socket.sendto(b"\x17" + self.outpost.sctp.packet(self.tags[peer], chunk), peer)


def given(*addresses: Any, beside: Any = (), fingerprint: str = "right") -> dict[str, Any]:
    one = {"remote": REMOTE, "fingerprint": fingerprint, "client": True, "certificate": "", "key": ""}
    people = [
        {**one, "local": [name, f"password-of-{name}"], "candidates": list(addresses), "message": encoded(name)}
        for name in ("a", "b")
    ]
    return {"participants": people, "beside": list(beside), "looking": 0.6, "whole": 4}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestAMeeting:
    def test_at_an_address_that_was_told(self, outpost: SimpleNamespace) -> None:
        sfu = Sfu(outpost)
        sfu.start()
        there, dead = ["udp", "127.0.0.1", sfu.port], ["tcp", "127.0.0.1", closed_port()]
        one, other = outpost.participants.meet(given(dead, there))
        assert (one["heard"], other["heard"]) == ([encoded("b")], [encoded("a")])
        assert (one["over"], one["problem"], one["candidates"]) == (there, "", ["Connection refused", ""])

    def test_beside_the_addresses_that_were_told(self, outpost: SimpleNamespace) -> None:
        sfu = Sfu(outpost)
        sfu.start()
        there, dead = ["udp", "127.0.0.1", sfu.port], ["udp", "127.0.0.1", closed_port()]
        one, _ = outpost.participants.meet(given(dead, beside=[there]))
        assert (one["heard"], one["over"], one["beside"]) == ([encoded("b")], there, [""])
        assert one["candidates"] == ["Connection refused"]

    def test_nowhere(self, outpost: SimpleNamespace) -> None:
        one, _ = outpost.participants.meet(given(["udp", "127.0.0.1", closed_port()]))
        assert (one["over"], one["problem"]) == ([], "no address of the SFU answers")

    def test_with_somebody_else_than_the_signalling_told_of(self, outpost: SimpleNamespace) -> None:
        sfu = Sfu(outpost)
        sfu.start()
        one, _ = outpost.participants.meet(given(["udp", "127.0.0.1", sfu.port], fingerprint="another"))
        assert one["problem"] == "another certificate than the signalling told of"
