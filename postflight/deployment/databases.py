"""Who logs in to which PostgreSQL, as whom, with which password, and which PostgreSQL there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from postflight.cluster.api import Object
from postflight.cluster.kinds import POSTGRES_CLUSTER
from postflight.cluster.references import cluster_secrets
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import synapse
from postflight.deployment.logins import PORT
from postflight.deployment.parts import DatabaseUse, Endpoint, Login, Pod, PostgresCluster, SynapseProcess, pod_id
from postflight.deployment.pods import number
from postflight.deployment.poolers import Pooler, beneath
from postflight.deployment.rendering import OF_SECRET, Variable
from postflight.deployment.services import resolve
from postflight.secrets import Secret

TRACE = re.compile(synapse.TRACED.format(r"(\w+)"))
OPERATOR_LABEL = "cnpg.io/cluster"


def uses_of_synapse(found: synapse.Found, process: SynapseProcess, secrets: SecretStore) -> Iterator[DatabaseUse]:
    """The logins of a Synapse process (more than one with ``databases:``)."""
    today, _ = synapse.derive(found)
    traced, _ = synapse.derive(found, trace=True)
    for index, args in enumerate(_databases(process.config or {})):
        login = _login(args)
        if login is None:
            continue
        later = _at(_databases(today or {}), index)
        variable = TRACE.search(str((_at(_databases(traced or {}), index) or {}).get("password") or ""))
        by_spec: Variable | None = None
        if variable:
            for container in found.spec.containers():
                by_spec = by_spec or found.spec.environment(container).get(variable[1])
        elif args.get("passfile"):
            by_spec = _of_passfile(found, str(args["passfile"]))
        origin, changed = origin_of(by_spec, secrets)
        yield DatabaseUse(
            client=process.id,
            workload=process.workload,
            pod=process.pod.name if process.pod else process.workload_name,
            login=login,
            next_login=_login(later) if later else None,
            origin=origin,
            origin_changed=changed,
            started=process.pod.started if process.pod else None,
            derived=process.derived,
            pool=number(args.get("cp_max"), 10),
            keepalives=_keepalives(args),
        )


def _of_passfile(found: synapse.Found, path: str) -> Variable | None:
    """A password file that is mounted as it is."""
    for at, origin, text in found.spec.mounted(found.container):
        if at == path and origin.startswith(OF_SECRET):
            return Variable(text, origin, (found.spec.namespace, origin.removeprefix(OF_SECRET).partition("/")[0]))
    return None


def uses_of_operator(snapshot: Snapshot, secrets: SecretStore, named: str) -> Iterator[DatabaseUse]:
    """The logins that CloudNativePG keeps in the Secrets of a Cluster (its own keys, else the
    Cluster's names)."""
    for cluster in snapshot.all(POSTGRES_CLUSTER):
        namespace, name = cluster["metadata"]["namespace"], cluster["metadata"]["name"]
        initdb = (cluster["spec"].get("bootstrap") or {}).get("initdb") or {}
        secret = named or cluster_secrets(cluster)[0]
        held = secrets.get(namespace, secret)
        if held is None or not {"username", "password"} <= held.data.keys():
            continue
        values = {key: each.reveal() for key, each in held.data.items()}
        host = f"{values.get('host') or name + '-rw'}"
        if "." not in host:
            host = f"{host}.{namespace}.svc"
        database = values.get("dbname") or initdb.get("database") or "app"
        login = Login(host, PORT, database, values["username"], held.data["password"])
        identity = cluster_id(namespace, name)
        origin = f"Secret {secret}/password"
        yield DatabaseUse(identity, identity, secret, login, None, origin, held.changed, None, derived=False)


def cluster_id(namespace: str, name: str) -> str:
    return f"postgresql/{namespace}/{name}"


def find_clusters(
    snapshot: Snapshot,
    pods: Mapping[str, Pod],
    uses: Sequence[DatabaseUse],
    namespaces: Mapping[str, str],
    poolers: Sequence[Pooler] = (),
) -> tuple[PostgresCluster, ...]:
    """Operated Clusters, then every other server that some login names, missing ones included. What a login names that
    leads to a pooler is an address of the server beneath that.

    ``namespaces`` maps a client to the namespace that its names are asked from.
    """
    endpoints = {
        (use.login.host, use.login.port): resolve(
            snapshot, pods, use.login.host, use.login.port, namespaces[use.client]
        )
        for use in uses
    }
    found: dict[str, PostgresCluster] = {}
    for raw in snapshot.all(POSTGRES_CLUSTER):
        each = _operated(raw, pods)
        found[each.id] = each
    names = {(use.login.host, use.login.port): use.login.database for use in reversed(uses)}
    for endpoint in endpoints.values():
        server = beneath(poolers, endpoint, names[(endpoint.host, endpoint.port)])
        identity = owner_of(server, found)
        if identity not in found:
            missing = "" if server.external else server.problem
            members = tuple(pod for pod, _ in server.pods)
            primary = members[0] if len(members) == 1 else None
            name = identity.rpartition("/")[2]
            found[identity] = PostgresCluster(
                identity, server.namespace, name, "", len(members), members, primary, (), missing=missing
            )
        held = found[identity]
        ways = {(each.host, each.port): each for each in (*held.endpoints, endpoint, server)}
        found[identity] = replace(held, endpoints=tuple(ways.values()))
    return tuple(found.values())


def _operated(raw: Object, pods: Mapping[str, Pod]) -> PostgresCluster:
    namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
    members = tuple(
        pod
        for pod in pods.values()
        if pod.namespace == namespace
        and pod.labels.get(OPERATOR_LABEL) == name
        and pod.labels.get("cnpg.io/podRole", "instance") == "instance"
        and "job-name" not in pod.labels
    )
    primary = pods.get(pod_id(namespace, (raw.get("status") or {}).get("currentPrimary") or ""))
    instances = int(raw["spec"].get("instances") or 1)
    return PostgresCluster(cluster_id(namespace, name), namespace, name, "cnpg", instances, members, primary, (), raw)


def owner_of(endpoint: Endpoint, clusters: Mapping[str, PostgresCluster]) -> str:
    for cluster in clusters.values():
        if cluster.operator and endpoint.namespace == cluster.namespace:
            services = {f"{cluster.name}-{role}" for role in ("rw", "ro", "r")}
            if endpoint.service in services or any(
                pod in cluster.pods or _pools_for(pod, cluster) for pod, _ in endpoint.pods
            ):
                return cluster.id
    base = re.sub(r"-(rw|ro|r)$", "", endpoint.service) or endpoint.host
    return cluster_id(endpoint.namespace or "outside", base)


def _pools_for(pod: Pod, cluster: PostgresCluster) -> bool:
    """Whether a pod is one of the operator's poolers before this Cluster."""
    return (pod.labels.get(OPERATOR_LABEL), pod.labels.get("cnpg.io/podRole")) == (cluster.name, "pooler")


def _databases(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    several = config.get("databases")
    each = list(several.values()) if isinstance(several, dict) else [config.get("database")]
    found = [d.get("args") for d in each if isinstance(d, dict) and d.get("name") == "psycopg2"]
    return [args for args in found if isinstance(args, dict)]


def _login(args: Mapping[str, Any]) -> Login | None:
    host = str(args.get("host") or "")
    user = str(args.get("user") or "")
    database = str(args.get("dbname") or args.get("database") or user)
    if not host or not user:
        return None
    return Login(host, number(args.get("port"), PORT), database, user, Secret(str(args.get("password") or "")))


def _keepalives(args: Mapping[str, Any]) -> bool:
    """Whether a dead peer is noticed within minutes: libpq's own default leaves it to the kernel,
    which waits two hours (libpq, Parameter Key Words: keepalives_idle)."""
    if str(args.get("keepalives", 1)) == "0":
        return False
    return 0 < number(args.get("keepalives_idle"), 0) <= 300 or number(args.get("tcp_user_timeout"), 0) > 0


def origin_of(variable: Variable | None, secrets: SecretStore) -> tuple[str, datetime | None]:
    """Where a value comes from, and when that was last written."""
    if variable is None:
        return "its configuration", None
    held = secrets.found.get(variable.secret) if variable.secret else None
    return variable.origin or "its environment", held.changed if held else None


def _at(values: Sequence[Mapping[str, Any]], index: int) -> Mapping[str, Any] | None:
    return values[index] if index < len(values) else None
