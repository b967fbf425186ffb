import itertools

from postflight.check import check
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Calls, difference, unlike
from postflight.deployment.calls import FOCI
from postflight.deployment.media_ports import why_nowhere
from postflight.deployment.model import Deployment
from postflight.deployment.reach import Reach, addresses_of
from postflight.probes.calls import USERINFO, WELL_KNOWN, CallsDiscovery
from postflight.probes.calls_chain import TRANSPORTS, CallsChain, Entry, Issue, not_looked_up
from postflight.probes.calls_media import CallsMedia
from postflight.probes.canary_user import Hindered, ProbeUser
from postflight.probes.leads import away_from_here
from postflight.probes.livekit import claims_of, faults_of
from postflight.probes.probe import NotTried
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: What a proxy says where nothing answers behind it.
NOBODY = (0, 502, 503, 504)
UNAUTHORIZED = 401
#: What a server says that knows no such request.
ASTRAY = (404, 405, 501)
ANNOUNCE = (
    "name the JWT service in extra_well_known_client_content (org.matrix.msc4143.rtc_foci) and matrix_rtc.transports"
)


@check(
    "calls.matrixrtc",
    severity=Severity.MAJOR,
    finding="2.9",
    remedy="follow the chain from its first broken link: discovery, OpenID userinfo, JWT service, LiveKit, media",
    blind_spots="how the internet reaches the announced addresses: two participants meet from within the cluster"
    " (calls.candidates says whether clients get to where media go), and what an Ingress controller does to a path;"
    " sound and pictures: what the two send each other are data; which of the two ways of discovery the deployed"
    " clients use",
)
def test_a_user_finds_the_way_into_a_call_and_nobody_else_does(
    deployment: Deployment,
    calls_discovery: tuple[CallsDiscovery, ...],
    calls_chain: tuple[CallsChain, ...] | NotTried,
    calls_media: tuple[CallsMedia, ...] | NotTried,
    snapshot: Snapshot,
    settings: Settings,
    judge: Judge,
) -> None:
    """LiveKit that runs is no call yet: clients must be told of it, main must vouch for the user, the JWT service
    must sign with a key that LiveKit knows, and what one says must get to the other. Each link fails silently: the
    call button spins, or nobody hears anything."""
    calls = deployment.calls
    for process in deployment.unread:
        if process.is_main:
            why = process.config_problem
            judge.unknown(process.id, f"what {process.workload_name} tells clients is not known: {why}")
    if not calls.referred:
        judge.absent("nothing refers to calls: no LiveKit, no JWT service, no configuration that names one")
        return
    for seen in calls_discovery:
        walked = None if isinstance(calls_chain, NotTried) else next(iter(calls_chain), None)
        door = (seen.main.id, *(each.id for each in deployment.proxies))
        if seen.well_known.status in NOBODY and seen.ingress:
            line = f"clients are told nothing at {seen.url}: {seen.ingress.words}, {seen.well_known.short}"
            judge.unavailable(seen.ingress.id, line, needs=(seen.ingress.id, *door))
            continue
        if seen.well_known.status in NOBODY:
            line = f"{seen.main.workload_name} tells clients nothing: {seen.well_known.short}"
            judge.unavailable(seen.main.id, line, needs=door)
            continue
        judge.saw(seen.main.id)
        _discovery(seen, walked, calls, judge)
        vouched = _userinfo(seen, walked, calls, judge)
        paired = _pairs(calls, walked, judge)
        if walked is not None:
            _chain(walked, deployment, snapshot, vouched, paired, judge)
            if isinstance(calls_media, NotTried):
                judge.unproven("a call", f"whether two participants hear each other was not seen: {calls_media.reason}")
            for met in () if isinstance(calls_media, NotTried) else calls_media:
                _media(met, snapshot, settings, judge)
        elif isinstance(calls_chain, NotTried):
            why = calls_chain.reason
            judge.unproven("the way into a call", f"whether a token is given and let in was not seen: {why}")


def _discovery(seen: CallsDiscovery, walked: CallsChain | None, calls: Calls, judge: Judge) -> None:
    """Older clients read the well-known file, newer ones ask for transports."""
    main = seen.main.workload_name
    answers = f"GET {WELL_KNOWN}: {seen.well_known.short}, {len(seen.foci)} of {FOCI}"
    if walked:
        answers += f"; GET {TRANSPORTS}: {walked.transports.short}, {len(walked.transport_urls)} transports"
    newer = walked.transport_urls if walked else ()
    if seen.outside:
        line = f"what older clients are told of calls was not seen: they look at {seen.url}, {seen.outside}"
        remedy = "bring in scope what serves it (--namespace), or ask it from where clients are"
        judge.unproven(seen.main.id, line, observed=answers, remedy=remedy)
    elif not seen.foci and not newer:
        _nobody_is_told(seen, calls, answers, judge)
    elif not seen.foci:
        line = f"older clients are not told of calls: {seen.url} has no {FOCI}"
        judge.warn(seen.main.id, line, observed=answers, remedy=ANNOUNCE)
    elif newer and set(newer) != set(seen.foci):
        line = f"older clients are sent to {', '.join(seen.foci)}, newer ones to {', '.join(newer)}"
        judge.warn(seen.main.id, line, observed=answers)
    if walked and walked.transports.status and not newer and (seen.foci or seen.outside):
        line = f"newer clients are not told of calls: rtc/transports says {walked.transports.short}"
        remedy = "set experimental_features.msc4143_enabled and matrix_rtc.transports (Synapse 1.140)"
        judge.warn(seen.main.id, line, observed=answers, remedy=remedy)
    if seen.versions.status == 200 and not seen.delayed_events:
        judge.warn(
            seen.main.id,
            f"who loses the connection stays in the call for ever: {main} allows no delayed events",
            observed="GET /_matrix/client/versions: org.matrix.msc4140 is not true",
            remedy="set max_event_delay_duration",
        )


def _nobody_is_told(seen: CallsDiscovery, calls: Calls, answers: str, judge: Judge) -> None:
    main = seen.main.workload_name
    named = [*(each.name for each in calls.sfus), *(each.name for each in calls.jwt_services)]
    who = f"{seen.ingress.target} behind {seen.url}" if seen.ingress else main
    judge.wrong(
        seen.main.id,
        f"no client is told of calls, though {', '.join(named) or 'a configuration'} stands here: {who} announces no {FOCI}",
        observed=answers,
        expected="the address of the JWT service, for older and for newer clients",
        cause=f"the configuration of {main} names no JWT service" if not calls.announced else "",
        remedy=ANNOUNCE,
    )


def _userinfo(seen: CallsDiscovery, walked: CallsChain | None, calls: Calls, judge: Judge) -> bool:
    """Whether the way that the JWT service's question takes ends at a process that knows OpenID tokens."""
    main = seen.main.workload_name
    user = walked.user.user_id if walked and walked.userinfo and isinstance(walked.user, ProbeUser) else ""
    asked = walked.userinfo if walked and walked.userinfo else seen.userinfo
    direct = ", ".join(f"{each.name} {each.said.status or each.said.problem}" for each in asked if not each.proxy)
    own = next((each for each in asked if not each.proxy and each.name == main), None)
    if own and not own.knows(user):
        judge.unavailable(seen.main.id, f"{main} does not say whose an OpenID token is: {own.said.short}")
        return False
    good = True
    for proxy in {each.proxy.id: each.proxy for each in asked if each.proxy}.values():
        wrong = [each for each in asked if each.proxy == proxy and not each.knows(user)]
        if not wrong:
            judge.saw(proxy.id)
            continue
        good, first = False, wrong[0]
        services = tuple(each.id for each in calls.jwt_services)
        if first.said.status in NOBODY:
            line = f"{proxy.name} does not answer for OpenID userinfo: {first.said.short}"
            judge.unavailable(proxy.id, line, needs=(seen.main.id, proxy.id), stops=services)
            continue
        frontend = proxy.federation.name if proxy.federation else "?"
        judge.wrong(
            proxy.id,
            f"{proxy.name} leads OpenID userinfo to {first.led}, which answers {first.said.short}",
            observed=f"GET {USERINFO} through {', '.join(each.name for each in wrong)}: {first.said.short};"
            f" asked directly: {direct or 'nobody'}",
            expected="200 and whose the token is" if user else "401 M_UNKNOWN_TOKEN for a token that nobody gave",
            cause=f"frontend {frontend} leads {USERINFO} to {first.led}; only main knows OpenID tokens",
            remedy=f"lead /_matrix/federation/v1/openid/ to main in the configuration of {proxy.name}",
            stops=services,
        )
    return good


def _pairs(calls: Calls, walked: CallsChain | None, judge: Judge) -> bool:
    """Whether every JWT service signs with a key pair that LiveKit has in effect, as far as they are known."""
    let_in = walked is not None and any(each.accepted.status == 200 for each in walked.entries)
    found = [] if let_in else unlike(calls)
    for service, mine, sfu, theirs in found:
        cause, remedy = difference(service, mine, sfu, theirs)
        what = "the secret" if mine.key == theirs.key else "an API key"
        judge.wrong(
            service.id,
            f"{service.name} signs with {what} that {sfu.name} does not have: {cause}",
            observed=f"the key pairs in effect in {service.name} and {sfu.name} differ",
            expected="the JWT service signs with a key pair of LiveKit's",
            cause=cause,
            remedy=remedy,
            stops=(service.id,),
        )
    return not found


def _chain(
    walked: CallsChain, deployment: Deployment, snapshot: Snapshot, vouched: bool, paired: bool, judge: Judge
) -> None:
    calls, home = deployment.calls, walked.home
    if isinstance(walked.user, Hindered):
        judge.unknown(walked.user.where or home.id, f"the way into a call was not walked: {walked.user.problem}")
        return
    if walked.openid.status != 200:
        silent = walked.openid.status == 0 or walked.openid.status >= 500
        say = judge.unavailable if silent else judge.wrong
        say(home.id, f"{home.workload_name} gives no OpenID token: {walked.openid.short}")
        return
    if not calls.jwt_services:
        _nobody_signs(calls, walked, deployment, snapshot, judge)
    for issue in walked.issues:
        _issue(issue, calls, vouched, paired, home.server_name, judge)
    for service in calls.jwt_services:
        if service.id not in {issue.service.id for issue in walked.issues}:
            judge.unavailable(service.id, f"{service.name} has no pod that is ready", stops=(service.id,))
    for address in walked.untried if calls.jwt_services else ():
        line = f"the announced address {address.url} was not tried: {address.why}"
        judge.unproven(home.id, line, remedy="bring in scope what it leads through (--namespace); is it spelled right?")
    for entry in walked.entries:
        _entry(entry, paired, judge)
    if issued := next((issue for issue in walked.issues if issue.token), None):
        _unseen_entries(issued, walked.entries, deployment, judge)


def _unseen_entries(issued: Issue, entries: tuple[Entry, ...], deployment: Deployment, judge: Judge) -> None:
    """A token that no LiveKit was shown proves nothing of LiveKit."""
    shown = {entry.sfu.id for entry in entries}
    for sfu in deployment.calls.sfus:
        if sfu.id not in shown:
            judge.unavailable(sfu.id, f"{sfu.name} has no pod that is ready", stops=(sfu.id,))
    if not deployment.calls.sfus:
        service = issued.service
        where = issued.said.json.get("url") or service.sfu_url or "no address"
        judge.unproven(
            service.id,
            f"whether LiveKit lets in who has a token of {service.name}, and nobody else, was not seen:"
            f" {where} is no LiveKit of what stands here",
            remedy=f"bring LiveKit in scope: --namespace {','.join(deployment.namespaces)},ITS_NAMESPACE, or name its"
            " workload in the settings (names.calls.sfu_workloads)",
        )


def _nobody_signs(calls: Calls, walked: CallsChain, deployment: Deployment, snapshot: Snapshot, judge: Judge) -> None:
    urls = sorted({*itertools.chain.from_iterable(calls.announced.values()), *walked.transport_urls})
    away = next(((url, where) for url in urls if (where := away_from_here(url, deployment, snapshot))), None)
    for sfu in calls.sfus:
        if away:
            line = f"who gives tokens for {sfu.name} was not asked: {away[0]} leads to namespace {away[1]}"
            remedy = f"bring it in scope: --namespace {','.join((*deployment.namespaces, away[1]))}"
            judge.unknown(sfu.id, line, remedy=remedy)
            continue
        line = f"{sfu.name} stands here and nobody gives tokens for it: there is no JWT service"
        judge.wrong(sfu.id, line, expected="a workload that runs lk-jwt-service", remedy="deploy lk-jwt-service")
    if not calls.sfus:
        judge.unknown("calls", f"calls are at {', '.join(urls) or 'another place'}, not in what stands here: not asked")


def _issue(issue: Issue, calls: Calls, vouched: bool, paired: bool, server_name: str, judge: Judge) -> None:
    service, said = issue.service, issue.said
    if issue.limit:
        line = f"of the way from {issue.url} to {service.name} it was not seen {issue.limit}"
        judge.unproven(service.id, line, observed=issue.way)
    observed = f"POST to {issue.way}: {said.short}"
    if issue.refused.status == 200:
        judge.wrong(
            service.id,
            f"{service.name} gives a token to anyone: it took an OpenID token that nobody gave",
            observed=f"{observed}; with a made-up OpenID token: 200",
            expected="401 M_UNAUTHORIZED",
        )
    if said.status in ASTRAY or (said.status == 200 and not issue.token):
        led = issue.ingress and f": {issue.ingress}"
        led += f", which leads to backend {issue.backend}" if issue.backend else ""
        judge.wrong(
            service.id,
            f"no JWT service answers at {issue.url or issue.way}{led}",
            observed=observed,
            expected="lk-jwt-service behind the address that clients are told",
            cause=f"the announced address leads past {service.name}" if issue.url else "",
        )
    elif said.status == 200:
        judge.saw(service.id)
        _claims(issue, calls, judge)
        if issue.other and not issue.other_token:
            judge.wrong(service.id, f"{service.name} gives a user's other device no token: {issue.other.short}")
        if issue.refused.status not in (200, UNAUTHORIZED) and not not_looked_up(issue.refused):
            why = issue.refused.short
            line = f"whether {service.name} refuses an OpenID token that nobody gave was not seen: {why}"
            judge.unknown(service.id, line, observed=f"POST to {issue.way} with a made-up OpenID token: {why}")
    elif said.status in NOBODY:
        line = f"{service.name} does not answer: {said.short}"
        judge.unavailable(service.id, line, observed=observed, stops=(service.id,))
    elif said.status == UNAUTHORIZED or not_looked_up(said):
        if vouched:
            judge.wrong(
                service.id,
                f"{service.name} takes no OpenID token of {server_name}, which main takes: {said.short}",
                observed=observed,
                cause=f"{service.name} does not reach https://{server_name}:8448 (or what its well-known names)",
                remedy=f"look into the log of {service.name}: it says what userinfo answered",
            )
    elif not (said.status == 500 and not paired):
        _no_room(issue, calls, observed, judge)


def _no_room(issue: Issue, calls: Calls, observed: str, judge: Judge) -> None:
    service, up = issue.service, any(pod.ready for sfu in calls.sfus for pod in sfu.pods)
    line = f"{service.name} gives no token, using LiveKit at {service.sfu_url or 'no address'}: {issue.said.short}"
    if calls.sfus and not up:
        judge.unavailable(service.id, line, observed=observed, needs=tuple(each.id for each in calls.sfus))
        return
    judge.wrong(
        service.id,
        line,
        observed=observed,
        expected="200 with a token, and the room open on LiveKit",
        cause=f"LIVEKIT_URL of {service.name} does not lead to LiveKit, or LiveKit refuses its key",
    )


def _claims(issue: Issue, calls: Calls, judge: Judge) -> None:
    """One room, one participant, one hour, and nothing else."""
    if said := faults_of(claims_of(issue.token), {pair.key for sfu in calls.sfus for pair in sfu.keys}):
        judge.wrong(
            issue.service.id,
            f"the token of {issue.service.name} is not right: {'; '.join(said)}",
            expected="a token of LiveKit's key for one participant to join one room, for a while",
        )


def _entry(entry: Entry, paired: bool, judge: Judge) -> None:
    sfu, said = entry.sfu, entry.accepted
    judge.saw(sfu.id)
    if entry.forged.status == 200:
        judge.wrong(
            sfu.id,
            f"{sfu.name} lets anyone in: it took a token that somebody else signed",
            observed=f"GET /rtc/validate with a forged token: {entry.forged.short}",
            expected="401",
        )
    elif entry.forged.status in NOBODY:
        judge.unknown(sfu.id, f"whether {sfu.name} refuses a forged token was not seen: {entry.forged.short}")
    if said.status in NOBODY:
        judge.unavailable(sfu.id, f"{sfu.name} does not answer: {said.short}", stops=(sfu.id,))
    elif said.status == 404:
        judge.wrong(
            sfu.id,
            f"a node of {sfu.name} does not know the room that a token is for",
            observed=f"GET /rtc/validate: {said.short}",
            cause=sfu.why_unknown_room,
        )
    elif said.status != 200 and paired:
        judge.wrong(
            sfu.id,
            f"{sfu.name} does not let in who has a token of the JWT service: {said.short}",
            observed=f"GET /rtc/validate: {said.short}",
            expected="200 success",
        )


def _media(met: CallsMedia, snapshot: Snapshot, settings: Settings, judge: Judge) -> None:
    """Two participants with the JWT service's tokens, and what each heard of the other."""
    sfu, first = met.sfu, next(iter(met.participants), None)
    unheard = "whether two participants hear each other was not seen"
    if met.refused:
        judge.unavailable(sfu.id, f"{sfu.name} does not let in who joins: {met.refused}", stops=(sfu.id,))
        return
    if met.astray:
        line = f"{met.url}, where clients join, does not lead into {sfu.name}: {met.astray}"
        judge.wrong(sfu.id, line, observed=f"by {met.way} they are let in", expected="a WebSocket to LiveKit's /rtc")
    if first is None or first.lacks:
        judge.unknown(sfu.id, f"{unheard}: {first.problem if first else met.unseen}")
        return
    if all(met.told.values()) and not met.alive:
        line = f"{unheard}: from a pod nothing of {sfu.name} answers, neither where it sends clients nor at its pods"
        remedy = "let the pods of app.kubernetes.io/managed-by=postflight out to LiveKit's ports, or look whether it has them"
        judge.unknown(sfu.id, f"{line} (does a NetworkPolicy hold it back?)", observed=met.words, remedy=remedy)
        return
    _dead(met, snapshot, settings, judge)
    if met.whole:
        judge.saw(sfu.id)
    else:
        why = next((each.problem for each in met.participants if not each.whole), "")
        line = f"two participants of one call in {sfu.name} do not hear each other: {why or 'what came was another'}"
        judge.wrong(sfu.id, line, observed=met.words, expected="each one's data at the other, byte for byte")
    if met.room_left:
        judge.warn(sfu.id, f"{sfu.name} keeps a room open that it was told to close")


def _dead(met: CallsMedia, snapshot: Snapshot, settings: Settings, judge: Judge) -> None:
    """What it sends clients to and nothing answers at: all of it, or all of one transport."""
    sfu, whose = met.sfu, addresses_of(snapshot, settings.calls.addresses)
    if not met.told:
        judge.wrong(sfu.id, f"{sfu.name} tells clients no address to send media to")
    for told in met.dead:
        line = f"nothing answers at {' and '.join(each.words for each in told)}, where {sfu.name} sends clients' media"
        if all(whose.whose(each.address).reach in (Reach.CLIENTS, Reach.UNKNOWN) for each in told):
            judge.unproven(sfu.id, f"{line}, from within the cluster: whether it does for clients was not seen")
            continue
        say = judge.wrong if all(met.told.values()) else judge.warn
        say(
            sfu.id,
            line,
            observed=f"{met.words}; at its pods' own addresses {', '.join(e.words for e in met.alive) or 'nothing'} answers",
            expected="LiveKit's answer at each address that it tells clients",
            cause=why_nowhere(snapshot, sfu, told[0].transport, told[0].port),
            remedy="lead the port to LiveKit: hostNetwork, or a node port of the same number as rtc.udp_port or rtc.tcp_port",
        )
