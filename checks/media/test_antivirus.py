from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Pod
from postflight.deployment.proxy_backends import backend_id
from postflight.deployment.scan_parts import Antivirus, Scanner
from postflight.deployment.scanning import BASE
from postflight.probes.canary_user import Hindered
from postflight.probes.clamds import ClamdSaid
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.scanned_media import Past, ScannedMedia, Ways
from postflight.probes.scanner_asks import UNSERVED, Meaning, Reply
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

NOT_SEEN = "whether a virus is refused, and nothing else, was not seen"
MIME, UNDECRYPTED = "MCS_MIME_TYPE_FORBIDDEN", "MCS_MEDIA_FAILED_TO_DECRYPT"
UNFETCHED, UNFOUND = "MCS_MEDIA_REQUEST_FAILED", "M_NOT_FOUND"


class Pattern(Enum):
    """What a scanner does with every file that it was asked for."""

    REFUSES = "refuses every file as if it was a virus"
    PASSES = "takes every file for clean, EICAR too"
    NEITHER = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a scanner's answers. ``silent``: something beneath may be why; ``weak``: it was not seen."""

    headline: str
    cause: str = ""
    remedy: str = ""
    silent: bool = False
    weak: bool = False


@dataclass(slots=True)
class Seen:
    """What was seen of the scanners: of each the ``patterns`` of its pods; ``told`` are those of which something was
    said; ``served``: a clean file came by the front door."""

    patterns: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    served: bool = False

    def does(self, scanner: Scanner, pattern: Pattern) -> bool:
        return pattern in self.patterns.get(scanner.id, ())


@check(
    "media.antivirus",
    severity=Severity.MAJOR,
    finding="2.10",
    kinds=(INGRESS,),
    remedy=f"lead every path of downloads through the content scanner, and {BASE} to it; let its scan command end with 0 for"
    " what is clean, and for nothing else; keep a clamd with signatures within its reach",
    blind_spots="an encrypted file that a client fetches by the ordinary path and decrypts by itself: to any server it is"
    " noise; what other homeservers fetch (/_matrix/federation/v1/media), which is for their scanners; pictures' thumbnails;"
    " how old the signatures are; files above the scanner's limits; files from before",
)
def test_files_come_to_clients_through_a_scanner_that_refuses_a_virus_and_nothing_else(
    deployment: Deployment,
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
        _nobody_asks(antivirus, judge)
        return
    trip = scanned_media
    ways = trip.ways if isinstance(trip, ScannedMedia) else ()
    seen = Seen(_patterns(ways))
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


def _nobody_asks(antivirus: Antivirus, judge: Judge) -> None:
    if antivirus.clamds:
        first = antivirus.clamds[0]
        headline = f"{first.name} runs, and there is no content scanner that would ask it"
    else:
        headline = f"there is no content scanner, though {antivirus.announced[0]} speaks of one"
    subject = antivirus.clamds[0].id if antivirus.clamds else "scanner"
    expected = "a content scanner between the files and the clients"
    judge.wrong(subject, headline, expected=expected, evidence=antivirus.announced)


def _patterns(ways: Sequence[Ways]) -> Mapping[str, tuple[Pattern, ...]]:
    found: dict[str, tuple[Pattern, ...]] = {}
    for each in ways:
        if each.pod:
            found[each.scanner.id] = (*found.get(each.scanner.id, ()), _pattern(each.replies))
    return found


def _pattern(replies: Sequence[Reply]) -> Pattern:
    clean = {each.meaning for each in replies if each.question.clean}
    viruses = {each.meaning for each in replies if not each.question.clean}
    if clean == {Meaning.REFUSED} and viruses <= {Meaning.REFUSED}:
        return Pattern.REFUSES
    return Pattern.PASSES if clean == viruses == {Meaning.PASSED} else Pattern.NEITHER


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
        if trouble := _trouble(each, answers, blamed):
            found.setdefault(trouble, []).append(each)
        if _pattern(each.replies) in blamed:
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


def _trouble(ways: Ways, answers: Sequence[ClamdSaid], blamed: set[Pattern]) -> Trouble | None:
    """The name of who answered takes the place of ``{}``."""
    scanner, replies, pattern = ways.scanner, ways.replies, _pattern(ways.replies)
    command = f"its scan command {scanner.script}" if scanner.script else "its scan command"
    if not ways.shown.status or any(each.meaning is Meaning.SILENT for each in replies):
        heard = next((each.heard for each in replies if each.meaning is Meaning.SILENT), ways.shown)
        return Trouble(f"{{}} does not answer: {heard.short}", silent=True)
    if pattern is not Pattern.NEITHER:
        if pattern in blamed:
            return None
        ends = "with 0 for a virus too" if pattern is Pattern.PASSES else "with another code than 0 for every file"
        own = next((each for each in answers if not each.problem), None)
        cause = f"{command} ends {ends}"
        if own:
            cause += f", while {own.clamd.name} says of the clean file {own.harmless!r}, of EICAR {own.eicar!r}"
        remedy = "correct the command: 0 for what is clean, 1 for a find, 2 where it could not scan"
        return Trouble(f"{{}} {pattern.value}: {command} ends {ends}", cause, remedy)
    wrong = [each for each in replies if not each.right]
    other = next((each for each in wrong if each.meaning is Meaning.OTHER), None)
    if other:
        return _other(other, scanner, command)
    if not wrong:
        if ways.shown.json.get("public_key"):
            return None
        return Trouble(f"{{}} shows no public key ({ways.shown.short}), so nobody can encrypt for it")
    passed = [each.question.name for each in wrong if not each.question.clean]
    if passed:
        return Trouble(f"{{}} passes {' and '.join(passed)}", f"{command}, or its decryption, misses it")
    refused = [each.question.name for each in wrong if each.meaning is Meaning.REFUSED]
    if refused:
        return Trouble(f"{{}} refuses {' and '.join(refused)} as if it was a virus", f"{command} does not pass it")
    return Trouble(f"{{}} changes {wrong[0].question.name} on its way")


def _other(reply: Reply, scanner: Scanner, command: str) -> Trouble:
    """An answer that is neither a file nor a find."""
    said, what, where = reply.heard.short, reply.question.name, scanner.homeserver or "the homeserver"
    match reply.heard.status, reply.heard.reason:
        case 403, reason if reason == MIME:
            line = f"{{}} takes no files of such types ({said}): {NOT_SEEN}"
            return Trouble(line, "scan.allowed_mimetypes, or blocked_mimetypes, of its configuration", weak=True)
        case 400, reason if reason == UNDECRYPTED:
            return Trouble(f"{{}} cannot decrypt {what}: {said}", "its key, or how it decrypts, is not what it says")
        case 502, reason if reason == UNFETCHED:
            cause = f"{where} (download.base_homeserver_url) does not answer it, or refuses it"
            return Trouble(f"{{}} cannot fetch files from {where}: {said}", cause, silent=True)
        case 401, _:
            cause = "the client's token does not get there, or twice: headers_to_forward must not name authorization"
            return Trouble(f"{{}} fetches files from {where} without the client's token: {said}", cause)
        case 404, reason if reason == UNFOUND:
            return Trouble(f"{{}} does not find {what} at {where}: {said}", f"{where} has other files, or not all")
        case status, _ if status >= 500:
            return Trouble(f"{{}} fails at {what}: {said}", f"{command} cannot be run, or its folder not be written to")
    return Trouble(f"{{}} answers {said} for {what}")


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
        if not ways.shown.status or ways.shown.status in UNSERVED:
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
        elif not seen.told and (trouble := _trouble(ways, (), set())):
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
