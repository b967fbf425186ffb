from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import addresses, ingresses
from postflight.deployment.ingresses import ASKING
from postflight.deployment.model import Deployment
from postflight.deployment.parts import LawfulIntercept, Side, SynapseProcess
from postflight.deployment.request_classes import delegates, issuer_of
from postflight.deployment.routes import behind, outward, selects
from postflight.probes.canary_user import Hindered
from postflight.probes.li_front import SYNAPSE_PATHS, WHOAMI, Asked, LiFront, Part, TokenTried
from postflight.probes.probe import NotTried
from postflight.probes.public_http import Answer
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity
from postflight.words import several

#: What a proxy says that wants something first; 421: by a name that its certificate was not shown for.
REFUSED = (401, 403, 407, 421)
#: How a handshake ends that wants a certificate (RFC 8446, 6: alerts).
ALERTS = ("certificate required", "bad certificate", "handshake failure", "certificate unknown", "access denied")
LATE = "no answer in time"
#: OpenSSL's word, where what is shown is not of an authority that counts, or for another name.
DISTRUSTED = "certificate verify failed"
#: The endings of annotations by which a controller asks for something first.
ASKING_WORDS = ("middlewares", "auth", "tls.options")


@check(
    "li.front_door",
    severity=Severity.CRITICAL,
    finding="3.4",
    kinds=(INGRESS,),
    remedy="let the ingress controller ask for a credential of its own on every path of LI's: a client certificate"
    " (auth-tls-secret), or a login whose session is a cookie; LI's page and homeserver under one host",
    blind_spots="who has that credential, and whether two things are asked for; what stands between officers and the ingress"
    " controller; a list of allowed addresses, which looks like an open door from one of them; sessions of a login page;"
    " TCP ways in other than Services with a port at the nodes or a load balancer",
)
def test_nothing_of_li_answers_whoever_lacks_a_credential_of_its_own(
    deployment: Deployment,
    snapshot: Snapshot,
    li_front_door: LiFront,
    li_main_token: tuple[TokenTried, ...] | Hindered | NotTried,
    judge: Judge,
) -> None:
    """LI holds what main has deleted, under main's own user names: with nothing but a Matrix login before it, any
    password that is stolen from a user opens it. And a door that those who may cannot pass is soon taken off."""
    li = deployment.li
    if li is None:
        judge.absent("nothing refers to a lawful-intercept homeserver")
        return
    front = li_front_door
    if not front.hosts:
        line = "nothing here says at which address LI is reached: no Ingress leads to it, and it has no public_baseurl"
        judge.unproven(li.id, f"that LI's front door is shut was not seen: {line}")
    for shut in front.shut:
        line = f"{shut.name}, which serves {several(front.hosts)}, has no pod that is ready"
        judge.unavailable(shut.id, line, expected="at least one ready pod", stops=(shut.id,))
    needs = tuple(each.id for each in front.shut)
    for host in front.nowhere:
        line = "that LI's front door is shut was not seen: no way in from outside was found in scope"
        judge.unproven(li.id, f"{line} for {host}, where LI's configuration says that it is")
    for why in front.unasked:
        say = judge.unproven if front.asked else judge.unknown
        say(li.id, f"LI's front door was not tried: {why}", needs=needs)
    open_ = _shut(deployment, snapshot, front, judge)
    if front.asked:
        _opens(li, deployment, snapshot, front, open_, judge)
    _published(deployment, snapshot, front, judge)
    _tokens(li, li_main_token, judge)


def _shut(deployment: Deployment, snapshot: Snapshot, front: LiFront, judge: Judge) -> set[str]:
    """Nothing answers a stranger. Returns the Ingresses by which something did."""
    through: dict[tuple[str, str], list[Asked]] = {}
    for each in front.asked:
        judge.saw(f"https://{each.target.host}{each.target.path} {each.way}")
        if _is_silent(each.without):
            _silent(each, each.without, judge)
        elif back := _back(deployment, snapshot, front, each, each.without):
            _unclear(each, "is shut", f"it is answered with {each.without.status}, {back}", judge)
        elif each.target.guessed and not _is_refused(each.without) and not _is_synapse(each.without):
            line = f"its Ingress has a pattern, and what that begins with is answered with {each.without.short}"
            _unclear(each, "is shut", line, judge)
        elif not _is_refused(each.without):
            through.setdefault((each.target.ingress, each.target.host), []).append(each)
    for (ingress, host), answers in through.items():
        first = answers[0]
        name = ingress.rpartition("/")[2]
        asking = tuple(_asking(snapshot, ingress))
        parts = " and ".join(dict.fromkeys(str(each.target.part) for each in answers))
        judge.wrong(
            ingress,
            f"LI's {parts.removeprefix('the ')} answers whoever comes to {host}, by Ingress {name}",
            observed="; ".join(
                f"GET https://{host}{each.target.path} {each.way}: {each.without.short}" for each in answers[:3]
            ),
            expected="the proxy refuses (401, 403, no TLS without a certificate, or its login page)",
            cause=f"Ingress {name} asks for {', '.join(asking)}, and the controller does not"
            if asking
            else f"Ingress {name} asks for nothing: it has none of {', '.join(ASKING[:3])}",
            remedy=f"let Ingress {name} ask for what the others of {host} do"
            if {each.target.ingress for each in front.asked} - {ingress}
            else "",
            evidence=(f"{first.target.service} is behind it",),
        )
    return {ingress for ingress, _ in through}


def _opens(
    li: LawfulIntercept, deployment: Deployment, snapshot: Snapshot, front: LiFront, open_: set[str], judge: Judge
) -> None:
    """Who shows the credential gets in, with a token of Matrix beside it."""
    if not front.credential.given:
        why = front.credential.problem or "none is given (settings: li.credential)"
        judge.unproven(li.id, f"that LI opens to those who may was not seen, for want of a credential: {why}")
        return
    kept: dict[tuple[str, str], list[Asked]] = {}
    distrusted: set[str] = set()
    for each in front.asked:
        if each.shown is None or each.target.ingress in open_ or _is_silent(each.without):
            continue
        if DISTRUSTED in each.shown.problem:
            if each.target.host not in distrusted:
                _distrusted(li, front, each, each.shown, judge)
            distrusted.add(each.target.host)
        elif _is_silent(each.shown):
            _silent(each, each.shown, judge)
        elif back := _back(deployment, snapshot, front, each, each.shown):
            _unclear(
                each, "opens to who shows the credential", f"it is answered with {each.shown.status}, {back}", judge
            )
        elif not _is_answered(each):
            kept.setdefault((each.target.ingress, each.target.host), []).append(each)
    for (ingress, host), answers in kept.items():
        parts = " and ".join(dict.fromkeys(str(each.target.part) for each in answers))
        judge.wrong(
            ingress,
            f"LI's {parts.removeprefix('the ')} does not answer at {host} to who shows the credential either",
            observed="; ".join(
                f"GET https://{host}{each.target.path} {each.way}, with {front.credential.origin}:"
                f" {each.shown.short if each.shown else ''}"
                for each in answers[:3]
            ),
            expected="what stands behind it",
            cause=f"what {front.credential.origin} holds is not what Ingress {ingress.rpartition('/')[2]} asks for",
            remedy="give the verifier a credential that is good, or take the one that is asked for anew",
        )
    kept_hosts = {host for _, host in kept}
    for bearer in front.bearers:
        if bearer.host not in kept_hosts | distrusted:
            _bearer(li, bearer.host, bearer.way, bearer.said, judge)
        for origin, said in bearer.beforehand:
            _beforehand(li, bearer.host, bearer.way, origin, said, judge)


def _distrusted(li: LawfulIntercept, front: LiFront, each: Asked, said: Answer, judge: Judge) -> None:
    host = each.target.host
    observed = f"GET https://{host}{each.target.path} {each.way}: {said.problem}"
    if front.unread:
        line = f"that LI opens to those who may was not seen: whether clients trust the certificate of {host} is not known,"
        line += f" as what Synapse trusts ({', '.join(front.unread)}) could not be read"
        judge.unknown(li.id, line, observed=observed, remedy="name the authority: public.ca_file")
        return
    judge.wrong(
        li.id,
        f"{host} shows a certificate that clients do not trust, and no credential is shown to that",
        observed=observed,
        expected=f"a certificate for {host}, of an authority that clients have",
        remedy="serve the whole chain; of an authority of your own, tell clients and settings (public.ca_file)",
    )


def _bearer(li: LawfulIntercept, host: str, way: str, said: Answer, judge: Judge) -> None:
    code = str(said.json.get("errcode") or "")
    if _is_silent(said) or (code.startswith("M_") and code != "M_MISSING_TOKEN"):
        return
    if code:
        line = f"nobody can be logged in at {host}: the proxy takes the access token away"
    elif said.status == 200:
        line = f"LI takes a token that nobody was given, at {host}"
    else:
        line = f"nobody can be logged in at {host}: a request with an access token is refused by the proxy"
    judge.wrong(
        li.id,
        line,
        observed=f"GET https://{host}{WHOAMI} {way}, with the credential and a token: {said.short}",
        expected="401 M_UNKNOWN_TOKEN, by Synapse",
        cause="a password and an access token are both sent as Authorization: the proxy's password has no place beside Matrix"
        if said.status != 200
        else "",
        remedy="let the proxy ask for a client certificate (auth-tls-secret), or for a session that is a cookie (auth-url)",
    )


def _beforehand(li: LawfulIntercept, host: str, way: str, origin: str, said: Answer, judge: Judge) -> None:
    if _is_silent(said) or (200 <= said.status < 300 and said.cors in ("*", f"https://{origin}")):
        return
    judge.wrong(
        li.id,
        f"LI's page at {origin} cannot ask {host}: the proxy refuses what a browser asks in advance",
        observed=f"OPTIONS https://{host}{WHOAMI} {way}, from https://{origin}: {said.short}",
        expected="200 with Access-Control-Allow-Origin, or page and homeserver under one host",
        cause="a question in advance carries no credential, whatever the page has (Fetch: CORS-preflight)",
        remedy=f"serve LI's page and its homeserver under one host, as https://{host}",
    )


def _published(deployment: Deployment, snapshot: Snapshot, front: LiFront, judge: Judge) -> None:
    """No Service has LI's pods at the nodes' addresses, or at a load balancer's, past the door."""
    for service, kind in outward(snapshot):
        spec, meta = service["spec"], service["metadata"]
        own = [pod.name for pod, side in behind(deployment, snapshot, service) if side is Side.LI]
        own += [pod.name for page in front.pages for pod in page.pods if selects(service, pod)]
        if own:
            judge.wrong(
                f"service/{meta['namespace']}/{meta['name']}",
                f"Service {meta['name']} ({kind}) leads to LI past its front door: {several(dict.fromkeys(own))}",
                expected="LI's Services are of type ClusterIP, and an Ingress that asks first leads to them",
                cause=f"type: {spec.get('type')}",
                remedy=f"make Service {meta['name']} a ClusterIP",
            )


def _tokens(li: LawfulIntercept, tried: tuple[TokenTried, ...] | Hindered | NotTried, judge: Judge) -> None:
    line = "whether LI takes main's access tokens was not seen"
    if isinstance(tried, NotTried):
        judge.unproven(li.id, f"{line}: {tried.reason}")
        return
    if isinstance(tried, Hindered):
        mains = tuple(each.id for each in li.mains)
        judge.unknown(li.id, f"{line}: {tried.problem}", needs=(tried.where,) if tried.where else mains)
        return
    for each in tried:
        process = each.process
        judge.saw(process.id)
        if each.problem or not each.said.status:
            why = each.problem or each.said.problem
            say = judge.unknown if process.runs else judge.unavailable
            say(process.id, f"{line}: {process.workload_name}: {why}", needs=(process.id, process.workload))
        elif each.said.status == 200:
            _taken(li, process, judge)
        elif each.said.status not in (401, 403) or not str(each.said.json.get("errcode") or "").startswith("M_"):
            needs = (li.id, process.id, process.workload, *((li.cluster.id,) if li.cluster else ()))
            said = f"{process.workload_name} answers {each.said.short}, which is no word on a token"
            judge.unknown(process.id, f"{line}: {said}", needs=needs)
        elif each.came is not False or each.given or delegates(process):
            continue
        elif li.imports:
            jobs = ", ".join(one.name for one in li.imports)
            why = f"LI is fed by import (CronJob {jobs}), and main made the token just now"
            judge.unproven(li.id, f"{line}: {why}", remedy="name a token in the settings (probe_user: token_file)")
        else:
            judge.unknown(li.id, f"{line}: LI does not follow main, and has nothing of the token", needs=(li.id,))


def _taken(li: LawfulIntercept, process: SynapseProcess, judge: Judge) -> None:
    cause = "the table access_tokens is copied to LI with the others"
    remedy = "leave access_tokens and refresh_tokens out of what main publishes, and empty them in LI's database"
    if delegates(process):
        own = issuer_of(process) or "Matrix Authentication Service"
        one = any(issuer_of(process) and issuer_of(process) == issuer_of(main) for main in li.mains)
        cause = f"LI's Synapse asks {own} whose a token is, {'as main does' if one else 'which knows those of main'}"
        remedy = "give LI an authentication service of its own, with users of its own"
    judge.wrong(
        process.id,
        f"{process.workload_name} takes an access token of main's: whoever is logged in to main is in LI too",
        observed=f"GET {WHOAMI} with the probe user's token of main: 200",
        expected="401 M_UNKNOWN_TOKEN",
        cause=cause,
        remedy=remedy,
    )


def _asking(snapshot: Snapshot, ingress: str) -> Iterator[str]:
    """The annotations by which an Ingress has something asked for."""
    _, namespace, name = ingress.split("/")
    found = snapshot.get(INGRESS, namespace, name)
    notes: Mapping[str, Any] = (found["metadata"].get("annotations") if found else None) or {}
    for key in notes:
        ending = key.rpartition("/")[2]
        if ending in ASKING or any(word in ending.split(".") for word in ASKING_WORDS):
            yield ending


def _silent(each: Asked, said: Answer, judge: Judge) -> None:
    """Once for each Ingress, whatever was asked by it."""
    target = each.target
    line = f"LI's {str(target.part).removeprefix('the ')} was not answered for at {target.host}: {said.short}"
    if any((known.subject, known.headline) == (target.ingress, line) for known in judge.failures):
        return
    say = judge.unknown if said.problem == LATE else judge.unavailable
    observed = f"GET https://{target.host}{target.path} {each.way}"
    say(target.ingress, line, observed=observed, needs=(*target.needs, target.ingress))


def _unclear(each: Asked, what: str, why: str, judge: Judge) -> None:
    target = each.target
    line = (
        f"whether LI's {str(target.part).removeprefix('the ')} {what} at {target.host}{target.path} was not seen: {why}"
    )
    if not any(known.headline == line for known in judge.failures):
        judge.unproven(target.ingress, line)


def _back(deployment: Deployment, snapshot: Snapshot, front: LiFront, each: Asked, said: Answer) -> str:
    """Where a redirect leads that need not be a proxy's: to LI's own pods, by the same host. "" for any that leads to a
    login elsewhere, which is how a proxy refuses, and for what is none."""
    if not 300 <= said.status < 400 or _is_synapse(said):
        return ""
    if not said.location:
        return "and no place to go on at"
    host = each.target.host
    try:
        parts = urlsplit(urljoin(f"https://{host}{each.target.path}", said.location))
        named = parts.hostname
    except ValueError:
        return "and a place that is none"
    found = ingresses.route(snapshot, deployment.pods, host, parts.path or "/") if named == host else None
    if found is None:
        return ""
    inward = [path for page in front.pages for path in page.paths]
    inward += [path for path in addresses.led(deployment, snapshot) if path.way.sides]
    if any((path.id, path.service) == (found.id, found.endpoint.service) for path in inward):
        return (
            f"and led on to {parts.path or '/'} of the same host, which {found.target} serves: by that, or by a proxy"
        )
    return ""


def _is_silent(said: Answer) -> bool:
    return said.silent and not _is_refused(said)


def _is_refused(said: Answer) -> bool:
    """Whether a proxy refused, before anything behind it was asked."""
    if not said.status:
        words = said.problem.lower().replace("_", " ")
        return any(alert in words for alert in ALERTS)
    if _is_synapse(said):
        return False
    wants = said.status == 400 and "certificate" in said.text.lower()
    return wants or said.status in REFUSED or 300 <= said.status < 400


def _is_synapse(said: Answer) -> bool:
    body = said.json
    known: Sequence[str] = ("versions", "verify_keys", "server_version")
    return str(body.get("errcode") or "").startswith("M_") or any(key in body for key in known)


def _is_answered(each: Asked) -> bool:
    """Whether what stands behind a path answered who showed the credential."""
    said = each.shown
    if said is None or _is_refused(said):
        return False
    if each.target.part is Part.SYNAPSE and each.target.path in SYNAPSE_PATHS:
        return _is_synapse(said)
    if each.target.part is Part.SYNAPSE:
        return True
    return said.status == 200 or each.target.part is Part.OTHER
