from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.haproxy_servers import Server, resolvers
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.proxy_backends import Backend, absent, backend_id, backends_of
from postflight.deployment.request_classes import Asker, RequestClass, servers_of
from postflight.probes.haproxy import HaproxyView, Nameserver
from postflight.probes.http import Said
from postflight.probes.lost import Doubt, doubts, itself, strays
from postflight.probes.rounds import FrontDoor, Round, Way, by_synapse, unrecognised
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

SOURCE = "docs/workers.md of Synapse"
#: So long an address from the start may hide that a name server is silent (``hold timeout`` is 30 s).
HIDDEN = timedelta(minutes=1)


@check(
    "routing.backends",
    severity=Severity.CRITICAL,
    finding="1.8",
    kinds=(INGRESS,),
    remedy="lead each class of request to processes that serve it, and let HAProxy resolve by the cluster's DNS",
    blind_spots="classes of request that are not in the table, requests that only a method or a header leads elsewhere,"
    " a single wrong answer among much traffic of the same kind, the Ingress controller's own way",
)
def test_every_class_of_request_is_answered_by_a_process_that_can_serve_it(
    deployment: Deployment,
    snapshot: Snapshot,
    front_door_requests: tuple[FrontDoor, ...],
    haproxy_views: tuple[HaproxyView, ...],
    judge: Judge,
) -> None:
    """A request that ends at the wrong process fails for its users alone, or overloads main, while every pod is Ready
    and every Service has endpoints."""
    for view in haproxy_views:
        _servers(view, backends_of(view.proxy, snapshot), snapshot, judge)
    for front in front_door_requests:
        _classes(deployment, snapshot, front, haproxy_views, judge)
    if not front_door_requests:
        judge.unknown("homeserver", "no main process is in view, so who answers for it is not known")
    for proxy in deployment.proxies:
        if not proxy.config:
            judge.unknown(
                proxy.id, f"the configuration of {proxy.name} could not be read, so where it leads is not known"
            )


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the answers to a class; its name takes the place of ``{}``. ``silent``: nobody answered;
    ``weak``: it is worth a warning only."""

    headline: str
    cause: str
    observed: str
    expected: str = ""
    silent: bool = False
    weak: bool = False
    needs: tuple[str, ...] = ()


def _classes(
    deployment: Deployment, snapshot: Snapshot, front: FrontDoor, haproxies: Sequence[HaproxyView], judge: Judge
) -> None:
    """Classes with the same trouble are told together, as mostly one rule of a proxy is behind it."""
    told: dict[tuple[str, str, str, str], tuple[Trouble, list[str]]] = {}
    lost: dict[RequestClass, tuple[Doubt, ...]] = {}
    for kind in front.kinds:
        asked = front.last(kind)
        way = asked.ways(kind)[0].way
        able = servers_of(deployment, front.main, kind, front.release)
        open_ = doubts(deployment, snapshot, front, haproxies, kind) if kind in asked.lost else ()
        troubles = [
            trouble
            for each in asked.ways(kind)
            for said in each.said
            if not (open_ and unrecognised(said)) and (trouble := _answer(asked, kind, each.way, said, able))
        ]
        found = _who(front, asked, way, kind, able)
        troubles += [found] if found else []
        if kind in asked.lost and not found and (open_ or asked.attributed(kind).short):
            lost[kind] = open_
        for trouble in troubles:
            subject = way.proxy.id if way.proxy else front.main.id
            led = backend_id(way.proxy, way.backend) if way.proxy and way.backend else ""
            _, names = told.setdefault((subject, trouble.headline, trouble.cause, led), (trouble, []))
            names += [] if kind.name in names else [kind.name]
        if not troubles and kind not in lost and not _cached(asked, kind):
            judge.saw(f"requests/{front.main.namespace}/{kind.name}")
    for (subject, headline, cause, led), (trouble, names) in told.items():
        say = judge.unavailable if trouble.silent else judge.warn if trouble.weak else judge.wrong
        say(
            subject,
            headline.format(_listed(names)),
            observed=trouble.observed,
            expected=trouble.expected,
            cause=cause,
            needs=trouble.needs,
            stops=(led,) if led and not (trouble.silent or trouble.weak) else (),
        )
    if cached := [each.name for each in front.kinds if _cached(front.last(each), each)]:
        line = f"which process answers {_listed(cached)} requests was not seen: they are answered out of a cache"
        judge.unproven(front.main.id, line)
    _uncounted(snapshot, front, haproxies, lost, judge)
    _shut(deployment, front, judge)


def _answer(asked: Round, kind: RequestClass, way: Way, said: Said, able: Sequence[SynapseProcess]) -> Trouble | None:
    """What an answer alone shows."""
    cause, observed, expected = way.rule, f"{said.short} from {said.pod}", f"an answer of {_named(able)} ({SOURCE})"
    if not said.status or said.unserved:
        needs = _beneath(way, able)
        return Trouble("nobody answers {} requests" + way.at, cause, observed, expected, silent=True, needs=needs)
    if 300 <= said.status < 400:
        return Trouble("{} requests are sent on elsewhere" + way.at, cause, observed, expected)
    if unrecognised(said):
        who = [each.process for each in asked.counted if each.unknown(kind.method)]
        strangers = [each for each in who if each not in able]
        if who and not strangers:
            # One that could serve it and does not know it is of a release without this request.
            return None
        at = f"at {_named(strangers)}, which does not know them" if strangers else "where nobody knows them"
        return Trouble(f"{{}} requests end {at}", cause, observed, expected)
    if said.status >= 500:
        at = _named([each.process for each in asked.counted if each.of(kind.method, kind.servlet, (said.status,))])
        return Trouble("{} requests fail" + (f" at {at}" if at else way.at), cause, observed, expected)
    if not by_synapse(said) and not kind.closable:
        headline = "{} requests do not get to Synapse" + way.at
        return Trouble(headline, cause, observed, expected, weak=kind.asker is Asker.SERVER)
    return None


def _who(
    front: FrontDoor, asked: Round, way: Way, kind: RequestClass, able: Sequence[SynapseProcess]
) -> Trouble | None:
    """What the counters of the processes show."""
    seen = asked.attributed(kind)
    strangers = [process for process, _ in seen.moved if process not in able]
    # Where somebody could not be asked, or began anew meanwhile, as many may be other people's as were counted too many.
    known = asked.certain or seen.exact
    if known and seen.beyond_chance(strangers):
        writes = f", which writes {kind.stream}" if kind.stream else ""
        expected = f"{_named(able)}{writes} ({SOURCE}, {kind.section})"
        headline = f"{{}} requests are answered by {_named(strangers)}, which cannot serve them"
        return Trouble(headline, way.rule, seen.observed, expected)
    workers, main = [each for each in able if not each.is_main], front.main
    if known and kind.relieves and workers and seen.beyond_chance([main]):
        behind = [pod.id for each in way.endpoints for pod, _ in each.pods]
        meant = bool(behind) and (main.pod is None or main.pod.id not in behind)
        name = main.workload_name
        headline = f"fall back to {name}" if meant else f"end at {name}, though workers could take them"
        expected = f"an answer of {_named(workers)} ({SOURCE}, {kind.section})"
        return Trouble(f"{{}} requests {headline}", way.rule, seen.observed, expected, weak=not meant)
    return None


def _uncounted(
    snapshot: Snapshot,
    front: FrontDoor,
    haproxies: Sequence[HaproxyView],
    lost: Mapping[RequestClass, Sequence[Doubt]],
    judge: Judge,
) -> None:
    """Answers that no process counted, however often they were asked for: by one that was not seen, or, where all were
    seen, by none of these."""
    unclear: dict[Doubt, list[str]] = {}
    sure: dict[str, list[RequestClass]] = {}
    for kind, found in lost.items():
        for each in found:
            unclear.setdefault(each, []).append(kind.name)
        if not found:
            way = front.last(kind).ways(kind)[0].way
            held = next(iter(strays(snapshot, haproxies, way)), "")
            own = f"{way.proxy.name} gives these answers itself" if way.proxy and itself(front, kind) else ""
            sure.setdefault(held or own or way.rule, []).append(kind)
    for doubt, names in unclear.items():
        say = judge.unproven if doubt.silent else judge.unknown
        say(doubt.part, f"which process answers {_listed(names)} requests was not seen: {doubt.why}")
    for cause, kinds in sure.items():
        rounds = sum(kinds[0] in each.kinds for each in front.rounds)
        judge.wrong(
            front.main.id,
            f"{_listed([each.name for each in kinds])} requests are answered by no process of this deployment",
            observed=f"{'once' if rounds == 1 else f'{rounds} times over'}, the last time "
            + "; ".join(_told(front, each) for each in kinds),
            expected="a process of this deployment answers what comes in by its front door",
            cause=cause,
        )


def _cached(asked: Round, kind: RequestClass) -> bool:
    """Whether no answer but such as were given before came."""
    answers = [said for each in asked.ways(kind) for said in each.said if by_synapse(said)]
    return bool(answers) and all(each.stored for each in answers)


def _told(front: FrontDoor, kind: RequestClass) -> str:
    seen = front.last(kind).attributed(kind)
    servers = ", ".join(dict.fromkeys(each.server for each in seen.whole if each.server))
    return f"{kind.name}: {seen.observed}" + (f" (Server: {servers})" if servers else "")


def _shut(deployment: Deployment, front: FrontDoor, judge: Judge) -> None:
    shut: dict[str, list[str]] = {}
    for name, why in front.shut.items():
        shut.setdefault(why, []).append(name)
    doors = [part for each in deployment.proxies for part in (each.id, *(pod.id for pod in each.pods))]
    for why, names in shut.items():
        line = f"who answers {_listed(names)} requests could not be asked: {why}"
        judge.unknown(front.main.id, line, needs=(front.main.id, *doors))


def _servers(view: HaproxyView, backends: Sequence[Backend], snapshot: Snapshot, judge: Judge) -> None:
    """What HAProxy holds its servers to be, against the pods that are ready behind them."""
    proxy, pod = view.proxy, view.pod
    if view.problem:
        say = judge.unproven if view.mute else judge.unknown
        say(proxy.id, f"what {pod.name} holds its servers to be was not seen: {view.problem}", needs=(proxy.id, pod.id))
        return
    judge.saw(pod.id)
    dead = _names(view, backends, snapshot, judge)
    for backend in backends:
        nowhere, up = backend.absence, view.up(backend.name)
        if nowhere and _fresh(backend.id, judge):
            judge.wrong(
                backend.id,
                f"backend {backend.name} of {proxy.name} leads nowhere: {nowhere}",
                observed=f"{pod.name}: {_states(view, backend)}",
                expected="every server is one of a Service that there is",
                cause=f"backend {backend.name} names {backend.hosts}",
                stops=(backend.id,),
            )
        elif nowhere or not _fresh(backend.id, judge) or {each.resolvers for each, _ in backend.servers} <= dead:
            continue
        elif len(up) != backend.due and view.unsettled(backend):
            line = f"whether {pod.name} finds every pod of backend {backend.name} was not seen: they changed meanwhile"
            judge.unknown(backend.id, line, needs=(proxy.id, *(each.id for each in backend.ready)))
        elif len(up) < backend.due:
            _down(view, backend, judge)
        elif len(up) > backend.due:
            judge.warn(
                backend.id,
                f"{pod.name} holds more servers of backend {backend.name} to be up than pods are ready",
                observed=f"{len(up)} up: {_states(view, backend)}; ready: {_pods(backend)}",
            )
        elif backend.left_out:
            line = f"backend {backend.name} of {proxy.name} has no slot for {backend.left_out} of its pods"
            judge.warn(backend.id, line, observed=f"{backend.due} slots; ready: {_pods(backend)}")


def _down(view: HaproxyView, backend: Backend, judge: Judge) -> None:
    unnamed = [each for each in view.of(backend.name) if "resolution" in each.status]
    sections = sorted({server.resolvers or "none" for server, _ in backend.servers})
    listed = ", ".join(f"{name} ({', '.join(resolvers(view.proxy.config).get(name, ()))})" for name in sections)
    why = f"resolvers {listed} give no address for {backend.hosts}" if unnamed else ""
    judge.wrong(
        backend.id,
        f"{view.proxy.name} holds {len(view.up(backend.name))} servers of backend {backend.name} to be up,"
        f" {backend.due} {'is' if backend.due == 1 else 'are'} ready",
        observed=f"{view.pod.name}: {_states(view, backend)}; ready: {_pods(backend)}",
        expected=f"{backend.due} servers up, as {backend.services} has ready endpoints",
        cause=why or "HAProxy's own health check refuses them, or does not get through",
        stops=(backend.id,) if not view.up(backend.name) else (),
    )


def _names(view: HaproxyView, backends: Sequence[Backend], snapshot: Snapshot, judge: Judge) -> set[str]:
    """Whether its name servers tell it addresses; the sections of which none does. Without their counters only time
    shows it."""
    silent: set[str] = set()
    proxy, used = view.proxy, {server.resolvers for each in backends for server, _ in each.servers}
    if view.nameservers is None:
        young = view.pod.started is None or snapshot.taken - view.pod.started < HIDDEN
        if used - {""} and young:
            line = f"whether the resolvers of {view.pod.name} get answers was not seen: {view.blind}"
            judge.unproven(proxy.id, f"{line}, and it has not run long enough to have lost what it knew at its start")
        return silent
    by_section: dict[str, list[Nameserver]] = {}
    for each in view.nameservers:
        if each.section in used:
            by_section.setdefault(each.section, []).append(each)
    for name, servers in by_section.items():
        mine = [each for each in backends if name in {server.resolvers for server, _ in each.servers}]
        dead = [each for each in servers if each.asked > 1 and not each.valid]
        nowhere = all(absent(*pair) for each in mine for pair in each.servers)
        told = ", ".join(f"{each.name} ({', '.join(resolvers(proxy.config).get(name, ()))})" for each in dead)
        subject = f"resolvers/{proxy.namespace}/{proxy.name}/{name}"
        if nowhere or not dead:
            continue
        if len(dead) == len(servers):
            silent.add(name)
        if not _fresh(subject, judge):
            continue
        if name in silent:
            hides = next((_hides(server) for each in mine for server, _ in each.servers if _hides(server)), "")
            judge.wrong(
                subject,
                f"resolvers {name} of {proxy.name} get no valid answer from {told}",
                observed="; ".join(
                    f"{each.name}: {each.asked} questions, {each.valid} valid, {each.other} other answers"
                    for each in dead
                )
                + f" ({view.pod.name})",
                expected="answers by the cluster's DNS",
                cause=f"a name server that does not know the cluster's names, or is none{hides}",
                remedy="let it read the pod's own: parse-resolv-conf",
                stops=(*(each.id for each in mine), *((proxy.id,) if len(mine) == len(backends) else ())),
            )
        else:
            judge.warn(subject, f"name server {told} of resolvers {name} of {proxy.name} gives no valid answer")
    return silent


def _fresh(subject: str, judge: Judge) -> bool:
    """Whether nothing was said of it yet: the pods of one proxy mostly say the same."""
    return all(each.subject != subject for each in judge.failures)


def _hides(server: Server) -> str:
    """What lets a server look well at a start whatever its name servers say."""
    if server.first == "none" or server.by_record:
        return ""
    return f"; init-addr {server.first or 'last,libc'} hides it for half a minute after a start"


def _states(view: HaproxyView, backend: Backend) -> str:
    counts: dict[str, int] = {}
    for each in view.of(backend.name):
        words = f"{each.status}{f' ({each.check})' if each.check and not each.up else ''}"
        counts[words] = counts.get(words, 0) + 1
    return ", ".join(f"{count} {words}" for words, count in counts.items()) or "no server"


def _pods(backend: Backend) -> str:
    return ", ".join(each.name for each in backend.ready) or "none"


def _named(processes: Sequence[SynapseProcess]) -> str:
    return ", ".join(sorted({each.workload_name for each in processes}))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _beneath(way: Way, able: Sequence[SynapseProcess]) -> tuple[str, ...]:
    """What an answer needs: the proxy, and who is behind its backend; who could serve it where that tells nobody."""
    behind = [pod.id for each in way.endpoints for pod, _ in each.pods]
    parts = (way.proxy.id, backend_id(way.proxy, way.backend or "")) if way.proxy else ()
    return (*parts, *(behind or [each.id for each in able]))
