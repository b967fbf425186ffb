from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from postflight.check import check
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess, names_of
from postflight.deployment.retention import Loss, losses, media_loss
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import Hindered
from postflight.probes.li import Replication
from postflight.probes.li_import import allowed
from postflight.probes.probe import NotTried
from postflight.probes.retention import Censored, Ours, Redacted
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

NOT_SEEN = "that a redacted message keeps its content was not seen"
WHOSE = {Side.MAIN: "main's", Side.LI: "LI's"}


@check(
    "li.retention",
    severity=Severity.CRITICAL,
    finding="4.2",
    remedy="set redaction_retention_period: null and forgotten_room_retention_period: null for main and for LI, and restart",
    blind_spots="that it stays so: a run sees its own messages, for as long as there have been runs; what an administrator"
    " purges, or takes away by SQL; what a user's deactivation erases (account data, key backups); files of other servers",
)
def test_what_users_redact_stays_readable_in_the_storage_of_main_and_of_li(
    deployment: Deployment,
    settings: Settings,
    censored_rows: Censored,
    li_replication: Replication,
    li_arrival: Arrival | NotTried,
    redacted_message: Redacted | Hindered | NotTried,
    judge: Judge,
) -> None:
    """A redacted message is evidence for as long as its content stands in the database. Synapse takes it out after seven
    days unless it is told not to, and what main takes out is taken out of LI's copy with it."""
    li = deployment.li
    if li is None:
        judge.absent("nothing refers to a lawful-intercept homeserver")
        return
    _settings(deployment, judge)
    _censored(li, censored_rows, settings, judge)
    if isinstance(redacted_message, NotTried):
        judge.unproven(li.id, f"{NOT_SEEN}: {redacted_message.reason}")
    elif isinstance(redacted_message, Hindered):
        judge.unknown(li.id, f"{NOT_SEEN}: {redacted_message.problem}", needs=(redacted_message.where or li.id,))
    else:
        follows = bool(li_replication.followed.facts.get("subscriptions")) or not li.imports
        arrived = isinstance(li_arrival, Arrival) and li_arrival.seconds is not None
        _messages(li, redacted_message, judge, follows=follows, arrived=arrived)
    if settings.li.keeps_purged:
        _purged(li, censored_rows, li_replication, judge)


def _settings(deployment: Deployment, judge: Judge) -> None:
    """No process has a setting by which something goes."""
    for process in (each for each in deployment.unread if each.is_main):
        why = process.config_problem
        judge.unknown(process.id, f"what {process.workload_name} keeps is not known: {why}")
    found: dict[tuple[Side, Loss], list[SynapseProcess]] = {}
    media: dict[tuple[Side, str], list[SynapseProcess]] = {}
    known = [each for each in deployment.synapse if each.config is not None]
    for process in known:
        config = process.config or {}
        judge.saw(process.id)
        for loss in losses(config):
            found.setdefault((process.side, loss), []).append(process)
        if lifetime := media_loss(config):
            media.setdefault((process.side, lifetime), []).append(process)
    for (side, loss), processes in found.items():
        others = [each for each in known if each.side is not side]
        here_only = others and not any(loss.setting in _set(each) for each in others)
        kept = f"; {'LI' if side is Side.MAIN else 'main'} has {loss.keeps}" if here_only else ""
        judge.wrong(
            processes[0].id,
            f"{names_of(processes)} {loss.does if len(processes) == 1 else loss.effect}: {loss.setting} is {loss.value}",
            observed=f"in effect in {names_of(processes)}{kept}",
            expected=f"{loss.keeps}, for every process of main's and of LI's",
            cause=_reach(side, loss),
            remedy=f"set {loss.keeps} for {names_of(processes)}, and restart",
        )
    for (side, lifetime), processes in media.items():
        line = (
            f"{names_of(processes)} {'removes' if len(processes) == 1 else 'remove'} files by age: media_retention has"
        )
        judge.warn(processes[0].id, f"{line} {lifetime}; a message of {WHOSE[side]} may outlive what it shows")


def _set(process: SynapseProcess) -> set[str]:
    return {each.setting for each in losses(process.config or {})}


def _reach(side: Side, loss: Loss) -> str:
    if side is Side.LI:
        return f"{loss.setting}: {loss.value} on LI's side: its Synapse {loss.does} in LI's copy, whatever main keeps"
    return f"{loss.setting}: {loss.value} on main's side: main {loss.does}, and replication, or the next import, does so to LI's copy"


def _censored(li: LawfulIntercept, seen: Censored, settings: Settings, judge: Judge) -> None:
    """What has lost its content: since the day that the settings name it is wrong, from before it is counted."""
    day = settings.li.since
    for side, said in ((Side.MAIN, seen.main), (Side.LI, seen.li)):
        whose = WHOSE[side]
        if said.problem:
            line = f"how many redacted messages have lost their content in {whose} database could not be read"
            judge.unknown(li.id, f"{line}: {said.problem}", needs=_needs(li, side))
            continue
        if not said.facts or not said.facts["count"]:
            continue
        count, since, newest = said.facts["count"], said.facts["since"], said.facts["newest"]
        when = f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d}" if newest is not None else "a day that was not kept"
        if day and since:
            judge.wrong(
                li.id,
                f"{since} messages redacted since {day} have lost their content in {whose} database, the newest of {when}",
                observed=f"{count} rows of redactions are marked have_censored, {since} of them from {day} on",
                expected=f"nothing redacted from {day} on loses its content (settings: li.retention_since)",
                cause=f"some process had a redaction_retention_period on {whose} side after {day}",
            )
        elif not day:
            line = f"{count} redacted messages have lost their content in {whose} database, redacted up to {when}"
            remedy = "say from which day on nothing is to be lost, in the settings: li.retention_since"
            judge.warn(li.id, f"{line}: what came before it was kept", remedy=remedy)
        else:
            judge.saw(f"{count} redactions from before {day}")


def _needs(li: LawfulIntercept, side: Side) -> tuple[str, ...]:
    """What a database that says nothing is owed to."""
    cluster, processes = (li.cluster, li.processes) if side is Side.LI else (li.main_cluster, li.mains)
    return (li.id, *((cluster.id,) if cluster else ()), *(each.id for each in processes))


def _messages(li: LawfulIntercept, seen: Redacted, judge: Judge, *, follows: bool, arrived: bool) -> None:
    """That our own redacted messages still have their text, in both."""
    for problem, side in ((seen.main_problem, Side.MAIN), (seen.li_problem, Side.LI)):
        if problem:
            judge.unknown(li.id, f"{NOT_SEEN} in {WHOSE[side]} database: {problem}", needs=_needs(li, side))
    if seen.main_problem or not seen.event:
        return
    fresh = seen.main.get(seen.event)
    if fresh is None:
        judge.unknown(li.id, f"{NOT_SEEN} in main's database: the redaction is not among its rows")
    lost = _lost(seen.main.values(), seen.promised)
    if lost:
        _gone(li, "main's", lost, judge)
    elif fresh:
        judge.saw(f"redacted message {fresh.event} in main's database")
    if seen.li_problem:
        return
    if here := _lost(seen.li.values(), seen.promised):
        if not {each.event for each in here} <= {each.event for each in lost}:
            _gone(li, "LI's", here, judge)
    elif follows:
        _followed(li, seen, judge, arrived=arrived)
    else:
        _imported(li, seen, judge)


def _followed(li: LawfulIntercept, seen: Redacted, judge: Judge, *, arrived: bool) -> None:
    if seen.event in seen.li:
        judge.saw(f"redacted message {seen.event} in LI's database")
        return
    if arrived:
        line = f"its redaction did not come to LI's within {seen.waited:g} s, though the message did"
    else:
        line = "LI does not follow main"
    judge.unknown(li.id, f"{NOT_SEEN} in LI's database: {line}", needs=(li.id,))


def _imported(li: LawfulIntercept, seen: Redacted, judge: Judge) -> None:
    """Of an LI that is fed by import, by those that it has had time for."""
    if seen.li:
        judge.saw(*(f"redacted message {each} in LI's database" for each in list(seen.li)[:1]))
        return
    due = allowed(li).total_seconds()
    older = (
        "none of ours is old enough" if all(each.age < due for each in seen.main.values()) else "it has none of ours"
    )
    judge.unproven(li.id, f"{NOT_SEEN} in LI's database, which is fed by import: {older}")


def _lost(ours: Iterable[Ours], promised: float) -> list[Ours]:
    """Of those that were redacted since nothing is to be lost."""
    return [each for each in ours if not each.readable and each.age <= promised]


def _gone(li: LawfulIntercept, whose: str, lost: Sequence[Ours], judge: Judge) -> None:
    purged = [each for each in lost if not each.held]
    youngest = min(each.age for each in lost) / 86400
    judge.wrong(
        li.id,
        f"{len(lost)} of our redacted messages {'is' if len(lost) == 1 else 'are'} no longer readable in {whose} database,"
        f" the youngest redacted {youngest:.1f} days ago",
        observed=f"{len(lost) - len(purged)} without their text, {len(purged)} without a row in event_json",
        expected="every message keeps its text after it was redacted",
        cause="a redaction_retention_period was in effect, or the room was purged",
        remedy="where that was before retention was promised, say since when in the settings: li.retention_since",
    )


def _purged(li: LawfulIntercept, seen: Censored, replication: Replication, judge: Judge) -> None:
    """What is purged on main is to stay in LI (settings: li.keeps_purged)."""
    subscriptions = replication.followed.facts.get("subscriptions") or ()
    if seen.main.problem or seen.li.problem or replication.followed.problem:
        judge.unknown(
            li.id, "whether LI keeps what is purged on main is not known: a database could not be asked", needs=(li.id,)
        )
        return
    if not subscriptions:
        jobs = ", ".join(each.name for each in li.imports)
        line = "that LI keeps what is purged on main, as it was promised, was not seen"
        judge.unproven(
            li.id, f"{line}: CronJob {jobs} would have to add to LI's data and never replace them" if jobs else line
        )
        return
    deletes: Mapping[str, Sequence[str]] = seen.main.facts.get("deletes") or {}
    used = {name for each in subscriptions for name in each["publications"]} & deletes.keys()
    guarded: Sequence[str] = seen.li.facts.get("guards") or ()
    open_ = {name: bare for name in sorted(used) if (bare := [each for each in deletes[name] if each not in guarded])}
    if not used:
        line = "that LI keeps what is purged on main, as it was promised, was not seen"
        judge.unproven(li.id, f"{line}: no publication that LI follows holds main's events")
    elif open_:
        name, tables = next(iter(open_.items()))
        judge.wrong(
            li.id,
            f"a purge on main erases LI's copy too: publication {name} tells LI of deleted events",
            observed=f"publish of {', '.join(open_)} has delete or truncate for {', '.join(tables)}, and no trigger on LI's"
            f" {' or '.join(tables)} holds it back",
            expected="LI keeps what is purged on main (settings: li.keeps_purged)",
            cause=f"publication {name} was made with PostgreSQL's default, which is insert, update, delete, truncate",
            remedy=f"move {', '.join(tables)} into a second publication WITH (publish = 'insert, update'), and leave {name} its"
            " deletes for the others: Synapse deletes and re-inserts rows of current_state_events at every state change, and"
            " LI's copy would stop at a duplicate key (docs/li-evidence.md has the statements)",
        )
    elif telling := sorted(name for name in used if deletes[name]):
        line = f"whether LI keeps what is purged on main rests on triggers of LI's own: publication {telling[0]} tells of it"
        judge.unproven(li.id, line)
    else:
        judge.saw("publication without deletes")
