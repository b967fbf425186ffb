from collections.abc import Collection, Mapping

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import RedisEndpoint, is_loopback
from postflight.probes.inside import CONNECTED, InsideView, unseen_ways
from postflight.probes.probe import NotTried
from postflight.probes.redis import BackendRole
from postflight.probes.redis_groups import RedisObservation, behind
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

FOLLOW = "let Synapse use an address that follows the master: a proxy with a role check, or a Service that a role label switches"


@check(
    "redis.endpoint",
    severity=Severity.CRITICAL,
    finding="1.3",
    remedy=FOLLOW,
    blind_spots="how long messages stop in a failover: only --safety disruptive tries one",
)
def test_the_redis_address_of_synapse_leads_every_process_to_the_master(
    deployment: Deployment,
    redis_backends: Mapping[str, tuple[BackendRole, ...]],
    redis_nodes: Mapping[str, RedisObservation],
    inside_connections: InsideView | NotTried,
    probe_pod_connections: InsideView | NotTried,
    judge: Judge,
) -> None:
    """A publish on a replica succeeds and reaches only that replica's subscribers: workers on
    different nodes silently stop hearing each other."""
    if not deployment.redis_endpoints:
        judge.absent("no Synapse process has Redis enabled")
    for process in deployment.unread:
        why = process.config_problem
        judge.unknown(process.id, f"which Redis {process.workload_name} uses is not known: {why}")
    for address in deployment.redis_endpoints:
        judge.saw(address.id)
        if is_loopback(address.endpoint.host):
            _own_pods(address, inside_connections, judge)
            continue
        if address.endpoint.external:
            judge.unknown(address.id, f"Redis at {address.endpoint.host} is outside the cluster and cannot be asked")
            continue
        if _backends(address, redis_backends[address.id], judge):
            seen = _behind(address, redis_backends, redis_nodes)
            if seen is None and deployment.redis:
                judge.unknown(address.id, f"which Redis is behind {address.endpoint.host} could not be told")
            if seen:
                _followed(address, seen, judge)
            if why := unseen_ways(inside_connections, probe_pod_connections):
                judge.unproven(address.id, f"the way by name through the Service was not seen: {why}")
            for view in (inside_connections, probe_pod_connections):
                if isinstance(view, InsideView):
                    _inside(address, view, judge)
            if seen:
                users = [
                    user
                    for other in deployment.redis_endpoints
                    if _behind(other, redis_backends, redis_nodes) is seen
                    for user in other.users
                ]
                _subscribed(address, deployment, seen, users, judge)


def _behind(
    address: RedisEndpoint, backends: Mapping[str, tuple[BackendRole, ...]], nodes: Mapping[str, RedisObservation]
) -> RedisObservation | None:
    return behind(address, [run for each in backends[address.id] for run in each.run_ids], nodes)


def _backends(address: RedisEndpoint, backends: tuple[BackendRole, ...], judge: Judge) -> bool:
    """Whether every connection through every backend meets the master."""
    where = f"{address.endpoint.host.partition('.')[0]}:{address.endpoint.port}"
    if address.endpoint.problem or not backends:
        judge.unavailable(
            address.id,
            f"the Redis address of Synapse leads nowhere: {address.endpoint.problem or 'no backend'}",
            needs=(address.id,),
            stops=(address.id,),
        )
        return False
    silent = [each for each in backends if each.problem]
    strays = [each for each in backends if any(role != "master" for role in each.roles)]
    if strays:
        judge.wrong(
            address.id,
            f"the Redis address of Synapse ({where}) leads to replicas too: {', '.join(each.pod for each in strays)}",
            observed="; ".join(f"{each.pod}: {', '.join(dict.fromkeys(each.roles))}" for each in backends),
            expected="ROLE says master on every connection",
            cause=f"Service {address.endpoint.service} has {len(backends)} backends that do not all lead to the master",
            remedy=FOLLOW,
            stops=(address.id,),
        )
    elif len({run for each in backends for run in each.run_ids}) > 1:
        judge.wrong(
            address.id,
            f"the Redis address of Synapse ({where}) leads to more than one master",
            observed=f"{len({run for each in backends for run in each.run_ids})} different run ids",
            expected="one master",
            cause="several nodes are masters, and the address picks any of them",
            stops=(address.id,),
        )
    for each in silent:
        say = judge.unknown if each.unseen else judge.unavailable
        say(
            address.id,
            f"the Redis address of Synapse ({where}) has a backend that does not answer, {each.pod}: {each.problem}",
            needs=(address.id,),
            stops=(address.id,) if len(silent) == len(backends) and not each.unseen else (),
        )
    return not (strays or silent)


def _followed(address: RedisEndpoint, seen: RedisObservation, judge: Judge) -> None:
    group = seen.group
    if len(group.nodes) < 2:
        return
    direct = [pod for pod, _ in address.endpoint.pods if pod.id in {node.id for node in group.nodes}]
    if len(direct) != 1:
        return
    at, name = address.endpoint, direct[0].name
    many = f"of {len(group.nodes)} that Sentinel may make a replica"
    if at.single_pod:
        observed, cause = f"redis.host is {at.host}, the name of one pod", f"redis.host names the pod {name} {many}"
    elif at.pinned:
        observed, cause = f"Service {at.service} selects {at.pinned}", f"Service {at.service} selects one pod {many}"
    elif at.sole and seen.sentinels:
        observed = f"Service {at.service} selects the one pod of {at.sole}"
        cause = f"Service {at.service} can select no other pod than {name}, {many}"
    else:
        return
    judge.wrong(
        address.id,
        f"the Redis address of Synapse is fixed to {name} and does not follow a failover",
        observed=observed,
        expected="an address that leads to whichever node is master",
        cause=cause,
        remedy=FOLLOW,
    )


def _own_pods(address: RedisEndpoint, view: InsideView | NotTried, judge: Judge) -> None:
    """An address within each process's pod, where a proxy stands: only there can it be asked."""
    where = (address.endpoint.host, address.endpoint.port)
    if isinstance(view, InsideView) and any((each.host, each.port) == where for each in view.connections):
        _inside(address, view, judge)
    else:
        why = view.reason if isinstance(view, NotTried) else "no process could be asked"
        judge.unknown(address.id, f"Redis at {where[0]} is within each process's own pod and was not seen: {why}")


def _inside(address: RedisEndpoint, view: InsideView, judge: Judge) -> None:
    """By name, through the Service, from the processes' own pods."""
    for each in view.connections:
        if (each.host, each.port) != (address.endpoint.host, address.endpoint.port):
            continue
        name = each.process.workload_name
        if each.problem:
            judge.wrong(
                each.process.id,
                f"{name} does not reach its Redis address, which answers otherwise: {each.problem}",
                observed=f"{each.problem}, connecting to {each.host}:{each.port} from {each.pod}",
                cause="name resolution, the Service or a NetworkPolicy stands between",
            )
        elif others := set(each.seen) - {"master", CONNECTED}:
            judge.wrong(each.process.id, f"{name} meets {', '.join(sorted(others))} at its Redis address")


def _subscribed(
    address: RedisEndpoint, deployment: Deployment, seen: RedisObservation, same: Collection[str], judge: Judge
) -> None:
    """Every running process of those that use this Redis is subscribed on its master, and nobody elsewhere."""
    if len(seen.masters) != 1:
        return
    master = seen.masters[0]
    users = [each for each in deployment.synapse if each.id in same and each.server_name == address.server_name]
    running = [each for each in users if each.pod and each.pod.ready]
    down = [each for each in users if each not in running]
    for process in down:
        judge.unavailable(process.id, f"{process.workload_name} is not up, so it is subscribed nowhere")
    count = master.subscribers.get(address.server_name, 0)
    if count < len(running):
        judge.wrong(
            address.id,
            f"{count} of {len(running)} Synapse processes are subscribed on the Redis master {master.node.pod.name}",
            observed=f"PUBSUB NUMSUB {address.server_name}: {count} on the master",
            expected=f"{len(running)}: one for each process that runs",
            cause="processes are connected to another node, or have lost their connection",
            remedy="restart the Synapse processes that do not reconnect",
        )
    for each in seen.answers:
        if each is not master and each.subscribers.get(address.server_name, 0):
            judge.wrong(
                each.node.id,
                f"{each.subscribers[address.server_name]} Synapse processes are subscribed on {each.node.pod.name}, a replica",
                observed=f"PUBSUB NUMSUB {address.server_name} on {each.node.pod.name}",
                expected="0 on every node but the master",
                cause="an address that led there, before or now",
                remedy=FOLLOW,
            )
