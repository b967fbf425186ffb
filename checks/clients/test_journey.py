from collections.abc import Sequence
from dataclasses import dataclass

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.deployment.federating import choice_of
from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.proxy_backends import backend_id
from postflight.deployment.writers import lists_of
from postflight.probes.canary_homeserver import NotPrepared
from postflight.probes.canary_user import Hindered
from postflight.probes.federation import FederationCanary
from postflight.probes.inward import SENT
from postflight.probes.journey import Journey
from postflight.probes.journey_steps import Step
from postflight.probes.probe import BarredBy, NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

UNRECOGNIZED = "M_UNRECOGNIZED"
LIMITED = 429
#: The answers of who knows no such path, or not this method of it.
ASTRAY = (404, 405)
SOURCE = "docs/workers.md of Synapse"


@check(
    "clients.journey",
    severity=Severity.CRITICAL,
    kinds=(INGRESS,),
    beside=("federation_canary",),
    remedy="lead the path that failed to a process that serves it (docs/workers.md of Synapse), and look at the log of"
    " that process for the time of the run",
    blind_spots="the way before the first proxy: names, certificates, the Ingress controller; proxies other than the"
    " first that is ready; making a room (one is kept from run to run); encrypted messages from and to other homeservers,"
    " which carry what was sealed as they carry any other; which of several workers answered; a login by another way than"
    " the password; with a given token: login, logout and encrypted messages",
)
def test_a_user_logs_in_writes_and_reads_plain_and_encrypted_and_logs_out_by_the_front_door(
    deployment: Deployment,
    client_journey: Journey | Hindered,
    federation_canary: FederationCanary | NotPrepared | Hindered | NotTried,
    judge: Judge,
) -> None:
    """It is what people do with it: with each other here, and with those of another homeserver, whose messages come in
    where those of this one go out (``federation.exactly_once``). Every pod may be Ready and every process right by itself, and a message does not
    arrive because one rule of a proxy leads one path to the wrong process."""
    if isinstance(client_journey, Hindered):
        seen = client_journey
        subject = seen.where or "homeserver"
        judge.unknown(subject, f"the way of a user through the front door was not gone: {seen.problem}")
        return
    main = client_journey.main
    judge.saw(main.id, *dict.fromkeys(_subject(client_journey, each) for each in client_journey.steps))
    told: dict[tuple[str, str], tuple[Trouble, list[Step]]] = {}
    for step in (*client_journey.steps, *_inward(deployment, main, federation_canary, judge)):
        if not step.good:
            trouble = _trouble(client_journey, step)
            told.setdefault((_subject(client_journey, step), trouble.headline), (trouble, []))[1].append(step)
    needs = _needs(deployment, client_journey)
    for (subject, _), (trouble, steps) in told.items():
        say = judge.unknown if trouble.unseen else judge.unavailable if trouble.silent else judge.wrong
        say(
            subject,
            trouble.headline.format(_listed(steps)),
            observed="; ".join(dict.fromkeys(map(_observed, steps))),
            expected=steps[0].expected,
            cause=trouble.cause,
            remedy=trouble.remedy,
            needs=(subject, *_backends(steps), *needs) if trouble.silent or trouble.unseen else (),
        )
    _unseen(client_journey, judge)


def _inward(
    deployment: Deployment,
    main: SynapseProcess,
    seen: FederationCanary | NotPrepared | Hindered | NotTried,
    judge: Judge,
) -> tuple[Step, ...]:
    """The steps of a message from another homeserver: where federation is on, and this run is about it."""
    choice = choice_of(deployment)
    left_out = isinstance(seen, NotTried) and seen.barred_by is BarredBy.RUN
    if left_out or not (choice.on and choice.found):
        return ()
    if isinstance(seen, NotPrepared | NotTried):
        judge.unproven(main.id, f"that messages of other homeservers come in was not seen: {seen.reason}")
        return ()
    inward = seen.inward if isinstance(seen, FederationCanary) else None
    problem = inward.problem if inward else seen.problem if isinstance(seen, Hindered) else ""
    if problem:
        line = f"that messages of other homeservers come in was not seen: {problem}"
        judge.unknown(main.id, line, needs=(main.id,))
    return inward.steps if inward else ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a step; its name takes the place of ``{}`` in the headline. ``silent``: something that should
    have answered did not; ``unseen``: nobody could ask."""

    headline: str
    cause: str = ""
    remedy: str = ""
    silent: bool = False
    unseen: bool = False


def _trouble(journey: Journey, step: Step) -> Trouble:
    answer, said = step.answer, step.answer.said
    rule, door = _rule(step), _door(journey, step)
    by_synapse = "errcode" in said.json
    if answer.unseen:
        return Trouble(f"{{}} was not seen: {said.problem}", unseen=True)
    if step.wrong and step.late:
        cause = "between the process that took it and the one that answers, replication does not get through, or late"
        return Trouble(f"{{}}: {step.wrong}", cause, silent=True)
    if step.wrong:
        return Trouble(f"{{}}: {step.wrong}", rule)
    if not said.status:
        return Trouble(f"{{}} gets no answer by {door}: {said.problem}", rule, silent=True)
    if said.status == LIMITED:
        return Trouble("{} was not seen: the rate is limited, and the wait is longer than the run's", unseen=True)
    if said.status in ASTRAY and said.json.get("errcode") == UNRECOGNIZED:
        lead = f"lead {step.method} {step.route} to a process that serves it ({SOURCE})"
        return Trouble(f"the route for {{}} ends at {_end(step)}, which does not serve it", rule, lead)
    if said.unserved:
        return Trouble(f"{door} has no server for {{}}: {said.status}", rule, silent=True)
    if said.status >= 500:
        return Trouble(
            f"{{}} fails at {_end(step)}: {said.status} {said.json.get('errcode', '')}".rstrip(), rule, silent=True
        )
    if 300 <= said.status < 400:
        return Trouble(f"{{}} is sent on elsewhere by {door}: {said.status}", rule)
    if not by_synapse:
        return Trouble(f"{{}} does not get to Synapse: {_answered(step)}", rule)
    if said.status == 401 and step.name == SENT:
        unsigned = f"what signs the request (Authorization) does not arrive as it was sent; {rule}"
        return Trouble(
            f"{{}} is refused: 401 {said.json.get('errcode')}", unsigned, "let the proxies pass Authorization on"
        )
    return Trouble(f"{{}} is refused: {said.status} {said.json.get('errcode')}", rule)


def _subject(journey: Journey, step: Step) -> str:
    proxy, route = step.answer.proxy, step.answer.lead.route
    return proxy.id if proxy else route.id if route else journey.main.id


def _door(journey: Journey, step: Step) -> str:
    proxy, route = step.answer.proxy, step.answer.lead.route
    return proxy.name if proxy else route.words if route else journey.main.workload_name


def _end(step: Step) -> str:
    """Who is behind the route, as far as the proxy's configuration tells."""
    services = _services(step)
    return ", ".join(services) if services else "a process"


def _services(step: Step) -> tuple[str, ...]:
    proxy, lead = step.answer.proxy, step.answer.lead
    servers = proxy.backends.get(lead.backend or "", ()) if proxy else ()
    return tuple(dict.fromkeys(each.service or each.host for each in servers))


def _backends(steps: Sequence[Step]) -> tuple[str, ...]:
    """The backends that these steps are led to."""
    led = ((each.answer.proxy, each.answer.lead.backend) for each in steps)
    return tuple(dict.fromkeys(backend_id(proxy, name) for proxy, name in led if proxy and name))


def _rule(step: Step) -> str:
    """Who leads it where, by configuration."""
    proxy, lead = step.answer.proxy, step.answer.lead
    ingress = lead.route.words if lead.route else ""
    backend = f"{proxy.name} leads {step.route} to backend {lead.backend}" if proxy and lead.backend else ""
    services = _services(step)
    return "; ".join(filter(None, (ingress, f"{backend} ({', '.join(services)})" if backend and services else backend)))


def _answered(step: Step) -> str:
    said = step.answer.said
    return f"{said.short} by {said.server}" if said.server else said.short


def _observed(step: Step) -> str:
    way = step.answer.lead.says
    return f"{step.method} {step.route}{f', {way}' if way else ''}: {_answered(step)}"


def _listed(steps: Sequence[Step]) -> str:
    return _and(list(dict.fromkeys(each.name for each in steps)))


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _needs(deployment: Deployment, journey: Journey) -> tuple[str, ...]:
    """What takes part in a message's way: the doors, main, who listens for clients, and who writes a stream."""
    main = journey.main
    mine = [each for each in deployment.synapse if each.side is Side.MAIN and each.serves_with(main)]
    writers = {name for names in lists_of(main.config or {}).values() for name in names}
    parts = [
        each.id
        for each in mine
        if each.is_main or each.config is None or "client" in resources_of(each) or each.instance in writers
    ]
    doors = [part for proxy in deployment.proxies for part in (proxy.id, *(pod.id for pod in proxy.pods))]
    return tuple(dict.fromkeys((main.id, *parts, *doors)))


def _unseen(journey: Journey, judge: Judge) -> None:
    """Where the way was not the one that clients take."""
    limits = dict.fromkeys(each.answer.lead.limit for each in journey.steps if each.answer.lead.limit)
    if journey.outside:
        line = f"clients are told {journey.told}, {journey.outside}: {journey.main.workload_name} was asked past it"
        judge.unproven(journey.main.id, line, remedy="bring in scope what serves it (--namespace)")
    if journey.untaken:
        line = f"{_and(journey.untaken)} were not tried: the probe user was given by its token, which opens no session"
        remedy = "where Synapse has the logins, give a user with its password (settings: probe_user)"
        judge.unproven(journey.main.id, line, remedy=remedy)
    for limit in limits:
        judge.unproven(journey.main.id, f"the way was not wholly the clients': {limit}")
