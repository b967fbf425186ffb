"""What a cut connection to the API server comes to: it is tried again where it may be, else told, and never the pod's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from postflight.cluster import cuts, silences, streams
from postflight.cluster.access import Access, Way
from postflight.cluster.api import Late, Unreachable
from postflight.cluster.cuts import CUT, Cuts
from postflight.cluster.outposts import ask_outpost
from postflight.cluster.streams import NoWay, run_in_pod
from postflight.cluster.tunnels import tunnel
from postflight.deployment.pods import read_pod
from postflight.limits import Limit
from postflight.probes.http import Door, ask
from postflight.probes.probe import Safety
from postflight.probes.runner import once_more
from postflight.traces import Traces
from tests.lab.live.way import AT_ONCE
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port, head, refuse, talking
from tests.unit.test_runner import look, made
from tests.unit.test_streams import run, upgraded
from tests.unit.worlds import pod

Talk = Callable[[socket.socket], None]
OPENED = (6379).to_bytes(2, "little")
DONE = b'\x03{"status":"Success"}'
#: A frame that ends a WebSocket as it should be ended.
CLOSE = b"\x88\x00"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAUSE", 0.0)
    monkeypatch.setattr("postflight.cluster.tunnels.PAUSE", 0.0)


def forwarded(*words: bytes, closed: bool = False) -> Talk:
    """A port-forward whose pod says these words once it was spoken to; then the stream is closed, or is just gone."""

    def talk(connection: socket.socket) -> None:
        upgraded(b"\x00" + OPENED, b"\x01" + OPENED, protocol=b"v4.channel.k8s.io")(connection)
        connection.recv(1)
        for each in words:
            connection.sendall(bytes([0x82, len(each) + 1]) + b"\x00" + each)
        if closed:
            connection.sendall(CLOSE)

    return talk


def unanswered(connection: socket.socket) -> None:
    """The connection is cut before the stream is there."""
    head(connection)


@contextmanager
def in_turn(*talks: Talk) -> Iterator[tuple[int, list[Talk]]]:
    """A server whose connections are these, one after the other; yields its port and those that are left."""
    left, lock = list(talks), threading.Lock()

    def talk(connection: socket.socket) -> None:
        with lock:
            mine = left.pop(0)
        mine(connection)

    with talking(talk) as port:
        yield port, left


def spoken(port: int) -> bytes:
    """What a client of a tunnel hears until the end. Raises what the tunnel has to say of it."""
    with (
        tunnel(api_to(port), "matrix", "redis-0", 6379) as local,
        socket.create_connection(("127.0.0.1", local)) as own,
    ):
        own.settimeout(5)
        heard = b""
        with suppress(OSError):
            own.sendall(b"PING\r\n")
            while more := own.recv(64):
                heard += more
        if not heard.endswith(b"\n"):
            raise ValueError("half an answer")
        return heard


class TestATunnel:
    def test_that_is_cut_in_the_middle_says_so_in_its_clients_place(self) -> None:
        with in_turn(forwarded(b"+PO")) as (port, _), cuts.noted() as way, pytest.raises(Unreachable) as caught:
            spoken(port)
        assert str(caught.value) == f"{CUT}, in the middle of what redis-0 was asked on port 6379"
        assert way == Cuts(["port 6379 of redis-0"], {})

    def test_whose_pod_hangs_up_was_not_cut(self) -> None:
        with (
            in_turn(forwarded(b"+PO", closed=True)) as (port, _),
            cuts.noted() as way,
            pytest.raises(ValueError, match="half"),
        ):
            spoken(port)
        assert way == Cuts()

    def test_that_is_reset_after_its_end_was_not_cut(self) -> None:
        def talk(connection: socket.socket) -> None:
            # As the API server's: else what was said last might wait, and be lost with the reset.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            forwarded(b"+PO", closed=True)(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            connection.close()

        for _ in range(8):
            with in_turn(talk) as (port, _), cuts.noted() as way, pytest.raises(ValueError, match="half"):
                spoken(port)
            assert way == Cuts()

    def test_whose_client_hangs_up_was_not_cut(self) -> None:
        with (
            in_turn(forwarded(b"+PONG\n")) as (port, _),
            cuts.noted() as way,
            tunnel(api_to(port), "matrix", "redis-0", 6379) as local,
        ):
            socket.create_connection(("127.0.0.1", local)).close()
            time.sleep(0.3)
        assert way == Cuts()

    def test_whose_stream_does_not_open_is_opened_once_more(self) -> None:
        with in_turn(unanswered, forwarded(b"+PONG\n", closed=True)) as (port, left), cuts.noted() as way:
            assert spoken(port) == b"+PONG\n"
        assert (way, left) == (Cuts(), [])

    def test_to_an_api_server_that_is_away_was_cut(self) -> None:
        with cuts.noted() as way, pytest.raises(Unreachable):
            spoken(closed_port())
        assert way == Cuts(["port 6379 of redis-0"], {})


class TestACommand:
    def test_that_is_cut_is_run_once_more(self) -> None:
        with in_turn(upgraded(b"\x01hal"), upgraded(b"\x01whole\n", DONE)) as (port, _), cuts.noted() as way:
            answer = run(port)
        assert (answer.stdout, answer.code, answer.lost, way) == (b"whole\n", 0, False, Cuts())

    def test_whose_stream_does_not_open_is_run_once_more(self) -> None:
        with in_turn(unanswered, upgraded(b"\x01whole\n", DONE)) as (port, _), cuts.noted() as way:
            assert run(port).stdout == b"whole\n"
        assert way == Cuts()

    def test_that_is_cut_twice_says_so(self) -> None:
        with in_turn(upgraded(b"\x01hal"), upgraded(b"\x01half")) as (port, _), cuts.noted() as way:
            answer = run(port)
        assert (answer.stdout, answer.code, answer.complaint) == (b"half", None, CUT)
        assert way == Cuts(["a command in redis-0"], {})

    def test_that_may_not_be_run_again_is_not(self) -> None:
        with in_turn(upgraded(b"\x01hal"), upgraded()) as (port, left), cuts.noted() as way:
            answer = run_in_pod(api_to(port), "matrix", "redis-0", "redis", ("true",), limit=2, again=False)
        assert (answer.lost, len(left), way.met) == (True, 1, ["a command in redis-0"])
        with in_turn(unanswered, upgraded()) as (port, left), pytest.raises(Unreachable):
            ask_outpost(api_to(port), "matrix", "p", "c", "listen", {}, limit=2)
        assert len(left) == 1

    def test_that_ended_is_no_matter_how_the_stream_went(self) -> None:
        with in_turn(upgraded(b"\x01line\n", DONE)) as (port, _), cuts.noted() as way:
            assert run(port).code == 0
        assert way == Cuts()


class TestAPodThatNoWayLeadsTo:
    @pytest.mark.parametrize(
        ("status", "words", "no_way"),
        [
            (500, "error dialing backend: dial tcp 10.10.0.3:10250: connect: no route to host", True),
            (502, "error dialing backend: dial tcp 10.10.0.3:10250: i/o timeout", True),
            (404, 'pods "redis-0" not found', True),
            (500, "unable to upgrade connection: container redis is not running", False),
            (400, "container redis is not valid", False),
            (403, "pods is forbidden", False),
        ],
    )
    def test_is_told_from_one_that_is_asked_in_vain(self, status: int, words: str, no_way: bool) -> None:
        with answering(refuse(status, words)) as (port, _), cuts.noted() as way:
            for each in (run, spoken):
                with pytest.raises(Exception, match=words[-20:]) as caught:
                    each(port)
                assert isinstance(caught.value, NoWay) is no_way
        assert list(way.pods) == [("matrix", "redis-0")] * no_way
        assert way.met == []


class TestARequest:
    def test_that_is_cut_is_asked_once_more_then_told(self) -> None:
        with in_turn(unanswered, unanswered, unanswered) as (port, left), cuts.noted() as way:
            with pytest.raises(Unreachable):
                api_to(port).get("/api/v1/pods")
            with pytest.raises(Unreachable):
                api_to(port).request("POST", "/api/v1/pods", {})
        assert (left, way.met) == ([], ["GET /api/v1/pods", "POST /api/v1/pods"])

    def test_that_deletes_may_be_sent_twice(self) -> None:
        with in_turn(unanswered, unanswered) as (port, left), pytest.raises(Unreachable):
            api_to(port).request("DELETE", "/api/v1/pods/p")
        assert left == []

    def test_that_is_late_was_not_cut(self) -> None:
        with talking(lambda connection: time.sleep(2)) as port, cuts.noted() as way, pytest.raises(Late):
            api_to(port).request("POST", "/api/v1/pods", {}, limit=0.2)
        assert way == Cuts()


def test_a_removal_that_was_cut_is_tried_again() -> None:
    times: list[str] = []

    def remove() -> None:
        times.append("tried")
        if times.count("tried") == 1:
            cuts.note("port 8008 of main")
            raise OSError("gone")

    def broken() -> None:
        times.append("broken")
        raise OSError("it stays")

    traces = Traces("abc")
    traces.will_make("a room", remove)
    traces.will_make("a key", broken)
    assert traces.clean_up() == ["a key could not be removed: it stays"]
    assert times == ["broken", "tried", "tried"]


@pytest.mark.parametrize("answers", [(200,), (503, 500, 200), (403,)])
def test_an_api_server_that_was_away_is_waited_for(answers: tuple[int, ...]) -> None:
    left = list(answers)

    def answer(asked: Request) -> Reply:
        if len(left) > 1:
            return left.pop(0), {}
        return left[0], b"ok"

    with answering(answer) as (port, seen):
        api_to(port).wait_until_back(limit=5)
    assert len(seen) == len(answers)
    began = time.monotonic()
    api_to(closed_port()).wait_until_back(limit=0.4)
    assert time.monotonic() - began < 2


class TestAProbe:
    """That takes the end of the way for an answer, as by :func:`postflight.probes.http.ask`."""

    def asked(self, port: int) -> Callable[[], str]:
        access = Access(api_to(port), Way.TUNNEL)
        return lambda: ask(access, Door(read_pod(pod("web")), 8080), "GET", "/").problem

    def test_is_not_believed_and_looks_again(self) -> None:
        with in_turn(*[forwarded()] * 4) as (port, _):
            first = made("first", self.asked(port))
            outcome = look(first).outcomes["first"]
        assert outcome.value is None
        assert outcome.unseen == f"{CUT} in the middle of it: port 8080 of web"
        assert once_more([first], {"first": outcome}) == (first,)

    def test_that_makes_something_is_not_run_again(self) -> None:
        first = made("first", lambda: cuts.note("port 80 of web"))
        outcome = look(first).outcomes["first"]
        assert outcome.unseen.startswith(CUT)
        writer = type(first)("first", first.function, (), (), 5.0, Safety.CANARY, False, False)
        assert once_more([writer], {"first": outcome}) == ()

    def test_looks_again_as_long_as_at_first_and_so_does_what_waited_for_it(self) -> None:
        first = made("first", lambda: cuts.note("port 80 of web"), limit=30.0)
        writer = type(first)("writer", lambda first: 1, ("first",), (), 60.0, Safety.CANARY, False, False)
        taker = made("taker", lambda other: 1, "other", limit=30.0)
        other = made("other", lambda: silences.note("port 80 of web"), limit=30.0)
        again = once_more(probes := (first, writer, other, taker), look(*probes).outcomes)
        assert [each.limit for each in again] == [30.0, 60.0, Limit.AGAIN, Limit.AGAIN]

    def test_that_stumbles_over_it_did_not_crash(self) -> None:
        def stumbling() -> None:
            cuts.note("port 80 of web")
            raise KeyError("half")

        outcome = look(made("first", stumbling)).outcomes["first"]
        assert (outcome.crash, outcome.silent) == ("", True)
        assert outcome.unseen.startswith(CUT)

    def test_that_met_a_pod_without_a_way_is_believed_and_says_so(self) -> None:
        with answering(refuse(500, "error dialing backend: EOF")) as (port, _):
            outcome = look(made("first", self.asked(port))).outcomes["first"]
        assert "error dialing backend" in outcome.value
        assert list(outcome.no_way) == [("matrix", "web")]
