from collections.abc import Iterable, Mapping

from postflight.check import check
from postflight.deployment.federating import WHITELIST, Choice, choice_of
from postflight.deployment.federation import (
    LIST,
    SENDING,
    Federation,
    covering,
    federation_of,
    nobody,
    shard,
    why_idle,
    why_twice,
)
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.canary_homeserver import NotPrepared
from postflight.probes.canary_user import Hindered
from postflight.probes.federation import Arrival, FederationCanary, Owed
from postflight.probes.federation_counters import Sent
from postflight.probes.probe import BarredBy, NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

SAME_LIST = f"put one {LIST} that names every sender and nothing else into the configuration that all processes share"
#: Names of servers that do not exist, so many that every place of a list is met.
SAMPLE = tuple(f"server-{number}.invalid" for number in range(256))


@check(
    "federation.exactly_once",
    severity=Severity.CRITICAL,
    finding="2.6",
    remedy=SAME_LIST,
    blind_spots="typing, presence and receipts to other servers; duplicates that come more than 3 s late;"
    " how the internet reaches this server",
)
def test_every_event_is_sent_to_other_homeservers_exactly_once(
    deployment: Deployment,
    federation_canary: FederationCanary | NotPrepared | Hindered | NotTried,
    federation_counters: Mapping[str, Sent],
    judge: Judge,
) -> None:
    """A destination that no sender takes silently gets nothing; two that take it send everything twice."""
    choice = choice_of(deployment)
    if not choice.on:
        judge.absent(f"federation is off by choice: {choice.reason}")
        return
    if not choice.found:
        _shut(deployment, choice, judge)
        return
    for process in deployment.unread:
        if process.side is Side.MAIN:
            why = process.config_problem
            judge.unknown(process.id, f"whether {process.workload_name} sends is not known, its configuration: {why}")
    federation = federation_of(deployment)
    if isinstance(federation_canary, Hindered):
        where = federation_canary.where or "federation"
        judge.unknown(where, f"whether everything arrives once was not seen: {federation_canary.problem}")
        return
    if not isinstance(federation_canary, FederationCanary):
        judge.saw(*(each.id for each in federation.processes))
        _not_seen(federation_canary, judge)
        _by_configuration(deployment, federation, federation_counters, judge)
        return
    judge.saw(*federation_canary.names)
    mains = tuple(each.id for each in federation.processes if each.is_main)
    for name, why in federation_canary.unheard.items():
        line = f"the canary {name} could not join, so it is not known what it would get: {why}"
        judge.unknown(name, line, needs=mains)
    heard = [name for name in federation_canary.names if name not in federation_canary.unheard]
    for name in heard:
        owed = [each for each in federation_canary.owed if each.name == name]
        _arrived(name, owed, federation, judge)
    if not federation_canary.unheard:
        sending = {each.sender.id for each in federation_canary.senders if each.sender}
        _unmet(federation, heard, judge)
        _idle(federation, _names(federation_canary.senders), sending, heard, judge)
    _strangers(federation_canary, judge)
    counters = federation_canary.counters or federation_counters
    _counted(deployment, federation, counters, judge)
    if not all(each.sender for each in federation_canary.senders):
        # What comes through a proxy says nothing of who has sent it.
        _uncounted(deployment, counters, judge)
    if federation_canary.no_to_device:
        judge.unproven("to-device messages", f"none was sent to a canary: {federation_canary.no_to_device}")


def _shut(deployment: Deployment, choice: Choice, judge: Judge) -> None:
    """What the settings promise is not there: nothing is sent, and nobody need be asked to see it."""
    main = next((each for each in deployment.synapse if each.is_main and each.side is Side.MAIN), None)
    judge.wrong(
        main.id if main else SENDING,
        f"federation is off, though the settings say that it is on: {choice.why}",
        observed=choice.why,
        expected="federation: on, as the settings have it",
        cause=choice.why,
        remedy=f"open it (take {WHITELIST} out, or name the servers in it; a listener with the resource federation; a"
        " sender), or say federation: off in the settings",
        stops=(SENDING,),
    )


def _arrived(name: str, owed: list[Owed], federation: Federation, judge: Judge) -> None:
    """Everything once, from whoever it came."""
    missing = [each for each in owed if not each.arrivals]
    twice = [each for each in owed if len(each.arrivals) > 1]
    expected = federation.senders_of(name)
    if twice:
        senders = _names(arrival for each in twice for arrival in each.arrivals)
        judge.wrong(
            _subject(expected, name),
            f"other homeservers get things more than once: {_both(senders)} {'both send' if len(senders) > 1 else 'sends'} to {name}",
            observed=f"{_what(twice)} of {_what(owed)} came to {name} in {max(len(e.arrivals) for e in twice)} transactions"
            f"{f', {_what(missing)} did not come' if missing else ''}",
            expected="each event and each to-device message in one transaction",
            cause=why_twice(expected, name, federation),
            remedy=SAME_LIST,
            evidence=tuple(
                f"{e.kind}: {', '.join(f'{a.transaction} from {_who(a)}' for a in e.arrivals)}" for e in twice
            ),
            stops=(SENDING,),
        )
    # Two that both send get in each other's way: what did not come then has the same cause.
    if missing and not (twice and len(expected) > 1):
        _missing(name, missing, owed, expected, federation, judge)
    if not missing and not twice:
        _from(name, owed, expected, federation, judge)
        _also(name, owed, expected, federation, judge)


def _from(
    name: str, owed: list[Owed], expected: tuple[SynapseProcess, ...], federation: Federation, judge: Judge
) -> None:
    """Once, and from the process that by its configuration must."""
    known = {each.id for each in federation.processes}
    senders = {arrival.sender.id: arrival.sender for each in owed for arrival in each.arrivals if arrival.sender}
    for id, sender in senders.items():
        if id in known and sender not in expected:
            must = _both(each.instance for each in expected) or "nobody"
            judge.wrong(
                id,
                f"{sender.instance} sends to {name}, which by the configuration there is now falls to {must}",
                observed=f"{_what(owed)} came to {name} from {sender.instance}",
                expected=f"they come from {must}",
                cause=f"{sender.instance} was started with another {LIST} than its file holds now",
                remedy="restart every Synapse process after a change of the list",
                stops=(SENDING,),
            )


def _also(
    name: str, owed: list[Owed], expected: tuple[SynapseProcess, ...], federation: Federation, judge: Judge
) -> None:
    """Two that hold themselves to be the sender send twice as soon as the second has caught up."""
    if len(expected) > 1:
        judge.wrong(
            expected[0].id,
            f"{_both(each.instance for each in expected)} both send to {name} by their configuration",
            observed=f"{_what(owed)} came to {name} once so far",
            expected="one process sends to each server",
            cause=why_twice(expected, name, federation),
            remedy=SAME_LIST,
            stops=(SENDING,),
        )


def _missing(
    name: str,
    missing: list[Owed],
    owed: list[Owed],
    expected: tuple[SynapseProcess, ...],
    federation: Federation,
    judge: Judge,
) -> None:
    observed = f"{_what(missing)} of {_what(owed)} did not come to {name}"
    wanted = "each event and each to-device message in one transaction"
    if not expected:
        headline, cause = nobody(name, federation)
        judge.wrong(name, headline, observed=observed, expected=wanted, cause=cause, remedy=SAME_LIST, stops=(SENDING,))
        return
    down = [each for each in expected if not (each.pod and each.pod.ready)]
    who = _both([each.instance for each in expected])
    not_sent, holds = ("does not send", "holds itself") if len(expected) == 1 else ("do not send", "hold themselves")
    for each in down:
        judge.unavailable(
            each.id, f"nothing is sent to {name}: {each.instance}, which must send it, is not ready", observed=observed
        )
    if not down:
        # Silence: what is broken beneath the sender, Redis first of all, explains it.
        judge.unavailable(
            expected[0].id,
            f"{who} {not_sent} to {name} what is owed",
            observed=observed,
            expected=wanted,
            cause=f"{who} {holds} to be the sender to {name}, and it did not come",
            remedy=f"read the log of {who}; compare {LIST} in every process",
        )


def _unmet(federation: Federation, heard: Iterable[str], judge: Judge) -> None:
    """The places of the senders' own lists that no canary's name falls to, where nobody stands at them."""
    deployed = {each.instance for each in federation.processes}
    names = list(heard)
    for listed in federation.effective:
        for ghost in sorted({*listed} - deployed - {shard(listed, name) for name in names}):
            judge.wrong(
                ghost,
                f"{ghost} is a sender that does not exist: what falls to it is sent by nobody",
                observed=f"{LIST}: {', '.join(listed)}",
                expected="every sender that is listed runs",
                cause=f"{LIST} names {ghost}, and no process is called that",
                remedy=SAME_LIST,
                stops=(SENDING,),
            )


def _idle(
    federation: Federation, senders: Iterable[str], sending: set[str], heard: Iterable[str], judge: Judge
) -> None:
    """A process that is there for sending, and that nothing falls to. ``sending`` are the ids of those that
    were seen to send, ``senders`` how they are called."""
    names = list(heard)
    for process in federation.meant:
        if process.id in sending or any(federation.sends(process, name) for name in names):
            continue
        why = why_idle(process, federation)
        if not why:
            judge.unproven(
                process.id,
                f"whether {process.instance} sends was not seen: no canary's name falls to it",
                remedy="give the canary's Service more ports: each is one more name, and some will fall to it",
            )
            continue
        refused = process.id in federation.refused
        judge.wrong(
            process.id,
            f"{process.instance} is there to send to other homeservers and sends nothing: {why}",
            observed=f"no transaction from {process.instance}; they come from {_both(senders) or 'nobody'}",
            expected="every deployed sender has its share",
            cause=why,
            remedy=SAME_LIST,
            stops=(SENDING, process.id, process.workload) if refused else (SENDING,),
        )


def _not_seen(why: NotPrepared | NotTried, judge: Judge) -> None:
    """Without a right nobody could look; where no canary may or can stand there is a weaker way."""
    if isinstance(why, NotTried) and why.barred_by is BarredBy.RIGHT:
        judge.unknown("the canary way", f"whether everything arrives once was not seen: {why.reason}")
        return
    judge.unproven(
        "the canary way",
        f"that everything arrives once was seen by the senders' configuration and counters only: {why.reason}",
        remedy="`postflight prepare` prints what a canary homeserver needs",
    )


def _by_configuration(
    deployment: Deployment, federation: Federation, counters: Mapping[str, Sent], judge: Judge
) -> None:
    """The weaker way: what each process holds itself to be, and what it has sent since it started."""
    names = covering(federation.lists, SAMPLE)
    for name in names:
        senders = federation.senders_of(name)
        if len(senders) == 1:
            continue
        headline, cause = nobody(name, federation) if not senders else _several(senders, name, federation)
        judge.wrong(
            senders[0].id if senders else name,
            headline,
            observed=f"{len(senders)} processes hold themselves to be the sender to a server called {name}",
            expected="one process sends to each server",
            cause=cause,
            remedy=SAME_LIST,
            stops=(SENDING,),
        )
    sent = {each.id: count for each in federation.processes if (count := counters[each.id].transactions)}
    called = [each.instance for each in federation.processes if each.id in sent]
    _idle(federation, called, set(), names, judge)
    _counted(deployment, federation, counters, judge)
    _uncounted(deployment, counters, judge)


def _uncounted(deployment: Deployment, counters: Mapping[str, Sent], judge: Judge) -> None:
    asked = [(each, counters[each.id]) for each in deployment.synapse if each.id in counters]
    silent = [each.instance for each, seen in asked if seen.silent]
    if silent:
        line = f"what {several(silent)} has sent is not known: it serves no metrics"
        if silent[1:]:
            line = f"what {several(silent)} have sent is not known: they serve no metrics"
        judge.unproven("metrics", line)
    for each, seen in asked:
        if seen.problem and not seen.silent:
            judge.unknown(each.id, f"what {each.instance} has sent is not known: {seen.problem}")


def _counted(deployment: Deployment, federation: Federation, counters: Mapping[str, Sent], judge: Judge) -> None:
    """Who has sent since it started, and must not: LI, or a process that nothing falls to."""
    names = covering(federation.lists, SAMPLE)
    for process in deployment.synapse:
        seen = counters.get(process.id)
        if seen and seen.transactions and not any(federation.sends(process, name) for name in names):
            judge.wrong(
                process.id,
                f"{process.workload_name} sends to other homeservers and must not",
                observed=f"{seen.transactions} transactions since {process.instance} started",
                expected="only the senders that the configuration names send",
                cause="it sends, though by its configuration nothing falls to it",
                remedy=SAME_LIST,
            )


def _several(senders: tuple[SynapseProcess, ...], name: str, federation: Federation) -> tuple[str, str]:
    headline = f"other homeservers get things more than once: {_both(each.instance for each in senders)} both send"
    return headline, why_twice(senders, name, federation)


def _strangers(canary: FederationCanary, judge: Judge) -> None:
    for arrival in canary.senders:
        if arrival.sender and arrival.sender.side is Side.LI:
            judge.wrong(
                arrival.sender.id,
                f"the lawful-intercept homeserver sends to other homeservers ({arrival.sender.workload_name})",
                observed=f"transaction {arrival.transaction} from {arrival.peer}",
                expected="only the homeserver that users meet sends",
                cause=f"{arrival.sender.workload_name} has send_federation on",
                remedy="switch send_federation off there, and let its NetworkPolicy shut the way out",
            )


def _subject(expected: tuple[SynapseProcess, ...], name: str) -> str:
    return expected[0].id if expected else name


def _both(names: Iterable[str]) -> str:
    return " and ".join(names)


def _who(arrival: Arrival) -> str:
    return arrival.sender.instance if arrival.sender else arrival.peer


def _names(arrivals: Iterable[Arrival]) -> list[str]:
    return list(dict.fromkeys(map(_who, arrivals)))


def _what(owed: list[Owed]) -> str:
    kinds = [each.kind for each in owed]
    said = [(kinds.count(kind), kind) for kind in dict.fromkeys(kinds)]
    return " and ".join(f"{number} {kind}{'' if number == 1 else 's'}" for number, kind in said)
