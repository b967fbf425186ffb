"""The kinds of object that the verifier reads, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``group`` is "" for the core group; ``custom`` kinds exist only where their operator does."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    custom: bool = False

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """The URL path of the collection, or of one object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return root + scope + "".join(f"/{part}" for part in (self.plural, name, sub) if part)


POD = Kind("Pod", "pods")
SERVICE = Kind("Service", "services")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
SECRET = Kind("Secret", "secrets")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
EVENT = Kind("Event", "events")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
ENDPOINT_SLICE = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
STATEFUL_SET = Kind("StatefulSet", "statefulsets", "apps")
DAEMON_SET = Kind("DaemonSet", "daemonsets", "apps")
REPLICA_SET = Kind("ReplicaSet", "replicasets", "apps")
JOB = Kind("Job", "jobs", "batch")
CRON_JOB = Kind("CronJob", "cronjobs", "batch")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "v2")
INGRESS = Kind("Ingress", "ingresses", "networking.k8s.io")
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
INGRESS = Kind("Ingress", "ingresses", "networking.k8s.io")
HTTP_ROUTE = Kind("HTTPRoute", "httproutes", "gateway.networking.k8s.io", custom=True)
POLICY = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io")
BUDGET = Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy")
POSTGRES_CLUSTER = Kind("Cluster", "clusters", "postgresql.cnpg.io", custom=True)
SERVICE_MONITOR = Kind("ServiceMonitor", "servicemonitors", "monitoring.coreos.com", custom=True)
POD_MONITOR = Kind("PodMonitor", "podmonitors", "monitoring.coreos.com", custom=True)
PROMETHEUS_RULE = Kind("PrometheusRule", "prometheusrules", "monitoring.coreos.com", custom=True)
SCHEDULED_BACKUP = Kind("ScheduledBackup", "scheduledbackups", "postgresql.cnpg.io", custom=True)
TENANT = Kind("Tenant", "tenants", "minio.min.io", "v2", custom=True)
BACKUP = Kind("Backup", "backups", "postgresql.cnpg.io", custom=True)
CERTIFICATE = Kind("Certificate", "certificates", "cert-manager.io", custom=True)

#: The kinds whose objects carry a pod template.
WORKLOADS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB)

#: Without one of these the model would be wrong, not only incomplete.
MODEL = (POD, SERVICE, ENDPOINT_SLICE, REPLICA_SET, DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, POSTGRES_CLUSTER)

#: One LIST of each, per namespace in scope.
LISTED = (
    POD,
    SERVICE,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    EVENT,
    CLAIM,
    ENDPOINT_SLICE,
    REPLICA_SET,
    AUTOSCALER,
    INGRESS,
    LEASE,
    POSTGRES_CLUSTER,
    BUDGET,
    POLICY,
    SCHEDULED_BACKUP,
    TENANT,
    SERVICE_MONITOR,
    POD_MONITOR,
    PROMETHEUS_RULE,
    BACKUP,
    CERTIFICATE,
    *WORKLOADS,
)

#: What people write to configure a deployment, and what a sign-off takes the hash of.
CONFIGURATION = (
    DEPLOYMENT,
    STATEFUL_SET,
    DAEMON_SET,
    CRON_JOB,
    CONFIG_MAP,
    SERVICE,
    SERVICE_ACCOUNT,
    AUTOSCALER,
    INGRESS,
    HTTP_ROUTE,
    POLICY,
    BUDGET,
    POSTGRES_CLUSTER,
    SCHEDULED_BACKUP,
    CERTIFICATE,
    TENANT,
)
