from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import is_loopback, missing_id
from postflight.probes.probe import NotTried
from postflight.probes.redis import WriteProof
from postflight.probes.redis_groups import RedisAnswer, RedisObservation, SentinelAnswer
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
            if is_loopback(where):
                judge.unknown(
                    each.id, f"Redis is named at {where}, in each process's own pod: who is behind is not seen"
                )
            elif each.endpoint.external:
                judge.absent(f"Redis at {where} is outside the cluster")
            else:
                judge.unavailable(each.id, f"Synapse names Redis at {where}, and no Redis runs here", stops=(each.id,))
        if not deployment.redis_endpoints:
            judge.absent("no Synapse process has Redis enabled")
        return
    alone = {key: each for key, each in redis_nodes.items() if _alone(each)}
    if redis_nodes and len(alone) == len(redis_nodes):
        names = " and ".join(each.group.name for each in alone.values())
        judge.absent(f"Redis {names} is one server, without replicas and Sentinels")
    for identity, seen in redis_nodes.items():
        if identity in alone:
            _takes_a_write(redis_write, identity, seen, judge)
            continue
        if seen.group.only_sentinels:
            _strays(seen, judge)
            continue
        # First what the Sentinels believe: they tell the nodes whom to follow.
        _sentinels(seen, judge)
        linked = _nodes(seen, judge)
        if isinstance(redis_write, NotTried):
            judge.unproven(identity, f"whether a write reaches the replicas was not seen: {redis_write.reason}")
        elif linked and (proof := redis_write.get(identity)):
            _write(seen, proof, judge)


def _alone(seen: RedisObservation) -> bool:
    """Whether it is one plain Redis, by its workload and by what it says: nothing that could replicate."""
    group = seen.group
    watched = group.expected_sentinels or seen.sentinels
    return group.expected == 1 and not watched and [each.role for each in seen.answers] == ["master"]


def _takes_a_write(
    written: Mapping[str, WriteProof] | NotTried, identity: str, seen: RedisObservation, judge: Judge
) -> None:
    proof = None if isinstance(written, NotTried) else written.get(identity)
    if proof and proof.problem:
        _write(seen, proof, judge)


def _strays(seen: RedisObservation, judge: Judge) -> None:
    """Sentinels that were not seen to watch any Redis here."""
    for each in seen.sentinels:
        watched = f"they name {each.state.get('ip')}:{each.state.get('port')}" if each.state else each.problem
        judge.unknown(each.node.id, f"which Redis the Sentinels of {seen.group.name} watch is not known: {watched}")
    if not seen.sentinels:
        judge.unavailable(
            seen.group.id,
            f"the Sentinels of {seen.group.name} have no pod of {seen.group.expected_sentinels}",
            needs=(seen.group.id, missing_id(seen.group.workload)),
        )


def _nodes(seen: RedisObservation, judge: Judge) -> bool:
    """Whether the nodes form one master with all others linked to it."""
    group = seen.group
    silent = [each for each in seen.answers if each.problem]
    for each in silent:
        line = f"{each.node.pod.name} does not answer as Redis: {each.problem}"
        if each.unseen:
            judge.unknown(each.node.id, line)
            continue
        say = judge.wrong if each.refused else judge.unavailable
        say(each.node.id, line, stops=(each.node.id,))
    if not seen.answers and group.expected == 0:
        judge.unavailable(group.id, f"Redis {group.name} is scaled to 0", stops=(group.id,))
        return False
    if not seen.answers:
        judge.unavailable(group.id, f"Redis {group.name} has no pod of {group.expected}", stops=(group.id,))
        return False
    if len(seen.answers) < group.expected:
        judge.unavailable(
            group.id,
            f"Redis {group.name} has {len(seen.answers)} of {group.expected} nodes: the others' pods do not exist",
            needs=(group.id, missing_id(group.workload)),
        )
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
            expected=f"one master and {_replicas(seen)} replicas linked to it",
            cause="no replicaof in the configuration of the nodes (Sentinel finds replicas only through their master)"
            if not _seen_replicas(seen)
            else f"{names} are masters of their own",
            remedy="give every node but the first `replicaof <master>` at its start, then restart them",
        )
        return False
    master = masters[0]
    judge.saw(master.node.id)
    linked = not silent and len(seen.answers) >= group.expected
    for each in seen.answers:
        if each is master or each.problem:
            continue
        judge.saw(each.node.id)
        linked = _replica(each, master, seen, judge) and linked
    return linked


def _replica(each: RedisAnswer, master: RedisAnswer, seen: RedisObservation, judge: Judge) -> bool:
    name, up = each.node.pod.name, each.info.get("master_link_status") == "up"
    same = each.info.get("master_replid") == master.info.get("master_replid")
    counted = [v for key, v in master.info.items() if key.startswith("slave") and isinstance(v, dict)]
    onlines = [str(value.get("ip")) for value in counted if value.get("state") == "online"]
    # A replica may announce a name, or come by its other address: then only the number tells.
    others = [e for e in seen.answers if e is not master and e.info.get("master_link_status") == "up"]
    online = each.node.pod.ip in onlines or len(onlines) >= len(others)
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
    expected = max(group.expected_sentinels, len(seen.sentinels))
    if len(seen.sentinels) < expected and len(seen.answers) >= group.expected:
        judge.unavailable(
            group.id,
            f"Redis {group.name} has {len(seen.sentinels)} of {expected} Sentinels: the others' pods do not exist",
            needs=(group.id, missing_id(group.workload)),
        )
    pods = {each.node.pod.ip: each.node.pod.name for each in seen.answers}
    master = seen.masters[0].node.pod if len(seen.masters) == 1 else None
    for each in seen.sentinels:
        name = each.node.pod.name
        if each.problem:
            say = judge.unknown if each.unseen else judge.wrong if each.refused else judge.unavailable
            say(each.node.id, f"the Sentinel in {name} does not answer for {group.master_name}: {each.problem}")
            continue
        judge.saw(f"sentinel in {name}")
        watches = str(each.state.get("ip"))
        if master is None:
            continue
        if not _watches(each, seen.masters[0]):
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
            for key, want in (("num-slaves", _replicas(seen)), ("num-other-sentinels", expected - 1))
            if int(each.state.get(key, -1)) != want
        ]
        if wrong:
            judge.wrong(
                f"sentinel in {name}",
                f"the Sentinel in {name} does not know its group: {'; '.join(wrong)}",
                observed="; ".join(wrong),
                expected=f"{_replicas(seen)} replicas and {expected - 1} other Sentinels",
                cause="Sentinels or replicas announce addresses that others do not reach, or do not announce themselves",
                remedy=f"SENTINEL RESET {group.master_name} on each Sentinel, one after the other",
                needs=(f"sentinel in {name}", group.id),
            )


def _watches(sentinel: SentinelAnswer, master: RedisAnswer) -> bool:
    """Whether a Sentinel watches the master: by the run id that it met, or by the address, which may be one that
    the master announces. A loopback address is nobody's: the replicas are told to follow it."""
    address = str(sentinel.state.get("ip"))
    if address in LOOPBACK:
        return False
    met = sentinel.state.get("runid")
    by_run = bool(met) and met == master.info.get("run_id")
    return by_run or address == master.node.pod.ip or address.partition(".")[0] == master.node.pod.name


def _write(seen: RedisObservation, proof: WriteProof, judge: Judge) -> None:
    wanted = _replicas(seen)
    if proof.unseen:
        judge.unknown(proof.node.id, f"whether {proof.node.pod.name} takes a write could not be seen: {proof.problem}")
    elif proof.problem:
        judge.wrong(proof.node.id, f"the Redis master {proof.node.pod.name} takes no write: {proof.problem}")
    elif proof.acknowledged < wanted:
        judge.wrong(
            proof.node.id,
            f"a write to the Redis master {proof.node.pod.name} reached {proof.acknowledged} of {wanted} replicas within a second",
        )


def _replicas(seen: RedisObservation) -> int:
    """How many there must be, those whose pods do not exist included."""
    return max(seen.group.expected, len(seen.answers)) - 1


def _seen_replicas(seen: RedisObservation) -> bool:
    return any(each.role == "slave" for each in seen.answers)


def _roles(seen: RedisObservation) -> str:
    return ", ".join(f"{each.node.pod.name} {each.role or 'silent'}" for each in seen.answers)
