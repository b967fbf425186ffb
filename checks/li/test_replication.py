from collections.abc import Iterable, Mapping
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import CRON_JOB
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept
from postflight.probes.arrival import Arrival
from postflight.probes.li import MainRights, Replication
from postflight.probes.li_import import Imported, allowed
from postflight.probes.probe import NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity, Status
from postflight.words import several

#: Bytes that LI may be behind: two WAL segments and what a busy second writes.
BEHIND = 64 * 2**20
#: Seconds without a word from main, which speaks at least every 30 (half of wal_sender_timeout).
SILENT = 120
STATES = {"i": "not begun", "d": "being copied", "f": "copied, not yet following", "s": "catching up"}
NAMED = 3


@check(
    "li.replication",
    severity=Severity.CRITICAL,
    finding="4.1",
    remedy="read the log of LI's PostgreSQL: it says at which table it stops, and why",
    blind_spots="tables that main does not publish at all; of an LI that is fed by import, all tables but events",
)
def test_what_main_stores_is_read_in_the_database_of_li_within_seconds(
    deployment: Deployment,
    li_replication: Replication,
    li_main_rights: MainRights,
    li_arrival: Arrival | NotTried,
    li_import: Imported,
    snapshot: Snapshot,
    judge: Judge,
) -> None:
    """Logical replication carries rows, not tables: one table that LI lacks stops all that comes after
    it, while every other says that it is ready. What LI does not have, it cannot show."""
    li = deployment.li
    if li is None:
        judge.absent("nothing refers to a lawful-intercept homeserver")
        return
    if not _answered(li, li_replication, judge):
        return
    subscriptions = li_replication.followed.facts["subscriptions"]
    if not subscriptions and li.imports:
        _imported(li, li_import, judge)
        return
    if not subscriptions and (why := snapshot.why_unseen(CRON_JOB)):
        line = (
            f"LI's database has no subscription, and whether a CronJob brings main's data instead was not seen: {why}"
        )
        judge.unknown(li.id, line)
        return
    if not subscriptions:
        _nothing_follows(li, li_replication, judge)
        return
    for each in subscriptions:
        judge.saw(f"subscription {each['name']}")
        before = len(judge.failures)
        _tables(li, each, li_replication, li_main_rights, judge)
        _worker(li, each, li_replication, judge, explained=_failed(judge, before))
    _arrived(li, li_replication, li_arrival, judge)


def _answered(li: LawfulIntercept, seen: Replication, judge: Judge) -> bool:
    """Whether both servers said anything."""
    sides = (
        (seen.followed, "LI's", li.cluster, li.processes),
        (seen.published, "main's", li.main_cluster, li.mains),
    )
    for side, whose, cluster, processes in sides:
        if side.problem:
            name = f" ({cluster.name})" if cluster else ""
            dead = cluster is not None and not any(pod.ready for pod in cluster.pods)
            say = judge.unavailable if dead else judge.unknown
            needs = (*((cluster.id,) if cluster else ()), *(each.id for each in processes))
            say(li.id, f"{whose} database{name} could not be asked how it replicates: {side.problem}", needs=needs)
    return not (seen.followed.problem or seen.published.problem)


def _imported(li: LawfulIntercept, seen: Imported, judge: Judge) -> None:
    """What main has had for two rounds is in LI's database."""
    jobs, span = f"CronJob {', '.join(each.name for each in li.imports)}", _span(allowed(li).total_seconds())
    for side, whose, cluster in ((seen.newest, "LI's", li.cluster), (seen.due, "main's", li.main_cluster)):
        if side.problem:
            line = f"LI is fed by {jobs}, and how old {whose} newest event is could not be read: {side.problem}"
            judge.unknown(li.id, line, needs=(cluster.id,) if cluster else ())
    if seen.newest.problem or seen.due.problem:
        return
    due, newest = seen.due.facts, seen.newest.facts
    if "stream" not in due:
        # Too young to be missed; but what a round brought that ended well is a proof.
        if newest and "brought" in due and newest["stream"] >= due["brought"]:
            judge.saw(*(f"import {each.name}" for each in li.imports))
            return
        line = f"whether {jobs} brings main's data to LI was not seen: main has no event that is older than {span}"
        judge.unproven(li.id, line)
    elif not newest or newest["stream"] < due["stream"]:
        has = f"LI's newest event is {_span(newest['age'])} old" if newest else "LI's database has no event"
        suspended = [each.name for each in li.imports if each.suspended]
        judge.wrong(
            li.id,
            f"{has}, and main has one of {_span(due['age'])} ago that it lacks: {jobs} does not bring it",
            observed=f"{has}; main's newest that is older than {span}: {_span(due['age'])}",
            expected=f"LI has every event that is older than two rounds of {jobs} and an hour, which is {span}",
            cause=f"CronJob {', '.join(suspended)} is suspended" if suspended else _why_not(li),
            remedy=f"look at the last Jobs of {jobs}, and run it once by hand",
        )
    else:
        judge.saw(*(f"import {each.name}" for each in li.imports))


def _why_not(li: LawfulIntercept) -> str:
    jobs = f"CronJob {', '.join(each.name for each in li.imports)}"
    if failed := "; ".join(each.trouble for each in li.imports if each.trouble):
        return failed
    if any(each.brought for each in li.imports):
        return f"the newest Job of {jobs} ended well all the same: what it does is not what it says"
    return f"{jobs} fails, or does not end"


def _span(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 3:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} d"


def _nothing_follows(li: LawfulIntercept, seen: Replication, judge: Judge) -> None:
    database = li.doors[0].login.database
    publications = seen.published.facts["publications"]
    tables = {each for found in publications.values() for each in found}
    lacking = sorted(tables - set(seen.followed.facts["tables"].values()))
    if lacking:
        headline = f"LI's database {database} has none of main's tables and no subscription: no data reach LI"
        if len(lacking) < len(tables):
            headline = f"LI's database {database} lacks {_some(lacking)} and has no subscription: no data reach LI"
        cause = "the schema was never brought over: a subscription is refused as long as one published table is missing"
        remedy = "bring main's schema over (pg_dump --schema-only), then create the subscription"
    else:
        headline = f"LI's database {database} has no subscription: no data reach LI"
        cause = "nobody created it, or it was dropped" if publications else "main publishes nothing"
        remedy = "create the subscription again (in CloudNativePG by a Subscription object)"
    judge.wrong(
        li.id,
        headline,
        observed=f"no row in pg_subscription; {len(seen.followed.facts['tables'])} tables in {database}, main publishes {len(tables)}",
        expected="a subscription that follows every published table",
        cause=cause,
        remedy=remedy,
        stops=_stopped(li),
    )


def _tables(
    li: LawfulIntercept, subscription: Mapping[str, Any], seen: Replication, rights: MainRights, judge: Judge
) -> None:
    """Every published table is there and followed."""
    name, known = subscription["name"], seen.published.facts["publications"]
    tables = seen.followed.facts["tables"]
    states = {tables[oid]: state for oid, state in seen.followed.facts["relations"].items() if oid in tables}
    here = set(tables.values())
    for publication in subscription["publications"]:
        if publication not in known:
            judge.wrong(
                li.id,
                f"LI's subscription {name} names publication {publication}, which main does not have",
                observed=f"main has {', '.join(known) or 'none'}",
                expected=f"publication {publication} with the tables that LI is to have",
                stops=_stopped(li),
            )
    published = {each for publication in subscription["publications"] for each in known.get(publication, ())}
    counted = f"{len(published)} published, {sum(state == 'r' for state in states.values())} followed and ready"
    if lacking := sorted(published - here):
        stuck = not _follows(subscription, seen) or seen.followed.facts["errors"].get(name, {}).get("apply", 0)
        effect = "nothing is applied any more" if stuck else "the next row for it stops all of LI's data"
        judge.wrong(
            li.id,
            f"LI's database has no table {_some(lacking)}, which main publishes: {effect}",
            observed=f"{counted}; {_worker_state(subscription, seen)}",
            expected="every published table exists in LI's database and is followed",
            cause=f"{_some(lacking)} came to main's publication after LI's schema was made: replication carries no tables",
            remedy=f"create it in LI's database as it is in main's, then ALTER SUBSCRIPTION {name} REFRESH PUBLICATION",
            stops=_stopped(li),
        )
    if unfollowed := sorted((published & here) - states.keys()):
        judge.wrong(
            li.id,
            f"LI does not follow {_some(unfollowed)}, which main publishes: its rows are silently left out",
            observed=counted,
            expected="every published table is followed",
            cause=f"the publication has grown since subscription {name} was made or refreshed",
            remedy=f"ALTER SUBSCRIPTION {name} REFRESH PUBLICATION",
        )
    if waiting := {each: state for each, state in sorted(states.items()) if state != "r" and each in published}:
        _waiting(li, waiting, counted, name, seen, rights, judge)


def _waiting(
    li: LawfulIntercept,
    waiting: Mapping[str, str],
    counted: str,
    name: str,
    seen: Replication,
    rights: MainRights,
    judge: Judge,
) -> None:
    errors = seen.followed.facts["errors"].get(name, {}).get("copy", 0)
    states = ", ".join(f"{each} {STATES.get(state, state)} ({state})" for each, state in list(waiting.items())[:NAMED])
    barred = {each: role.name for role in rights.roles for each in role.unreadable if each in waiting}
    if barred:
        role = next(iter(barred.values()))
        headline = f"LI gets no row of {_some(barred)}: role {role} may not read it in main's database"
        cause = f"role {role} has no SELECT on {_some(barred)}, so that the first copy never ends"
        remedy = f"GRANT SELECT ON {', '.join(list(barred)[:NAMED])} TO {role}, in main's database"
    else:
        headline = f"LI's copy of {_some(waiting)} is not complete"
        cause = "the first copy still runs, or fails and is tried again"
        remedy = "wait for the copy to end; if it does not, the log of LI's PostgreSQL says why"
    judge.wrong(
        li.id,
        headline,
        observed=f"{states}; {counted}; {errors} failed copies so far",
        expected="every table is ready (r)",
        cause=cause,
        remedy=remedy,
    )


def _failed(judge: Judge, since: int = 0) -> bool:
    """Whether something wrong was said that explains more; what is warned of explains nothing."""
    return any(each.status is Status.FAILED for each in judge.failures[since:])


def _worker(
    li: LawfulIntercept, subscription: Mapping[str, Any], seen: Replication, judge: Judge, *, explained: bool
) -> None:
    """Somebody follows, and keeps up. ``explained``: what is wrong with its tables tells why it has no worker."""
    name, slot = subscription["name"], _slot(subscription, seen)
    if not subscription["enabled"]:
        why, remedy = "it is disabled", f"ALTER SUBSCRIPTION {name} ENABLE"
    elif slot is None:
        why, remedy = f"main has no slot {subscription['slot']}", "create the subscription anew, with its first copy"
    else:
        why, remedy = "its worker fails and is started again", "read the log of LI's PostgreSQL"
    if not _follows(subscription, seen) and not explained:
        judge.wrong(
            li.id,
            f"LI follows main no more: subscription {name} has no worker, {why}",
            observed=_worker_state(subscription, seen),
            expected="an apply worker that runs, and its slot active",
            cause=why,
            remedy=remedy,
            stops=_stopped(li),
        )
    if slot and int(slot["behind"] or 0) > BEHIND:
        judge.warn(li.id, f"LI is {int(slot['behind']) / 2**20:.0f} MiB behind main")
    if subscription["pid"] is not None and float(subscription["silent"] or 0) > SILENT:
        judge.warn(li.id, f"LI has heard nothing from main for {subscription['silent']:.0f} s")


def _arrived(li: LawfulIntercept, seen: Replication, arrival: Arrival | NotTried, judge: Judge) -> None:
    if isinstance(arrival, NotTried):
        judge.unproven(li.id, f"whether an event arrives in LI's database was not seen: {arrival.reason}")
    elif arrival.problem:
        if not _failed(judge):
            needs = (arrival.where or li.id,)
            judge.unknown(li.id, f"no event could be followed from main to LI: {arrival.problem}", needs=needs)
    elif arrival.seconds is not None:
        judge.saw(f"event {arrival.event}")
    elif not _failed(judge):
        though = "" if judge.failures else ", though all seems to follow"
        judge.wrong(
            li.id,
            f"an event sent through main is not in LI's database after {arrival.waited:g} s{though}",
            observed="; ".join(_worker_state(each, seen) for each in seen.followed.facts["subscriptions"]),
            expected="an event is read in LI's database within seconds",
            cause="the tables of events are not published, or what LI applies waits (for a lock, or behind a backlog)",
        )


def _worker_state(subscription: Mapping[str, Any], seen: Replication) -> str:
    slot = _slot(subscription, seen)
    worker = "no apply worker" if subscription["pid"] is None else "an apply worker"
    on_main = "no slot on main" if slot is None else f"slot {'active' if slot['active'] else 'not active'}"
    behind = f", {int(slot['behind'] or 0) / 2**20:.1f} MiB behind" if slot else ""
    errors = seen.followed.facts["errors"].get(subscription["name"], {}).get("apply", 0)
    return f"{worker}, {on_main}{behind}, {errors} apply errors so far"


def _follows(subscription: Mapping[str, Any], seen: Replication) -> bool:
    slot = _slot(subscription, seen)
    return subscription["pid"] is not None and slot is not None and bool(slot["active"])


def _slot(subscription: Mapping[str, Any], seen: Replication) -> Mapping[str, Any] | None:
    slots: list[Mapping[str, Any]] = seen.published.facts["slots"]
    return next((each for each in slots if each["name"] == subscription["slot"]), None)


def _stopped(li: LawfulIntercept) -> tuple[str, ...]:
    """LI's data, and its processes: some wait for the data before they start."""
    return (li.id, *dict.fromkeys(part for each in li.processes for part in (each.id, each.workload)))


def _some(tables: Iterable[str]) -> str:
    return several((each.removeprefix("public.") for each in tables), NAMED)
