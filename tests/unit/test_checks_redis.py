"""The checks of Redis, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.probes.inside import InsideView
from postflight.probes.redis import BackendRole, WriteProof
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.observations import ADDRESS, GROUP, MODEL, NOT_ALLOWED, READ_ONLY, ask, not_ready, only
from tests.unit.processes import inside
from tests.unit.recorded import Json, items
from tests.unit.stores import MIB, backends, nodes


def redis_says(*answers: RedisAnswer | None, sentinels: tuple[SentinelAnswer, ...] | None = None) -> Any:
    """The group with the answers given in place of its own, in order."""
    seen = nodes(MODEL)[GROUP.id]
    own = list(seen.answers)
    for place, each in enumerate(answers):
        own[place] = each or own[place]
    watching = seen.sentinels if sentinels is None else sentinels
    return {GROUP.id: replace(seen, answers=tuple(own), sentinels=watching)}


def answer(place: int, role: str = "", **info: Any) -> RedisAnswer:
    own = nodes(MODEL)[GROUP.id].answers[place]
    return replace(own, role=role or own.role, info={**own.info, **{k.replace("__", "-"): v for k, v in info.items()}})


def silent(place: int, problem: str, *, refused: bool = False) -> RedisAnswer:
    return RedisAnswer(GROUP.nodes[place], problem=problem, refused=refused)


#: One server where there were three, and nobody who watches it.
ALONE = {
    GROUP.id: RedisObservation(
        replace(GROUP, expected=1, nodes=GROUP.nodes[:1], expected_sentinels=0, sentinels=()),
        nodes(MODEL)[GROUP.id].answers[:1],
        (),
    )
}


class TestRedisReplication:
    def test_two_masters(self) -> None:
        found = only(ask("redis.replication", redis_nodes=redis_says(None, answer(1, "master"), answer(2, "master"))))
        assert found.headline.startswith("Redis redis has 3 masters, not one: redis-0, redis-1, redis-2")
        assert found.cause.startswith("no replicaof in the configuration")

    def test_no_master(self) -> None:
        pen = ask("redis.replication", redis_nodes=redis_says(answer(0, "slave")))
        assert pen.failures[0].headline == "Redis redis has no master: redis-0 slave, redis-1 slave, redis-2 slave"

    @pytest.mark.parametrize(
        ("info", "why"),
        [
            ({"master_link_status": "down"}, "its link is down"),
            ({"master_replid": "b"}, "it replicates from another master"),
        ],
    )
    def test_a_replica_that_is_not_linked(self, info: Json, why: str) -> None:
        found = only(ask("redis.replication", redis_nodes=redis_says(None, answer(1, **info))))
        assert found.headline == f"redis-1 is not linked to the Redis master redis-0: {why}"

    def test_a_replica_that_the_master_does_not_count(self) -> None:
        found = only(
            ask("redis.replication", redis_nodes=redis_says(answer(0, slave0={"ip": "?", "state": "wait_bgsave"})))
        )
        assert found.headline.endswith("the master does not count it online")

    def test_a_node_that_does_not_answer_is_silence_and_one_that_refuses_is_wrong(self) -> None:
        pen = ask("redis.replication", redis_nodes=redis_says(None, silent(1, "timed out")))
        assert (pen.failures[0].nature, pen.failures[0].headline) == (
            Nature.UNAVAILABLE,
            "redis-1 does not answer as Redis: timed out",
        )
        pen = ask("redis.replication", redis_nodes=redis_says(None, silent(1, "WRONGPASS", refused=True)))
        assert pen.failures[0].nature is Nature.WRONG

    def test_a_sentinel_that_watches_elsewhere(self) -> None:
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        strange = replace(first, state={**first.state, "ip": "10.9.9.9", "runid": "another"})
        found = only(ask("redis.replication", redis_nodes=redis_says(sentinels=(strange, *others))))
        assert found.headline == (
            "the Sentinel in redis-0 watches 10.9.9.9 (no Redis of this group), the master is redis-0"
        )

    def test_a_sentinel_that_watches_its_own_loopback(self) -> None:
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        own = replace(first, state={**first.state, "ip": "127.0.0.1"})
        found = only(ask("redis.replication", redis_nodes=redis_says(sentinels=(own, *others))))
        assert found.headline.startswith("the Sentinel in redis-0 watches 127.0.0.1 ")

    def test_addresses_may_be_announced_otherwise(self) -> None:
        names: Json = {
            f"slave{n}": {"ip": f"redis-{n + 1}.redis-headless.matrix.svc.cluster.local", "state": "online"}
            for n in range(2)
        }
        service = tuple(replace(e, state={**e.state, "ip": "10.96.77.1"}) for e in nodes(MODEL)[GROUP.id].sentinels)
        seen = redis_says(answer(0, **names), sentinels=service)
        assert ask("redis.replication", redis_nodes=seen).failures == []
        other_family = redis_says(answer(0, slave0={"ip": "fd00::1", "state": "online"}))
        assert ask("redis.replication", redis_nodes=other_family).failures == []

    def test_where_fewer_are_online_than_say_so_the_unmatched_are_named(self) -> None:
        named: Json = {
            "slave0": {"ip": "some-name", "state": "online"},
            "slave1": {"ip": "other", "state": "send_bulk"},
        }
        pen = ask("redis.replication", redis_nodes=redis_says(answer(0, **named)))
        assert [each.subject for each in pen.failures] == [GROUP.nodes[1].id, GROUP.nodes[2].id]

    def test_what_could_not_be_seen_is_unknown(self) -> None:
        hidden = RedisAnswer(GROUP.nodes[1], problem="no right: pods/portforward", unseen=True)
        for id in ("redis.replication", "redis.memory"):
            found = only(ask(id, redis_nodes=redis_says(None, hidden)), Status.UNKNOWN)
            assert "no right: pods/portforward" in found.headline
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        blind = (replace(first, state={}, problem="Authentication required.", refused=True, unseen=True), *others)
        assert only(ask("redis.replication", redis_nodes=redis_says(sentinels=blind)), Status.UNKNOWN)

    def test_sentinels_that_watch_no_redis_of_these_are_unknown(self) -> None:
        (seen,) = nodes(MODEL).values()
        apart = replace(GROUP, id="redis/matrix/watch", name="watch", nodes=(), master_name="")
        strays = RedisObservation(apart, (), seen.sentinels[:1])
        pen = ask("redis.replication", redis_nodes={GROUP.id: seen, apart.id: strays})
        found = only(pen, Status.UNKNOWN)
        assert found.headline.startswith("which Redis the Sentinels of watch watch is not known: they name ")
        assert ask("redis.memory", redis_nodes={GROUP.id: seen, apart.id: strays}).failures == []

    @pytest.mark.parametrize(
        ("key", "said"),
        [("num-slaves", "num-slaves 0, not 2"), ("num-other-sentinels", "num-other-sentinels 0, not 2")],
    )
    def test_a_sentinel_that_does_not_know_its_group(self, key: str, said: str) -> None:
        first, *others = nodes(MODEL)[GROUP.id].sentinels
        strange = replace(first, state={**first.state, key: 0})
        found = only(ask("redis.replication", redis_nodes=redis_says(sentinels=(strange, *others))))
        assert found.headline == f"the Sentinel in redis-0 does not know its group: {said}"

    def test_a_write_that_is_refused_or_does_not_arrive(self) -> None:
        proof = WriteProof(GROUP.nodes[0], 0, "READONLY")
        found = only(ask("redis.replication", redis_write={GROUP.id: proof}))
        assert found.headline == "the Redis master redis-0 takes no write: READONLY"
        found = only(ask("redis.replication", redis_write={GROUP.id: WriteProof(GROUP.nodes[0], 1)}))
        assert found.headline == "a write to the Redis master redis-0 reached 1 of 2 replicas within a second"

    def test_a_write_that_was_not_tried_is_warned_of(self) -> None:
        found = only(ask("redis.replication", redis_write=READ_ONLY), Status.WARNED)
        assert found.headline == "whether a write reaches the replicas was not seen: needs --safety canary"

    def test_a_node_and_a_sentinel_that_do_not_exist_are_missed(self) -> None:
        def without_the_last(raw: Json) -> None:
            pods = items(raw, "Pod")
            pods[:] = [each for each in pods if each["metadata"]["name"] != "redis-2"]

        lab = recorded.changed(without_the_last)
        (seen,) = nodes(lab.deployment()).values()
        remember = tuple(
            replace(each, state={**each.state, "num-slaves": 2, "num-other-sentinels": 2}) for each in seen.sentinels
        )
        pen = ask("redis.replication", lab, redis_nodes={GROUP.id: replace(seen, sentinels=remember)})
        assert [(each.nature, each.headline) for each in pen.failures] == [
            (Nature.UNAVAILABLE, "Redis redis has 2 of 3 nodes: the others' pods do not exist"),
        ]
        (why,) = (
            each for each in ask("platform.workloads", lab).failures if each.subject == "statefulset/matrix/redis"
        )
        assert set(why.stops) & set(pen.failures[0].needs), "one cause, said once"

    def test_a_group_without_pods(self) -> None:
        empty = replace(GROUP, nodes=())
        seen = {GROUP.id: RedisObservation(empty, (), ())}
        assert only(ask("redis.replication", redis_nodes=seen)).headline == "Redis redis has no pod of 3"

    def test_redis_that_is_named_and_not_there(self) -> None:
        pen = ask("redis.replication", deployment=replace(MODEL, redis=()), redis_nodes={})
        assert only(pen).headline == f"Synapse names Redis at {ADDRESS.endpoint.host}, and no Redis runs here"

    def test_one_plain_redis_is_no_part_of_it(self) -> None:
        pen = ask("redis.replication", redis_nodes=ALONE)
        assert (pen.failures, pen.absence) == ([], "Redis redis is one server, without replicas and Sentinels")
        proof = WriteProof(GROUP.nodes[0], 0, "MISCONF")
        found = only(ask("redis.replication", redis_nodes=ALONE, redis_write={GROUP.id: proof}))
        assert found.headline == "the Redis master redis-0 takes no write: MISCONF"
        assert ask(
            "redis.replication", redis_nodes=ALONE, redis_write={GROUP.id: WriteProof(GROUP.nodes[0], 0)}
        ).absence

    @pytest.mark.parametrize(
        "change", [{"expected": 3}, {"expected_sentinels": 3}, {"role": "slave"}, {"problem": "timed out"}]
    )
    def test_one_that_should_be_more_or_does_not_answer_as_one_is_looked_at(self, change: Json) -> None:
        (seen,) = ALONE.values()
        ours = {key: change[key] for key in change if key.startswith("expected")}
        says = {key: change[key] for key in change if key not in ours}
        silent_one = {"role": ""} if "problem" in says else {}
        answers = tuple(replace(each, **says, **silent_one) for each in seen.answers)
        there = replace(seen, group=replace(seen.group, **ours), answers=answers)
        pen = ask("redis.replication", redis_nodes={GROUP.id: there})
        assert pen.failures
        assert not pen.absence


class TestRedisMemory:
    def test_keys_that_are_evicted(self) -> None:
        full = answer(0, evicted_keys=7, used_memory=80 * MIB)
        found = only(ask("redis.memory", redis_nodes=redis_says(full)))
        assert found.headline == "redis-0 has evicted 7 keys: maxmemory 96 MiB is below its working set"

    @pytest.mark.parametrize(
        "info", [{}, {"maxmemory_policy": "noeviction", "used_memory": 80 * MIB}, {"maxmemory": 0}]
    )
    def test_keys_that_were_evicted_once(self, info: Json) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, evicted_keys=7, **info))), Status.WARNED)
        assert found.headline.startswith("redis-0 has evicted 7 keys since it started, and none now: ")
        assert "CONFIG RESETSTAT" in found.remedy

    def test_evictions_that_go_on(self) -> None:
        going = replace(answer(0, evicted_keys=7), evicting=2)
        assert only(ask("redis.memory", redis_nodes=redis_says(going)), Status.FAILED)

    def test_memory_that_is_nearly_full(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, used_memory=95 * MIB))))
        assert found.headline == "redis-0 uses 99% of its maxmemory: allkeys-lru begins next"

    def test_a_ceiling_above_the_containers_limit(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, maxmemory=1536 * MIB))))
        assert found.headline == "redis-0 may grow to maxmemory 1536 MiB, its container is killed at 128 MiB"

    def test_no_ceiling_and_little_left_of_the_limit(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(answer(0, maxmemory=0, used_memory=120 * MIB))))
        assert found.headline == "redis-0 has no maxmemory and uses 94% of its container's limit"

    def test_a_node_that_could_not_be_asked(self) -> None:
        found = only(ask("redis.memory", redis_nodes=redis_says(silent(0, "timed out"))))
        assert found.nature is Nature.UNAVAILABLE


class TestRedisEndpoint:
    def through(self, *roles: BackendRole) -> Judge:
        return ask("redis.endpoint", redis_backends={ADDRESS.id: roles})

    def test_an_address_that_leads_to_replicas_too(self) -> None:
        found = only(
            self.through(BackendRole("redis-0", ("master",), ("a",)), BackendRole("redis-1", ("slave",), ("b",)))
        )
        assert found.headline == "the Redis address of Synapse (redis:6379) leads to replicas too: redis-1"

    def test_an_address_that_leads_to_two_masters(self) -> None:
        found = only(self.through(BackendRole("a", ("master",), ("1",)), BackendRole("b", ("master",), ("2",))))
        assert found.headline == "the Redis address of Synapse (redis:6379) leads to more than one master"

    def test_a_backend_that_does_not_answer(self) -> None:
        found = only(self.through(BackendRole("a", ("master",), ("1",)), BackendRole("b", (), (), "refused")))
        assert found.nature is Nature.UNAVAILABLE
        assert found.headline.endswith("has a backend that does not answer, b: refused")
        assert found.stops == ()

    def test_where_no_backend_answers_nobody_has_redis(self) -> None:
        pen = self.through(BackendRole("a", (), (), "refused"), BackendRole("b", (), (), "timed out", unseen=True))
        assert [each.stops for each in pen.failures] == [(pen.failures[0].subject,), ()]

    def test_a_backend_that_could_not_be_seen_is_unknown(self) -> None:
        pen = self.through(BackendRole("redis-0", (), (), "no right: pods/portforward", unseen=True))
        assert only(pen, Status.UNKNOWN).headline.endswith("redis-0: no right: pods/portforward")

    def test_a_proxy_leads_to_the_redis_that_is_met_through_it(self) -> None:
        model = replace(MODEL, redis_endpoints=(replace(ADDRESS, group=""),))
        few = redis_says(replace(answer(0), subscribers={"matrix.lab.test": 14}))
        met = {ADDRESS.id: (BackendRole("haproxy-0", ("master",), (GROUP.nodes[0].id,)),)}
        pen = ask("redis.endpoint", deployment=model, redis_nodes=few, redis_backends=met)
        assert only(pen).headline.startswith("14 of 15 Synapse processes are subscribed")
        pen = ask("redis.endpoint", deployment=model, redis_nodes=few)
        assert only(pen, Status.UNKNOWN).headline.startswith("which Redis is behind redis")
        assert ask("redis.memory", deployment=model).failures == []

    def test_over_tls_a_process_is_only_seen_to_connect(self) -> None:
        assert ask("redis.endpoint", inside_connections=inside(MODEL, role="connected")).failures == []

    def test_an_address_that_leads_nowhere(self) -> None:
        found = only(self.through())
        assert found.headline == "the Redis address of Synapse leads nowhere: no backend"
        assert found.stops == (ADDRESS.id,)

    def test_an_address_that_is_fixed_to_one_pod(self) -> None:
        pod = GROUP.nodes[0].pod
        fixed = replace(ADDRESS.endpoint, host="redis-0.redis-headless", pods=((pod, 6379),), single_pod=True)
        model = replace(MODEL, redis_endpoints=(replace(ADDRESS, endpoint=fixed),))
        pen = ask("redis.endpoint", deployment=model, redis_backends=backends(model), inside_connections=inside(model))
        assert only(pen).headline == "the Redis address of Synapse is fixed to redis-0 and does not follow a failover"

    @pytest.mark.parametrize(
        ("how", "observed"),
        [
            ({"pinned": "apps.kubernetes.io/pod-index: 0"}, "Service redis selects apps.kubernetes.io/pod-index: 0"),
            ({"sole": "StatefulSet master"}, "Service redis selects the one pod of StatefulSet master"),
        ],
    )
    def test_a_service_that_can_only_ever_select_one_node(self, how: Json, observed: str) -> None:
        fixed = replace(ADDRESS.endpoint, service="redis", pods=((GROUP.nodes[0].pod, 6379),), **how)
        model = replace(MODEL, redis_endpoints=(replace(ADDRESS, endpoint=fixed),))
        seen: Json = {"redis_backends": backends(model), "inside_connections": inside(model)}
        found = only(ask("redis.endpoint", deployment=model, **seen))
        assert found.headline == "the Redis address of Synapse is fixed to redis-0 and does not follow a failover"
        assert found.observed == observed

    def test_where_no_sentinel_is_nobody_fails_over(self) -> None:
        fixed = replace(ADDRESS.endpoint, pods=((GROUP.nodes[0].pod, 6379),), sole="StatefulSet master")
        model = replace(MODEL, redis_endpoints=(replace(ADDRESS, endpoint=fixed),))
        seen: Json = {"redis_backends": backends(model), "inside_connections": inside(model)}
        says = {key: replace(each, sentinels=()) for key, each in redis_says().items()}
        assert ask("redis.endpoint", deployment=model, redis_nodes=says, **seen).failures == []

    def test_processes_that_are_not_subscribed(self) -> None:
        few = replace(answer(0), subscribers={"matrix.lab.test": 14})
        found = only(ask("redis.endpoint", redis_nodes=redis_says(few)))
        assert found.headline == "14 of 15 Synapse processes are subscribed on the Redis master redis-0"

    def test_processes_that_are_subscribed_on_a_replica(self) -> None:
        stray = replace(answer(1), subscribers={"matrix.lab.test": 2})
        found = only(ask("redis.endpoint", redis_nodes=redis_says(None, stray)))
        assert found.headline == "2 Synapse processes are subscribed on redis-1, a replica"

    def test_a_process_that_is_down_is_silence(self) -> None:
        lab = recorded.changed(lambda raw: not_ready(raw, "synapse-typing-writer-0"))
        found = only(ask("redis.endpoint", lab))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, "pod/matrix/synapse-typing-writer-0")

    def test_a_process_that_meets_a_replica_by_name(self) -> None:
        found = only(ask("redis.endpoint", inside_connections=inside(MODEL, role="slave")))
        assert found.headline == "synapse-main meets slave at its Redis address"

    def test_a_process_that_does_not_reach_it_by_name(self) -> None:
        found = only(ask("redis.endpoint", inside_connections=inside(MODEL, "timed out")))
        assert found.headline == "synapse-main does not reach its Redis address, which answers otherwise: timed out"

    def test_the_way_by_name_is_warned_of_where_it_was_not_tried(self) -> None:
        assert only(ask("redis.endpoint", inside_connections=NOT_ALLOWED), Status.WARNED)

    def test_a_pod_that_could_not_be_asked_is_warned_of(self) -> None:
        blind = InsideView((), {MODEL.synapse[0].id: "python3 in it did not answer"})
        found = only(ask("redis.endpoint", inside_connections=blind), Status.WARNED)
        assert found.headline.endswith(f"from {MODEL.synapse[0].pod.name}: python3 in it did not answer")  # type: ignore[union-attr]

    def test_an_address_within_each_pod_is_asked_there_or_unknown(self) -> None:
        own = replace(ADDRESS, endpoint=replace(ADDRESS.endpoint, host="localhost", external=True, pods=()))
        model = replace(MODEL, redis_endpoints=(own,))
        seen: dict[str, Any] = {"deployment": model, "redis_backends": {own.id: ()}}
        assert ask("redis.endpoint", **seen, inside_connections=inside(model)).failures == []
        found = only(ask("redis.endpoint", **seen, inside_connections=NOT_ALLOWED), Status.UNKNOWN)
        assert found.headline.startswith("Redis at localhost is within each process's own pod and was not seen")
        pen = ask("redis.replication", deployment=replace(model, redis=()), redis_nodes={})
        assert only(pen, Status.UNKNOWN).headline.startswith("Redis is named at localhost")

    def test_an_address_outside_is_unknown(self) -> None:
        outside = replace(ADDRESS, endpoint=replace(ADDRESS.endpoint, host="r.example.com", external=True, pods=()))
        pen = ask("redis.endpoint", deployment=replace(MODEL, redis_endpoints=(outside,)))
        assert only(pen, Status.UNKNOWN).headline == "Redis at r.example.com is outside the cluster and cannot be asked"
