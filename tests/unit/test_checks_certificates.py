"""What `platform.certificates` says of what is shown, what was issued, and what cert-manager keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postflight.cluster.kinds import CERTIFICATE, INGRESS
from postflight.probes.certificates import LATE, Certificates
from postflight.probes.public_tls import EXPIRED
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import showing, worlds
from tests.unit.observations import MODEL, ask, only
from tests.unit.showing import GOOD, HOST, NOW, PUBLIC, SHOWN, door
from tests.unit.worlds import thing

ID = "platform.certificates"
WHOLE = showing.whole(MODEL)
PG = next(each for each in WHOLE.shown if each.cluster)


def judged(seen: Certificates, **others: Any) -> Judge:
    """Where nothing but this is looked at: no PostgreSQL, no Certificate."""
    return ask(ID, shown_certificates=seen, **({"deployment": replace(MODEL, postgres=())} | others))


class TestServed:
    def test_what_is_shown_is_another_than_was_issued(self) -> None:
        found = only(judged(door({"der": b"old"})))
        assert found.status is Status.FAILED
        assert found.headline.startswith(
            f"{HOST} does not show the certificate that was issued for it: Secret element-web-tls"
        )
        assert found.cause == "Secret element-web-tls was written since what serves it has read it"
        assert "asked by tunnel to ingress-nginx-controller-1" in found.observed

    def test_because_its_key_is_anothers(self) -> None:
        found = only(judged(door({"der": b"old"}, {"fits": False})))
        assert "tls.key in Secret element-web-tls is not the key of its tls.crt" in found.cause
        assert found.remedy == "correct tls.key in Secret element-web-tls"

    def test_a_public_name_shows_another_than_was_issued(self) -> None:
        shown = replace(SHOWN, host=PUBLIC, names=(PUBLIC,), certificate=replace(GOOD, der=b"old"))
        assert only(judged(Certificates((shown,), (PUBLIC,)))).headline.startswith(f"{PUBLIC} does not show")

    def test_the_same_at_two_places_is_said_once(self) -> None:
        one = door({"der": b"old"}).shown[0]
        found = only(judged(Certificates((one, replace(one, way="at another")))))
        assert found.observed.endswith("asked by tunnel to ingress-nginx-controller-1 and at another")

    def test_one_of_two_that_were_issued_is_enough(self) -> None:
        other = replace(showing.ISSUED, secret="b", certificate=replace(GOOD, der=b"b"))
        assert judged(Certificates((replace(SHOWN, issued=(other, showing.ISSUED)),))).failures == []

    def test_the_secret_is_missing(self) -> None:
        missing = {"certificate": None, "missing": True, "problem": "it does not exist"}
        found = only(judged(door(None, missing)))
        assert found.headline.startswith(f"nothing was issued for {HOST}: Secret element-web-tls, which Ingress")

    def test_the_secret_is_missing_and_nothing_is_shown(self) -> None:
        missing = {"certificate": None, "missing": True, "problem": "it does not exist"}
        found = only(judged(door({"problem": "handshake failure"}, missing)))
        assert found.headline == (
            f"{HOST} shows no certificate: Secret element-web-tls, which Ingress element-web names, does not exist"
        )
        assert found.nature is Nature.WRONG

    def test_a_secret_that_may_not_be_read_proves_nothing(self) -> None:
        found = only(judged(door(None, {"certificate": None, "problem": "no right"})), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_a_secret_without_a_certificate(self) -> None:
        found = only(judged(door(None, {"certificate": None, "problem": "its tls.crt is no certificate"})))
        assert found.status is Status.FAILED


class TestValid:
    def test_expired(self) -> None:
        ends = NOW - timedelta(days=1)
        found = only(judged(door({"ends": ends, "refusal": "certificate has expired", "code": EXPIRED})))
        assert found.headline == f"the certificate of {HOST} has expired, on 2026-12-31 00:00:00Z"
        assert found.cause == "Secret element-web-tls, which Ingress element-web names"

    def test_not_valid_yet(self) -> None:
        found = only(judged(door({"begins": NOW + timedelta(days=1)})))
        assert found.headline == f"the certificate of {HOST} is not valid before 2027-01-02 00:00:00Z"

    def test_one_above_it_has_expired(self) -> None:
        found = only(judged(door({"refusal": "certificate has expired", "code": EXPIRED})))
        assert found.headline == f"a certificate above that of {HOST} has expired"

    def test_another_name(self) -> None:
        found = only(judged(door({"names": ("element.lab.example",)})))
        assert found.headline == f"{HOST} shows a certificate for element.lab.example, not for {HOST}"

    def test_nobody_trusts_it(self) -> None:
        found = only(judged(door({"refusal": "self-signed certificate", "code": 18})))
        assert found.headline == f"clients do not trust the certificate of {HOST}: self-signed certificate"

    def test_whether_anybody_trusts_it_is_not_known(self) -> None:
        seen = replace(door({"refusal": "self-signed certificate", "code": 18}), unread=("/ca.crt",))
        assert only(judged(seen), Status.UNKNOWN).remedy == "name the authority: public.ca_file"

    @pytest.mark.parametrize(
        ("lasts", "left", "warned"),
        [(90, 13, True), (90, 15, False), (6, 1, True), (6, 3, False)],
    )
    def test_it_ends_soon(self, lasts: int, left: int, warned: bool) -> None:
        ends = NOW + timedelta(days=left)
        pen = judged(door({"ends": ends, "begins": ends - timedelta(days=lasts)}))
        assert [each.status for each in pen.failures] == [Status.WARNED] * warned
        if warned:
            assert pen.failures[0].headline.startswith(f"the certificate of {HOST} expires in ")

    def test_names_and_dates_of_the_homeservers_own_are_routing_publics(self) -> None:
        bad = replace(GOOD, names=("other.test",), ends=NOW - timedelta(days=1), der=b"good")
        assert judged(Certificates((replace(SHOWN, host=PUBLIC, certificate=bad),), (PUBLIC,))).failures == []
        silent = replace(SHOWN, host=PUBLIC, certificate=replace(GOOD, problem="refused"))
        assert judged(Certificates((silent,), (PUBLIC,))).failures == []


class TestSilent:
    @pytest.mark.parametrize(
        ("problem", "status"), [(LATE, Status.UNKNOWN), ("no right: x", Status.UNKNOWN), ("refused", Status.FAILED)]
    )
    def test_no_handshake(self, problem: str, status: Status) -> None:
        found = only(judged(door({"problem": problem})), status)
        assert found.headline == f"{HOST} does not answer over TLS: {problem}"
        assert found.nature is Nature.UNAVAILABLE

    def test_a_host_that_was_asked_nowhere(self) -> None:
        seen = Certificates(
            (), (PUBLIC,), unasked=((HOST, "no pod"), (PUBLIC, "no pod")), shut=("ingress-controller/a/b",)
        )
        found = only(judged(seen), Status.UNKNOWN)
        assert found.headline == f"which certificate {HOST} shows was not seen: no pod"
        assert found.needs == ("ingress-controller/a/b",)

    def test_no_instance_answers(self) -> None:
        pen = ask(ID, shown_certificates=Certificates())
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert pen.failures[0].needs[0] == MODEL.postgres[0].id

    def test_no_tls_anywhere(self) -> None:
        assert judged(Certificates(), snapshot=worlds.snapshot()).absence.startswith("no Ingress has TLS")


class TestPostgres:
    def shown(self, **certificate: Any) -> Judge:
        seen = replace(PG, certificate=replace(PG.certificate, **certificate))
        return ask(
            ID, shown_certificates=replace(WHOLE, shown=tuple(seen if each is PG else each for each in WHOLE.shown))
        )

    def test_an_instance_holds_the_old_one(self) -> None:
        found = only(self.shown(der=b"old"))
        assert found.headline.startswith("PostgreSQL matrix-postgresql does not show the certificate")
        assert found.subject == PG.part

    def test_another_name_matters_to_those_only_who_look_at_it(self) -> None:
        assert "not for matrix-postgresql-rw" in only(self.shown(names=("db.test",)), Status.WARNED).headline

    @pytest.mark.parametrize(("left", "count"), [(7, 0), (5, 1)])
    def test_the_operator_renews_its_own_a_week_before(self, left: int, count: int) -> None:
        assert len(self.shown(ends=NOW + timedelta(days=left)).failures) == count


class TestManaged:
    def certificate(self, **status: Any) -> Judge:
        ready = {"type": "Ready", "status": "True"}
        told = {"conditions": [ready], "notAfter": "2027-03-02T00:00:00Z", "renewalTime": "2027-02-01T00:00:00Z"}
        spec = {"secretName": "element-web-tls", "dnsNames": [HOST]}
        made = thing(CERTIFICATE, "element-web", spec=spec, status=told | status)
        world = replace(worlds.snapshot(made, thing(INGRESS, "a", spec={})), taken=NOW)
        return judged(door(), snapshot=world)

    def test_ready(self) -> None:
        pen = self.certificate()
        assert pen.failures == []
        assert "certificate/matrix/element-web" in pen.seen

    def test_not_ready(self) -> None:
        failed = {"type": "Ready", "status": "False", "reason": "Issuing", "message": "no issuer"}
        found = only(self.certificate(conditions=[failed]))
        assert found.headline == (
            "cert-manager does not keep Certificate element-web (Secret element-web-tls) valid: Issuing: no issuer"
        )

    def test_nobody_looks_after_it(self) -> None:
        assert only(self.certificate(conditions=[])).headline.startswith(
            "nobody has looked after Certificate element-web"
        )

    def test_its_renewal_is_overdue(self) -> None:
        found = only(self.certificate(renewalTime="2026-12-01T00:00:00Z"), Status.WARNED)
        assert found.headline == (
            "Certificate element-web should have been renewed on 2026-12-01 00:00:00Z, and was not"
        )
