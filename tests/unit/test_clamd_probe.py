"""What clamd says of a clean file and of EICAR, asked over its own protocol on loopback."""

from __future__ import annotations

import socket
from dataclasses import replace

from postflight.cluster.access import Access, Way
from postflight.deployment.scan_parts import Antivirus
from postflight.probes import clamds as daemons
from postflight.probes.eicar import eicar
from postflight.settings import Settings
from tests.unit import scanning
from tests.unit.loopback import api_to, closed_port, talking
from tests.unit.observations import MODEL

ACCESS = Access(api_to(closed_port()), Way.DIRECT)


def clamd(connection: socket.socket) -> None:
    """As much of it as is asked for."""
    asked = b""
    while not asked.endswith((b"zVERSION\0", b"\0\0\0\0")) and (more := connection.recv(4096)):
        asked += more
    if asked == b"zVERSION\0":
        connection.sendall(b"ClamAV 1.4.6/1\0")
    else:
        found = eicar() in asked
        connection.sendall(b"stream: Eicar FOUND\0" if found else b"stream: OK\0")


def asked(port: int, settings: Settings | None = None) -> daemons.ClamdSaid:
    there = tuple(replace(each, ip="127.0.0.1") for each in scanning.CLAMD.pods)
    model = replace(MODEL, antivirus=Antivirus(clamds=(replace(scanning.CLAMD, pods=there, port=port),)))
    (said,) = daemons.clamd_answers(model, ACCESS, settings or Settings())
    return said


class TestClamd:
    def test_says_what_it_thinks_of_two_files(self) -> None:
        with talking(clamd) as port:
            said = asked(port)
        assert (said.version, said.harmless, said.eicar) == ("ClamAV 1.4.6/1", "stream: OK", "stream: Eicar FOUND")
        assert (said.finds_anything, said.finds_nothing, said.problem) == (False, False, "")

    def test_is_asked_for_no_virus_where_that_is_not_wanted(self) -> None:
        with talking(clamd) as port:
            said = asked(port, Settings(eicar=False))
        assert (said.harmless, said.eicar, said.finds_nothing) == ("stream: OK", "", False)

    def test_does_not_answer(self) -> None:
        assert asked(closed_port()).problem
        with talking(lambda connection: None) as port:
            assert asked(port).problem == "it closes the connection without an answer"
