"""What a group of Redis lacks to be whole, and who its Sentinels chose."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from postflight.probes import redis_failover
from postflight.probes.disruption import After, NotDone
from postflight.probes.redis_failover import _pause, chosen, short
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer
from tests.unit.observations import GROUP
from tests.unit.test_redis_probe import HERE, server, speaking

MASTER = {"run_id": "r0", "master_replid": "x"}
FOLLOWING = {"run_id": "r1", "master_replid": "x", "master_link_status": "up", "master_host": "10.0.0.1"}


def group(*others: dict[str, Any], master: int = 0, watches: str = "r0", slaves: int = 2) -> RedisObservation:
    """Three nodes, of which two follow the master, and their Sentinels."""
    answers = [RedisAnswer(each, "slave", FOLLOWING) for each in GROUP.nodes]
    answers[master] = RedisAnswer(GROUP.nodes[master], "master", MASTER)
    for place, changed in zip((1, 2), others, strict=False):
        answers[place] = replace(answers[place], info=FOLLOWING | changed)
    state = {"runid": watches, "ip": "10.0.0.9", "num-slaves": slaves, "down-after-milliseconds": 3000}
    return RedisObservation(GROUP, tuple(answers), tuple(SentinelAnswer(each, state) for each in GROUP.sentinels))


NAMES = [each.pod.name for each in GROUP.nodes]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (group(), ""),
        # One that was there under another address is remembered for ever.
        (group(slaves=3), ""),
        (None, "Redis could not be asked"),
        (group({"master_link_status": "down"}), f"{NAMES[1]} follows 10.0.0.1, and its link is down"),
        (group({}, {"master_replid": "y"}), f"{NAMES[2]} follows another master"),
        (group(watches="r7"), f"the Sentinel in {NAMES[0]} watches 10.0.0.9, not {NAMES[0]}"),
        (group(slaves=1), f"the Sentinel in {NAMES[0]} knows 1 replicas"),
    ],
)
def test_what_it_lacks_is_named(seen: RedisObservation | None, words: str) -> None:
    assert short(seen) == words


def test_two_masters_and_none_are_not_whole() -> None:
    seen = group()
    for role, count in (("master", 3), ("slave", 0)):
        answers = tuple(replace(each, role=role) for each in seen.answers)
        assert short(replace(seen, answers=answers)) == f"Redis {GROUP.name} has {count} masters"


def test_one_that_is_silent_is_named() -> None:
    seen = group()
    silent = replace(seen.answers[2], problem="no answer")
    assert short(replace(seen, answers=(*seen.answers[:2], silent))) == f"{NAMES[2]} does not answer"


def test_another_master_is_what_was_to_be_seen() -> None:
    before = GROUP.nodes[0].pod
    assert chosen(group(master=1), before, 18) == After((f"{NAMES[1]} is master in the place of {NAMES[0]}",))


def test_the_same_master_was_chosen_by_nobody() -> None:
    found = chosen(group(), GROUP.nodes[0].pod, 18)
    assert found.wrong == (f"the Sentinels chose no other master while {NAMES[0]} answered nobody for 18 s",)
    assert chosen(None, GROUP.nodes[0].pod, 18).wrong


class TestPause:
    def paused(self, replies: dict[bytes, bytes]) -> str:
        with speaking(replies) as (access, node):
            stage: Any = SimpleNamespace(access=access, deployment=SimpleNamespace(redis_endpoints=()))
            return _pause(stage, GROUP, RedisAnswer(node, "master"), 0.01)

    def test_holds_back_everybody_for_so_long(self) -> None:
        assert self.paused({}) == f"{HERE.pod.name}, the master, answered nobody for 0.01 s"

    def test_that_is_refused_is_not_done(self) -> None:
        with pytest.raises(NotDone, match="could not be paused: this user has no permissions"):
            self.paused({b"CLIENT ALL": b"-NOPERM this user has no permissions\r\n"})


def test_there_is_something_to_pause_longer_than_sentinels_need() -> None:
    """They ask the replicas every 10 s (sentinel.c, info period), and choose only one of which they have heard."""
    assert redis_failover.BEYOND > 10
    assert server
