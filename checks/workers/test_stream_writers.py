from collections.abc import Iterable, Sequence

from postflight.check import check
from postflight.cluster.kinds import AUTOSCALER, CONFIG_MAP
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, name_of
from postflight.deployment.writers import (
    EVENTS,
    MAP,
    MASTER,
    SETTING,
    STREAMS,
    Writers,
    WritersRefusal,
    changed,
    refusals_of,
    scaled,
    unsure,
    writers_of,
)
from postflight.probes.inside import InsideConnection, InsideView
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

ONE = f"one {SETTING} and one {MAP} in the configuration that all processes share"


@check(
    "workers.stream_writers",
    severity=Severity.CRITICAL,
    finding="5.3",
    kinds=(AUTOSCALER, CONFIG_MAP),
    remedy=f"put {ONE}, and restart every Synapse process together after a change of either",
    blind_spots="a list that was changed in a mounted file and changed back while the process ran; who scales by hand;"
    f" an address of {MAP} that leads to another process than the one it is listed under",
)
def test_every_stream_has_writers_that_run_and_that_all_processes_know(
    deployment: Deployment, snapshot: Snapshot, inside_connections: InsideView | NotTried, judge: Judge
) -> None:
    """A process with another list gives its events, receipts or typing to one who does not write them: what is sent
    there fails, or two write one stream and neither sees what the other wrote."""
    for process in deployment.unread:
        why = process.config_problem
        judge.unknown(process.id, f"whom {process.workload_name} takes for the writers is not known: {why}")
    writers = writers_of(deployment)
    judge.saw(*(each.id for each in deployment.synapse if each.config is not None))
    _refused(deployment, judge)
    _twice(writers, judge)
    _stale(writers, judge)
    _agreed(writers, judge)
    _alive(deployment, writers, judge)
    _reached(writers, inside_connections, judge)
    for each in scaled(snapshot, writers):
        names = _and(one.instance for one in each.writers)
        judge.wrong(
            each.workload,
            f"autoscaler {each.autoscaler} scales {each.workload_name}, whose processes are listed as writers: {names}",
            observed=f"{each.autoscaler}: {each.minimum} to {each.maximum} pods; {len(each.writers)} of them are listed",
            expected="as many pods as are listed, changed together with the list",
            cause="a pod that is added is in no list and writes nothing; one that is taken away is still sent what it must write",
            remedy=f"remove the autoscaler {each.autoscaler}; scale writers by hand, with {SETTING} and {MAP}",
        )


def _refused(deployment: Deployment, judge: Judge) -> None:
    """Lists with which Synapse does not start, or would not start again; LI's processes are held to them too.
    Persisters without an address are workers.event_persisters' to say, of the homeserver and the lists that it reads."""
    found: dict[tuple[WritersRefusal, Side], list[SynapseProcess]] = {}
    down: dict[tuple[WritersRefusal, Side], list[SynapseProcess]] = {}
    for process in deployment.synapse:
        now = refusals_of(process, process.config)
        for each in dict.fromkeys((*now, *refusals_of(process, process.next_config))):
            if each.unmapped and each.stream == EVENTS and each in now and process.side is Side.MAIN:
                continue
            found.setdefault((each, process.side), []).append(process)
            if each in now and not process.is_up:
                down.setdefault((each, process.side), []).append(process)
    for (refusal, side), processes in found.items():
        who = f"{'LI: ' if side is Side.LI else ''}{_who(processes)}"
        stopped = down.get((refusal, side), ())
        judge.wrong(
            processes[0].id,
            f"{who} {'does' if len(processes) == 1 else 'do'} not start: {refusal.why}"
            if stopped
            else f"{who} will not start again: {refusal.why}",
            observed=f"in the configuration of {_and(each.instance for each in processes)}",
            expected=f"a {SETTING} that Synapse takes: one writer of a stream that is not sharded, each in {MAP}"
            if refusal.stream
            else f"main in the {MAP} of every worker, with host and port",
            cause=refusal.why,
            remedy=f"correct {SETTING if not refusal.unmapped and refusal.stream else MAP}, then restart",
            stops=tuple(dict.fromkeys(part for each in stopped for part in (each.id, each.workload))),
        )


def _twice(writers: Writers, judge: Judge) -> None:
    for stream in STREAMS:
        for names, processes in writers.distinct(stream).items():
            for name in dict.fromkeys(each for each in names if names.count(each) > 1):
                judge.wrong(
                    processes[0].id,
                    f"{name} is listed {names.count(name)} times as a writer of {stream}",
                    observed=f"{SETTING}.{stream}: {', '.join(names)}",
                    expected="every writer is listed once",
                    cause=f"{name} gets {names.count(name)} of {len(names)} shares of {stream}; perhaps another was meant",
                    remedy=f"name each writer of {stream} once, and restart every Synapse process together",
                )


def _stale(writers: Writers, judge: Judge) -> None:
    late = {each.id: found for each in writers.processes if each.runs and (found := changed(each))}
    old = [each for each in writers.processes if each.id in late]
    if old:
        what = _and(dict.fromkeys(setting for found in late.values() for setting in found))
        moment = min((each.started for each in old if each.started), default=None)
        since = f", the first at {moment:%Y-%m-%d %H:%M:%SZ}" if moment else ""
        judge.wrong(
            old[0].id,
            f"{_who(old)} started before {what} changed: {'it does' if len(old) == 1 else 'they do'} not know it",
            observed=f"{len(old)} of {len(writers.processes)} processes run by an older {what}{since}",
            expected=f"every process started after the last change of {SETTING} and {MAP}",
            cause=f"what {old[0].instance} runs by is not what its configuration says now: one that restarts alone"
            " disagrees with the others",
            remedy="restart every Synapse process together",
            evidence=tuple(_difference(each, setting) for each in old[:1] for setting in late[each.id]),
        )
    for each in writers.processes:
        if each.id not in late and unsure(each):
            judge.unproven(
                each.id,
                f"{each.instance} started before its configuration was last changed ({each.refreshed:%Y-%m-%d %H:%M:%SZ}):"
                " whether it was the writers that changed is not known",
                remedy=f"restart {each.workload_name}",
            )


def _difference(process: SynapseProcess, setting: str) -> str:
    name, _, stream = setting.partition(".")

    def value(config: object) -> object:
        found = config.get(name) if isinstance(config, dict) else None
        return found.get(stream) if stream and isinstance(found, dict) else found

    return f"{setting}: {value(process.config)} in effect in {process.instance}, {value(process.next_config)} after a restart"


def _agreed(writers: Writers, judge: Judge) -> None:
    """What differs because some started before a change is said there."""
    if any(each.runs and changed(each) for each in writers.sound):
        return
    for stream in STREAMS:
        lists = writers.distinct(stream)
        if len(lists) > 1:
            (few, *_), (most, *_) = _by_number(lists.values())
            said = "; ".join(f"{_who(each)}: {', '.join(names)}" for names, each in lists.items())
            judge.wrong(
                few.id,
                f"{few.instance} takes others for the writers of {stream} than {most.instance} does",
                observed=said,
                expected=f"one list of writers in every process{', in one order' if stream == EVENTS else ''}",
                cause=f"{SETTING}.{stream} differs between the processes",
                remedy=f"put {ONE}, and restart every process",
            )
    for name in writers.listed():
        _one_address(name, writers, judge)


def _one_address(name: str, writers: Writers, judge: Judge) -> None:
    known = [(each, at) for each in writers.sound if (at := writers.addresses[each.id].get(name))]
    for process, at in known:
        if not at.same(known[0][1]):
            judge.wrong(
                process.id,
                f"{process.instance} looks for {name} at {at}, {known[0][0].instance} at {known[0][1]}",
                expected="one address of each writer, in every process",
                cause=f"{MAP} differs between the processes",
                remedy=f"put {ONE}, and restart every process",
            )
            return


def _by_number(groups: Iterable[list[SynapseProcess]]) -> tuple[list[SynapseProcess], list[SynapseProcess]]:
    """The smallest and the greatest group."""
    found = sorted(groups, key=len)
    return found[0], found[-1]


def _alive(deployment: Deployment, writers: Writers, judge: Judge) -> None:
    for name, streams in writers.listed().items():
        found = writers.called(name)
        what = _and(streams)
        if not found and name == MASTER:
            judge.unknown(name, f"whether main, which writes {what}, is up is not known: no main process is in view")
        elif not found:
            unread = [each for each in deployment.unread if each.side is Side.MAIN]
            for each in unread:
                judge.unknown(each.id, f"whether {each.workload_name} is {name}, which writes {what}, is not known")
            if not unread:
                judge.wrong(
                    name,
                    f"{name} is to write {what}, and no process is called that",
                    observed=f"{len(writers.processes)} processes, none of them is called {name}",
                    expected="every writer that is listed runs",
                    cause=f"{SETTING} names {name}",
                    remedy=f"start it, or take it out of {SETTING} and restart every Synapse process together",
                    stops=(name,),
                )
        elif len(found) > 1:
            judge.wrong(
                found[0].id,
                f"{len(found)} processes are called {name}, which is to write {what}: they get in each other's way",
                observed=_and(each.pod.name for each in found if each.pod),
                expected="each instance name belongs to one process",
                cause=f"{found[0].workload_name} gives all its pods one worker_name",
                remedy="run one of them, or give each a worker_name of its own and list it",
            )
        for each in found:
            if not each.is_up:
                judge.unavailable(each.id, f"{name}, which writes {what}, is not up")


def _reached(writers: Writers, view: InsideView | NotTried, judge: Judge) -> None:
    """By the name that a process has for it, from the process's own pod."""
    if isinstance(view, NotTried):
        judge.unproven("the way by name", f"whether the processes reach the writers was not seen: {view.reason}")
        return
    asked: set[str] = set()
    for name in writers.listed():
        tries = [each for each in view.connections if _is_for(name, each, writers)]
        failed = [each for each in tries if each.problem]
        up = [each for each in writers.called(name) if each.is_up]
        asked |= {name} if tries else set()
        if failed and up:
            one, who = failed[0], _who([each.process for each in failed])
            judge.wrong(
                up[0].id,
                f"{who} {'does' if len(failed) == 1 else 'do'} not reach {name} at {one.host}:{one.port}: {one.problem}",
                observed=f"{one.problem}, connecting from {one.pod}; {len(tries) - len(failed)} others reach it",
                expected=f"every process reaches each writer at its address in {MAP}",
                cause=f"the address in {MAP}, its Service or a NetworkPolicy stands between: {name} itself is up",
                remedy=f"let {one.host}:{one.port} lead to the replication listener of {name}",
            )
    for id, why in view.unseen.items():
        judge.unproven(id, f"whether {name_of(id)} reaches the writers by name was not seen: {why}")
    missed = [name for name in writers.listed() if name not in asked and _must_be_asked(name, writers)]
    if missed and not view.unseen:
        judge.unproven(
            "the way by name",
            f"whether anybody reaches {_and(missed)} by name was not seen: no process that runs could be asked",
        )


def _is_for(name: str, connection: InsideConnection, writers: Writers) -> bool:
    at = writers.addresses.get(connection.process.id, {}).get(name)
    return at is not None and (at.host, at.port) == (connection.host, connection.port)


def _must_be_asked(name: str, writers: Writers) -> bool:
    """Whether some other process that is up is told where it is."""
    return any(each.is_up and each.instance != name and name in writers.addresses[each.id] for each in writers.sound)


def _who(processes: Sequence[SynapseProcess]) -> str:
    return several(each.instance for each in processes)


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
