from postflight.check import check
from postflight.cluster.kinds import CRON_JOB
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.claims import claimed, images_of, lasting
from postflight.deployment.model import Deployment
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "coverage",
    severity=Severity.MINOR,
    kinds=(CRON_JOB,),
    remedy="if it is one of the services that are known here, name it in the settings (names); else look at it by other"
    " means, and waive this with who answers for it",
    blind_spots="workloads of other namespaces; a workload that is known for one thing and does another beside it",
)
def test_every_workload_is_one_that_some_check_knows(
    deployment: Deployment, snapshot: Snapshot, secrets: SecretStore, settings: Settings, judge: Judge
) -> None:
    """A green run says nothing of what it did not look at: whoever reads it should know what that is."""
    known = claimed(deployment, snapshot, secrets, settings.names.pages)
    for id, kind, name in lasting(deployment, snapshot):
        if id in known:
            judge.saw(id)
            continue
        images = ", ".join(images_of(deployment, snapshot, id)) or "no image"
        more = "its schedule" if kind == CRON_JOB.name else "that its pods are ready"
        judge.warn(
            id,
            f"{kind} {name} is unverified: no check knows what it is",
            observed=f"it runs {images}; nothing is proven of it beyond {more}",
            expected="every workload is part of what some check looks at",
        )
