"""What main's database holds, asked on the primary itself."""

from lab.cluster import Cluster

LABELS = "cnpg.io/cluster=matrix-postgresql,cnpg.io/instanceRole=primary"


def ask(cluster: Cluster, statement: str, namespace: str = "matrix") -> list[str]:
    """The rows of a statement, fields apart by "|". Raises LabError."""
    pod = cluster.kubectl("get", "pods", "-n", namespace, "-l", LABELS, "-o", "name").strip()
    psql = ["-c", "postgres", "--", "psql", "-XAtqd", "matrix", "-c", statement]
    return cluster.kubectl("exec", "-n", namespace, pod, *psql).splitlines()
