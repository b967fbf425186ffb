from datetime import timedelta

from postflight.check import check
from postflight.cluster.kinds import CLAIM
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.volumes import DataVolume, data_volumes
from postflight.probes.looks import Disk, Looks
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

GIB = 2**30
#: Below both, of what a process may still write: it is failed, warned. Large volumes have room at a small share.
FULL, FULL_BYTES = 0.10, 20 * GIB
TIGHT, TIGHT_BYTES = 0.20, 50 * GIB
#: The same of a filesystem that a node's other data share, which nobody sized for this volume.
SHARED, SHARED_BYTES = 0.05, 10 * GIB
FEW_INODES, SCARCE_INODES = 0.05, 0.10
#: A volume's age from which on its average growth says something, and how long the rest must last by it.
GROWN, LASTS = timedelta(days=2), timedelta(days=14)


@check(
    "platform.volumes",
    severity=Severity.CRITICAL,
    kinds=(CLAIM,),
    remedy="enlarge the volume (spec.resources.requests.storage of its claim, where its class allows it), or remove what is"
    " not needed: old WAL by an idle replication slot, remote media, backups beside the data",
    blind_spots="growth is the average since the volume was made, as far as it is older than two days: what was filled at"
    " once counts for growth, a sudden rise does not show; where a filesystem is shared with a node's other data, its"
    " growth is not judged; volumes that only another container of the pod mounts",
)
def test_volumes_that_hold_data_have_room_left(
    deployment: Deployment, snapshot: Snapshot, pod_looks: Looks, judge: Judge
) -> None:
    """PostgreSQL without room for its WAL stops at once, Redis and an object store refuse what is written: all of it is
    seen days before, and repaired in minutes then."""
    told: set[tuple[str, str, int]] = set()
    for each in data_volumes(deployment, snapshot):
        part = f"volume/{each.pod.namespace}/{each.pod.name}/{each.claim or next(iter(each.paths.values()))}"
        if each.claim and each.phase != "Bound":
            judge.unavailable(
                part,
                f"{each.words}: volume claim {each.claim} is {each.phase}, not bound to a volume",
                expected=f"volume claim {each.claim} is Bound",
                needs=(each.pod.id,),
            )
            continue
        look = pod_looks.seen.get(each.pod.id)
        path = each.paths.get(look.container, "") if look else ""
        disk = look.disks.get(path) if look else None
        if disk is None:
            why = pod_looks.unseen.get(each.pod.id) or (
                "it does not run" if look is None else "df did not answer for it"
            )
            judge.unknown(part, f"{each.words}: how full its volume is was not seen: {why}", needs=(each.pod.id,))
            continue
        judge.saw(part)
        filesystem = (each.pod.node, disk.device, disk.size)
        if each.is_alone(disk.size) or filesystem not in told:
            _room(part, each, disk, snapshot, judge)
        if not each.is_alone(disk.size):
            told.add(filesystem)
    if not judge.seen and not judge.failures:
        judge.absent("no PostgreSQL, Redis, object store or media store here has a volume")


def _room(part: str, each: DataVolume, disk: Disk, snapshot: Snapshot, judge: Judge) -> None:
    room = disk.used + disk.available
    free = disk.available / room if room else 0.0
    inodes = disk.inodes_free / disk.inodes if disk.inodes and disk.inodes_free is not None else 1.0
    alone = each.is_alone(disk.size)
    least, least_bytes = (FULL, FULL_BYTES) if alone else (SHARED, SHARED_BYTES)
    what = f"{each.words}: {'its volume' if alone else f'the filesystem of node {each.pod.node} that its volume is on'}"
    observed = (
        f"{_size(disk.used)} of {_size(room)} used at {disk.path} in {each.pod.name}, {inodes:.0%} of inodes free"
    )
    if free < least and disk.available < least_bytes:
        judge.wrong(
            part,
            f"{what} is nearly full: {_size(disk.available)} left ({free:.0%})",
            observed=observed,
            expected=f"{least:.0%} or {_size(least_bytes)} left",
        )
    elif inodes < FEW_INODES:
        judge.wrong(
            part,
            f"{what} has hardly an inode left ({inodes:.1%}): no new file can be made, however much room there is",
            observed=observed,
            expected=f"{FEW_INODES:.0%} of its inodes free",
        )
    elif alone and free < TIGHT and disk.available < TIGHT_BYTES:
        judge.warn(part, f"{what} gets full: {_size(disk.available)} left ({free:.0%})", observed=observed)
    elif alone and inodes < SCARCE_INODES:
        judge.warn(part, f"{what} runs out of inodes: {inodes:.0%} left", observed=observed)
    elif alone and each.made and (left := _lasts(disk, snapshot.taken - each.made)) and left < LASTS:
        judge.warn(
            part,
            f"{what} is full in {left.days} days, if it grows on as it did since it was made",
            observed=f"{observed}; made {each.made:%Y-%m-%d}",
            expected=f"room for {LASTS.days} days more",
        )


def _lasts(disk: Disk, age: timedelta) -> timedelta | None:
    """How long what is left lasts by the average growth; None where it is too young, or empty."""
    return age * (disk.available / disk.used) if age >= GROWN and disk.used else None


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
