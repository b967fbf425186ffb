from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.deployment.federating import WHITELIST, allowed, choice_of, lets_nobody_in
from postflight.deployment.federation import LIST, is_sender, meant_to_send
from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.closed_doors import ClosedDoors, Knock, is_on
from postflight.probes.federation_counters import Sent
from postflight.probes.http import Said
from postflight.probes.server_doors import FrontAnswer, ProcessAnswer, ServerDoors
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: Steps of a registration that anybody takes (Client-Server API, 5.6).
FREE = frozenset({"m.login.dummy", "m.login.terms"})
REFUSED = (401, 403, 404, 405)
GUESTS = "allow_guest_access"
FORBIDDEN = "M_FORBIDDEN"
#: Synapse's own words to whoever shows no token. A proxy that refuses says M_FORBIDDEN or M_UNRECOGNIZED, if anything.
ASKS_WHO = ("M_MISSING_TOKEN", "M_UNKNOWN_TOKEN")


@check(
    "clients.closed_doors",
    severity=Severity.CRITICAL,
    kinds=(INGRESS,),
    remedy="enable_registration: false, or a proof that newcomers must show; allow_guest_access: false; the proxy keeps"
    " /_synapse/admin from the outside; where federation is off, federation_domain_whitelist: [] for all processes",
    blind_spots="guests by the configuration in effect alone, as asking would make one; routes other than Ingresses and"
    " HAProxy's; whether what an Ingress asks before the admin API (a network, a login) keeps strangers out; a proof that a newcomer shows easily; a registration service beside Synapse; where"
    " federation is off: that no process asks other servers anything, by the configuration alone; version and key of the"
    " server, which Synapse tells anybody by a listener for other servers; replication listeners; sockets in the file"
    " system",
)
def test_strangers_and_guests_find_no_way_in_nor_the_admin_api(
    deployment: Deployment,
    closed_doors: tuple[ClosedDoors, ...],
    server_doors: tuple[ServerDoors, ...],
    federation_counters: Mapping[str, Sent],
    judge: Judge,
) -> None:
    """Where anybody may make accounts somebody does, by the thousand, and sends spam in this server's name. The
    admin API reads and changes everything. And a federation that is off by choice is shut everywhere: one process
    that still speaks to other servers hands them rooms and users."""
    for seen in closed_doors:
        judge.saw(seen.main.id)
        _registration(seen, judge)
        _admin(seen, judge)
    for doors in server_doors:
        _servers(deployment, doors, federation_counters, judge)
    _guests([each for each in deployment.synapse if each.side is Side.MAIN], judge)


def _registration(seen: ClosedDoors, judge: Judge) -> None:
    main, said = seen.main, seen.available.said
    if not is_on(said):
        if said.status not in (403, 404):
            _unseen(seen, seen.available, "whether anybody may register was not seen", judge)
    elif seen.register is None:
        line = f"registration is on at {main.workload_name}: what it asks of a newcomer was not seen, as a question opens a session"
        judge.unproven(main.id, line, observed=f"asked whether a name is free: {said.short}")
    elif seen.flows is None:
        _unseen(seen, seen.register, "registration is on, and what it asks of a newcomer was not seen", judge)
    elif free := [flow for flow in seen.flows if FREE.issuperset(flow)]:
        config = main.config or {}
        keys = ("enable_registration", "enable_registration_without_verification", "registration_requires_token")
        judge.wrong(
            main.id,
            f"anybody may make an account at {main.workload_name}: registration is on and asks for no proof",
            observed=f"POST register, {seen.register.way}: {len(seen.flows)} ways, one of them {' and '.join(free[0])}",
            expected="403 M_FORBIDDEN, or in every way a token, a captcha, an address",
            cause=", ".join(f"{key}: {str(config[key]).lower()}" for key in keys if key in config),
            remedy="set enable_registration: false, or registration_requires_token: true",
        )


def _admin(seen: ClosedDoors, judge: Judge) -> None:
    main, said = seen.main, seen.users.said
    if said.status == 200:
        judge.wrong(
            main.id,
            f"anybody may list the users of {main.workload_name}: the admin API asks for no token",
            observed=f"GET users without a token, {seen.users.way}: 200",
            expected="401, or a refusal by the proxy",
            cause="something on the way adds an admin's token",
            remedy="take the token out of the proxy, and keep /_synapse/admin from the outside",
        )
    elif said.status not in REFUSED:
        _unseen(seen, seen.users, "whether strangers reach the admin API was not seen", judge)
    elif seen.users.ingress and not seen.users.guard and said.json.get("errcode") in ASKS_WHO:
        judge.warn(
            main.id,
            f"the admin API is led in from outside by Ingress {seen.users.ingress}: only a token stands before it",
            observed=f"GET /_synapse/admin/v2/users without a token, {seen.users.way}: {said.short}",
            expected="a refusal by the ingress controller or the proxy, or no path for /_synapse/admin",
            cause=f"Ingress {seen.users.ingress} has a path that /_synapse/admin falls under, and the proxy does not refuse it",
            remedy="keep /_synapse/admin from the outside, or open it to the admins' network only",
        )
    if seen.nonce.ingress and seen.nonce.said.status == 200 and "nonce" in seen.nonce.said.json:
        judge.warn(
            main.id,
            f"who learns the registration secret makes admins from outside: Ingress {seen.nonce.ingress} leads to the admin API",
            observed=f"GET /_synapse/admin/v1/register, {seen.nonce.way}: 200 and a nonce",
            remedy="keep /_synapse/admin from the outside, or open it to the admins' network only",
        )


def _servers(deployment: Deployment, seen: ServerDoors, counters: Mapping[str, Sent], judge: Judge) -> None:
    """Where federation is off nobody is let in, and nobody sends."""
    choice = choice_of(deployment)
    by = f" at {seen.main.workload_name}" if choice.said is None else ", as the settings say"
    off = f"though federation is off{by}"
    _processes(seen, off, judge)
    _fronts(seen, off, judge)
    mine = [each for each in deployment.synapse if each.side is Side.MAIN]
    _senders(mine, counters, off, judge)
    for each in mine:
        if each.config is None:
            line = f"whether {each.workload_name} deals with other servers is not known: {each.config_problem}"
            judge.unknown(each.id, line)
    for proxy in deployment.proxies:
        if not proxy.config:
            line = f"where {proxy.name} leads other servers is not known: its configuration could not be read"
            judge.unknown(proxy.id, line)


def _processes(seen: ServerDoors, off: str, judge: Judge) -> None:
    """Refused is refused only where nobody is named: who is, is let in by the same process."""
    open_at: list[ProcessAnswer] = []
    named_at: list[ProcessAnswer] = []
    for each in seen.processes:
        process = each.process
        judge.saw(process.id)
        lets_in = _lets_in(each.said)
        if lets_in:
            open_at.append(each)
        elif lets_in is None:
            line = f"whether {process.workload_name} lets servers in was not seen: {each.said.short}"
            judge.unknown(process.id, line)
        elif allowed(process) and each.said.json.get("errcode") == FORBIDDEN:
            named_at.append(each)
    for process, why in seen.mute:
        judge.unavailable(process.id, f"whether {process.workload_name} lets servers in was not seen: {why}")
    for found in (open_at, named_at):
        found.sort(key=lambda each: not each.process.is_main)
    if open_at:
        first = open_at[0].process
        names = _names([each.process for each in open_at])
        judge.wrong(
            first.id,
            f"other servers are let in by {names}, {off}",
            observed=f"{names}: {open_at[0].said.short} to an event asked by nobody",
            expected=f"403 {FORBIDDEN}, as {WHITELIST}: [] has it, or no such resource",
            cause=f"{WHITELIST}: {_shown(first)} for {first.workload_name}",
            remedy=f"set {WHITELIST}: [] for all processes",
        )
    if named_at:
        first = named_at[0].process
        judge.wrong(
            first.id,
            f"{several(allowed(first) or ())} of {WHITELIST} may come in at {_names([e.process for e in named_at])}, {off}",
            observed=f"a server that is not named gets {named_at[0].said.short}",
            expected=f"{WHITELIST}: [], or no listener with the resource federation",
            cause=f"{WHITELIST}: {_shown(first)} for {first.workload_name}",
            remedy=f"set {WHITELIST}: [] for all processes",
        )


def _lets_in(said: Said) -> bool | None:
    """Whether who answers deals with a server that nobody knows; None where the answer does not tell.

    By Synapse: 401 asks who it is and would believe its signature, 403 M_FORBIDDEN wants no server of that name, 404
    M_UNRECOGNIZED has no such resource. Without an error code it is somebody else's refusal, in front of Synapse."""
    code = said.json.get("errcode")
    if "pdus" in said.json or (said.status == 401 and code) or code == "M_NOT_FOUND":
        return True
    if said.status == 200 and not said.json:
        # Some page for whatever is asked.
        return False
    if said.status in REFUSED and code in (None, FORBIDDEN, "M_UNRECOGNIZED"):
        return False
    return None


def _fronts(seen: ServerDoors, off: str, judge: Judge) -> None:
    """What is wrong with one rule is told once, whichever pod or port showed it."""
    told: dict[tuple[str, str], FrontAnswer] = {}
    for each in seen.fronts:
        part, name = _door(each, seen.main)
        lets_in = _lets_in(each.said)
        if each.unseen:
            judge.unproven(part, f"where other servers are led was not wholly seen: {each.unseen}")
        elif lets_in:
            told.setdefault((part, each.backend or ""), each)
        elif lets_in is None and (each.leads or not each.said.status):
            say = judge.unavailable if each.said.status in (0, 502, 503, 504) else judge.unknown
            pods = [pod.id for pod in each.proxy.pods] if each.proxy else []
            line = f"whether {name} leads other servers to Synapse was not seen: {each.said.short} ({each.way})"
            say(part, line, needs=(part, *pods, seen.main.id))
        else:
            judge.saw(part)
    for (part, backend), each in told.items():
        name = _door(each, seen.main)[1]
        leads = f"leads them to backend {backend}" if backend else "leads them on"
        judge.wrong(
            part,
            f"{name} leads other servers to a process that lets them in, {off}",
            observed=f"GET an event as a server that nobody knows, {each.way}: {each.said.short}",
            expected="a refusal by the proxy, or by Synapse",
            cause=each.route.words if each.route else f"{name} {leads}{f' ({each.frontend})' if each.frontend else ''}",
            remedy=f"refuse /_matrix/federation there, and set {WHITELIST}: [] for all processes",
        )


def _senders(mine: Sequence[SynapseProcess], counters: Mapping[str, Sent], off: str, judge: Judge) -> None:
    known = [each for each in mine if each.config is not None]
    sent = {each.id: count for each in mine if each.id in counters and (count := counters[each.id].transactions)}
    senders = [each for each in known if (is_sender(each) and not lets_nobody_in(each)) or each.id in sent]
    if senders:
        first, total = senders[0], sum(sent.values())
        flag = (first.config or {}).get("send_federation", "not set, so true")
        judge.wrong(
            first.id,
            f"{_who(senders, 'sends', 'send')} to other servers, {off}",
            observed=f"{total} transactions since they started" if total else "by configuration; nothing sent as yet",
            expected="no process sends",
            cause=f"{LIST}: {(first.config or {}).get(LIST, 'not set')}, send_federation: {flag}, {WHITELIST}: {_shown(first)}",
            remedy=f"set {WHITELIST}: [] and send_federation: false, take {LIST} out, and stop the senders",
        )
    asking = [each for each in known if not lets_nobody_in(each) and each not in senders]
    if asking:
        judge.warn(
            asking[0].id,
            f"{_names(asking)} may still ask other servers, {off}: {WHITELIST} is not empty",
            remedy=f"set {WHITELIST}: [] for all processes",
        )
    idle = [each for each in known if meant_to_send(each) and each not in senders]
    if idle:
        line = f"{_who(idle, 'is', 'are')} there to send to other servers, {off}"
        judge.warn(idle[0].id, line, remedy="stop them: they hold connections and memory for nothing")
    for each in mine:
        seen = counters.get(each.id)
        if seen and seen.problem and not seen.silent and each not in senders:
            judge.unknown(each.id, f"whether {each.name} has sent to other servers is not known: {seen.problem}")
    if silent := [each for each in known if each.id in counters and counters[each.id].silent and each not in senders]:
        line = f"that {_names(silent)} sent nothing was seen by the configuration only: no metrics are served"
        judge.unproven(silent[0].id, line)


def _door(each: FrontAnswer, main: SynapseProcess) -> tuple[str, str]:
    """The part that leads there, and how it is called."""
    if each.proxy:
        return each.proxy.id, each.proxy.name
    return (each.route.id, f"Ingress {each.route.name}") if each.route else (main.id, main.workload_name)


def _shown(process: SynapseProcess) -> str:
    named = allowed(process)
    return "not set" if named is None else f"[{', '.join(named)}]"


def _guests(processes: Sequence[SynapseProcess], judge: Judge) -> None:
    """By the configuration of each process that clients reach: any of them may be the one that is asked."""
    for each in processes:
        if each.config is None:
            line = f"whether {each.workload_name} lets guests in is not known: {each.config_problem}"
            judge.unknown(each.id, line)
    let_in = [each for each in processes if "client" in resources_of(each) and (each.config or {}).get(GUESTS)]
    let_in.sort(key=lambda each: not each.is_main)
    if let_in:
        judge.wrong(
            let_in[0].id,
            f"guests come in without an account: {GUESTS} is on for {_names(let_in)}",
            expected=f"{GUESTS}: false, as it is by default",
            cause=f"{GUESTS}: true in the configuration",
            remedy=f"set {GUESTS}: false, then restart {_names(let_in)}",
        )


def _unseen(seen: ClosedDoors, knock: Knock, line: str, judge: Judge) -> None:
    needs = (seen.main.id, *dict.fromkeys(pod.id for pod in knock.pods))
    up = all(pod.ready for pod in (*knock.pods, *((seen.main.pod,) if seen.main.pod else ())))
    way = f" ({knock.way})" if knock.way else ""
    say = judge.unknown if up and knock.said.status != 503 else judge.unavailable
    say(seen.main.id, f"{line}: {knock.said.short}{way}", needs=needs)


def _names(processes: Sequence[SynapseProcess]) -> str:
    return several(dict.fromkeys(each.workload_name for each in processes))


def _who(processes: Sequence[SynapseProcess], one: str, many: str) -> str:
    """Their workloads, and the verb that goes with as many."""
    return f"{_names(processes)} {many if len({each.workload_name for each in processes}) > 1 else one}"
