"""What policies and tries add up to: who is kept from what he lives on, and who gets where he should not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from postflight.cluster.snapshot import Snapshot
from postflight.deployment import flows
from postflight.deployment.federation import is_sender
from postflight.deployment.flows import Class, Flow, Prize
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side
from postflight.deployment.policies import EGRESS, Rules, Ruling, Stand, admits, outward, rule_on
from postflight.probes.inside import InsideView
from postflight.probes.network import ForeignWays, NetworkRules, PodWays, stranger
from postflight.probes.probe import NotTried
from postflight.probes.tries import API_PORT, API_SERVER, NAME_PORT, NAME_SERVICE, Met, met
from postflight.settings import Settings
from postflight.words import several

#: A namespace that there is not: as strange as can be.
ELSEWHERE = "postflight-no-such-namespace"
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """A class that does not get somewhere: from which pods, by which end, and whether that was tried. ``within``: to pods
    of its own, each of which stands by itself too."""

    source: Class
    pods: tuple[str, ...]
    where: str
    ruling: Ruling
    really: bool
    within: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """Somebody who gets where he should not."""

    subject: str
    headline: str
    observed: str
    cause: str
    remedy: str


@dataclass(slots=True)
class Seen:
    """What was found: ``ignored`` and ``enforced`` are connections that the policies forbid, made and not made all the same;
    ``unsure`` hang on labels that are not known."""

    given: NetworkRules
    met: Mapping[Key, tuple[str, Met]]
    cuts: list[Cut] = field(default_factory=list)
    opens: list[Open] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    enforced: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    li_unproven: list[str] = field(default_factory=list)

    @property
    def rules(self) -> Rules:
        return self.given.rules


def met_by(inside: InsideView | NotTried, ways: PodWays | NotTried) -> dict[Key, tuple[str, Met]]:
    """What was met by a class at an address, and in which pod."""
    found: dict[Key, tuple[str, Met]] = {}
    if isinstance(inside, InsideView):
        for each in inside.connections:
            said = met({"seen": each.seen, "problem": each.problem})
            found[(each.process.workload, each.host, each.port)] = each.pod, said
    tried = [each for view in (inside, ways) if isinstance(view, InsideView | PodWays) for each in view.tried]
    return {(each.workload, each.host, each.port): (each.pod, each.met) for each in tried} | found


def add_flow(flow: Flow, seen: Seen) -> None:
    pod, really = seen.met.get((flow.source.id, flow.host, flow.port), ("", Met.UNCLEAR))
    where = f"{flow.what} ({flow.host}:{flow.port})"
    rulings = [
        (stand, rule_on(seen.rules, stand, end, port)) for stand in flow.source.stands for end, port in flow.ends
    ]
    _needed(
        flow.source, where, pod, really, rulings, seen, within=all(end in flow.source.stands for end, _ in flow.ends)
    )


def add_name_service(askers: Sequence[Class], seen: Seen) -> None:
    """By UDP; where its pods are not known, only by what was tried."""
    for source in askers:
        pod, really = seen.met.get((source.id, NAME_SERVICE, NAME_PORT), ("", Met.UNCLEAR))
        rulings = [
            (stand, rule_on(seen.rules, stand, server, NAME_PORT, "UDP"))
            for stand in source.stands
            for server in seen.given.name_servers
        ]
        if really is Met.SHUT and not rulings:
            rulings = [(each, _silent(seen.rules, each)) for each in source.stands if each.name == pod]
        _needed(source, NAME_SERVICE, pod, really, rulings, seen)


def _silent(rules: Rules, stand: Stand) -> Ruling:
    """Of a pod that gets no word from where nothing is known of: by what isolates it, if anything does."""
    by = tuple(each["metadata"]["name"] for each in rules.selecting(stand, EGRESS))
    return Ruling(False, EGRESS, by) if by else Ruling(True)


def _needed(
    source: Class,
    where: str,
    pod: str,
    really: Met,
    rulings: Sequence[tuple[Stand, Ruling]],
    seen: Seen,
    *,
    within: bool = False,
) -> None:
    shut = [(stand, ruling) for stand, ruling in rulings if ruling.allowed is False]
    mine = [ruling for stand, ruling in rulings if stand.name == pod]
    if really is Met.OPEN and mine and all(each.allowed is False for each in mine):
        seen.ignored.append(f"{pod} connects to {where}, which {named(mine[0].shut_by)} forbids")
        shut = [(stand, ruling) for stand, ruling in shut if stand.name != pod]
    if really is Met.SHUT and any(each.allowed is False for each in mine):
        seen.enforced.append(f"{pod} to {where}")
    if shut:
        pods = tuple(dict.fromkeys(stand.name for stand, _ in shut))
        seen.cuts.append(Cut(source, pods, where, shut[0][1], really is Met.SHUT and pod in pods, within))
    elif any(ruling.allowed is None for _, ruling in rulings) and really is Met.UNCLEAR:
        seen.unsure.append(f"{source.name} to {where}")
    elif rulings and really is not Met.SHUT:
        seen.right.append(source.id)


def add_prizes(prizes: Sequence[Prize], foreign: ForeignWays | NotTried, seen: Seen, bare: Sequence[str]) -> None:
    tried = {} if isinstance(foreign, NotTried) else {(p.end.name, p.port): each for p, each in foreign.tried}
    rules = replace(
        seen.rules,
        namespaces={**seen.rules.namespaces, ELSEWHERE: {"kubernetes.io/metadata.name": ELSEWHERE}},
    )
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[Prize, str]]] = {}
    for prize in prizes:
        if prize.end.namespace in bare:
            continue
        near = admits(rules, stranger(prize.end.namespace), prize.end, prize.port)
        far = admits(rules, Stand("a foreign pod", ELSEWHERE), prize.end, prize.port)
        way = tried.get((prize.end.name, prize.port))
        really = way.met if way else Met.UNCLEAR
        words = f"{prize.end.name}:{prize.port}"
        if really is Met.OPEN and near.allowed is False:
            seen.ignored.append(f"a foreign pod connects to {words}, which {named(near.shut_by)} forbids")
        elif really is Met.OPEN or near.allowed or far.allowed:
            who = "a foreign pod" if really is Met.OPEN or near.allowed else "a pod of any other namespace"
            opening = near.open_by or far.open_by
            how = f"connected to {words}" if really is Met.OPEN else f"by the policies, {words} is open"
            found.setdefault((prize.part, who, opening), []).append((prize, how))
        elif near.allowed is None or far.allowed is None:
            seen.unsure.append(f"foreign pods to {words}")
        else:
            seen.right.append(prize.part)
            if really is Met.SHUT:
                seen.enforced.append(f"a foreign pod to {words}")
    for (part, who, opening), ways in found.items():
        first = ways[0][0]
        seen.opens.append(
            Open(
                part,
                f"{who} reaches {first.what} ({several(f'{p.end.name}:{p.port}' for p, _ in ways)})",
                "; ".join(dict.fromkeys(how for _, how in ways)),
                f"{named(opening)} lets it in" if opening else "no policy selects these pods for Ingress",
                f"let {named(opening)} name who needs it" if opening else "add a policy that names who needs it",
            )
        )


def add_api_server(classes: Sequence[Class], seen: Seen, bare: Sequence[str]) -> None:
    reaching: list[tuple[Class, str, Ruling]] = []
    for source in classes:
        stand = next(each for each in source.stands if each.governed)
        if stand.namespace in bare:
            continue
        pod, really = seen.met.get((source.id, API_SERVER, API_PORT), ("", Met.UNCLEAR))
        rulings = [rule_on(seen.rules, stand, server, port) for server, port in seen.given.api_servers]
        isolated = bool(seen.rules.selecting(stand, EGRESS))
        forbidden = isolated and all(each.allowed is False for each in rulings) and bool(rulings)
        opened = next((each for each in rulings if each.allowed), Ruling(True))
        if really is Met.OPEN and forbidden:
            seen.ignored.append(f"{pod} connects to the API server, which {named(rulings[0].shut_by)} forbids")
        elif really is Met.OPEN or (really is Met.UNCLEAR and (not isolated or any(each.allowed for each in rulings))):
            reaching.append((source, pod if really is Met.OPEN else "", opened))
        else:
            seen.right.append(source.id)
            if really is Met.SHUT and isolated:
                # The API server is up: the verifier speaks to it.
                seen.enforced.append(f"{pod} to the API server")
    if reaching:
        first, pod, opened = reaching[0]
        seen.opens.append(
            Open(
                first.id,
                f"{several(each.name for each, _, _ in reaching)} reach{'es' if len(reaching) == 1 else ''} the API server",
                f"{pod} connected to it" if pod else "by the policies it is open",
                f"{named(opened.open_by)} lets them" if opened.open_by else "no policy keeps these pods from it",
                "let no policy of these pods hold the API server's address: they have no business with it",
            )
        )


def add_li(classes: Sequence[Class], settings: Settings, seen: Seen, bare: Sequence[str]) -> None:
    """The internet is not tried; that the policies of a pod are in force shows in what else it cannot reach."""
    for source in classes:
        stand = next(each for each in source.stands if each.governed)
        if stand.namespace in bare:
            continue
        out = outward(seen.rules, stand)
        host, port = settings.network.beyond or ("", 0)
        pod, really = seen.met.get((source.id, host, port), ("", Met.UNCLEAR))
        if really is Met.OPEN and out == ():
            seen.ignored.append(f"{pod} connects to {host}:{port}, which no policy of its own allows")
        elif really is Met.OPEN or out != ():
            seen.opens.append(
                Open(
                    source.id,
                    f"LI's {source.name} may reach the internet",
                    f"{pod} connected to {host}:{port}" if really is Met.OPEN else "by its policies for Egress",
                    f"{named(out)} lets it out" if out else "no policy selects it for Egress",
                    "let the policy that opens the internet select main's pods alone"
                    if out
                    else "add a policy for Egress that names what LI needs",
                )
            )
        elif really is Met.SHUT or any(each.startswith(f"{stand.name} to ") for each in seen.enforced):
            seen.right.append(source.id)
        elif (source.id, API_SERVER, API_PORT) in seen.met or not seen.enforced:
            seen.li_unproven.append(source.name)


def add_federation(deployment: Deployment, snapshot: Snapshot, seen: Seen) -> None:
    """A closed network has its own addresses, which are not known here."""
    open_to_all = [
        each
        for each in deployment.synapse
        if each.side is Side.MAIN and is_sender(each) and "federation_domain_whitelist" not in (each.config or {})
    ]
    ids = {each.workload for each in open_to_all} if deployment.federates is not False else set()
    for source in flows.senders(deployment, snapshot):
        stand = next(each for each in source.stands if each.governed)
        if source.id in ids and outward(seen.rules, stand) == ():
            by = tuple(each["metadata"]["name"] for each in seen.rules.selecting(stand, EGRESS))
            pods = tuple(each.name for each in source.stands)
            seen.cuts.append(Cut(source, pods, "other homeservers", Ruling(False, EGRESS, by), False))


def named(policies: Sequence[str] | None) -> str:
    return f"NetworkPolicy {several(policies, 4)}" if policies else "no policy"
