"""A real homeserver on the internet: what the canary says of federation is what another Synapse sees of it."""

import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from lab import elsewhere
from lab.cluster import Cluster
from tests.lab.live.bench import Bench
from tests.lab.live.client import Client
from tests.lab.live.plain import must_be_plain
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

#: As many as a user may send at once here.
MESSAGES = 8
RECEIVED = re.compile(r"Received txn \S+ from matrix\.lab\.test\. \(PDUs: (\d+), EDUs: \d+\)")


@pytest.fixture(scope="module")
def second(bench: Bench) -> Iterator[Cluster]:
    """The healthy lab, with a second homeserver out there."""
    cluster = bench.healthy()
    with elsewhere.there(cluster):
        yield cluster


def test_another_homeserver_gets_everything_once_and_the_verdict_says_so(second: Cluster, verify: Verify) -> None:
    stamp = f"{time.time():.0f}"
    with (
        Client(second, "matrix", "synapse-main-0", f"here-{stamp}") as here,
        Client(second, elsewhere.NAMESPACE, "deploy/homeserver", "there") as there,
    ):
        room = here.ask("POST", "createRoom", {"preset": "private_chat", "invite": [there.user]})["room_id"]
        there.ask("POST", f"join/{quote(room)}", {})
        sent = [f"{stamp} {number}" for number in range(MESSAGES)]
        for text in sent:
            here.send(room, text)
        _wait(lambda: there.read(room) == sent, "not all messages have come")
        there.send(room, "thanks")
        _wait(lambda: here.read(room) == [*sent, "thanks"], "the answer has not come")
        # While both are members, main has somebody else to send to, and the canary is told apart from it.
        verify(second.kubeconfig, "--namespace", "matrix").must_be_green()
        log = second.kubectl("logs", "-n", elsewhere.NAMESPACE, "deploy/homeserver")
        for each in (there, here):
            each.ask("POST", f"rooms/{quote(room)}/leave", {})
    # Events sent twice would be dropped there unseen: it is what came in that counts.
    assert sum(map(int, RECEIVED.findall(log))) == MESSAGES, log


def test_two_deployments_in_one_cluster_are_never_taken_for_one(second: Cluster, verify: Verify) -> None:
    seen = verify(second.kubeconfig)
    assert seen.code != 0
    assert "matrix.lab.test in namespace matrix; say which one with --namespace" in seen.output
    must_be_plain(seen)


def _wait(there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
