"""The primary of PostgreSQL, moved to a replica and back, as `kubectl cnpg promote` does it.

Sources: CloudNativePG 1.27, internal/cmd/plugin/promote (what is written), internal/management/controller/
instance_controller.go and instance_startup.go (the old primary shuts down in order, and follows the new one without
pg_rewind); PostgreSQL 17, "Logical Replication Failover": a slot that is not of that kind stays on the instance that it
was made on. There it goes on where it was once that is primary again: its write-ahead log is kept on a standby too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from postflight.cluster.access import Access
from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import POSTGRES_CLUSTER
from postflight.cluster.snapshot import Snapshot
from postflight.cluster.streams import run_in_pod
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, PostgresCluster, Side
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary_user import Hindered, ProbeRoom
from postflight.probes.disruption import After, NotDone, Plan, Stage, Stuck, carry_out, ground, served
from postflight.probes.disruption_notes import CLUSTERS, NOTES, not_primary, noted, stamp, switch_back, switch_over
from postflight.probes.outages import Disrupted, Disruption
from postflight.probes.own import Turn
from postflight.probes.probe import EXEC, Foundation, Right, Safety, Unseen, probe
from postflight.probes.public_places import ControllerSeen
from postflight.probes.user_stream import Stream
from postflight.settings import Settings
from postflight.traces import Traces

SLOTS = """
select coalesce(json_agg(json_build_object('name', slot_name, 'active', active)), '[]')::text from pg_replication_slots s
 where slot_type = 'logical' and not coalesce((to_jsonb(s) ->> 'failover')::boolean, false)
"""


def parts(deployment: Deployment) -> tuple[str, ...]:
    return (*ground(deployment), *(each.id for each in used(deployment)))


@probe(
    limit=Limit.DISRUPTION,
    rights=(*CLUSTERS, *NOTES, Right("get", "pods"), EXEC),
    safety=Safety.DISRUPTIVE,
    reaches=True,
    disrupts=Foundation(("database.", "platform.operators", "li.replication"), parts),
)
def primary_away(
    deployment: Deployment,
    snapshot: Snapshot,
    access: Access,
    settings: Settings,
    traces: Traces,
    turn: Turn,
    canary_room: ProbeRoom | Hindered,
    ingress_controllers: tuple[ControllerSeen, ...],
) -> Disrupted:
    """Have the operator switch main's PostgreSQL over to a replica, and back again."""
    clusters = used(deployment)
    if not clusters:
        return Disrupted(absent="no PostgreSQL of Synapse's is operated by CloudNativePG with more than one instance")
    stage = Stage.of(deployment, snapshot, access, settings, traces, canary_room, ingress_controllers)
    found: list[Disruption] = []
    for cluster in clusters:
        primary = cluster.primary
        if primary is None:
            raise Unseen(f"{cluster.name} has no primary that is known")
        held = slots(stage.api, primary)
        if held and not stage.given.risk_slots:
            names = ", ".join(held)
            why = (
                f"logical slot {names} hangs on {primary.name} and would stay behind there: needs the settings"
                " disruption: {risk_slots: on}"
            )
            return Disrupted(absent=why)
        found.append(_switched(stage, cluster, primary, [name for name, read in held.items() if read]))
    return Disrupted(tuple(found))


def used(deployment: Deployment) -> list[PostgresCluster]:
    """The operated clusters that main's processes use and that have a replica to switch over to."""
    mine = {each.id for each in deployment.synapse if each.side is Side.MAIN}
    hosts = {(use.login.host, use.login.port) for use in deployment.database_uses if use.client in mine}
    return [
        each
        for each in deployment.postgres
        if each.operator and len(each.pods) > 1 and any((one.host, one.port) in hosts for one in each.endpoints)
    ]


def slots(api: Api, primary: Pod) -> dict[str, bool]:
    """The logical slots that stay behind on an instance when it is primary no more, and whether they are read. Raises
    Unseen."""
    command = ("psql", "-XAtq", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", SLOTS)
    try:
        answer = run_in_pod(api, primary.namespace, primary.name, "postgres", command)
    except ApiError as error:
        raise Unseen(f"which slots {primary.name} has is not known: {error}") from error
    if answer.code != 0 or answer.cut:
        raise Unseen(f"which slots {primary.name} has is not known: {answer.complaint}")
    return {str(each["name"]): bool(each["active"]) for each in json.loads(answer.stdout)}


def _switched(stage: Stage, cluster: PostgresCluster, primary: Pod, held: Sequence[str]) -> Disruption:
    replica = next((each for each in cluster.pods if each.id != primary.id and each.ready), None)

    def act(stream: Stream) -> str:
        if replica is None:
            raise NotDone(f"no replica of {cluster.name} is ready")
        api, space = stage.api, cluster.namespace
        note = {"cluster": cluster.name, "primary": primary.name, "to": replica.name}

        def back() -> None:
            switch_back(api, space, cluster.name, primary.name, replica.name)

        stuck: Stuck | None = None
        with noted(api, stage.traces, space, f"switchover of {cluster.name}", note, back):
            stage.check()
            switch_over(api, space, cluster.name, replica.name, stamp(api))
            try:
                _arrived(stage, cluster, replica.name)
                served(stage, stream, f"once {replica.name} is the primary")
            except Stuck as error:
                stuck = error
        try:
            _arrived(stage, cluster, primary.name)
        except Stuck as error:
            raise stuck or error from None
        if stuck:
            raise stuck
        return f"{cluster.name} was switched over from {primary.name} to {replica.name} and back"

    def followed() -> str:
        """The slots that were read before are read again."""
        try:
            there = slots(stage.api, primary)
        except Unseen as error:
            return str(error)
        return next((f"slot {each} on {primary.name} is not read again" for each in held if not there.get(each)), "")

    plan = Plan(
        cluster.id,
        cluster.name,
        stage.given.outage.postgresql,
        act,
        whole=followed if held else lambda: "",
        after=lambda: After((f"{primary.name} is primary again",)),
    )
    return carry_out(stage, plan)


def _arrived(stage: Stage, cluster: PostgresCluster, instance: str) -> None:
    """Until an instance is the primary of a healthy cluster. Raises Stuck."""

    def there() -> None:
        try:
            raw = stage.api.get(POSTGRES_CLUSTER.path(cluster.namespace, cluster.name))
        except ApiError as error:
            raise NotYet(str(error)) from error
        if why := not_primary(raw, instance):
            raise NotYet(why)

    try:
        wait_for(there, limit=stage.given.recovery, every=1.0)
    except TimedOut as error:
        raise Stuck(f"{instance} did not become the primary: {error}") from error
