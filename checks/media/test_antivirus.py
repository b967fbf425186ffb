from collections.abc import Sequence

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod, Side
from postflight.deployment.proxy_backends import backend_id
from postflight.deployment.routes import behind, outward
from postflight.deployment.scan_parts import Antivirus, Scanner
from postflight.deployment.scanning import BASE
from postflight.probes.canary_user import Hindered
from postflight.probes.clamds import ClamdSaid
from postflight.probes.own_files import serves_media
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.scan_troubles import NOT_SEEN, Pattern, Seen, Trouble, pattern_of, patterns_of, trouble_of
from postflight.probes.scanned_media import Past, ScannedMedia, Ways
from postflight.probes.scanner_asks import UNSERVED
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several


@check(
    "media.antivirus",
    severity=Severity.MAJOR,
    finding="2.10",
    kinds=(INGRESS,),
    remedy=f"lead every path of downloads through the content scanner, and {BASE} to it; let its scan command end with 0 for"
    " what is clean, and for nothing else; keep a clamd with signatures within its reach",
    blind_spots="an encrypted file that a client fetches by the ordinary path and decrypts by itself: to any server it is"
    " noise; what other homeservers fetch (/_matrix/federation/v1/media), which is for their scanners; pictures' thumbnails;"
    " how old the signatures are; files above the scanner's limits; files from before; the scanner's own paths by other"
    " names than the one that Synapse tells clients, and names that an Ingress has by a wildcard",
)
def test_files_come_to_clients_through_a_scanner_that_refuses_a_virus_and_nothing_else(
    deployment: Deployment,
    snapshot: Snapshot,
    clamd_answers: tuple[ClamdSaid, ...],
    scanned_media: ScannedMedia | Hindered | NotTried,
    settings: Settings,
    judge: Judge,
) -> None:
    """A scanner that runs beside the way of the files scans nothing, and everybody believes that it does. One whose
    command fails takes every picture for a virus; one whose command cannot fail takes none."""
    antivirus = deployment.antivirus
    if not antivirus.referred:
        for process in (each for each in deployment.unread if each.is_main):
            why = process.config_problem
            judge.unknown(process.id, f"whether {process.workload_name} names a scanner is not known: {why}")
        judge.absent("nothing refers to a content scanner: no workload, no route, no well-known entry")
        return
    if not antivirus.scanners:
        _nobody_asks(deployment, judge)
        return
    _published(deployment, snapshot, judge)
    trip = scanned_media
    ways = trip.ways if isinstance(trip, ScannedMedia) else ()
    seen = Seen(patterns_of(ways))
    blamed = _clamds(deployment, clamd_answers, seen, judge)
    for scanner in antivirus.scanners:
        if not any(pod.ready for pod in scanner.pods):
            line = f"{scanner.name} has no pod that is ready"
            needs = (scanner.id, *(pod.id for pod in scanner.pods))
            judge.unavailable(scanner.id, line, expected="a scanner that answers clients", needs=needs)
            seen.told.add(scanner.id)
    if isinstance(trip, NotTried):
        say = judge.unknown if trip.barred_by is BarredBy.RIGHT else judge.unproven
        say(antivirus.scanners[0].id, f"{NOT_SEEN}: {trip.reason}")
    elif isinstance(trip, Hindered):
        judge.unknown(trip.where or antivirus.scanners[0].id, f"{NOT_SEEN}: {trip.problem}")
    elif trip.refused:
        say = judge.unknown if 400 <= trip.status < 500 else judge.unavailable
        buckets = tuple(each.id for each in deployment.stores if trip.uploader.id in each.users)
        say(trip.uploader.id, f"{NOT_SEEN}: {trip.refused}", needs=(trip.uploader.id, *buckets))
    else:
        for scanner in antivirus.scanners:
            _scanner(scanner, trip, clamd_answers, seen, blamed, judge)
        _front(deployment, trip, seen, judge)
        _past(deployment, trip, seen, judge)
        _limits(antivirus, trip, settings, judge)


def _nobody_asks(deployment: Deployment, judge: Judge) -> None:
    antivirus = deployment.antivirus
    subject = antivirus.clamds[0].id if antivirus.clamds else "scanner"
    if antivirus.elsewhere:
        who, where = antivirus.elsewhere[0]
        line = f"{NOT_SEEN}: {who} leads to a content scanner in namespace {where}, which is not looked at"
        judge.unknown(
            subject, line, remedy=f"bring it in scope: --namespace {','.join((*deployment.namespaces, where))}"
        )
        return
    if antivirus.modules:
        line = f"{NOT_SEEN}: Synapse's module {several(antivirus.modules)} may scan files, and how it does is not known"
        judge.unproven(subject, line, evidence=antivirus.announced)
        return
    if antivirus.clamds:
        first = antivirus.clamds[0]
        headline = f"{first.name} runs, and there is no content scanner that would ask it"
    else:
        headline = f"there is no content scanner, though {antivirus.announced[0]} speaks of one"
    expected = "a content scanner between the files and the clients"
    judge.wrong(subject, headline, expected=expected, evidence=antivirus.announced)


def _clamds(deployment: Deployment, answers: Sequence[ClamdSaid], seen: Seen, judge: Judge) -> set[Pattern]:
    """What the daemons themselves said; which patterns of the scanners that explains."""
    blamed: set[Pattern] = set()
    for clamd in deployment.antivirus.clamds:
        said = [each for each in answers if each.clamd.id == clamd.id]
        mine = [each for each in deployment.antivirus.scanners if each.namespace == clamd.namespace]

        def effect(pattern: Pattern, scanners: Sequence[Scanner] = mine) -> str:
            names = [each.name for each in scanners if seen.does(each, pattern)]
            if names:
                blamed.add(pattern)
            words = pattern.value if len(names) == 1 else pattern.value.replace("s every", " every", 1)
            return f", and {several(names)} {words}" if names else ""

        alive = [each for each in said if not each.problem]
        if not alive:
            why = f"does not answer: {said[0].problem}" if said else "has no pod"
            judge.unavailable(
                clamd.id,
                f"{clamd.name} {why}{effect(Pattern.REFUSES) or effect(Pattern.PASSES)}",
                expected=f"clamd at port {clamd.port}: a scan command that gets no answer fails, and that is a find",
                cause="" if said else _unwanted(deployment, clamd.workload),
                remedy=f"bring {clamd.name} up",
                needs=(clamd.id, *(pod.id for pod in clamd.pods)),
            )
        elif any(each.finds_nothing for each in alive):
            judge.wrong(
                clamd.id,
                f"{clamd.name} does not know EICAR{effect(Pattern.PASSES)}",
                observed=_told([each for each in alive if each.finds_nothing]),
                cause="its database is empty, or is not ClamAV's",
                remedy="let freshclam fill the database of each of its pods",
            )
        elif any(each.finds_anything for each in alive):
            told = _told([each for each in alive if each.finds_anything])
            line = f"{clamd.name} takes any file for a virus{effect(Pattern.REFUSES)}"
            judge.wrong(clamd.id, line, observed=told, cause="a signature of its database matches whatever there is")
        for each in said:
            if each.problem and alive:
                line = f"{clamd.name} does not answer in {each.pod.name}: {each.problem}"
                judge.unavailable(each.pod.id, line)
        judge.saw(clamd.id)
    return blamed


def _unwanted(deployment: Deployment, workload: str) -> str:
    wanted = next((each.desired for each in deployment.workloads if each.id == workload), 1)
    return "" if wanted else "no node is one that it is to run on, or it is scaled to none"


def _told(said: Sequence[ClamdSaid]) -> str:
    return "; ".join(f"{each.pod.name} ({each.version}): harmless {each.harmless}, EICAR {each.eicar}" for each in said)


def _scanner(
    scanner: Scanner,
    trip: ScannedMedia,
    answers: Sequence[ClamdSaid],
    seen: Seen,
    blamed: set[Pattern],
    judge: Judge,
) -> None:
    """Pods with the same trouble are told together."""
    mine = [each for each in trip.ways if each.pod and each.scanner.id == scanner.id]
    found: dict[Trouble, list[Ways]] = {}
    for each in mine:
        if trouble := trouble_of(each, answers, blamed):
            found.setdefault(trouble, []).append(each)
        if pattern_of(each.replies) in blamed:
            seen.told.add(scanner.id)
    for trouble, ways in found.items():
        seen.told.add(scanner.id)
        pods = [each.pod for each in ways if each.pod]
        part = "" if len(pods) == len(mine) else f" in {several(pod.name for pod in pods)}"
        _say(
            judge, scanner.id, trouble, f"{scanner.name}{part}", ways[0], (*(pod.id for pod in pods), trip.uploader.id)
        )
    keys = {str(each.shown.json.get("public_key")) for each in mine if each.shown.status == 200}
    if len(keys) > 1 and not found:
        judge.wrong(
            scanner.id,
            f"the pods of {scanner.name} have different keys: what a client encrypts for one, another does not read",
            expected="one request secret for all",
            remedy="give all of them one Secret (crypto.request_secret_path)",
        )
    judge.saw(scanner.id)


def _say(judge: Judge, subject: str, trouble: Trouble, name: str, ways: Ways, beneath: tuple[str, ...] = ()) -> None:
    say = judge.unproven if trouble.weak else judge.unavailable if trouble.silent else judge.wrong
    say(
        subject,
        trouble.headline.replace("{}", name, 1),
        observed="; ".join(map(str, ways.replies)) or f"its public key: {ways.shown.short}",
        expected="a clean file, plain and encrypted, byte for byte; for EICAR 403 MCS_MEDIA_NOT_CLEAN",
        cause=trouble.cause,
        remedy=trouble.remedy,
        needs=(subject, *beneath) if trouble.silent else (),
    )


def _front(deployment: Deployment, trip: ScannedMedia, seen: Seen, judge: Judge) -> None:
    """The scanner, where clients ask for it. What its pods do wrong by themselves was told."""
    for ways in (each for each in trip.ways if each.pod is None and each.lead):
        scanner, led = ways.scanner, ways.lead
        pod = led.door.pod if led and led.door else None
        proxy = next((each for each in deployment.proxies if pod and pod in each.pods), None)
        subject = proxy.id if proxy else scanner.id
        beneath = tuple(part for each in deployment.proxies for part in (each.id, *(pod.id for pod in each.pods)))
        if proxy and led and led.backend:
            beneath = (*beneath, backend_id(proxy, led.backend))
        seen.served = seen.served or any(each.right for each in ways.replies if each.question.clean)
        way = " ".join(
            filter(None, (led.says if led else "", f"to backend {led.backend}" if led and led.backend else ""))
        )
        name = proxy.name if proxy else "the front door"
        if led and led.limit and not led.door:
            line = f"whether clients get files by {scanner.name} alone was not seen: {led.limit}"
            judge.unproven(
                scanner.id, line, observed=led.problem, remedy="bring in scope what leads them (--namespace)"
            )
        elif not ways.shown.status or ways.shown.status in UNSERVED:
            line = f"clients do not get to {scanner.name} by {name}: {ways.shown.short}"
            judge.unavailable(subject, line, observed=way, needs=(subject, scanner.id, *beneath))
        elif not ways.shown.json.get("public_key"):
            judge.wrong(
                subject,
                f"{name} does not lead clients to {scanner.name}: nothing is scanned that is encrypted",
                observed=f"GET {BASE}/unstable/public_key, {way}: {ways.shown.short}",
                expected="the scanner's public key",
                cause=f"no rule for {BASE}, or one that leads elsewhere",
                remedy=f"lead {BASE} to {scanner.name}",
            )
        elif not seen.told and (trouble := trouble_of(ways, (), set())):
            _say(judge, subject, trouble, f"{scanner.name}, asked by {name},", ways, beneath)


def _past(deployment: Deployment, trip: ScannedMedia, seen: Seen, judge: Judge) -> None:
    """Ordinary downloads: with EICAR they must end at a scanner, or nowhere."""
    scanner = deployment.antivirus.scanners[0]
    behind = {pod.id for each in deployment.antivirus.scanners for pod in each.pods}
    astray: dict[str, list[Past]] = {}
    for each in trip.past:
        through = bool(each.pods) and {pod.id for pod in each.pods} <= behind
        if each.virus and each.brought and not (through and seen.told):
            astray.setdefault(each.proxy.id if each.proxy else trip.uploader.id, []).append(each)
    for subject, past in astray.items():
        proxy = past[0].proxy
        routes = list(dict.fromkeys(each.route for each in past))
        name = proxy.name if proxy else "the homeserver"
        leads = "; ".join(dict.fromkeys(f"{each.route} to {_end(each)}" for each in past))
        judge.wrong(
            subject,
            f"{name} leads {several(routes)} past {scanner.name}, to {_end(past[0])}: EICAR comes to clients",
            observed="; ".join(map(str, past)),
            expected="no file by any path that the scanner has not passed",
            cause=f"{name} leads {leads}",
            remedy=f"lead these paths to {scanner.name} (as {BASE}/unstable/download/…), or refuse them",
        )
    for each in (each for each in trip.past if not each.virus and not each.brought):
        backend = backend_id(each.proxy, each.backend) if each.proxy and each.backend else ""
        subject = each.proxy.id if each.proxy else trip.uploader.id
        if each.heard.status == 200 and not seen.told:
            judge.wrong(subject, f"a clean file does not come whole by {each.route}", observed=str(each))
        elif (not each.heard.status or each.heard.status in UNSERVED) and not seen.told:
            needs = (subject, scanner.id, trip.uploader.id, *((backend,) if backend else ()))
            judge.unavailable(subject, f"nobody answers downloads: {each}", cause=f"led to {_end(each)}", needs=needs)
        elif not seen.served and not seen.told:
            line = f"no clean file comes to clients, by the scanner's path or by {each.route}"
            judge.wrong(subject, line, observed=str(each), cause=f"led to {_end(each)}")


def _published(deployment: Deployment, snapshot: Snapshot, judge: Judge) -> None:
    """Services by which whoever gets to the nodes, or to a load balancer, has files of a process that serves them."""
    serving = {each.pod.id for each in deployment.synapse if each.pod and each.side is Side.MAIN and serves_media(each)}
    for service, kind in outward(snapshot):
        name = service["metadata"]["name"]
        if own := [pod.name for pod, _ in behind(deployment, snapshot, service) if pod.id in serving]:
            judge.wrong(
                f"service/{service['metadata']['namespace']}/{name}",
                f"Service {name} ({kind}) leads to files past {deployment.antivirus.scanners[0].name}: {several(own)}",
                expected="Services of processes that serve files are of type ClusterIP",
                cause=f"type: {service['spec'].get('type')}",
                remedy=f"make Service {name} a ClusterIP",
            )


def _end(past: Past) -> str:
    """Who is behind the route, as far as the proxy's configuration tells."""
    servers = past.proxy.backends.get(past.backend, ()) if past.proxy else ()
    names = dict.fromkeys(each.service or each.host for each in servers)
    return f"{past.backend} ({', '.join(names)})" if names else past.backend or _names(past.pods)


def _names(pods: Sequence[Pod]) -> str:
    return several(pod.name for pod in pods) if pods else "a process that serves files"


def _limits(antivirus: Antivirus, trip: ScannedMedia, settings: Settings, judge: Judge) -> None:
    scanner = antivirus.scanners[0]
    if not settings.eicar:
        line = f"whether {scanner.name} refuses a virus, and whether one comes past it, was not seen: the settings say"
        judge.unproven(scanner.id, f"{line} eicar: off")
    elif trip.spared:
        line = f"whether {scanner.name} refuses EICAR as it is, and whether that comes past it, was not seen"
        judge.unproven(scanner.id, f"{line}: {trip.spared}")
    if trip.left:
        line = f"EICAR (postflight-eicar) is still in the media store: {trip.left}"
        judge.warn(trip.uploader.id, line, remedy="remove it; the next run that may does so")
