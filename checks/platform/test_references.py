from postflight.check import check
from postflight.cluster.kinds import CONFIG_MAP, CRON_JOB, SECRET, SERVICE_ACCOUNT
from postflight.cluster.lacking import lacking
from postflight.cluster.references import Reference, references
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "platform.references",
    severity=Severity.CRITICAL,
    finding="1.7",
    remedy="make what is named, or correct the name in the workload",
    blind_spots="whether the value under a key is right: database.login and the others see that",
)
def test_every_secret_configmap_key_and_serviceaccount_that_a_workload_names_exists(
    snapshot: Snapshot, secrets: SecretStore, deployment: Deployment, judge: Judge
) -> None:
    """A pod whose Secret or ConfigMap is missing never starts, and says so only in its events."""
    unreadable = snapshot.why_unseen(CONFIG_MAP, SERVICE_ACCOUNT)
    missing: dict[tuple[str, str, str], list[Reference]] = {}
    for ref in references(snapshot):
        owner = f"{ref.owner_kind.lower()}/{ref.namespace}/{ref.owner}"
        judge.saw(owner)
        if ref.optional:
            continue
        if ref.kind is SECRET and (why := secrets.unseen.get((ref.namespace, ref.name))):
            if waited_for := _waited_for(ref, deployment):
                missing.setdefault((ref.namespace, ref.kind.name, waited_for), []).append(ref)
                continue
            judge.unknown(owner, f"Secret {ref.name}, named by {ref.owner}, could not be read: {why}")
        elif ref.kind is not SECRET and unreadable:
            judge.unknown(
                owner, f"{ref.kind.name} {ref.name}, named by {ref.owner}, could not be looked up: {unreadable}"
            )
        elif what := lacking(ref, snapshot, secrets):
            missing.setdefault((ref.namespace, ref.kind.name, what), []).append(ref)
    if why := snapshot.why_unseen(CRON_JOB):
        judge.unknown("CronJobs", f"what CronJobs name could not be looked up: {why}")
    for (namespace, kind, what), refs in missing.items():
        owners = tuple(dict.fromkeys(f"{r.owner_kind.lower()}/{r.namespace}/{r.owner}" for r in refs))
        cause, remedy = _superuser(refs[0], deployment) if kind == SECRET.name else ("", "")
        judge.wrong(
            owners[0],
            f"{kind} {what} does not exist; {refs[0].owner_kind} {refs[0].owner} names it ({refs[0].where})",
            observed=f"named by {', '.join(o.rpartition('/')[2] for o in owners)} in namespace {namespace}",
            expected=f"{kind} {what} exists in namespace {namespace}",
            cause=cause or f"nobody made {kind} {what}, or its name is spelled differently",
            remedy=remedy or f"make {kind} {what} in namespace {namespace}, or name the one that is meant",
            stops=(*owners, *(f"spec/{owner}" for owner in owners)),
        )


def _waited_for(ref: Reference, deployment: Deployment) -> str:
    """The Secret, or its key, that the kubelet says it lacks: it has read what the verifier may not."""
    for pod in deployment.pods.values():
        if pod.namespace != ref.namespace:
            continue
        for container in pod.containers:
            if f'secret "{ref.name}" not found' in container.message:
                return ref.name
            if ref.key and f"couldn't find key {ref.key} in Secret {ref.namespace}/{ref.name}" in container.message:
                return f"{ref.name}/{ref.key}"
    return ""


def _superuser(ref: Reference, deployment: Deployment) -> tuple[str, str]:
    """CloudNativePG makes NAME-superuser only where enableSuperuserAccess is on (default off since
    1.21)."""
    for cluster in deployment.postgres:
        switched_on = cluster.raw.get("spec", {}).get("enableSuperuserAccess")
        if cluster.operator and ref.name == f"{cluster.name}-superuser" and not switched_on:
            return (
                f"CloudNativePG makes {ref.name} only with enableSuperuserAccess, which is off in Cluster {cluster.name}",
                f"do without a superuser: let {ref.owner} log in as a role of its own (managed.roles, Publication"
                f" and Subscription objects), or set enableSuperuserAccess: true in Cluster {cluster.name}",
            )
    return "", ""
