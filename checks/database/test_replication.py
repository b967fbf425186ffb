import re
from collections.abc import Mapping, Set

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import PostgresCluster, missing_id
from postflight.probes.databases import DatabaseInstance
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: Bytes that a replica or a slot may be behind: two WAL segments and what a busy second writes.
BEHIND = 64 * 2**20
#: The slot of a subscription's first copy of one table (ReplicationSlotNameForTablesync).
FIRST_COPY = re.compile(r"pg_\d+_sync_\d+_\d+$")


@check(
    "database.replication",
    severity=Severity.CRITICAL,
    remedy="read the log of the replica that does not stream; drop a slot that nobody reads any more",
    blind_spots="whether a failover really works: only --safety disruptive tries one; the slot of a subscription"
    " that stands here: li.replication judges it",
)
def test_every_replica_streams_from_the_current_primary_on_its_timeline(
    deployment: Deployment, database_instances: Mapping[str, tuple[DatabaseInstance, ...]], judge: Judge
) -> None:
    """A replica that no longer follows is noticed at the failover that it cannot take; a slot that
    nobody reads keeps WAL until the volume is full. The lag metric has read 0 with a replica 1 GB
    behind (cloudnative-pg issue 10419), so the primary's own view counts."""
    operated = [each for each in deployment.postgres if each.operator]
    missing = [each for each in deployment.postgres if each.missing]
    if not operated and not missing:
        judge.absent("no PostgreSQL here is a Cluster of CloudNativePG")
        return
    for each in missing:
        judge.unavailable(each.id, f"there is no {each.name} to replicate: {each.missing}")
    facts = [each.facts for found in database_instances.values() for each in found if each.facts]
    followed = {str(slot) for each in facts for slot in each["subscriptions"]}
    for cluster in operated:
        _cluster(cluster, database_instances.get(cluster.id, ()), followed, judge)


def _cluster(
    cluster: PostgresCluster, instances: tuple[DatabaseInstance, ...], followed: Set[str], judge: Judge
) -> None:
    for each in instances:
        if each.problem:
            say = judge.unknown if each.pod.ready else judge.unavailable
            say(each.pod.id, f"{each.pod.name} could not be asked how it replicates: {each.problem}")
    if 0 < len(instances) < cluster.instances:
        judge.unavailable(
            cluster.id,
            f"{cluster.name} has {len(instances)} of {cluster.instances} instances: the others' pods do not exist",
            remedy=f"kubectl -n {cluster.namespace} describe cluster {cluster.name}",
            needs=(cluster.id, missing_id(cluster.id)),
        )
    primaries = [each for each in instances if each.facts and not each.facts["in_recovery"]]
    if not primaries and _follows_another(cluster):
        primaries = [each for each in instances if each.facts and each.pod == cluster.primary]
    if len(primaries) != 1:
        if len(primaries) > 1:
            names = ", ".join(each.pod.name for each in primaries)
            judge.wrong(
                cluster.id, f"{cluster.name} has {len(primaries)} primaries at once: {names}", stops=(cluster.id,)
            )
        elif not any(each.problem for each in instances):
            judge.unavailable(cluster.id, f"{cluster.name} has no primary among {len(instances)} instances")
        return
    primary = primaries[0]
    judge.saw(primary.pod.id)
    senders = {each["name"]: each for each in primary.facts["senders"]}
    for each in instances:
        if each is primary or not each.facts:
            continue
        judge.saw(each.pod.id)
        _replica(each, primary, senders.get(each.pod.name), judge)
    _slots(cluster, primary, instances, followed, judge)


def _follows_another(cluster: PostgresCluster) -> bool:
    """Whether the whole Cluster is a replica of one elsewhere: it has a first instance, and no primary."""
    replica = cluster.raw.get("spec", {}).get("replica") or {}
    if "enabled" in replica:
        return bool(replica["enabled"])
    return "primary" in replica and replica["primary"] != replica.get("self", cluster.name)


def _timeline(primary: DatabaseInstance) -> object:
    return primary.facts["received_timeline"] or primary.facts["timeline"]


def _replica(
    replica: DatabaseInstance, primary: DatabaseInstance, sender: Mapping[str, object] | None, judge: Judge
) -> None:
    name, facts = replica.pod.name, replica.facts
    streams = facts["receiver"] == "streaming" and sender is not None and sender["state"] == "streaming"
    observed = (
        f"receiver {facts['receiver'] or 'none'}, primary's sender {sender['state'] if sender else 'none'},"
        f" timeline {facts['received_timeline']} against {_timeline(primary)}"
    )
    if not streams:
        judge.wrong(
            replica.pod.id,
            f"{name} does not stream from the primary {primary.pod.name}",
            observed=observed,
            expected="streaming, on the primary's timeline",
            cause=f"{name} cannot reach {primary.pod.name}, or is refused by it",
            remedy=f"kubectl -n {replica.pod.namespace} logs {name}; then look at the NetworkPolicies between the two",
        )
    elif facts["received_timeline"] != _timeline(primary):
        judge.wrong(
            replica.pod.id,
            f"{name} follows timeline {facts['received_timeline']}, the primary {primary.pod.name} is on"
            f" {_timeline(primary)}",
            observed=observed,
            expected="one timeline",
        )
    elif (behind := int(str(sender["behind"] or 0))) > BEHIND if sender else False:
        judge.warn(replica.pod.id, f"{name} is {behind / 2**20:.0f} MiB behind the primary {primary.pod.name}")


def _slots(
    cluster: PostgresCluster,
    primary: DatabaseInstance,
    instances: tuple[DatabaseInstance, ...],
    followed: Set[str],
    judge: Judge,
) -> None:
    """``followed`` are the slots of subscriptions that stand here: whether their readers live is
    li.replication's to say."""
    replicas = {each.pod.name.replace("-", "_"): each.pod.name for each in instances}
    for slot in primary.facts["slots"]:
        replica = next((pod for key, pod in replicas.items() if str(slot["name"]).endswith(key)), "")
        if slot["active"] or replica or slot["name"] in followed or (followed and FIRST_COPY.match(slot["name"])):
            continue
        behind = int(slot["behind"] or 0)
        judge.wrong(
            cluster.id,
            f"replication slot {slot['name']} on {primary.pod.name} is read by nobody and keeps WAL",
            observed=f"{slot['type']} slot, not active, {behind / 2**20:.1f} MiB behind, wal_status {slot['wal_status']}",
            expected="every slot has a reader",
            cause=f"who read slot {slot['name']} is gone or cannot connect",
            remedy=f"bring its reader back, or drop it: SELECT pg_drop_replication_slot('{slot['name']}')",
        )
    wal, ceiling = int(primary.facts["wal_bytes"] or 0), int(primary.facts["wal_ceiling"] or 0)
    if ceiling and wal > 2 * ceiling:
        judge.warn(
            cluster.id,
            f"WAL piles up on {primary.pod.name}: {wal / 2**20:.0f} MiB, max_wal_size is {ceiling / 2**20:.0f}",
        )
