"""Redis failed over as its Sentinels do it: its master answers nobody for longer than they wait for it.

CLIENT PAUSE (Redis 6.2 and later: ``networking.c``, ``server.c`` processCommand) has a server hold back every command
but those of its replicas, and ends by itself, whatever becomes of the verifier. To the Sentinels that is a master that is
gone; no pod gets another address, which Sentinels that know each other by address would never forget.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from postflight.cluster.access import Access
from postflight.cluster.api import ApiError
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, RedisGroup, RedisNode
from postflight.limits import Limit
from postflight.probes.canary_user import Hindered, ProbeRoom
from postflight.probes.disruption import After, NotDone, Plan, Stage, carry_out, ground
from postflight.probes.fresh import siblings
from postflight.probes.outages import Disrupted, Disruption
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, Foundation, Safety, probe
from postflight.probes.public_places import ControllerSeen
from postflight.probes.redis import redis_nodes
from postflight.probes.redis_client import client, trouble
from postflight.probes.redis_groups import RedisAnswer, RedisObservation
from postflight.settings import Settings
from postflight.traces import Traces

#: Seconds that Sentinels get beyond the time that they wait for a master: to agree, to ask the replicas (every 10 s), to
#: promote one.
BEYOND = 15.0
DOWN_AFTER = "down-after-milliseconds"


def parts(deployment: Deployment) -> tuple[str, ...]:
    return (*ground(deployment), *(each.id for each in deployment.redis))


@probe(
    limit=Limit.DISRUPTION,
    rights=(EXEC,),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation(("redis.",), parts),
)
def redis_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Have the master of Redis answer nobody until its Sentinels have chosen another, and look who follows whom."""
    if not deployment.redis_endpoints:
        return Disrupted(absent="no Synapse process has Redis enabled")
    seen = [each for each in redis_nodes(deployment, access).values() if each.sentinels and len(each.answers) > 1]
    if not seen:
        return Disrupted(absent="no Redis here has Sentinels and a replica: there is nothing to fail over to")
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    return Disrupted(tuple(_failed_over(stage, each) for each in seen))


def _failed_over(stage: Stage, before: RedisObservation) -> Disruption:
    group = before.group
    bound = stage.given.outage.redis
    if why := short(before):
        return Disruption(group.id, f"Redis {group.name}", bound, problem=why, needs=parts(stage.deployment))
    master = before.masters[0]
    wait = max(int(each.state.get(DOWN_AFTER) or 0) for each in before.sentinels) / 1000
    plan = Plan(
        group.id,
        f"Redis {group.name}",
        bound,
        lambda stream: _pause(stage, group, master, wait + BEYOND),
        whole=lambda: short(look(stage, group)),
        after=lambda: chosen(look(stage, group), master.node.pod, wait + BEYOND),
    )
    return carry_out(stage, plan)


def _pause(stage: Stage, group: RedisGroup, master: RedisAnswer, seconds: float) -> str:
    """Raises NotDone."""
    import redis

    node = master.node
    known = next((each.password for each in stage.deployment.redis_endpoints if each.group == group.id), None)
    try:
        with client(stage.access, node, node.password or known) as connection:
            connection.execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
    except (redis.RedisError, OSError, ApiError) as error:
        raise NotDone(f"{node.pod.name} could not be paused: {trouble(error, node).line}") from error
    # As long as it holds, the group cannot be whole.
    time.sleep(seconds)
    return f"{node.pod.name}, the master, answered nobody for {seconds:g} s"


def look(stage: Stage, group: RedisGroup) -> RedisObservation | None:
    """What a group's nodes say, by the pods that there are now."""
    pods: dict[str, Pod] = {}
    with suppress(ApiError):
        for node in (*group.nodes[:1], *group.sentinels[:1]):
            pods |= {each.name: each for each in siblings(stage.api, node.pod)}

    def moved(nodes: tuple[RedisNode, ...]) -> tuple[RedisNode, ...]:
        return tuple(replace(each, pod=pods.get(each.pod.name, each.pod)) for each in nodes)

    anew = replace(group, nodes=moved(group.nodes), sentinels=moved(group.sentinels))
    return redis_nodes(replace(stage.deployment, redis=(anew,)), stage.access).get(group.id)


def short(seen: RedisObservation | None) -> str:
    """What a group lacks to be one master that all others follow, and that all Sentinels know; "" for nothing."""
    if seen is None:
        return "Redis could not be asked"
    silent = [each.node.pod.name for each in seen.answers if each.problem]
    silent += [each.node.pod.name for each in seen.sentinels if each.problem]
    if silent:
        return f"{silent[0]} does not answer"
    if len(seen.masters) != 1:
        return f"Redis {seen.group.name} has {len(seen.masters)} masters"
    master = seen.masters[0]
    for each in seen.answers:
        if each is not master and each.info.get("master_link_status") != "up":
            return f"{each.node.pod.name} follows {each.info.get('master_host')}, and its link is down"
        if each is not master and each.info.get("master_replid") != master.info.get("master_replid"):
            return f"{each.node.pod.name} follows another master"
    for watcher in seen.sentinels:
        name, met = watcher.node.pod.name, watcher.state.get("runid")
        if met != master.info.get("run_id"):
            return f"the Sentinel in {name} watches {watcher.state.get('ip')}, not {master.node.pod.name}"
        if int(watcher.state.get("num-slaves", -1)) < len(seen.answers) - 1:
            return f"the Sentinel in {name} knows {watcher.state.get('num-slaves')} replicas"
    return ""


def chosen(seen: RedisObservation | None, before: Pod, seconds: float) -> After:
    """Who is master after the one ``before`` was silent for so many seconds."""
    masters = seen.masters if seen else ()
    if not masters:
        return After(wrong=("no master of Redis is known any more",))
    name = masters[0].node.pod.name
    if name != before.name:
        return After((f"{name} is master in the place of {before.name}",))
    return After(wrong=(f"the Sentinels chose no other master while {name} answered nobody for {seconds:g} s",))
