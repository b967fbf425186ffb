from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from postflight.check import check
from postflight.cluster.kinds import CERTIFICATE, INGRESS
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.probes.certificates import LATE, Certificates, Issued, Shown, issued_by
from postflight.probes.public_tls import EXPIRED, NOT_YET, Certificate
from postflight.verdict.judge import Details, Judge
from postflight.verdict.status import Severity

#: Whoever renews does so long before: of one of 90 days a month. Of one that lasts a week, two days.
SOON, SHARE = timedelta(days=14), 3
#: CloudNativePG renews its own 7 days before their end (1.27, EXPIRING_CHECK_THRESHOLD).
OPERATORS = timedelta(days=6)
#: By how much cert-manager may be late with what it said itself.
GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing to say of a door; ``say`` is the judge's word. What is the same at several places is said once."""

    say: str
    subject: str
    headline: str
    details: Details


@check(
    "platform.certificates",
    severity=Severity.MAJOR,
    kinds=(INGRESS, CERTIFICATE),
    remedy="have what serves a certificate load the one that its Secret holds; renew it, for the names that it is used by;"
    " read why cert-manager has not",
    blind_spots="hosts of Ingresses with a wildcard; certificates within the cluster but PostgreSQL's (webhooks, Redis,"
    " MinIO, TURN); what stands before the ingress controller; whether clients of PostgreSQL know its authority; of the"
    " homeserver's own public names, names, dates and chain: routing.public looks at those",
)
def test_every_certificate_that_is_served_is_the_one_that_was_issued_and_is_valid(
    shown_certificates: Certificates,
    deployment: Deployment,
    snapshot: Snapshot,
    secrets: SecretStore,
    judge: Judge,
) -> None:
    """A renewed Secret helps nobody while the server still shows the old certificate: all is green, and on the day that
    one ends everything that speaks TLS to it stops at once."""
    seen = shown_certificates
    found: dict[tuple[str, str], tuple[_Finding, list[str]]] = {}
    for each in seen.shown:
        judge.saw(f"{each.host} {each.way}")
        for finding in _door(each, seen):
            found.setdefault((finding.subject, finding.headline), (finding, []))[1].append(each.way)
    for finding, ways in found.values():
        observed = "; ".join(filter(None, (finding.details.get("observed", ""), f"asked {' and '.join(ways)}")))
        getattr(judge, finding.say)(finding.subject, finding.headline, **{**finding.details, "observed": observed})
    for host, why in seen.unasked:
        if host not in seen.public:
            judge.unknown(
                f"certificate of {host}", f"which certificate {host} shows was not seen: {why}", needs=seen.shut
            )
    for cluster in deployment.postgres:
        if cluster.operator and not any(each.cluster and each.cluster.id == cluster.id for each in seen.shown):
            line = f"which certificate PostgreSQL {cluster.name} shows was not seen: no instance that is ready answered"
            judge.unknown(cluster.id, line, needs=(cluster.id, *(pod.id for pod in cluster.pods)))
    for raw in snapshot.all(CERTIFICATE):
        _managed(raw, snapshot, secrets, judge)
    if not (judge.seen or judge.failures):
        judge.absent("no Ingress has TLS, no PostgreSQL here is CloudNativePG's, and there is no Certificate")


def _door(each: Shown, seen: Certificates) -> Iterator[_Finding]:
    shown, subject = each.certificate, each.part or f"certificate of {each.host}"
    name = f"PostgreSQL {each.cluster.name}" if each.cluster else each.host
    owned = each.host in seen.public
    if shown.problem:
        if not owned:
            yield _silent(each, subject, name)
        return
    yield from _is_issued(each, subject, name)
    if owned:
        return
    observed = _words(shown)
    source = each.issued[0].words if each.issued else ""
    if not any(_is_for(shown, host) for host in each.names):
        details: Details = {
            "observed": observed,
            "expected": f"a certificate for {each.host}",
            "cause": source,
            "remedy": f"put a certificate for {each.host} into {source or 'what serves it'}",
        }
        line = f"{name} shows a certificate for {', '.join(shown.names) or 'no name'}, not for {each.host}"
        # Clients of PostgreSQL look at the name only where they are told to (sslmode=verify-full).
        yield _Finding("warn" if each.cluster else "wrong", subject, line, details)
    yield from _dates(each, seen, subject, name)


def _is_for(shown: Certificate, host: str) -> bool:
    above = host.partition(".")[2]
    return any(each.lower() in (host, f"*.{above}") for each in shown.names)


def _silent(each: Shown, subject: str, name: str) -> _Finding:
    why = each.certificate.problem
    missing = next((one for one in each.issued if one.missing), None)
    if missing:
        line = f"{name} shows no certificate: Secret {missing.secret}, which {missing.named_by} names, does not exist"
        return _Finding("wrong", subject, line, {"observed": why, "expected": f"Secret {missing.secret} with tls.crt"})
    say = "unknown" if why == LATE or why.startswith("no right") else "unavailable"
    return _Finding(say, subject, f"{name} does not answer over TLS: {why}", {})


def _is_issued(each: Shown, subject: str, name: str) -> Iterator[_Finding]:
    shown, known = each.certificate, [one for one in each.issued if one.certificate]
    for one in each.issued:
        if one.missing:
            line = f"nothing was issued for {name}: Secret {one.secret}, which {one.named_by} names, does not exist"
            yield _Finding("wrong", subject, line, {"observed": _words(shown), "remedy": f"make Secret {one.secret}"})
        elif not one.certificate:
            line = f"whether {name} shows what was issued was not seen: {one.words}: {one.problem}"
            say = "wrong" if one.problem.startswith("its ") else "unproven"
            yield _Finding(say, subject, line, {})
    if not known or any(one.certificate and one.certificate.der == shown.der for one in known):
        return
    issued = known[0]
    yield _Finding(
        "wrong",
        subject,
        f"{name} does not show the certificate that was issued for it: Secret {issued.secret} holds another one",
        {
            "observed": f"shown: {_words(shown)}",
            "expected": f"in {issued.words}: {_words(issued.certificate) if issued.certificate else ''}",
            "cause": _why_not(issued),
            "remedy": f"correct tls.key in Secret {issued.secret}" if not issued.fits else "restart what serves it",
        },
    )


def _why_not(issued: Issued) -> str:
    if not issued.fits:
        return (
            f"tls.key in Secret {issued.secret} is not the key of its tls.crt: what serves it cannot load the two, and"
            " goes on with the certificate from before"
        )
    return f"Secret {issued.secret} was written since what serves it has read it"


def _dates(each: Shown, seen: Certificates, subject: str, name: str) -> Iterator[_Finding]:
    shown = each.certificate
    source = each.issued[0].words if each.issued else ""
    details: Details = {"observed": _words(shown), "cause": source}
    begins, ends, now = shown.begins, shown.ends, shown.seen
    if begins is None or ends is None or now is None:
        return
    renew: Details = {
        **details,
        "remedy": f"renew {source or 'it'}; look at what should have (cert-manager, an operator)",
    }
    if ends <= now:
        yield _Finding("wrong", subject, f"the certificate of {name} has expired, on {_moment(ends)}", renew)
    elif begins > now:
        yield _Finding("wrong", subject, f"the certificate of {name} is not valid before {_moment(begins)}", details)
    elif shown.code in (EXPIRED, NOT_YET):
        word = "has expired" if shown.code == EXPIRED else "is not valid yet"
        yield _Finding("wrong", subject, f"a certificate above that of {name} {word}", renew)
    elif shown.refusal and seen.unread:
        line = f"whether clients trust the certificate of {name} is not known: {shown.refusal}, and what Synapse trusts"
        line += f" ({', '.join(seen.unread)}) could not be read"
        yield _Finding("unknown", subject, line, {**details, "remedy": "name the authority: public.ca_file"})
    elif shown.refusal:
        yield _Finding(
            "wrong",
            subject,
            f"clients do not trust the certificate of {name}: {shown.refusal}",
            {
                **details,
                "expected": "a chain that ends at an authority that clients have",
                "remedy": "serve the whole chain; of an authority of your own, tell clients and settings (public.ca_file)",
            },
        )
    elif ends - now < min(OPERATORS if each.cluster and _is_operators(each) else SOON, (ends - begins) / SHARE):
        yield _Finding("warn", subject, f"the certificate of {name} expires in {_left(ends - now)}", renew)


def _is_operators(each: Shown) -> bool:
    """Whether CloudNativePG made it, and not whoever wrote the Cluster."""
    spec: dict[str, Any] = dict(each.cluster.raw.get("spec") or {}) if each.cluster else {}
    return not (spec.get("certificates") or {}).get("serverTLSSecret")


def _managed(raw: Any, snapshot: Snapshot, secrets: SecretStore, judge: Judge) -> None:
    """A Certificate of cert-manager's, by the status that its controller writes, and by the Secret that it is kept in."""
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    subject, name = f"certificate/{meta['namespace']}/{meta['name']}", meta["name"]
    judge.saw(subject)
    ready = next((each for each in status.get("conditions") or () if each.get("type") == "Ready"), None)
    secret = str(spec.get("secretName") or "")
    if ready is None:
        judge.wrong(
            subject,
            f"nobody has looked after Certificate {name}: it has no status",
            expected="cert-manager's condition Ready",
            remedy="install cert-manager, or read why its controller does not run",
        )
    elif ready.get("status") != "True":
        why = ": ".join(filter(None, (str(ready.get("reason") or ""), str(ready.get("message") or ""))))
        judge.wrong(
            subject,
            f"cert-manager does not keep Certificate {name} (Secret {secret}) valid: {why or 'it is not Ready'}",
            remedy=f"kubectl -n {meta['namespace']} describe certificate {name}",
        )
    elif (due := _time(status.get("renewalTime"))) and due + GRACE < snapshot.taken:
        line = f"Certificate {name} should have been renewed on {_moment(due)}, and was not"
        judge.warn(subject, line, observed=f"it ends on {status.get('notAfter', 'a day that is not told')}")
    held = issued_by(secrets, meta["namespace"], secret, f"Certificate {name}")
    if held.certificate is None or not held.certificate.ends:
        return
    told = _time(status.get("notAfter"))
    if told and told != held.certificate.ends:
        judge.wrong(
            subject,
            f"Secret {secret} does not hold what cert-manager issued: it ends on {_moment(held.certificate.ends)},"
            f" Certificate {name} says {_moment(told)}",
            cause="somebody else writes the Secret",
            remedy=f"let one of the two have Secret {secret}",
        )
    others = [each for each in spec.get("dnsNames") or () if not _is_for(held.certificate, str(each).lower())]
    # A wildcard is asked for as such.
    others = [each for each in others if str(each).lower() not in held.certificate.names]
    if others:
        line = f"the certificate in Secret {secret} is not for {', '.join(others)}, which Certificate {name} asks for"
        judge.wrong(subject, line, observed=_words(held.certificate))


def _words(shown: Certificate) -> str:
    said = f"a certificate for {', '.join(shown.names) or 'no name'} by {shown.issuer}"
    said += f", {shown.begins:%Y-%m-%d} to {shown.ends:%Y-%m-%d}" if shown.begins and shown.ends else ""
    return said + (f", trusted by {shown.authority}" if shown.authority else "")


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%SZ}"


def _left(left: timedelta) -> str:
    hours = int(left.total_seconds() // 3600)
    return f"{hours // 24} days" if hours > 47 else f"{hours} hours"
