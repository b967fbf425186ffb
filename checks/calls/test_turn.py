from collections.abc import Sequence

from postflight.check import check
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.coturn import is_denied
from postflight.deployment.model import Deployment
from postflight.deployment.parts import names_of
from postflight.deployment.reach import Addresses, addresses_of
from postflight.deployment.turn import Difference, difference
from postflight.deployment.turn_parts import TurnServer, TurnUse
from postflight.probes.canary_user import Hindered
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.turn_addresses import misplaced_of, shut_out, why_refused
from postflight.probes.turn_credentials import PATH, TurnCredentials
from postflight.probes.turn_relays import Meeting, TurnRelays, in_short
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

UNAUTHORIZED, QUOTA, GRANTED = 401, 486, 0
NOBODY = (0, 502, 503, 504)
SECRET = "turn_shared_secret"
EQUAL = f"make static-auth-secret of coturn equal to {SECRET} of Synapse, and set use-auth-secret"
NOT_SEEN = "whether a user gets a relay that passes bytes, and nobody else gets one, was not seen"


@check(
    "calls.turn",
    severity=Severity.MAJOR,
    finding="6.4",
    remedy="give coturn the secret that Synapse has, external-ip by the downward API (status.hostIP), and leave its own"
    " address out of denied-peer-ip",
    blind_spots="clients on the internet: firewalls and NAT between them and the relays; certificates of turns: addresses,"
    " and TURN over DTLS; transports that clients are not told; relays over TCP; of a server with more than eight pods the"
    " others; whether an image asks for its address without that its spec says so",
)
def test_a_user_gets_a_relay_that_passes_bytes_and_nobody_else_gets_one(
    deployment: Deployment,
    snapshot: Snapshot,
    turn_credentials: tuple[TurnCredentials, ...] | NotTried,
    turn_relays: TurnRelays | NotTried,
    turn_tunnels: tuple[Meeting, ...] | NotTried,
    settings: Settings,
    judge: Judge,
) -> None:
    """Two people behind two firewalls hear each other only through a relay. Without one the call rings, is taken, and
    stays silent; with one for everybody, strangers send through it what they like."""
    setup = deployment.turn
    for process in deployment.unread:
        if process.is_main:
            why = process.config_problem
            judge.unknown(process.id, f"what {process.workload_name} tells clients of TURN is not known: {why}")
    if not setup.referred:
        judge.absent("nothing refers to TURN: no server, and no turn_uris of any process")
        return
    for server in setup.servers:
        _echoes(server, judge)
    _agree(deployment, judge)
    if isinstance(turn_credentials, NotTried):
        _by_configuration(deployment, turn_credentials, judge)
        return
    known = addresses_of(snapshot, settings.calls.addresses)
    for given in turn_credentials:
        if _given(given, deployment, judge):
            _met(given, deployment, turn_relays, turn_tunnels, known, judge)


def _echoes(server: TurnServer, judge: Judge) -> None:
    for echo in server.echoes:
        judge.wrong(
            server.id,
            f"{echo.who} of {server.name} asks the internet for its address: {echo.asks}",
            observed=f"{echo.asks} stands in {echo.where}",
            expected="no container needs the internet to know its address",
            cause=f"{server.name} takes external-ip from what {echo.asks} answers",
            remedy="give it the address: external-ip by the downward API (status.hostIP), or fixed in its configuration",
        )


def _agree(deployment: Deployment, judge: Judge) -> None:
    """All processes that clients may be answered by give the same."""
    groups: dict[tuple[object, ...], list[TurnUse]] = {}
    for use in deployment.turn.uses:
        if not use.hidden:
            groups.setdefault((use.texts, use.secret.value if use.secret else None, use.fixed), []).append(use)
    if len(groups) < 2:
        return
    odd, rest = min(groups.values(), key=len), max(groups.values(), key=len)
    what = "other turn_uris" if odd[0].texts != rest[0].texts else f"another {SECRET}"
    judge.wrong(
        odd[0].process,
        f"{_names(odd, deployment)} {'has' if len(odd) == 1 else 'have'} {what} than {_names(rest, deployment)}",
        expected="the same for all processes that clients come to",
        remedy=f"set turn_uris and {SECRET} in the configuration that all processes share, then restart them",
    )


def _names(uses: Sequence[TurnUse], deployment: Deployment) -> str:
    return names_of(each for each in deployment.synapse if each.id in {use.process for use in uses})


def _by_configuration(deployment: Deployment, barred: NotTried, judge: Judge) -> None:
    """The weakest way: what stands in configurations and cannot work."""
    setup = deployment.turn
    for server in setup.servers:
        if unlike := difference(server, setup.uses):
            judge.wrong(
                server.id,
                f"{server.name} has another shared secret than Synapse: {unlike.cause}",
                expected="credentials that Synapse signs are good for a relay",
                cause=unlike.cause,
                remedy=unlike.remedy,
            )
    if not any(each.gives for each in setup.uses):
        _nobody_is_told(deployment, "", judge)
    say = judge.unknown if barred.barred_by is BarredBy.RIGHT else judge.unproven
    say(next((each.id for each in setup.servers), "turn"), f"{NOT_SEEN}: {barred.reason}")


def _nobody_is_told(deployment: Deployment, answer: str, judge: Judge) -> None:
    named = several(each.name for each in deployment.turn.servers) if deployment.turn.servers else "turn_uris"
    texts = [text for use in deployment.turn.uses for text in use.texts]
    cause = f"turn_uris stands there without {SECRET} and without turn_username" if texts else "turn_uris is not set"
    judge.wrong(
        next((each.id for each in deployment.synapse if each.is_main), "turn"),
        f"no client is told of a TURN server, though {named} stands here: {cause}",
        observed=answer,
        expected="addresses, a user name and a password",
        cause=cause,
        remedy=f"set turn_uris and {SECRET} in Synapse's configuration",
    )


def _given(given: TurnCredentials, deployment: Deployment, judge: Judge) -> bool:
    """Whether Synapse gave the probe user what it needs."""
    main, said = given.home, given.said
    observed = f"GET {PATH} at {said.pod}: {said.short}"
    if isinstance(given.hindered, Hindered):
        judge.unknown(given.hindered.where or main.id, f"{NOT_SEEN}: {given.hindered.problem}")
    elif said.status in NOBODY or said.status >= 500:
        door = (main.id, *(each.id for each in deployment.proxies))
        judge.unavailable(main.id, f"Synapse gives nothing to come to a TURN server with: {said.short}", needs=door)
    elif said.status != 200:
        judge.wrong(
            main.id,
            f"Synapse refuses its own user what is needed for TURN: {said.short}",
            observed=observed,
            expected="200 with addresses, a user name and a password",
        )
    elif given.mine is None or not given.uris:
        _nobody_is_told(deployment, f"{observed}, without user name and password", judge)
    else:
        judge.saw(main.id)
        return True
    return False


def _met(
    given: TurnCredentials,
    deployment: Deployment,
    relays: TurnRelays | NotTried,
    tunnels: tuple[Meeting, ...] | NotTried,
    known: Addresses,
    judge: Judge,
) -> None:
    met: tuple[Meeting, ...] = () if isinstance(relays, NotTried) else relays.met
    weaker: tuple[Meeting, ...] = () if isinstance(tunnels, NotTried) else tunnels
    servers = {each.id: each for each in deployment.turn.servers}
    for server in servers.values():
        if not any(pod.ready for pod in server.pods):
            judge.unavailable(server.id, f"{server.name} has no pod that is ready", stops=(server.id,))
        elif not met and (isinstance(relays, NotTried) or relays.problem):
            _weaker(server, relays, tunnels, judge)
    # Those elsewhere too that the settings name.
    for server in {**servers, **{each.server.id: each.server for each in met if each.server}}.values():
        mine, tunnelled = ([each for each in some if each.server == server] for some in (met, weaker))
        _server(server, mine, tunnelled, given, deployment, known, judge)
    for meeting in met:
        if not meeting.address and meeting.uri:
            _elsewhere(meeting, deployment, judge)
    for text in relays.untried if isinstance(relays, TurnRelays) else ():
        judge.unproven(next(iter(servers), "turn"), f"{text} was not asked: it is TURN over DTLS")
    if isinstance(relays, TurnRelays) and not relays.problem:
        _unasked(tuple(servers.values()), relays, weaker, judge)


def _unasked(servers: Sequence[TurnServer], relays: TurnRelays, weaker: Sequence[Meeting], judge: Judge) -> None:
    """Servers that nothing was said of, though they may be met."""
    if relays.untried or any(each.uri and not each.address for each in relays.met):
        return
    asked = {each.server.id for each in (*relays.met, *weaker) if each.server}
    for server in servers:
        if server.id not in asked and any(pod.ready for pod in server.pods):
            line = f"{server.name} was not asked: no address that clients are told is known to lead to it"
            judge.unproven(server.id, line)


def _weaker(server: TurnServer, relays: TurnRelays | NotTried, tunnels: object, judge: Judge) -> None:
    """Nobody asked from within the cluster."""
    line = f"whether {server.name} relays over UDP, and to who comes by its address, was not seen"
    if isinstance(relays, TurnRelays):
        judge.unknown(server.id, f"{line}: {relays.problem}")
    elif isinstance(tunnels, NotTried):
        judge.unknown(server.id, f"{NOT_SEEN}: {relays.reason}; {tunnels.reason}")
    else:
        judge.unproven(server.id, f"{line}: {relays.reason}")


def _server(
    server: TurnServer,
    mine: Sequence[Meeting],
    tunnelled: Sequence[Meeting],
    given: TurnCredentials,
    deployment: Deployment,
    known: Addresses,
    judge: Judge,
) -> None:
    """One server by all its meetings: from within, else through a tunnel."""
    if mine and all(each.silent for each in mine) and any(not each.silent for each in tunnelled):
        judge.unknown(
            server.id,
            f"{server.name} does not answer the probe pod: {mine[0].problem}; through a tunnel it does",
            observed=in_short(mine),
            remedy="let pods of this namespace reach it (NetworkPolicy; settings: probe_pod), look at its node's firewall",
        )
        mine = ()
    if server.pods and mine and all(each.silent for each in mine) and (why := shut_out(mine, tunnelled)):
        judge.unknown(
            server.id,
            f"whether {server.name} answers was not seen: to the probe pod {mine[0].problem}; {why}",
            observed=in_short((*mine, *tunnelled)),
            remedy="let pods of this namespace reach it (NetworkPolicy; settings: probe_pod), or look whether it listens",
            needs=(server.id, server.workload),
        )
        return
    met = [each for each in (mine or tunnelled) if each.address or each.pod]
    if not met:
        return
    silent = [each for each in met if each.silent]
    if len(silent) == len(met):
        line, observed = f"{server.name} does not answer: {silent[0].problem}", in_short(silent)
        if mine:
            judge.unavailable(server.id, line, observed=observed, stops=(server.id,))
        else:
            # It may well listen at its other addresses alone.
            judge.unknown(server.id, f"{line} (through a tunnel, which enters at its loopback)", observed=observed)
        return
    judge.saw(server.id)
    if unheard := [each for each in silent if each.announced]:
        _partly(server, unheard, met, judge)
    spoken = [each for each in met if not each.silent]
    if _admits(server, spoken, judge) and _takes(server, spoken, deployment, judge):
        _relays(server, spoken, known, judge)
        if given.unknown_secret:
            line = f"whether {server.name} refuses what has expired was not seen: the shared secret is not known"
            judge.unproven(server.id, line)
    if kept := [each for each in spoken if not each.freed]:
        line = f"{server.name} did not take back a relay: it ends by itself within ten minutes"
        judge.warn(server.id, line, observed=in_short(kept))


def _partly(server: TurnServer, silent: Sequence[Meeting], met: Sequence[Meeting], judge: Judge) -> None:
    """A server that lives, and is silent to some."""
    told = next((each.uri for each in silent if each.uri), None)
    where = several(each.way for each in silent)
    judge.wrong(
        server.id,
        f"{server.name} does not answer at {where}: {silent[0].problem}",
        observed=in_short(met),
        expected="an answer at every address that clients are told, over the transports that they are told",
        cause=(told.endpoint.problem if told else "") or "nothing listens there, or a policy or firewall drops it",
        remedy="let coturn listen there (no-udp, no-tcp, listening-port), and its Service lead there; or take out of turn_uris"
        " what it is not to serve",
    )


def _admits(server: TurnServer, met: Sequence[Meeting], judge: Judge) -> bool:
    """Whether a server keeps others out."""
    if opened := [each for each in met if each.open]:
        judge.wrong(
            server.id,
            f"{server.name} gives relays to anyone: it asks nobody who they are",
            observed=in_short(opened),
            expected="401 at first",
            cause="no-auth, or neither use-auth-secret nor lt-cred-mech, in its configuration",
            remedy="set use-auth-secret and static-auth-secret, take no-auth out",
        )
        return False
    for word, what in (("other", "no shared secret has signed"), ("expired", "expired a day ago")):
        codes = {each.way: getattr(each, word) for each in met}
        if through := [way for way, code in codes.items() if code == GRANTED]:
            judge.wrong(
                server.id,
                f"{server.name} gives relays for credentials that {what}",
                observed=f"a relay through {several(through)}",
                expected="401",
            )
        elif strange := [(way, code) for way, code in codes.items() if code not in (None, UNAUTHORIZED)]:
            way, code = strange[0]
            line = f"{server.name} refuses credentials that {what} with {code}, not with 401"
            judge.unknown(server.id, line, observed=f"through {way}")
    return True


def _takes(server: TurnServer, met: Sequence[Meeting], deployment: Deployment, judge: Judge) -> bool:
    """Whether it takes the credentials that Synapse gives."""
    refused = [each for each in met if each.refused]
    if not refused:
        return True
    code, words = refused[0].refused or (0, "")
    said = f"{code} {words}".strip()
    if code == UNAUTHORIZED:
        unlike = difference(server, deployment.turn.uses) or Difference(why_refused(server), EQUAL)
        judge.wrong(
            server.id,
            f"{server.name} refuses the credentials that Synapse gives ({said}): {unlike.cause}",
            observed=in_short(refused),
            expected="a relay for who has credentials of Synapse's",
            cause=unlike.cause,
            remedy=unlike.remedy,
            stops=(server.id,),
        )
    elif code == QUOTA:
        line = f"{server.name} lets a user have fewer than two relays ({said}): whether they pass bytes was not seen"
        judge.unknown(server.id, line, observed=in_short(refused), remedy="raise user-quota")
    else:
        judge.wrong(
            server.id,
            f"{server.name} has no relay for who may have one: {said}",
            observed=in_short(refused),
            expected="two relays",
            cause="no port of min-port to max-port is free, or total-quota is used up" if code == 508 else "",
            remedy="give it more ports (min-port, max-port) or a higher total-quota",
            stops=(server.id,),
        )
    return any(each.granted for each in met)


def _relays(server: TurnServer, met: Sequence[Meeting], known: Addresses, judge: Judge) -> None:
    """That relays are where they are said to be, and pass bytes."""
    granted = [each for each in met if each.granted]
    misplaced = misplaced_of(server, met, known)
    for each in misplaced:
        if each.own:
            judge.wrong(
                server.id,
                each.headline,
                observed=each.observed,
                expected=each.expected,
                cause=each.cause,
                remedy=each.remedy,
                stops=(server.id,),
            )
        else:
            judge.unknown(server.id, each.headline, observed=each.observed, remedy=each.remedy)
    shut = [each for each in granted if each.permission]
    if shut:
        code, words = shut[0].permission or (0, "")
        ranged = is_denied(shut[0].relayed[0], server)
        judge.wrong(
            server.id,
            f"{server.name} relays nothing from one of its clients to another: it forbids them {shut[0].relayed[0]}",
            observed=in_short(shut),
            expected="clients of one server reach each other's relays",
            cause=f"denied-peer-ip {ranged} holds its own relays' address" if ranged else f"{code} {words}",
            remedy=f"add allowed-peer-ip={shut[0].relayed[0]} to its configuration",
            stops=(server.id,),
        )
    lost = [each for each in granted if not each.permission and not all(each.passed)]
    if lost and not misplaced:
        judge.wrong(
            server.id,
            f"relays of {server.name} at {several(dict.fromkeys(lost[0].relayed))} pass bytes {lost[0].reach}",
            observed=in_short(lost),
            expected="bytes pass both ways",
            cause="its relays' ports (min-port to max-port) do not lead to it, or it is bound to another address (relay-ip)",
            remedy="let the ports from min-port to max-port in, over UDP, to where external-ip leads",
            stops=(server.id,),
        )


def _elsewhere(meeting: Meeting, deployment: Deployment, judge: Judge) -> None:
    """An address that clients are told, and that means nobody whom anyone may ask."""
    uri, server = meeting.uri, next(iter(deployment.turn.servers), None)
    assert uri is not None
    remedy = f"name it in the settings, turn.hosts: [{uri.host}], and it is asked"
    means = meeting.problem or f"it means {several(meeting.addresses, 2)}"
    if uri.endpoint.problem and not uri.endpoint.external:
        judge.wrong(
            server.id if server else f"turn/outside/{uri.host}",
            f"clients are told {uri.text}, which leads nowhere: {uri.endpoint.problem}",
            expected="an address of a TURN server",
            remedy="correct turn_uris, or the Service",
        )
    elif server:
        judge.unproven(server.id, f"the way from {uri.text} to {server.name} was not seen: {means}", remedy=remedy)
    else:
        line = f"clients are sent to {uri.text}, outside of what stands here, which was not asked"
        judge.unknown(f"turn/outside/{uri.host}", line, observed=means, remedy=remedy)
