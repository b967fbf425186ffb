from collections.abc import Callable

from postflight.check import check
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.call_parts import Sfu
from postflight.deployment.model import Deployment
from postflight.deployment.reach import Addresses, Reach, addresses_of
from postflight.probes.livekit_signals import IceCandidate
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.sfu_candidates import Advertised
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

OWN = "its pod's own address"
REMEDY = (
    "have it tell the address of its node (--node-ip from status.hostIP, with hostNetwork or node ports of the same"
    " numbers), or the public one that leads to it (rtc.node_ip)"
)


@check(
    "calls.candidates",
    severity=Severity.MAJOR,
    remedy="set rtc.node_ip (or --node-ip) to an address that clients get to",
    blind_spots="whether clients get to the nodes where an address is a node's, and what a router or a firewall before"
    " them does; which of several nodes of LiveKit a room falls to is LiveKit's choice: one that no room fell to is not"
    " asked; what TURN relays by is calls.turn's",
)
def test_media_go_to_addresses_that_clients_get_to(
    deployment: Deployment,
    snapshot: Snapshot,
    settings: Settings,
    sfu_candidates: tuple[Advertised, ...] | NotTried,
    judge: Judge,
) -> None:
    """LiveKit tells each client where to send media. In a pod it finds the pod's address, or a bridge's, and tells
    that: signalling works, everybody sees everybody join, and nobody hears anything."""
    calls = deployment.calls
    if not calls.referred:
        judge.absent("nothing refers to calls: no LiveKit, no JWT service, no configuration that names one")
        return
    if not calls.sfus:
        judge.unknown("calls", "which addresses media go to was not seen: no LiveKit stands here")
        return
    known = addresses_of(snapshot, settings.calls.addresses)
    for sfu in calls.sfus:
        if isinstance(sfu_candidates, NotTried):
            may_not = sfu_candidates.barred_by is BarredBy.RIGHT
            _by_configuration(sfu, known, sfu_candidates.reason, judge.unknown if may_not else judge.unproven, judge)
            continue
        asked = [each for each in sfu_candidates if each.sfu.id == sfu.id]
        if not any(pod.ready for pod in sfu.pods):
            judge.unavailable(sfu.id, f"{sfu.name} has no pod that is ready", stops=(sfu.id,))
        elif not sfu.keys:
            _by_configuration(sfu, known, f"no room of its can be opened: {sfu.problem}", judge.unproven, judge)
        for each in asked:
            if each.problem:
                say = judge.wrong if each.refused else judge.unavailable
                say(sfu.id, f"{sfu.name} tells no address, for it lets nobody in: {each.problem}")
        if told := tuple(dict.fromkeys(one for each in asked for one in each.candidates)):
            _told(sfu, told, known, settings, judge)
        elif any(not each.problem for each in asked):
            line = f"{sfu.name} tells clients no address to send media to"
            judge.wrong(sfu.id, line, expected="one that clients get to", remedy=REMEDY)


def _told(sfu: Sfu, told: tuple[IceCandidate, ...], known: Addresses, settings: Settings, judge: Judge) -> None:
    whose = {each: known.whose(each.address) for each in told}
    nobody = [each for each in told if whose[each].reach is Reach.NOBODY]
    good = [each for each in told if whose[each].reach in (Reach.CLIENTS, Reach.NODE)]
    observed = "; ".join(f"{each.words}, {whose[each].words}" for each in told)
    wanted = settings.calls.addresses
    expected = f"one of {', '.join(wanted)}" if wanted else "an address that clients get to, and none that they do not"
    if nobody:
        say = judge.warn if good else judge.wrong
        more = f", beside {', '.join(dict.fromkeys(each.address for each in good))}" if good else ""
        what = " and ".join(dict.fromkeys(_named(sfu, each.address, whose[each].words) for each in nobody))
        say(
            sfu.id,
            f"{sfu.name} has clients send media to {what}{more}",
            observed=observed,
            expected=expected,
            cause=_cause(sfu, {each.address for each in nobody}),
            remedy=REMEDY,
        )
    elif wanted and not any(each.address in wanted for each in told):
        line = f"{sfu.name} has clients send media elsewhere than the settings say: not to {' or '.join(wanted)}"
        judge.wrong(sfu.id, line, observed=observed, expected=expected, remedy=REMEDY)
    elif good:
        judge.saw(sfu.id)
    else:
        line = f"{sfu.name} has clients send media to {told[0].address}, of which nothing here tells whether they get there"
        remedy = "if they do, name it in the settings (calls.addresses)"
        judge.unproven(sfu.id, line, observed=observed, expected=expected, remedy=remedy)


def _named(sfu: Sfu, address: str, words: str) -> str:
    return OWN if any(pod.ip == address for pod in sfu.pods) else f"{address}, {words}"


def _cause(sfu: Sfu, addresses: set[str]) -> str:
    if sfu.node_ip in addresses:
        own = any(pod.ip == sfu.node_ip for pod in sfu.pods)
        return f"{sfu.node_ip_from} of {sfu.name} is {OWN if own else sfu.node_ip}"
    if sfu.node_ip:
        return ""
    return f"{sfu.name} is told no node IP (--node-ip, rtc.node_ip) and takes what its pod has"


def _by_configuration(
    sfu: Sfu, known: Addresses, reason: str, unseen: Callable[[str, str], None], judge: Judge
) -> None:
    """What its configuration has it tell is wrong for sure, or not seen."""
    whose = known.whose(sfu.node_ip)
    if sfu.node_ip and whose.reach is Reach.NOBODY:
        what = _named(sfu, sfu.node_ip, whose.words)
        line = f"{sfu.name} is configured to have clients send media to {what}"
        judge.wrong(sfu.id, line, observed=f"{sfu.node_ip_from}: {sfu.node_ip}", remedy=REMEDY)
        return
    what = f"its node IP is {sfu.node_ip}, {whose.words}" if sfu.node_ip else "no node IP is configured"
    unseen(sfu.id, f"which addresses {sfu.name} tells clients was not seen ({what}): {reason}")
