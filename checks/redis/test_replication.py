from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.parts import Deployment
from postflight.probes.probe import NotTried
from postflight.probes.redis import RedisAnswer, RedisObservation, WriteProof
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "redis.replication",
    severity=Severity.CRITICAL,
    finding="1.2",
    remedy="let every node but one start as a replica of the master that the Sentinels name",
    blind_spots="whether a failover really works: only --safety disruptive tries one",
)
def test_redis_has_one_master_and_linked_replicas_and_its_sentinels_agree(
    deployment: Deployment,
    redis_nodes: Mapping[str, RedisObservation],
    redis_write: Mapping[str, WriteProof] | NotTried,
    judge: Judge,
) -> None:
    """Nodes that do not replicate are so many separate systems: a failover loses what was written,
    and Sentinel cannot even start one. CKQUORUM says OK all the while: it counts Sentinels only."""
    if not deployment.redis:
        for each in deployment.redis_endpoints:
            where = each.endpoint.host
            if each.endpoint.external:
                judge.absent(f"Redis at {where} is outside the cluster")
            else:
                judge.unavailable(each.id, f"Synapse names Redis at {where}, and no Redis runs here", stops=(each.id,))
        if not deployment.redis_endpoints:
            judge.absent("no Synapse process has Redis enabled")
        return
    for identity, seen in redis_nodes.items():
        # First what the Sentinels believe: they tell the nodes whom to follow.
        _sentinels(seen, judge)
        linked = _nodes(seen, judge)
        if isinstance(redis_write, NotTried):
            judge.warn(identity, f"whether a write reaches the replicas was not seen: {redis_write.reason}")
        elif linked and (proof := redis_write.get(identity)):
            _write(seen, proof, judge)


def _nodes(seen: RedisObservation, judge: Judge) -> bool:
    """Whether the nodes form one master with all others linked to it."""
    group = seen.group
    silent = [each for each in seen.answers if each.problem]
    for each in silent:
        say = judge.wrong if each.refused else judge.unavailable
        say(each.node.id, f"{each.node.pod.name} does not answer as Redis: {each.problem}", stops=(each.node.id,))
    if not seen.answers and group.expected == 0:
        judge.unavailable(group.id, f"Redis {group.name} is scaled to 0", stops=(group.id,))
        return False
    if not seen.answers:
        judge.unavailable(group.id, f"Redis {group.name} has no pod of {group.expected}", stops=(group.id,))
        return False
    masters = seen.masters
    if not masters:
        if len(silent) < len(seen.answers):
            judge.wrong(group.id, f"Redis {group.name} has no master: {_roles(seen)}", stops=(group.id,))
        return False
    names = ", ".join(each.node.pod.name for each in masters)
    if len(masters) > 1:
        judge.wrong(
            group.id,
            f"Redis {group.name} has {len(masters)} masters, not one: {names} do not replicate",
            observed=_roles(seen),
            expected=f"one master and {len(seen.answers) - 1} replicas linked to it",
            cause="no replicaof in the configuration of the nodes (Sentinel finds replicas only through their master)"
            if not _seen_replicas(seen)
            else f"{names} are masters of their own",
            remedy="give every node but the first `replicaof <master>` at its start, then restart them",
        )
        return False
    master = masters[0]
    judge.saw(master.node.id)
    linked = not silent
    for each in seen.answers:
        if each is master or each.problem:
            continue
        judge.saw(each.node.id)
        linked = _replica(each, master, judge) and linked
    return linked


def _replica(each: RedisAnswer, master: RedisAnswer, judge: Judge) -> bool:
    name, up = each.node.pod.name, each.info.get("master_link_status") == "up"
    same = each.info.get("master_replid") == master.info.get("master_replid")
    online = any(
        str(value.get("ip")) == each.node.pod.ip and value.get("state") == "online"
        for key, value in master.info.items()
        if key.startswith("slave") and isinstance(value, dict)
    )
    if up and same and online:
        return True
    why = (
        "its link is down"
        if not up
        else "it replicates from another master"
        if not same
        else "the master does not count it online"
    )
    judge.wrong(
        each.node.id,
        f"{name} is not linked to the Redis master {master.node.pod.name}: {why}",
        observed=f"master_link_status {each.info.get('master_link_status')}, follows {each.info.get('master_host')}"
        f":{each.info.get('master_port')}, {'same' if same else 'another'} master_replid",
        expected="master_link_status up, the master's master_replid, state=online on the master",
        cause=f"{name} cannot reach {each.info.get('master_host')}, or is refused there (masterauth)",
        remedy=f"look at the log of {name} and at the NetworkPolicies between it and {master.node.pod.name}",
    )
    return False


def _sentinels(seen: RedisObservation, judge: Judge) -> None:
    group = seen.group
    expected = len(seen.sentinels)
    pods = {each.node.pod.ip: each.node.pod.name for each in seen.answers}
    master = seen.masters[0].node.pod if len(seen.masters) == 1 else None
    for each in seen.sentinels:
        name = each.node.pod.name
        if each.problem:
            say = judge.wrong if each.refused else judge.unavailable
            say(each.node.id, f"the Sentinel in {name} does not answer for {group.master_name}: {each.problem}")
            continue
        judge.saw(f"sentinel in {name}")
        watches = str(each.state.get("ip"))
        if master is None:
            continue
        if watches != master.ip and watches.partition(".")[0] != master.name:
            judge.wrong(
                f"sentinel in {name}",
                f"the Sentinel in {name} watches {watches} ({pods.get(watches, 'no Redis of this group')}),"
                f" the master is {master.name}",
                observed=f"SENTINEL MASTER {group.master_name}: {watches}:{each.state.get('port')}",
                expected=f"{master.ip} ({master.name})",
                cause="its configuration monitors another address, or it missed a failover",
                remedy=f"set `sentinel monitor {group.master_name}` to the master's address, then restart the Sentinel",
            )
            continue
        wrong = [
            f"{key} {each.state.get(key)}, not {want}"
            for key, want in (("num-slaves", len(seen.answers) - 1), ("num-other-sentinels", expected - 1))
            if int(each.state.get(key, -1)) != want
        ]
        if wrong:
            judge.wrong(
                f"sentinel in {name}",
                f"the Sentinel in {name} does not know its group: {'; '.join(wrong)}",
                observed="; ".join(wrong),
                expected=f"{len(seen.answers) - 1} replicas and {expected - 1} other Sentinels",
                cause="Sentinels or replicas announce addresses that others do not reach, or do not announce themselves",
                remedy=f"SENTINEL RESET {group.master_name} on each Sentinel, one after the other",
                needs=(f"sentinel in {name}", group.id),
            )


def _write(seen: RedisObservation, proof: WriteProof, judge: Judge) -> None:
    wanted = len(seen.answers) - 1
    if proof.problem:
        judge.wrong(proof.node.id, f"the Redis master {proof.node.pod.name} takes no write: {proof.problem}")
    elif proof.acknowledged < wanted:
        judge.wrong(
            proof.node.id,
            f"a write to the Redis master {proof.node.pod.name} reached {proof.acknowledged} of {wanted} replicas within a second",
        )


def _seen_replicas(seen: RedisObservation) -> bool:
    return any(each.role == "slave" for each in seen.answers)


def _roles(seen: RedisObservation) -> str:
    return ", ".join(f"{each.node.pod.name} {each.role or 'silent'}" for each in seen.answers)
