import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import AUTOSCALER
from postflight.deployment.model import Deployment
from postflight.deployment.parts import DatabaseUse, Endpoint, PostgresCluster
from postflight.deployment.poolers import SESSION, Pooler
from postflight.probes.databases import DatabaseInstance, DatabaseLogins, LoginOutcome, LoginTry, Pool, server_facts
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: A client whose pool is not known holds at least this many connections.
OTHERS = 5
#: Programs that stand before PostgreSQL and share few connections among many clients.
POOLER = re.compile(r"pgbouncer|pgcat|pgpool|odyssey")
#: What a server says that has no room for one more.
FULL = (LoginOutcome.NO_SLOT, LoginOutcome.FULL)


@check(
    "database.connections",
    severity=Severity.MAJOR,
    finding="2.3",
    kinds=(AUTOSCALER,),
    remedy="lower cp_max or the autoscalers' maximum, or raise max_connections",
    blind_spots="connections of clients that are not part of this deployment; those of other clients in it"
    f" than Synapse count as {OTHERS} each",
)
def test_the_database_has_connections_for_every_process_at_its_autoscaling_maximum(
    deployment: Deployment,
    database_logins: DatabaseLogins,
    database_instances: Mapping[str, tuple[DatabaseInstance, ...]] | NotTried,
    database_pools: tuple[Pool, ...],
    judge: Judge,
) -> None:
    """Pools fill slowly: a budget that does not hold is met under load, when it hurts most."""
    if not database_pools:
        judge.absent("no Synapse process names a PostgreSQL")
        return
    for process in deployment.unread:
        why = process.config_problem
        judge.unknown(process.id, f"the pool of {process.workload_name} is not known: {why}")
    for cluster in deployment.postgres:
        facts = server_facts(cluster, database_logins, database_instances)
        pools = [pool for pool in database_pools if _uses(deployment, pool.process.id, cluster)]
        refused = [each for each in database_logins.of(cluster) if each.outcome in FULL]
        full = _full(cluster, facts, refused, judge)
        held = _pooled(deployment, cluster, database_pools, judge)
        if not pools and not held:
            continue
        if not facts and full:
            continue
        if not facts:
            judge.unknown(
                cluster.id,
                f"the connections of {cluster.name} cannot be counted: no login works",
                needs=(cluster.id, *(pool.process.id for pool in pools)),
            )
            continue
        judge.saw(cluster.id)
        _budget(deployment, cluster, facts, pools, held, judge)
    for use in deployment.database_uses:
        if use.keepalives is False:
            others = len({u.client for u in deployment.database_uses if u.keepalives is False})
            judge.warn(
                "TCP keepalives",
                f"{others} Synapse processes connect without TCP keepalives: a primary that is cut off holds them for minutes",
                observed="database.args sets no keepalives_idle (libpq leaves it to the kernel: two hours)",
                expected="keepalives_idle at most 300 s, or tcp_user_timeout",
                remedy="add keepalives_idle: 10, keepalives_interval: 10, keepalives_count: 3 to database.args",
            )
            break


def _full(cluster: PostgresCluster, facts: Mapping[str, Any], refused: list[LoginTry], judge: Judge) -> bool:
    """Whether nobody can connect any more, whatever the budget says: a process that restarts stays down."""
    room = int(facts["max_connections"]) - int(facts["reserved"]) if facts else None
    if not refused and (room is None or facts["sessions"] < room):
        return False
    in_use = (
        f"{facts['sessions']} of {room} in use (max_connections {facts['max_connections']})"
        if facts
        else refused[0].message
    )
    judge.wrong(
        cluster.id,
        f"{cluster.name} has no connection slot left: {in_use}",
        observed=f"{refused[0].message} (asked {refused[0].asked})" if refused else in_use,
        expected="a process that restarts finds a connection",
        cause="more sessions are open than max_connections leaves room for",
        remedy=f"end sessions that nobody needs (pg_stat_activity), then raise max_connections of {cluster.name} or"
        " lower the pools",
        stops=(cluster.id,),
    )
    return True


def _wants(deployment: Deployment, pools: Sequence[Pool], clients: Iterable[DatabaseUse]) -> dict[str, int]:
    """As many connections as each workload may open at its maximum: by the pools of its processes, else ``OTHERS``."""
    workloads = {each.id: each for each in deployment.workloads}
    pods: dict[tuple[str, str], int] = {}
    for pool in pools:
        pod = (pool.process.workload, pool.process.id)
        pods[pod] = pods.get(pod, 0) + pool.size
    sizes: dict[str, int] = {}
    for (workload, _), size in pods.items():
        sizes[workload] = max(sizes.get(workload, 0), size)
    others = {use.workload: OTHERS for use in clients if use.workload in workloads and use.workload not in sizes}
    return {
        name: size * max(1, workloads[name].maximum if name in workloads else 1)
        for name, size in (sizes | others).items()
    }


def _budget(
    deployment: Deployment,
    cluster: PostgresCluster,
    facts: Mapping[str, Any],
    pools: list[Pool],
    held: Mapping[str, int],
    judge: Judge,
) -> None:
    sizes = dict.fromkeys(pool.process.workload for pool in pools)
    clients = [use for use in deployment.database_uses if _uses(deployment, use.client, cluster)]
    wants = {**_wants(deployment, pools, clients), **held}
    total = sum(wants.values())
    limit, reserved = int(facts["max_connections"]), int(facts["reserved"])
    largest = sorted(wants.items(), key=lambda item: -item[1])[:3]
    terms = ", ".join(f"{name.rpartition('/')[2]} {count}" for name, count in largest)
    observed = (
        f"{total} connections wanted at most ({terms}, ...), {limit - reserved} to be had"
        f" (max_connections {limit} less {reserved} reserved); {facts['sessions']} in use now"
    )
    if total > limit - reserved:
        scaled = [w.name for w in deployment.workloads if w.id in sizes and w.maximum > w.desired]
        judge.wrong(
            cluster.id,
            f"{cluster.name} takes {limit - reserved} connections (max_connections {limit}), its processes at their"
            f" maximum want {total}",
            observed=observed,
            expected="the pools of all processes at their autoscaling maximum fit max_connections",
            cause=(
                f"cp_max {max(pool.size for pool in pools)} in {len(pools)} processes"
                if pools
                else f"the pools of {' and '.join(each.rpartition('/')[2] for each in held)} add up to {sum(held.values())}"
            )
            + (f", and autoscalers that may make more of {', '.join(scaled)}" if scaled else ""),
            remedy=f"lower {'cp_max or maxReplicas' if pools else 'pool_size'} until the sum is at most {limit - reserved}, or raise max_connections above {total + reserved}",
        )
    _reported(pools, judge)


def _reported(pools: Sequence[Pool], judge: Judge) -> None:
    """That the size of each workload's pool was seen, not only read."""
    for workload in dict.fromkeys(pool.process.workload for pool in pools):
        own = [pool for pool in pools if pool.process.workload == workload]
        if any(pool.reported for pool in own):
            continue
        first = own[0]
        if first.problem:
            say = judge.unknown if first.process.pod and first.process.pod.ready else judge.unavailable
            say(first.process.id, f"{first.process.workload_name} could not be asked for its pool: {first.problem}")
        else:
            judge.unproven(
                first.process.id,
                f"the pool of {first.process.workload_name} is as configured, not as reported: it serves no metrics",
            )


def _pooled(deployment: Deployment, cluster: PostgresCluster, pools: Sequence[Pool], judge: Judge) -> Mapping[str, int]:
    """As many connections as each pooler before a server opens there at most: its clients' pools end at it."""
    found: dict[str, int] = {}
    for pooler in deployment.poolers:
        ways = {(each.host, each.port) for each in cluster.endpoints if pooler.serves(each)}
        uses = [use for use in deployment.database_uses if (use.login.host, use.login.port) in ways]
        if uses and pooler.pools:
            judge.saw(pooler.id)
            found[pooler.id] = _through(deployment, pooler, uses, pools, judge)
    for endpoint in cluster.endpoints:
        if _is_pooler(endpoint) and not any(each.serves(endpoint) and each.pools for each in deployment.poolers):
            judge.saw(cluster.id)
            judge.warn(
                cluster.id,
                f"how many connections the pooler {endpoint.host.partition('.')[0]} takes is not judged, its clients"
                " do not count",
            )
    return found


def _through(
    deployment: Deployment, pooler: Pooler, uses: Sequence[DatabaseUse], pools: Sequence[Pool], judge: Judge
) -> int:
    """The budget of a pooler's own clients. Returns the connections that it opens for them at most."""
    opened, asked = 0, 0
    pods = max(1, len(pooler.pods))
    for database, user in dict.fromkeys((use.login.database, use.login.user) for use in uses):
        own = [use for use in uses if (use.login.database, use.login.user) == (database, user)]
        clients = {use.client for use in own}
        wanted = sum(_wants(deployment, [each for each in pools if each.process.id in clients], own).values())
        asked += wanted
        kept = pooler.pool(database)
        if kept is None:
            continue
        opened += kept.most * pooler.maximum
        if kept.mode == SESSION and wanted > kept.most * pods:
            judge.wrong(
                pooler.id,
                f"{pooler.name} keeps {kept.most * pods} connections for database {database}, its processes at their"
                f" maximum want {wanted}, and in session pooling each holds its own",
                observed=f"pool_mode session, {kept.most} for role {user} in each of {pods} pods; {wanted} wanted at most",
                expected="a connection beneath for every one that a process opens",
                cause=f"the pool of {pooler.name} for {database} is smaller than the pools of its clients",
                remedy=f"raise pool_size of {database} to {-(-wanted // pods)}, or lower cp_max or maxReplicas",
            )
    ours = {use.client for use in uses}
    _reported([each for each in pools if each.process.id in ours], judge)
    if asked > pooler.max_clients * pods:
        judge.wrong(
            pooler.id,
            f"{pooler.name} takes {pooler.max_clients * pods} clients (max_client_conn), its processes at their maximum want"
            f" {asked}",
            observed=f"max_client_conn {pooler.max_clients} in each of {pods} pods; {asked} wanted at most",
            expected="the pools of all processes at their autoscaling maximum fit max_client_conn",
            remedy=f"raise max_client_conn to {-(-asked // pods)}, or lower cp_max or maxReplicas",
        )
    return opened


def _is_pooler(endpoint: Endpoint) -> bool:
    return any(POOLER.search(f"{each.name} {each.image}") for pod, _ in endpoint.pods for each in pod.containers)


def _uses(deployment: Deployment, client: str, cluster: PostgresCluster) -> bool:
    """Whether its connections are the server's own: not those that end at a pooler."""
    own = [each for each in cluster.endpoints if not _is_pooler(each)]
    hosts = {(each.host, each.port) for each in own if not any(pooler.serves(each) for pooler in deployment.poolers)}
    return any(u.client == client and (u.login.host, u.login.port) in hosts for u in deployment.database_uses)
