"""Whatever a run makes in a lab, looked for from outside."""

from lab.cluster import Cluster
from lab.errors import LabError
from tests.lab.live import sql

LABEL = "app.kubernetes.io/managed-by=postflight"
KINDS = "pods,jobs,services,configmaps,secrets,leases,networkpolicies,serviceaccounts"
SCAN = 'redis-cli -a "$REDIS_PASSWORD" --no-auth-warning --scan --pattern "*postflight*"'


def objects(cluster: Cluster) -> list[str]:
    """Objects of a run, in every namespace."""
    return cluster.kubectl("get", KINDS, "-A", "-l", LABEL, "-o", "name").split()


def sweep(cluster: Cluster) -> None:
    """Removes them, so that the next test begins without."""
    cluster.kubectl("delete", KINDS, "-A", "-l", LABEL, "--ignore-not-found", "--wait=true")


def redis_keys(cluster: Cluster, namespace: str = "matrix") -> list[str]:
    """Keys of a run, in any Redis node."""
    labels = "app.kubernetes.io/name=redis"
    pods = cluster.kubectl("get", "pods", "-n", namespace, "-l", labels, "-o", "name").split()
    found = [cluster.kubectl("exec", "-n", namespace, pod, "-c", "redis", "--", "sh", "-c", SCAN) for pod in pods]
    return [key for said in found for key in said.split()]


def sessions(cluster: Cluster, namespace: str = "matrix") -> list[str]:
    """Sessions of a run, in any PostgreSQL instance."""
    asked = "select usename || ' on ' || datname from pg_stat_activity where application_name = 'postflight'"
    labels = "cnpg.io/podRole=instance"
    pods = cluster.kubectl("get", "pods", "-n", namespace, "-l", labels, "-o", "name").split()
    psql = ["-c", "postgres", "--", "psql", "-XAtqc", asked]
    return [line for pod in pods for line in cluster.kubectl("exec", "-n", namespace, pod, *psql).splitlines()]


def matrix(cluster: Cluster, namespace: str = "matrix") -> list[str]:
    """Sessions of the probe user, and canaries that are still in a room."""
    asked = """select 'token of ' || user_id from access_tokens where user_id like '@postflight:%'
    union all select state_key || ' in ' || room_id from current_state_events
    where type = 'm.room.member' and membership = 'join' and state_key like '@postflight:postflight-canary%'"""
    return sql.ask(cluster, asked, namespace)


def files(cluster: Cluster, namespace: str = "matrix") -> list[str]:
    """What is in the object store, but for the database's backups, and in the media processes' own stores: nobody but a run
    uploads to a lab. A process that does not run took nothing, and cannot be asked."""
    own = "-not -path '*/.minio.sys/*' -not -path '*/postgresql-backups/*'"
    asked = (
        ("app.kubernetes.io/name=minio", f"find /export0 /export1 -name xl.meta {own}"),
        ("app.kubernetes.io/component=media-repository", "if [ -d /data/media ]; then find /data/media -type f; fi"),
    )
    found: list[str] = []
    for labels, command in asked:
        ready = "jsonpath={.items[?(@.status.containerStatuses[0].ready==true)].metadata.name}"
        pods = cluster.kubectl("get", "pods", "-n", namespace, "-l", labels, "-o", ready).split()
        told = [cluster.kubectl("exec", "-n", namespace, pod, "--", "sh", "-c", command) for pod in pods]
        found += [line for said in told for line in said.splitlines()]
    return found


def everything(cluster: Cluster) -> list[str]:
    """All of it. Raises LabError."""
    return [*objects(cluster), *redis_keys(cluster), *sessions(cluster), *matrix(cluster), *files(cluster)]


def lease_held(cluster: Cluster, namespace: str = "matrix") -> bool:
    """Whether a run has begun to make something."""
    try:
        status, _ = cluster.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/postflight")
    except LabError:
        return False
    return status == 200
