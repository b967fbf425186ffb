"""Redis asked over a real connection, and what belongs together by what it says."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.access import Access, Way
from postflight.deployment.parts import RedisGroup, RedisNode
from postflight.probes.redis import _ask_sentinel, _ask_server
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer, behind, joined
from postflight.secrets import Secret
from tests.unit.loopback import answering, api_to, closed_port, refuse, talking
from tests.unit.observations import ADDRESS, GROUP

INFO = b"role:master\r\nrun_id:r1\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n"
HERE = replace(GROUP.nodes[0], pod=replace(GROUP.nodes[0].pod, ip="127.0.0.1"), password=None)


def server(replies: dict[bytes, bytes]) -> Callable[[socket.socket], None]:
    """Answers each command by its first word; +OK to those it was not told of."""

    def talk(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        while head := lines.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int(lines.readline()[1:])
                words.append(lines.read(length + 2)[:-2])
            given = words[0].upper()
            connection.sendall(replies.get(given + b" " + words[-1], replies.get(given, b"+OK\r\n")))

    return talk


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


HEALTHY = {
    b"ROLE": b"*1\r\n" + bulk(b"master"),
    b"INFO": bulk(INFO),
    b"PUBSUB": b"*2\r\n" + bulk(b"a.test") + b":3\r\n",
}


@contextmanager
def speaking(replies: dict[bytes, bytes]) -> Iterator[tuple[Access, RedisNode]]:
    with talking(server(replies)) as port:
        yield Access(api_to(closed_port()), Way.DIRECT), replace(HERE, port=port)


def test_evictions_are_counted_anew_where_there_were_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postflight.probes.redis.APART", 0)
    first, later = bulk(INFO + b"evicted_keys:5\r\n"), bulk(b"evicted_keys:8\r\n")
    with speaking({**HEALTHY, b"INFO": first, b"INFO stats": later}) as (access, node):
        assert _ask_server(access, node, None, ()).evicting == 3
    with speaking({**HEALTHY, b"INFO": first}) as (access, node):
        assert _ask_server(access, node, None, ()).evicting == 0


def test_a_server_is_asked_by_info_alone() -> None:
    refused = {b"CONFIG": b"-ERR unknown command 'CONFIG'\r\n"}
    with speaking({**HEALTHY, **refused}) as (access, node):
        found = _ask_server(access, node, None, ("a.test",))
    assert (found.role, found.problem, found.subscribers) == ("master", "", {"a.test": 3})
    assert (found.info["maxmemory"], found.info["maxmemory_policy"]) == (100, "allkeys-lru")


@pytest.mark.parametrize(
    ("words", "unseen"),
    [
        (b"-NOAUTH Authentication required.", True),
        (b"-NOPERM this user has no permissions to run the 'role' command", True),
        (b"-ERR unknown command 'ROLE'", False),
    ],
)
def test_a_command_that_may_not_be_given_is_no_finding(words: bytes, unseen: bool) -> None:
    with speaking({**HEALTHY, b"ROLE": words + b"\r\n"}) as (access, node):
        found = _ask_server(access, node, None, ())
    assert (found.refused, found.unseen) == (True, unseen)


def test_a_tunnel_that_is_refused_is_no_finding() -> None:
    words = 'pods "redis-0" is forbidden: User "v" cannot get resource "pods/portforward"'
    with answering(refuse(403, words)) as (port, _):
        found = _ask_server(Access(api_to(port), Way.TUNNEL), HERE, None, ())
    assert (found.problem, found.unseen) == (f"no right: {words}", True)


def test_silence_of_a_ready_pod_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postflight.limits.Limit.REDIS_COMMAND", 0.2)
    with talking(silent) as port:
        access, node = Access(api_to(closed_port()), Way.DIRECT), replace(HERE, port=port)
        found = _ask_server(access, node, None, ())
        down = _ask_server(access, replace(node, pod=replace(node.pod, ready=False)), None, ())
    assert (found.unseen, down.unseen) == (True, False)


def silent(connection: socket.socket) -> None:
    while connection.recv(9999):
        pass


def test_a_port_that_nobody_listens_on_is_a_finding() -> None:
    found = _ask_server(Access(api_to(closed_port()), Way.DIRECT), replace(HERE, port=closed_port()), None, ())
    assert (bool(found.problem), found.refused, found.unseen) == (True, False, False)


class TestASentinel:
    state = b"*6\r\n" + b"".join(map(bulk, (b"name", b"m", b"flags", b"master", b"runid", b"r1")))
    wants = b"-NOAUTH Authentication required.\r\n"

    def ask(self, replies: dict[bytes, bytes], master: str, spare: str = "") -> tuple[SentinelAnswer, ...]:
        with speaking(replies) as (access, node):
            return _ask_sentinel(access, node, master, Secret(spare) if spare else None)

    def test_is_asked_for_its_master(self) -> None:
        (found,) = self.ask({b"SENTINEL": self.state}, "m")
        assert found.state["runid"] == "r1"

    def test_of_its_own_is_asked_for_all_that_it_watches(self) -> None:
        (found,) = self.ask({b"SENTINEL": b"*1\r\n" + self.state}, "")
        assert found.state["runid"] == "r1"

    def test_that_wants_a_password_is_given_that_of_its_redis(self) -> None:
        asked: list[bytes] = []

        def talk(connection: socket.socket) -> None:
            first = not asked
            asked.append(b"")
            server({b"SENTINEL": self.wants if first else self.state})(connection)

        with talking(talk) as port:
            access, node = Access(api_to(closed_port()), Way.DIRECT), replace(HERE, port=port)
            (found,) = _ask_sentinel(access, node, "m", Secret("hunter2"))
        assert (found.state.get("runid"), found.problem) == ("r1", "")

    @pytest.mark.parametrize("spare", ["", "hunter2"])
    def test_that_takes_none_that_is_known_is_no_finding(self, spare: str) -> None:
        replies = {b"SENTINEL": self.wants, b"AUTH": b"-WRONGPASS invalid username-password pair\r\n"}
        (found,) = self.ask(replies, "m", spare)
        assert (found.refused, found.unseen) == (True, True)


def group(name: str, nodes: int = 1, **others: Any) -> RedisGroup:
    return replace(GROUP, id=f"redis/matrix/{name}", name=name, expected=nodes, nodes=GROUP.nodes[:nodes], **others)


def says(place: int, role: str, **info: object) -> RedisAnswer:
    return RedisAnswer(GROUP.nodes[place], role, info)


class TestWhatBelongsTogether:
    @pytest.mark.parametrize(
        "info",
        [{"master_replid": "a"}, {"master_host": GROUP.nodes[0].pod.ip}, {"master_host": "redis-0.redis-headless"}],
    )
    def test_replicas_of_another_workload_join_their_master(self, info: dict[str, object]) -> None:
        master = RedisObservation(group("m"), (says(0, "master", master_replid="a"),), ())
        replicas = RedisObservation(group("r", 2), (says(1, "slave", **info), says(2, "slave", **info)), ())
        (found,) = joined({"m": master, "r": replicas}).values()
        assert (found.group.name, found.group.expected, len(found.answers)) == ("m", 3, 3)
        assert [each.role for each in found.masters] == ["master"]

    def test_two_masters_stay_two(self) -> None:
        both = {name: RedisObservation(group(name), (says(0, "master", master_replid=name),), ()) for name in "ab"}
        assert joined(both) == both

    def test_sentinels_join_the_master_that_they_watch_and_what_is_left_stays(self) -> None:
        found = {name: RedisObservation(group(name), (says(0, "master", run_id=name),), ()) for name in "ab"}
        apart = replace(group("w", 0), master_name="", expected_sentinels=3)
        views = tuple(SentinelAnswer(GROUP.sentinels[0], {"runid": run}) for run in ("a", "b", "b", "?"))
        seen = joined({**found, "w": RedisObservation(apart, (), views)})
        assert {key: len(each.sentinels) for key, each in seen.items()} == {"a": 1, "b": 2, "w": 1}
        assert seen["a"].group.expected_sentinels == 3
        assert joined({**found, "w": RedisObservation(apart, (), views[:2])}).keys() == {"a", "b"}

    def test_an_address_leads_to_who_is_met_there(self) -> None:
        found = {name: RedisObservation(group(name, 0), (says(0, "master", run_id=name),), ()) for name in "ab"}
        proxy = replace(ADDRESS, group="")
        assert behind(proxy, ["b"], found) is found["b"]
        assert behind(proxy, ["?"], found) is None
