from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from postflight.check import check
from postflight.cluster.kinds import INGRESS
from postflight.cluster.snapshot import Snapshot
from postflight.deployment import front, ingresses
from postflight.deployment.listeners import hides_clients
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, tasks_of
from postflight.probes.canary_user import Hindered
from postflight.probes.leads import beneath
from postflight.probes.probe import NotTried
from postflight.probes.public import CLIENT, SERVER, UPLOAD, UPLOADED, VERSIONS, PublicFront, Seen
from postflight.probes.public_address import ClientAddresses
from postflight.probes.public_http import Answer
from postflight.probes.public_tls import EXPIRED, NOT_YET, Certificate
from postflight.verdict.judge import Details, Judge
from postflight.verdict.status import Severity

#: A certificate is renewed long before: of one of 90 days, a month.
SOON, SHARE = timedelta(days=14), 5
#: The name in the certificate that ingress-nginx shows where it has none for a host.
FAKE = "ingress.local"
LATE = "no answer in time"


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing to say of a name; ``say`` is the judge's word for it. What is the same at several places is said once."""

    say: str
    host: str
    headline: str
    details: Details


@check(
    "routing.public",
    severity=Severity.CRITICAL,
    kinds=(INGRESS,),
    remedy="a certificate for the public name whose whole chain clients trust; Access-Control-Allow-Origin on the"
    " well-known file and each redirect to it; a body limit of the proxies above max_upload_size; x_forwarded on, and"
    " proxies that pass X-Forwarded-For on",
    blind_spots="what stands between clients and the ingress controller, where the name is asked by tunnel (DNS, load"
    " balancer, whose address Synapse may see instead of the client's); bodies above 2 MiB; an upload by somebody who may;"
    " SRV records; whether clients have the authority of a closed network, which Synapse is told to trust; a listener that"
    " none of the requests met",
)
def test_the_public_names_lead_clients_and_other_servers_to_this_homeserver(
    deployment: Deployment,
    snapshot: Snapshot,
    public_front: tuple[PublicFront, ...],
    client_addresses: tuple[ClientAddresses, ...] | NotTried,
    judge: Judge,
) -> None:
    """Everything behind may be whole, and nobody comes in: a certificate that is refused, a file that a web client may
    not read, an upload that is cut off. Where all clients seem to come from the proxy they share one limit of logins."""
    if not public_front:
        mains = tuple(each.id for each in deployment.synapse if each.is_main and each.side is Side.MAIN)
        judge.unknown("public", "by which name clients and other servers come in is not known", needs=mains)
    for door in public_front:
        _places(door, judge)
        found: dict[tuple[str, str], tuple[_Finding, list[str]]] = {}
        for seen in door.seen:
            for host in seen.place.hosts:
                judge.saw(f"https://{host} {seen.place.way}")
            for each in _at(door, seen, deployment, snapshot):
                found.setdefault((each.host, each.headline), (each, []))[1].append(seen.place.way)
        for each, ways in found.values():
            observed = "; ".join(filter(None, (each.details.get("observed", ""), f"asked {' and '.join(ways)}")))
            getattr(judge, each.say)(f"public/{each.host}", each.headline, **{**each.details, "observed": observed})
        if isinstance(client_addresses, NotTried):
            line = (
                f"from where Synapse sees clients of {door.names.client} come was not seen: {client_addresses.reason}"
            )
            judge.unproven(f"public/{door.names.client}", line)
        else:
            for told in client_addresses:
                _addresses(door, told, deployment, snapshot, judge)


def _places(door: PublicFront, judge: Judge) -> None:
    for each in door.places.shut:
        headline = f"{each.name}, which serves {' and '.join(door.names.hosts)}, has no pod that is ready"
        judge.unavailable(each.id, headline, expected="at least one ready pod", stops=(each.id,))
    needs = tuple(each.id for each in door.places.shut)
    for line in door.places.unasked:
        say = judge.unproven if door.seen else judge.unknown
        say(f"public/{door.names.client}", f"the front door was not asked everywhere: {line}", needs=needs)


def _at(door: PublicFront, seen: Seen, deployment: Deployment, snapshot: Snapshot) -> Iterator[_Finding]:
    for shown in seen.certificates.values():
        yield from _certificate(door, shown, snapshot)
    names = door.names

    def silent(host: str, path: str, what: str, said: Answer) -> _Finding:
        needs = _beneath(door, path, deployment, snapshot)
        say = "unknown" if said.problem == LATE else "unavailable"
        return _Finding(say, host, f"{what} was not answered: {said.short}", {"needs": needs})

    if seen.client:
        if seen.client.last.silent:
            yield silent(names.server, CLIENT, seen.client.hops[-1][0], seen.client.last)
        else:
            yield from _client(door, seen, deployment, snapshot)
    if seen.versions:
        if seen.versions.silent:
            yield silent(names.client, VERSIONS, f"https://{names.client}{VERSIONS}", seen.versions)
        else:
            yield from _versions(door, seen.versions, deployment, snapshot)
    if seen.upload and seen.versions and not seen.versions.silent:
        if seen.upload.silent:
            yield silent(names.client, UPLOAD, f"an upload of 2 MiB to https://{names.client}{UPLOAD}", seen.upload)
        else:
            yield from _upload(door, seen.upload, deployment, snapshot)
    if seen.server and seen.server.silent:
        yield silent(names.server, SERVER, f"https://{names.server}{SERVER}", seen.server)
    if seen.server and seen.server.status == 200 and not seen.server.json.get("m.server"):
        line = f"https://{names.server}{SERVER} is no such file: it has no m.server"
        yield _Finding("wrong", names.server, line, {"expected": '{"m.server": "host:port"}, or 404'})
    if seen.federation and not seen.federation.unasked:
        federation = seen.federation
        where = f"{federation.host}:{federation.port}"
        if federation.certificate and federation.host not in seen.certificates:
            yield from _certificate(door, federation.certificate, snapshot)
        for what, said in (("keys", federation.keys), ("version", federation.version)):
            if said.silent and not (federation.certificate and federation.certificate.problem):
                yield silent(names.server, "/_matrix/federation", f"{where}, asked for its {what} as a server,", said)
        if not federation.keys.silent:
            yield from _keys(door, seen)
    elif seen.federation:
        line = f"that other servers reach {door.main.server_name} was not seen: they are led to"
        line += f" {seen.federation.host}:{seen.federation.port}, and {seen.federation.unasked}"
        remedy = f"serve /.well-known/matrix/server at https://{names.server}, if they are to come in at 443"
        yield _Finding("unproven", names.server, line, {"remedy": remedy})


def _certificate(door: PublicFront, shown: Certificate, snapshot: Snapshot) -> Iterator[_Finding]:
    host, source = shown.host, front.tls_secret(snapshot, shown.host)
    if shown.problem:
        say = "unknown" if shown.problem.startswith("no right") or shown.problem == LATE else "unavailable"
        yield _Finding(say, host, f"{host} does not answer over TLS: {shown.problem}", {})
        return
    observed = f"a certificate for {', '.join(shown.names) or 'no name'} by {shown.issuer}"
    observed += f", {shown.begins:%Y-%m-%d} to {shown.ends:%Y-%m-%d}" if shown.begins and shown.ends else ""
    if shown.authority:
        observed += f", trusted by {shown.authority}"
    if not shown.is_for_host:
        fake = FAKE in shown.names
        yield _Finding(
            "wrong",
            host,
            f"{host} shows a certificate for {', '.join(shown.names) or 'no name'}: every client refuses it",
            {
                "observed": observed,
                "expected": f"a certificate for {host}",
                "cause": "the ingress controller has none for that name, and shows its own" if fake else source,
                "remedy": f"put a certificate for {host} into {source or 'what serves it'}",
            },
        )
    if shown.code in (EXPIRED, NOT_YET):
        word = "has expired" if shown.code == EXPIRED else "is not valid yet"
        own = shown.ends and shown.seen and (shown.ends < shown.seen if shown.code == EXPIRED else True)
        which = f"the certificate of {host}" if own else f"a certificate above that of {host}"
        when = f", on {shown.ends:%Y-%m-%d %H:%M:%SZ}" if own and shown.ends and shown.code == EXPIRED else ""
        yield _Finding(
            "wrong",
            host,
            f"{which} {word}{when}",
            {
                "observed": observed,
                "cause": source,
                "remedy": f"renew {source or 'it'}; look at what should have (cert-manager)",
            },
        )
    elif shown.refusal and door.unread:
        line = f"whether clients trust the certificate of {host} is not known: {shown.refusal}, and what Synapse trusts"
        line += f" ({', '.join(door.unread)}) could not be read"
        yield _Finding("unknown", host, line, {"observed": observed, "remedy": "name the authority: public.ca_file"})
    elif shown.refusal:
        yield _Finding(
            "wrong",
            host,
            f"clients do not trust the certificate of {host}: {shown.refusal}",
            {
                "observed": observed,
                "expected": "a chain that ends at an authority that clients have",
                "cause": f"its issuer {shown.issuer} is none of this machine's authorities and of those that the settings and"
                " the homeserver name, or tls.crt lacks a certificate between the two",
                "remedy": "serve the whole chain; of an authority of your own, tell clients and settings (public.ca_file)",
            },
        )
    elif shown.begins and shown.ends and shown.seen and shown.is_for_host:
        left = shown.ends - shown.seen
        if left < min(SOON, (shown.ends - shown.begins) / SHARE):
            hours = int(left.total_seconds() // 3600)
            line = f"the certificate of {host} expires in {f'{hours // 24} days' if hours > 47 else f'{hours} hours'}"
            yield _Finding("warn", host, line, {"observed": observed, "cause": source})


def _client(door: PublicFront, seen: Seen, deployment: Deployment, snapshot: Snapshot) -> Iterator[_Finding]:
    names, known = door.names, seen.client
    if known is None:
        return
    for url, said in known.hops:
        if said.status < 400 and not said.readable:
            yield _unreadable(url, said, names.server, CLIENT, deployment, snapshot)
    last = known.last
    url = known.hops[-1][0]
    base = last.json.get("m.homeserver")
    told = str(base.get("base_url") or "") if isinstance(base, dict) else ""
    if known.beyond:
        line = f"what clients are told was not seen: {url} sends them on to {known.beyond}, which was not asked"
        yield _Finding("unproven", names.server, line, {})
    elif last.status == 404 and names.server == names.client:
        line = f"{url} is not there: clients find the homeserver by its name alone, and nothing else that it announces"
        yield _Finding("warn", names.server, line, {})
    elif last.status != 200 or not told:
        what = last.short if last.status != 200 else "it has no m.homeserver.base_url"
        yield _Finding(
            "wrong",
            names.server,
            f"clients who are told {names.server} do not find the homeserver: {url} is no well-known file, {what}",
            {
                "expected": f'200 and {{"m.homeserver": {{"base_url": "https://{names.client}"}}}}',
                "cause": _led(names.server, CLIENT, deployment, snapshot),
            },
        )
    elif f"//{names.client}" not in told:
        line = f"{url} sends clients to {told}, which is not what public_baseurl says: {names.client}"
        yield _Finding("warn", names.server, line, {})


def _versions(door: PublicFront, said: Answer, deployment: Deployment, snapshot: Snapshot) -> Iterator[_Finding]:
    host = door.names.client
    if said.status != 200 or not said.json.get("versions"):
        yield _Finding(
            "wrong",
            host,
            f"no homeserver answers at https://{host}: {VERSIONS} says {said.short if said.status != 200 else 'no versions'}",
            {"cause": _led(host, VERSIONS, deployment, snapshot)},
        )
    elif not said.readable:
        yield _unreadable(f"https://{host}{VERSIONS}", said, host, VERSIONS, deployment, snapshot)


def _unreadable(url: str, said: Answer, host: str, path: str, deployment: Deployment, snapshot: Snapshot) -> _Finding:
    what = "the redirect" if said.status >= 300 else "the answer"
    has = f"is {said.cors}" if said.cors else "is missing"
    return _Finding(
        "wrong",
        host,
        f"web clients may not read {url}: Access-Control-Allow-Origin {has} on {what}",
        {
            "observed": f"GET {url} with an Origin: {said.status}" + (f" by {said.server}" if said.server else ""),
            "expected": "Access-Control-Allow-Origin: *, as Synapse has it",
            "cause": _led(host, path, deployment, snapshot),
            "remedy": "let Synapse make the file, or add the header where it is made (and on each redirect)",
        },
    )


def _upload(door: PublicFront, said: Answer, deployment: Deployment, snapshot: Snapshot) -> Iterator[_Finding]:
    """Synapse looks for the token when it has the whole body."""
    host, size = door.names.client, f"{UPLOADED // 2**20} MiB"
    if said.status == 413:
        route = ingresses.route(snapshot, deployment.pods, host, UPLOAD)
        limit = ingresses.annotation(snapshot, route, "proxy-body-size") if route else None
        cause = f"Ingress {route.name}: proxy-body-size {limit or 'is not set, and nginx takes 1 MiB'}" if route else ""
        yield _Finding(
            "wrong",
            host,
            f"uploads of {size} to {host} are refused on the way{f' by {said.server}' if said.server else ''}: {cause or '413'}",
            {
                "observed": f"POST {UPLOAD} of {size} without a token: 413",
                "expected": "401 M_MISSING_TOKEN, by Synapse when all of it has arrived",
                "cause": cause,
                "remedy": "allow as much as max_upload_size (50M by default), on every proxy",
            },
        )
    elif said.status != 401 or "errcode" not in said.json:
        line = f"whether an upload of {size} to {host} passes was not seen: {said.short}"
        yield _Finding("unknown", host, line, {"needs": _beneath(door, UPLOAD, deployment, snapshot)})


def _keys(door: PublicFront, seen: Seen) -> Iterator[_Finding]:
    federation, own = seen.federation, door.main.server_name
    if federation is None:
        return
    said, where, host = federation.keys, f"{federation.host}:{federation.port}", door.names.server
    name = said.json.get("server_name")
    details: Details = {"observed": f"GET https://{where}/_matrix/key/v2/server: {said.short}"}
    if said.status != 200 or not name:
        line = f"other servers do not get the keys of {own}: at {where}, where they are led, there is no homeserver"
        yield _Finding("wrong", host, line, {**details, "expected": "200 and the server's keys"})
    elif name != own:
        line = f"other servers are led to {where}, which is {name} and not {own}"
        yield _Finding("wrong", host, line, details)
    elif not federation.signed:
        line = f"the keys of {own} at {where} are not signed by any of them: other servers take none"
        yield _Finding("wrong", host, line, details)
    if not federation.version.silent and federation.version.status != 200:
        line = f"{where} does not speak federation: /_matrix/federation/v1/version says {federation.version.short}"
        yield _Finding("wrong", host, line, {})


def _addresses(
    door: PublicFront, told: ClientAddresses, deployment: Deployment, snapshot: Snapshot, judge: Judge
) -> None:
    host, subject = door.names.client, f"public/{door.names.client}"
    line = f"from where Synapse sees clients of {host} come was not seen"
    if isinstance(told.user, Hindered):
        judge.unknown(subject, f"{line}: {told.user.problem}", needs=(told.user.where or door.main.id,))
        return
    if not any(said.status == 200 for _, _, said in told.asked):
        # Over a certificate that is not right no token goes, and what answers nothing is told already.
        if not judge.failures:
            why = told.asked[0][2].short if told.asked else "it was asked nowhere"
            judge.unknown(subject, f"{line}: {why}", needs=(door.main.id,))
        return
    pods = {pod.ip: pod for pod in door.places.fronts if pod.ip}
    nodes = front.nodes(snapshot) if told.outside else ()
    if told.older and not (told.addresses or any(each in pods or each in nodes for each in told.older)):
        # A given token's address of a moment ago is not written down again, and none of them is a proxy's.
        return
    if told.problem or not told.addresses:
        why = told.problem or "it does not tell"
        # It is a background task that writes them down.
        judge.unknown(subject, f"{line}: {why}", needs=(door.main.id, tasks_of(door.main)))
        return
    for address in told.addresses:
        if address in pods or address in nodes:
            what = pods[address].name if address in pods else f"node {address}"
            judge.wrong(
                subject,
                f"Synapse takes {what} for the client: the address of all who come by {host} is hidden",
                observed=f"GET {' and '.join(dict.fromkeys(path for _, path, said in told.asked if said.status == 200))}"
                f" by {host}; Synapse saw {', '.join(told.addresses)}",
                expected="the client's own address, to which limits of logins and bans hold",
                cause=_hidden(deployment, what),
                remedy="set x_forwarded: true on each listener that proxies lead to, and have every proxy pass"
                " X-Forwarded-For on",
            )


def _hidden(deployment: Deployment, what: str) -> str:
    mine = [each for each in deployment.synapse if each.side is Side.MAIN and hides_clients(each)]
    if mine:
        return f"x_forwarded is not set for {_names(each.workload_name for each in mine)}"
    if what.startswith("node "):
        return "something before the ingress controller puts the node's address in (externalTrafficPolicy: Cluster)"
    return f"what {what} hands on has its own address in X-Forwarded-For, or none"


def _beneath(door: PublicFront, path: str, deployment: Deployment, snapshot: Snapshot) -> tuple[str, ...]:
    """What answers a path, and what leads there."""
    return beneath(deployment, snapshot, door.main, door.names.client, path)


def _led(host: str, path: str, deployment: Deployment, snapshot: Snapshot) -> str:
    route = ingresses.route(snapshot, deployment.pods, host, path)
    if route is None:
        return ""
    by_itself = " or answers by itself, as its annotations say" if route.rewrites else ""
    return f"{route.words}{by_itself}"


def _names(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    return found[0] + (f" and {len(found) - 1} more" if found[1:] else "")
