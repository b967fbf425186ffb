from collections.abc import Mapping

from postflight.check import check
from postflight.cluster.kinds import CLAIM, EVENT, JOB, POD
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Container, Pod, Workload, missing_id
from postflight.limits import Limit
from postflight.traces import MANAGED_BY
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

RESTARTS = 3
NAMED = 3
CRASHING = "CrashLoopBackOff"
STARTING = ("PodInitializing", "ContainerCreating")


@check(
    "platform.workloads",
    severity=Severity.CRITICAL,
    remedy="read the last words of the container that does not run; they name what it lacks",
    blind_spots="a container that is Ready although it does not serve: the checks of its service see that",
)
def test_every_pod_is_ready_and_runs_the_image_of_its_workload(
    deployment: Deployment,
    snapshot: Snapshot,
    last_words: Mapping[str, tuple[str, ...]],
    judge: Judge,
) -> None:
    """A pod that is down is capacity, or a writer, that is missing; replicas on different images
    answer differently from request to request."""
    for workload in deployment.workloads:
        down = [pod for pod in workload.pods if not pod.ready and pod.phase != "Succeeded"]
        if workload.kind == JOB.name:
            _job(snapshot, workload, down, last_words, judge)
            continue
        if not (workload.desired or workload.pods):
            continue
        judge.saw(workload.id)
        missing = workload.desired - len(workload.pods)
        if down or missing > 0:
            pod = next((each for each in down if _stated(snapshot, each)), next(iter(down), None))
            stated = _stated(snapshot, pod) if pod else _gone(workload, missing)
            why = stated or (_why(pod) if pod else "")
            ready = sum(pod.ready for pod in workload.pods)
            judge.unavailable(
                workload.id,
                f"{workload.name}: {ready} of {max(workload.desired, len(workload.pods))} pods ready: {why}",
                observed="; ".join(f"{each.name} {each.phase}" for each in down) or f"no pod for {missing} replicas",
                expected=f"{workload.desired} pods ready",
                cause=why,
                evidence=last_words.get(pod.id, ()) if pod else _events(snapshot, workload),
                needs=(f"spec/{workload.id}",) if stated else (),
                stops=(
                    *((workload.id,) if ready == 0 else ()),
                    *(each.id for each in down),
                    *((missing_id(workload.id),) if missing > 0 else ()),
                ),
            )
        _same_image(workload, judge)
    _same_release(deployment, judge)
    if unseen := snapshot.why_unseen(CLAIM):
        judge.unknown(
            "volume claims", f"whether a volume claim waits for a volume or has lost it was not seen: {unseen}"
        )
    for claim in snapshot.all(CLAIM):
        phase = (claim.get("status") or {}).get("phase")
        name = claim["metadata"]["name"]
        if phase == "Lost":
            judge.wrong(name, f"volume claim {name} has lost its volume")


def _stated(snapshot: Snapshot, pod: Pod) -> str:
    """What the scheduler or the kubelet says it lacks, in one line. Nothing else in the deployment can be
    the reason for that, only what its spec names."""
    for claim in snapshot.all(CLAIM, pod.namespace):
        if (claim.get("status") or {}).get("phase") == "Pending" and _waits_for(
            snapshot, pod, claim["metadata"]["name"]
        ):
            cls = claim["spec"].get("storageClassName", "the default")
            return f"volume claim {claim['metadata']['name']} stays Pending (storage class {cls})"
    if pod.problem:
        return pod.problem
    for container in (*pod.init, *pod.containers):
        if container.waiting not in ("", CRASHING, *STARTING):
            waits = f"waits: {container.waiting} {container.message}".strip()
            return f"{pod.name}, container {container.name}, {waits}"
    return ""


def _why(pod: Pod) -> str:
    """What its containers do instead of serving."""
    for container in (*pod.init, *pod.containers):
        if reason := _state(container):
            return f"{pod.name}, container {container.name}, {reason}"
    return f"{pod.name} is {pod.phase}, not Ready"


def _gone(workload: Workload, missing: int) -> str:
    if workload.going:
        pod = workload.going[0]
        return f"{pod.name} is Terminating on node {pod.node} and has no successor yet"
    return f"{missing} of {workload.desired} pods do not exist"


def _waits_for(snapshot: Snapshot, pod: Pod, claim: str) -> bool:
    raw = snapshot.get(POD, pod.namespace, pod.name) or {"spec": {}}
    volumes = raw["spec"].get("volumes") or ()
    return any((each.get("persistentVolumeClaim") or {}).get("claimName") == claim for each in volumes)


def _state(container: Container) -> str:
    if container.waiting == "PodInitializing" or (container.running and container.ready):
        return ""
    # Between two crashes it may be waiting, ended, or up for a moment.
    if container.waiting == CRASHING or (not container.ready and container.last_exit not in (0, None)):
        return f"keeps crashing ({CRASHING}, exit code {container.last_exit}, {container.restarts} restarts)"
    if container.running and not container.ready:
        return f"runs but is not ready ({container.restarts} restarts)"
    return ""


def _job(
    snapshot: Snapshot,
    workload: Workload,
    down: list[Pod],
    last_words: Mapping[str, tuple[str, ...]],
    judge: Judge,
) -> None:
    """A Job may run and end; it may not fail, or wait for what never comes."""
    if any(MANAGED_BY in pod.labels for pod in workload.pods):
        return
    if why := _failed(snapshot, workload):
        judge.unavailable(
            workload.id,
            f"Job {workload.name} failed: {why}",
            expected="the Job ends, or is tried again",
            evidence=next((said for pod in down if (said := last_words.get(pod.id, ()))), ()),
        )
        return
    for pod in (each for each in down if each.phase == "Pending"):
        if why := _stated(snapshot, pod) or _late(snapshot, pod):
            judge.unavailable(
                workload.id,
                f"Job {workload.name} does not start: {why}",
                expected="the Job's pod starts",
                evidence=_events(snapshot, workload),
                needs=(f"spec/{workload.id}",),
                stops=(workload.id, pod.id),
            )


def _failed(snapshot: Snapshot, workload: Workload) -> str:
    """Why a Job was given up; of a CronJob's the last one counts."""
    raw = snapshot.get(JOB, workload.namespace, workload.name)
    conditions = (raw.get("status") or {}).get("conditions") or () if raw else ()
    failed = next((each for each in conditions if (each["type"], each["status"]) == ("Failed", "True")), None)
    if raw is None or failed is None:
        return ""
    owners = [(each["kind"], each["name"]) for each in raw["metadata"].get("ownerReferences") or ()]
    for other in snapshot.all(JOB, workload.namespace) if owners else ():
        theirs = [(each["kind"], each["name"]) for each in other["metadata"].get("ownerReferences") or ()]
        if theirs == owners and other["metadata"]["creationTimestamp"] > raw["metadata"]["creationTimestamp"]:
            return ""
    return ": ".join(filter(None, (failed.get("reason"), failed.get("message"))))


def _late(snapshot: Snapshot, pod: Pod) -> str:
    if pod.started is None or (snapshot.taken - pod.started).total_seconds() < Limit.POD_START:
        return ""
    waiting = next((each for each in (*pod.init, *pod.containers) if each.waiting in STARTING), None)
    since = f"since {pod.started:%Y-%m-%d %H:%MZ}"
    return f"{pod.name}, container {waiting.name}, is {waiting.waiting} {since}" if waiting else ""


def _events(snapshot: Snapshot, workload: Workload) -> tuple[str, ...]:
    return tuple(
        f"{each.get('reason')}: {each.get('message')}"
        for each in snapshot.all(EVENT, workload.namespace)
        if str((each.get("involvedObject") or {}).get("name", "")).startswith(workload.name)
    )[-3:]


def _same_image(workload: Workload, judge: Judge) -> None:
    for name, wanted in workload.images.items():
        found = {pod.name: container for pod in workload.pods if (container := pod.container(name))}
        images = {pod: container.image for pod, container in found.items()}
        ids = {container.image_id.rpartition("@")[2] for container in found.values() if container.image_id}
        if len(ids) < 2 and len(set(images.values())) == 1 and _rewritten(wanted, next(iter(images.values()))):
            one = next(iter(images.values()))
            judge.warn(workload.id, f"{workload.name}: all its pods run {one}, its workload says {wanted}")
        elif set(images.values()) - {wanted} or len(ids) > 1:
            odd = "; ".join(f"{_pods(images, image)} on {image}" for image in dict.fromkeys(images.values()))
            if set(images.values()) == {wanted}:
                odd = f"{len(ids)} different images under one name"
            judge.wrong(
                workload.id,
                f"{workload.name}: {odd}, its workload says {wanted}",
                observed=odd,
                expected=f"every pod of {workload.name} runs {wanted}",
                cause=f"a pod of {workload.name} was changed by hand, or a rollout has not ended",
                remedy=f"roll {workload.name} out again and delete the odd pod",
            )
        for pod in workload.pods:
            container = pod.container(name)
            if container and container.ready and container.restarts >= RESTARTS:
                judge.warn(
                    pod.id, f"{pod.name}: container {name} runs now but was restarted {container.restarts} times"
                )


def _rewritten(wanted: str, image: str) -> bool:
    """Whether an image is the one that is wanted as admission may rewrite it: by a mirror, or by digest."""
    (name, tag, digest), (found, its_tag, its_digest) = _parts(wanted), _parts(image)
    if image == wanted or name != found or (digest and its_digest != digest):
        return False
    return its_tag == tag or bool(its_digest and not its_tag)


def _parts(image: str) -> tuple[str, str, str]:
    """Last word of the repository, tag and digest; "" for what is not given."""
    named, _, digest = image.rpartition("/")[2].partition("@")
    name, _, tag = named.partition(":")
    return name, tag, digest


def _pods(images: Mapping[str, str], image: str) -> str:
    pods = [pod for pod, each in images.items() if each == image]
    return ", ".join(pods) if len(pods) <= NAMED else f"{len(pods)} pods"


def _same_release(deployment: Deployment, judge: Judge) -> None:
    """All processes of one homeserver run one release."""
    images: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    specs = {each.id: each for each in deployment.workloads}
    for process in deployment.synapse:
        image = specs[process.workload].images.get(process.container, "") if process.workload in specs else ""
        homeserver = (process.namespace, process.server_name, process.side)
        names = images.setdefault(homeserver, {}).setdefault(image, [])
        names.append(process.workload_name)
    for found in images.values():
        if len(found) > 1:
            groups = sorted(found.items(), key=lambda item: -len(item[1]))
            odd_image, odd = groups[-1]
            judge.wrong(
                f"release of {odd[0]}",
                f"{', '.join(sorted(set(odd)))} runs {odd_image}, the other Synapse processes {groups[0][0]}",
                expected="all processes of one homeserver run the same release",
                remedy="roll all of them out with one image",
            )
