from collections.abc import Mapping

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, tasks_of
from postflight.probes.background import BackgroundUpdates, Update
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

SETTING = "run_background_tasks_on"
#: What main is called there (synapse/config/workers.py, 1.163); instance_map calls it "main".
MASTER = "master"


@check(
    "workers.background",
    severity=Severity.MAJOR,
    remedy=f"let {SETTING} name a process that runs, and restart main after an update that failed",
    blind_spots="a background task that runs and does nothing; updates of a database that only a worker uses",
)
def test_some_process_runs_the_background_tasks_and_the_updates_come_to_an_end(
    deployment: Deployment,
    background_updates: tuple[BackgroundUpdates, ...],
    known_updates: Mapping[str, bool] | NotTried,
    judge: Judge,
) -> None:
    """Tasks that nobody runs fail nowhere: old data stays, statistics stop. An update that hangs holds back all
    that come after it, and some of what Synapse does waits for them."""
    for process in deployment.unread:
        if process.is_main:
            why = process.config_problem
            judge.unknown(process.id, f"on which process {process.workload_name} has tasks run is not known: {why}")
    for main in (each for each in deployment.synapse if each.is_main and each.config is not None):
        judge.saw(main.id)
        _tasks(main, deployment, judge)
    known = {} if isinstance(known_updates, NotTried) else known_updates
    for seen in background_updates:
        if why := seen.problem or seen.unseen:
            line = f"which background updates {seen.process.workload_name} has left could not be read: {why}"
            (judge.unavailable if seen.problem else judge.unknown)(seen.process.id, line)
        foreign = [each for each in seen.updates if known.get(each.name) is False]
        for update in foreign:
            _foreign(update, seen, judge)
        # All others wait behind one that nobody can do.
        for update in () if foreign else seen.updates:
            _update(update, seen, judge)


def _tasks(main: SynapseProcess, deployment: Deployment, judge: Judge) -> None:
    """Each process looks for its own name, so it is the one in the configuration of the process named that counts."""
    mine = [
        each
        for each in deployment.synapse
        if (each.namespace, each.side) == (main.namespace, main.side) and each.config is not None
    ]
    named = {str((each.config or {}).get(SETTING) or MASTER) for each in mine}
    runs = [each for each in mine if each.instance == str((each.config or {}).get(SETTING) or MASTER)]
    said = " and ".join(sorted(named))
    if not runs and deployment.unread:
        for each in deployment.unread:
            line = f"whether {each.workload_name} is {said}, which runs the background tasks, is not known"
            judge.unknown(each.id, line)
    elif not runs:
        hint = f"main is called {MASTER} there" if "main" in named else "no process has this worker_name"
        judge.wrong(
            main.id,
            f"nobody runs the background tasks: {SETTING} names {said}, and {hint}",
            observed=f"{len(mine)} processes, none of them is called {said}",
            expected=f"{SETTING} names a process that runs, or is not set",
            cause=f"{SETTING}: {said} in the configuration",
            remedy=f"name a worker that runs, or take {SETTING} out: main runs them then",
            stops=(tasks_of(main),),
        )
    elif len({each.instance for each in runs}) > 1:
        who = ", ".join(sorted({each.instance for each in runs}))
        judge.wrong(
            main.id,
            f"the background tasks run more than once, on {who}: the processes do not agree on {SETTING}",
            expected="one configuration that all processes share",
        )
    else:
        for each in runs:
            if each.pod is None or not each.pod.ready:
                line = f"{each.workload_name} runs the background tasks and is not up"
                judge.unavailable(each.id, line)


def _foreign(update: Update, seen: BackgroundUpdates, judge: Judge) -> None:
    main = seen.process.workload_name
    judge.wrong(
        seen.process.id,
        f"background update {update.name} waits for ever: the Synapse that runs in {main} knows none of that name",
        observed=f"{len(seen.updates)} rows in background_updates; {update.name} is in none of its code",
        expected="no update that nobody can do: all others wait behind it",
        cause="it is of another release, or was put there by hand",
        remedy="run the release that it belongs to until it is done, or have who put it there take it out; then restart"
        f" {main}, which gives all of them up after some failures",
    )


def _update(update: Update, seen: BackgroundUpdates, judge: Judge) -> None:
    main = seen.process.workload_name
    waiting = {each.name: each.depends_on for each in seen.updates}
    if _circle(update.name, waiting):
        judge.wrong(seen.process.id, f"background update {update.name} waits for itself, through what it depends on")
    elif seen.moving:
        judge.saw(seen.process.id)
    elif seen.busy:
        line = f"background update {update.name} is not done yet: a statement of Synapse's role runs for long"
        judge.warn(seen.process.id, line)
    elif seen.process.side is Side.LI:
        # Main's rows come with the rest where background_updates is published, and go when main is done.
        line = f"background update {update.name} does not move in LI's database: it is a copy of main's row, or {main}"
        judge.warn(seen.process.id, f"{line} does not work on it")
    else:
        judge.wrong(
            seen.process.id,
            f"background update {update.name} does not move: nobody works on it",
            observed="its progress was the same at two looks, and no statement of Synapse's ran for long",
            expected="progress until the row is gone",
            cause=f"{main} gave it up after failures, or runs no updates",
            remedy=f"look for 'Error doing update' in the log of {main}, then restart it",
        )


def _circle(name: str, waiting: Mapping[str, str]) -> bool:
    seen: set[str] = set()
    at = name
    while at in waiting and at not in seen:
        seen.add(at)
        at = waiting[at]
    return at == name
