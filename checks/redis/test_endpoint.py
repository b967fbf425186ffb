from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.parts import Deployment, RedisEndpoint
from postflight.probes.inside import InsideView
from postflight.probes.probe import NotTried
from postflight.probes.redis import BackendRole, RedisObservation
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
        if address.endpoint.external:
            judge.unknown(address.id, f"Redis at {address.endpoint.host} is outside the cluster and cannot be asked")
            continue
        if _backends(address, redis_backends[address.id], judge):
            _followed(address, deployment, redis_nodes, judge)
            if isinstance(inside_connections, NotTried):
                judge.warn(address.id, f"the way by name through the Service was not seen: {inside_connections.reason}")
            else:
                _inside(address, inside_connections, judge)
            if isinstance(probe_pod_connections, InsideView):
                _inside(address, probe_pod_connections, judge)
            _subscribed(address, deployment, redis_nodes, judge)


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
        )
    elif len({run for each in backends for run in each.run_ids}) > 1:
        judge.wrong(
            address.id,
            f"the Redis address of Synapse ({where}) leads to more than one master",
            observed=f"{len({run for each in backends for run in each.run_ids})} different run ids",
            expected="one master",
            cause="several nodes are masters, and the address picks any of them",
        )
    for each in silent:
        judge.unavailable(
            address.id,
            f"the Redis address of Synapse ({where}) has a backend that does not answer, {each.pod}: {each.problem}",
            needs=(address.id,),
        )
    return not (strays or silent)


def _followed(
    address: RedisEndpoint, deployment: Deployment, nodes: Mapping[str, RedisObservation], judge: Judge
) -> None:
    group = next((each for each in deployment.redis if each.id == address.group), None)
    if group is None or len(group.nodes) < 2:
        return
    direct = [pod for pod, _ in address.endpoint.pods if pod.id in {node.id for node in group.nodes}]
    if len(direct) == 1 and address.endpoint.single_pod:
        judge.wrong(
            address.id,
            f"the Redis address of Synapse is fixed to {direct[0].name} and does not follow a failover",
            observed=f"redis.host is {address.endpoint.host}, the name of one pod",
            expected="an address that leads to whichever node is master",
            cause=f"redis.host names the pod {direct[0].name} of {len(group.nodes)} that Sentinel may make a replica",
            remedy=FOLLOW,
        )


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
        elif set(each.seen) != {"master"}:
            judge.wrong(each.process.id, f"{name} meets {', '.join(sorted(set(each.seen)))} at its Redis address")


def _subscribed(
    address: RedisEndpoint, deployment: Deployment, nodes: Mapping[str, RedisObservation], judge: Judge
) -> None:
    """Every running process is subscribed on the master, and nobody elsewhere."""
    seen = nodes.get(address.group)
    if seen is None or len(seen.masters) != 1:
        return
    master = seen.masters[0]
    same = {user for each in deployment.redis_endpoints if each.group == address.group for user in each.users}
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
