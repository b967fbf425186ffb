"""What was stated of a part that was being replaced, or that no way led to, is unknown; everything else stands."""

from __future__ import annotations

from typing import Any

import pytest

from postflight.cluster.replaced import replaced
from postflight.traces import MANAGED_BY, NAME
from postflight.verdict.doubts import Doubts, doubted
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.record import Statement
from postflight.verdict.status import Nature, Status
from tests.unit.loopback import RecordedApi, answering, api_to
from tests.unit.test_blame import said
from tests.unit.worlds import pod, snapshot

#: As the model has it: a workload leans on its pods, a worker's pod on main's, that on the database.
DEPENDS = {
    "deployment/matrix/worker": ("pod/matrix/worker-1",),
    "pod/matrix/worker-1": ("pod/matrix/main-0",),
    "pod/matrix/main-0": ("cluster/matrix/pg",),
    "cluster/matrix/pg": ("pod/matrix/pg-1",),
}
WHY = "worker-1 was replaced during the run"
REPLACED = Doubts(replaced={"pod/matrix/worker-1": WHY})
NO_WAY = Doubts(no_way={"pod/matrix/pg-1": "no way to pg-1"})


def stated(check: str, subject: str, nature: Nature = Nature.UNAVAILABLE, **details: Any) -> Statement:
    judge = Judge()
    (judge.wrong if nature is Nature.WRONG else judge.unavailable)(subject, "it is so", **details)
    return said(check, judge)


def after(statement: Statement, doubts: Doubts, looked: bool = True) -> Failure:
    (found,) = doubted([statement], doubts, DEPENDS, {statement.check.id} if looked else set())
    (failure,) = found.failures
    return failure


@pytest.mark.parametrize("nature", [Nature.WRONG, Nature.UNAVAILABLE])
@pytest.mark.parametrize("subject", ["pod/matrix/worker-1", "deployment/matrix/worker"])
def test_what_is_said_of_a_replaced_pod_is_unknown(subject: str, nature: Nature) -> None:
    failure = after(stated("workers.signing_key", subject, nature, cause="the wrong key", stops=(subject,)), REPLACED)
    assert (failure.status, failure.headline, failure.stops) == (Status.UNKNOWN, WHY, ())
    assert failure.evidence == ("as it was seen: it is so",)
    assert failure.cause == ""


@pytest.mark.parametrize(
    ("check", "subject", "status"),
    [
        ("database.login", "pod/matrix/main-0", Status.FAILED),
        ("redis.memory", "cluster/matrix/pg", Status.FAILED),
        ("clients.journey", "pod/matrix/main-0", Status.UNKNOWN),
        ("routing.backends", "cluster/matrix/pg", Status.UNKNOWN),
        ("redis.memory", "nobody/knows", Status.UNKNOWN),
        # It counts the processes that are subscribed.
        ("redis.endpoint", "cluster/matrix/pg", Status.UNKNOWN),
    ],
)
def test_of_others_it_stands_where_it_could_not_have_come_of_that(check: str, subject: str, status: Status) -> None:
    assert after(stated(check, subject, Nature.WRONG), REPLACED).status is status


def test_silence_is_not_believed_where_no_way_leads_and_a_wrong_answer_is() -> None:
    for subject in ("pod/matrix/pg-1", "pod/matrix/main-0"):
        assert after(stated("redis.memory", subject), NO_WAY).headline == "no way to pg-1"
        assert after(stated("redis.memory", subject, Nature.WRONG), NO_WAY).status is Status.FAILED
    assert after(stated("redis.memory", "redis/other"), NO_WAY).status is Status.FAILED


def test_what_it_leans_on_by_its_own_word_counts() -> None:
    assert after(stated("redis.memory", "redis/other", needs=("pod/matrix/pg-1",)), NO_WAY).status is Status.UNKNOWN


def test_what_kubernetes_says_stands() -> None:
    assert after(stated("platform.workloads", "pod/matrix/worker-1"), REPLACED, looked=False).status is Status.FAILED


def test_what_did_not_fail_is_left_alone() -> None:
    judge = Judge()
    judge.warn("pod/matrix/worker-1", "it is so")
    judge.unknown("pod/matrix/worker-1", "who knows")
    statement = said("redis.memory", judge, seen=("one",))
    assert doubted([statement], REPLACED, DEPENDS, {"redis.memory"}) == [statement]
    assert doubted([statement], Doubts(), DEPENDS, {"redis.memory"}) == [statement]


def _pod(name: str, uid: str = "1", ready: bool = True, going: bool = False) -> dict[str, Any]:
    raw = pod(name)
    meta = {**raw["metadata"], "uid": uid, **({"deletionTimestamp": "2026-11-29T10:00:00Z"} if going else {})}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {**raw, "metadata": meta, "status": {**raw.get("status", {}), "conditions": conditions}}


def test_pods_that_were_ready_and_are_not_the_same_were_replaced() -> None:
    pod_of_a_run = _pod("postflight-1")
    pod_of_a_run["metadata"]["labels"] = {MANAGED_BY: NAME}
    before = snapshot(
        *(_pod(name) for name in ("same", "other", "gone", "going")),
        _pod("crashing", ready=False),
        _pod("ended", going=True),
        pod_of_a_run,
    )
    now = snapshot(_pod("same"), _pod("other", uid="2"), _pod("going", going=True), _pod("new"))
    with answering(RecordedApi(now, before.namespaces)) as (port, _):
        found = replaced(api_to(port), before)
    assert sorted(name for _, name in found) == ["going", "gone", "other"]
    assert found[("matrix", "gone")] == "gone was replaced during the run"
