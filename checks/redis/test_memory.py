from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.probes.redis_groups import RedisAnswer, RedisObservation
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

FULL = 0.9
#: Of maxmemory: where keys were evicted and as much is in use, they were evicted for want of room that is wanting still.
PRESSED = 0.75
KEEPS = "noeviction"
MIB = 2**20


@check(
    "redis.memory",
    severity=Severity.MAJOR,
    finding="2.4",
    remedy="raise maxmemory above the working set and the container's limit well above maxmemory",
    blind_spots="a working set that grows later: it is judged by pressure now, not by a fixed size;"
    " evictions that come in bursts, between which there is room: they are warned of as of the past",
)
def test_redis_holds_its_working_set_in_memory(
    deployment: Deployment, redis_nodes: Mapping[str, RedisObservation], judge: Judge
) -> None:
    """Keys that are evicted are lost to everyone who counts on them; a maxmemory above the container's
    limit ends in a kill instead of an eviction."""
    if not deployment.redis_endpoints and not deployment.redis:
        judge.absent("no Synapse process has Redis enabled")
    for address in deployment.redis_endpoints:
        if not address.group and not address.endpoint.external and not deployment.redis:
            judge.unavailable(address.id, f"Synapse names Redis at {address.endpoint.host}, and no Redis runs here")
    for seen in redis_nodes.values():
        if seen.group.only_sentinels:
            continue
        if not seen.answers:
            judge.unavailable(seen.group.id, f"Redis {seen.group.name} has no pod")
        for each in seen.answers:
            if each.problem:
                say = judge.unknown if each.unseen else judge.unavailable
                say(each.node.id, f"{each.node.pod.name} could not be asked for its memory: {each.problem}")
            else:
                judge.saw(each.node.id)
                _node(each, judge)


def _node(each: RedisAnswer, judge: Judge) -> None:
    name, info = each.node.pod.name, each.info
    used, ceiling = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    evicted, policy = int(info.get("evicted_keys", 0)), str(info.get("maxmemory_policy"))
    limit = each.node.memory_limit
    observed = (
        f"used {used / MIB:.1f} MiB, maxmemory {_mib(ceiling)}, policy {policy}, {evicted} keys evicted,"
        f" container limit {_mib(limit or 0)}"
    )
    goes_on = each.evicting or (ceiling and policy != KEEPS and used > PRESSED * ceiling)
    if evicted and goes_on:
        judge.wrong(
            each.node.id,
            f"{name} has evicted {evicted} keys: maxmemory {_mib(ceiling)} is below its working set",
            observed=observed,
            expected="no key evicted",
            cause=f"maxmemory {_mib(ceiling)} is less than what is written to it",
            remedy="raise maxmemory (and the container's limit with it), then CONFIG RESETSTAT to reset the count",
        )
    elif evicted:
        judge.warn(
            each.node.id,
            f"{name} has evicted {evicted} keys since it started, and none now: maxmemory {_mib(ceiling)} has room",
            observed=observed,
            expected="no key evicted",
            cause="maxmemory was below the working set, or something wrote more than usual; the count is of the past",
            remedy="if that is mended, CONFIG RESETSTAT resets the count, without a restart",
        )
    elif ceiling and used > FULL * ceiling:
        judge.wrong(
            each.node.id,
            f"{name} uses {used / ceiling:.0%} of its maxmemory: {policy} begins next",
            observed=observed,
            expected=f"at most {FULL:.0%} of maxmemory in use",
        )
    if limit and ceiling > limit:
        judge.wrong(
            each.node.id,
            f"{name} may grow to maxmemory {_mib(ceiling)}, its container is killed at {_mib(limit)}",
            observed=observed,
            expected="maxmemory below the container's memory limit",
            cause="maxmemory is above the limit of the container",
            remedy=f"set maxmemory to at most three quarters of {_mib(limit)}, or raise the limit",
        )
    elif limit and not ceiling and used > FULL * limit:
        judge.wrong(
            each.node.id,
            f"{name} has no maxmemory and uses {used / limit:.0%} of its container's limit",
            observed=observed,
        )


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size else "none"
