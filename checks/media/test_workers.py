from collections.abc import Collection, Mapping, Sequence

from postflight.check import check
from postflight.deployment.media import APP, JOBS, SWITCH, MediaSide, holds_media, jobs_of, media_sides
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, names_of
from postflight.probes.media_doors import MediaDoor
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: What main is called in JOBS (synapse/server.py, 1.163: get_instance_name); instance_map calls it "main".
MASTER = "master"


@check(
    "media.workers",
    severity=Severity.MAJOR,
    finding="2.7",
    remedy=f"{SWITCH}: false in the configuration that all share, true or {APP} for the media workers; {JOBS} names one of them",
    blind_spots="whether a file arrives and comes back; media for other homeservers (federation); the jobs themselves,"
    " of which only the configuration tells; listeners with TLS or on unix sockets",
)
def test_media_is_answered_by_the_media_workers_only_and_one_of_them_runs_its_jobs(
    deployment: Deployment, media_doors: tuple[MediaDoor, ...], judge: Judge
) -> None:
    """A process that serves media beside the media workers keeps files of its own, which no other finds, and does
    the clean-up a second time. A worker that listens for media and does not know it loses what is led to it."""
    doors = {each.process.id: each for each in media_doors}
    for side in media_sides(deployment):
        if side.side is Side.LI and not side.workers:
            continue  # Whether LI serves media is its own affair.
        for process in side.unread:
            line = f"whether {process.workload_name} serves media is not known: {process.config_problem}"
            judge.unknown(process.id, line)
        _silent([doors[each.id] for each in side.read if each.id in doors], side.workers, judge)
        if side.workers:
            _strays(side, doors, judge)
            _deaf(side.workers, doors, judge)
        elif not side.unread:
            # By design: one process, or main beside its workers, serves media.
            _deaf(side.mains, doors, judge)
        judge.saw(*(each.id for each in side.read if each.id in doors))
        _jobs(side, judge)


def _silent(doors: Sequence[MediaDoor], workers: Collection[SynapseProcess], judge: Judge) -> None:
    for door in doors:
        process = door.process
        if door.unasked:
            say = judge.unknown if process in workers else judge.unproven
            say(process.id, f"whether {process.name} serves media was not seen: {door.problem}")
        elif door.problem:
            up = process.pod is not None and process.pod.ready
            line = f"{process.name} could not be asked for media: {door.problem}"
            (judge.unknown if up else judge.unavailable)(process.id, line)
        elif door.broken:
            judge.unavailable(
                process.id,
                f"{process.name} knows media requests and fails at them: {door.broken[0].status}",
                observed="; ".join(map(str, door.broken)),
                expected="404 M_NOT_FOUND for a file that does not exist",
            )


def _strays(side: MediaSide, doors: Mapping[str, MediaDoor], judge: Judge) -> None:
    """One failure for all: one setting, in the configuration that they share, makes all of them serve."""
    strays = [each for each in (*side.mains, *side.others) if each.id in doors and doors[each.id].serves]
    if strays:
        first = strays[0]
        value = (first.config or {}).get(SWITCH, True)
        judge.wrong(
            first.id,
            f"{names_of(strays)} serve{'s' if len(strays) == 1 else ''} media too, beside {names_of(side.workers)}",
            observed=f"{first.name} answers {'; '.join(map(str, doors[first.id].answers))}",
            expected="404 M_UNRECOGNIZED from all that are no media workers",
            cause=f"{SWITCH} is {str(value).lower()}{'' if SWITCH in (first.config or {}) else ' (not set)'} for {first.name}",
            remedy=f"set {SWITCH}: false in the configuration that all processes share, then restart {names_of(strays)}",
            evidence=tuple(each.name for each in strays),
        )


def _deaf(meant: Sequence[SynapseProcess], doors: Mapping[str, MediaDoor], judge: Judge) -> None:
    deaf = [each for each in meant if (door := doors.get(each.id)) and not (door.serves or door.problem)]
    if not deaf:
        return
    first, one = deaf[0], len(deaf) == 1
    why = "it has a media repository, and no listener for it" if holds_media(first) else f"{SWITCH} is false"
    if first.is_main:
        headline = f"nobody answers media requests: {names_of(deaf)} refuses them ({why}), and there is no media worker"
        remedy = f"set {SWITCH}: true, or deploy a media worker"
    else:
        headline = f"{names_of(deaf)} listen{'s' if one else ''} for media and refuse{'s' if one else ''} it: {why}"
        remedy = f"make it a media worker (worker_app: {APP}), or take media out of its listener"
    judge.wrong(
        first.id,
        headline,
        observed=f"{first.name} answers {'; '.join(map(str, doors[first.id].answers))}",
        expected="401 M_MISSING_TOKEN, or 404 M_NOT_FOUND for a file that does not exist",
        cause=f"{why} for {first.name}, whose app is {first.app}",
        remedy=remedy,
        evidence=tuple(each.name for each in deaf),
    )


def _jobs(side: MediaSide, judge: Judge) -> None:
    """Where nobody is named every process with a media repository takes the jobs for its own."""
    named = sorted({jobs_of(each) for each in side.keepers} - {""})
    if not side.keepers or (not named and not side.workers):
        return
    runs, subject = side.jobs, (*side.mains, *side.keepers)[0].id
    said = " and ".join(named)
    if not runs and side.unread:
        for each in side.unread:
            line = f"whether {each.workload_name} is {said}, which runs the media background jobs, is not known"
            judge.unknown(each.id, line)
    elif not runs:
        judge.wrong(
            subject,
            f"nobody runs the media background jobs: {JOBS} names {said}, and {_hint(named, side)}",
            observed=f"{len(side.keepers)} processes with a media repository: {', '.join(_instances(side.keepers))}",
            expected=f"{JOBS} names one of them",
            cause=f"{JOBS}: {said} in the configuration",
            remedy=f"set {JOBS} to {_instances(side.workers or side.keepers)[0]}",
        )
    elif len(runs) > 1:
        why = f"they do not agree on {JOBS}" if named else f"{JOBS} is not set"
        judge.wrong(
            subject,
            f"the media background jobs run more than once, on {', '.join(_instances(runs))}: {why}",
            expected=f"one {JOBS} in the configuration that all processes share",
            remedy=f"set {JOBS} to {_instances(side.workers or runs)[0]} for all",
        )
    elif runs[0].pod is None or not runs[0].pod.ready:
        judge.unavailable(runs[0].id, f"{runs[0].name} runs the media background jobs and is not up")


def _hint(named: Collection[str], side: MediaSide) -> str:
    if "main" in named:
        return f"main is called {MASTER} there"
    if any(each.instance in named for each in side.read):
        return "that process has no media repository"
    return "no process has this worker_name"


def _instances(processes: Sequence[SynapseProcess]) -> list[str]:
    return sorted({each.instance for each in processes})
